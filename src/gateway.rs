//! The one place that wires everything: configuration in, running gateway out.
//!
//! Purpose: start receivers, pipeline, exporters and telemetry, reload them without losing state, drain them.
//! Promises: to come.
//! Never: decides what is kept.

use std::time::Duration;

use crate::clock::Clock;
use crate::config::Config;

/// What a gateway needs beside its configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where time comes from.
    pub clock: Clock,
}

/// Why it could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Until it is built, always.
    #[error("the gateway is not built yet")]
    NotBuilt,
}

/// Why a configuration could not take the place of the running one, which goes on.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Until it is built, always.
    #[error("the gateway is not built yet")]
    NotBuilt,
}

/// What became of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {}

impl Gateway {
    /// Starts everything.
    ///
    /// # Errors
    /// An address that is taken, a file that cannot be read.
    pub async fn start(_config: Config, _options: Options) -> Result<Gateway, StartError> {
        Err(StartError::NotBuilt)
    }

    /// Goes over to another configuration.
    ///
    /// # Errors
    /// As [`Gateway::start`]; the running configuration is then kept.
    pub async fn reload(&mut self, _config: Config) -> Result<(), ReloadError> {
        Err(ReloadError::NotBuilt)
    }

    /// Stops taking requests and sends what was accepted, for `timeout` at most.
    pub async fn shutdown(self, _timeout: Duration) -> Report {
        Report {}
    }
}
