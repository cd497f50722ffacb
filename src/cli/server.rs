//! The arguments that name a control plane, shared by `policy` and `status`.
//!
//! Promises: a token given in the environment does not show in `--help`.
//! Never: asks for anything itself.

use std::future::Future;

use crate::control_plane::client::Client;
use crate::units::Secret;

/// Which control plane.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// The control plane's API.
    #[arg(long, value_name = "URL", env = "LIPSERVICE_SERVER", default_value = "http://127.0.0.1:8000")]
    pub server: String,
    /// A token of the API.
    #[arg(long, value_name = "TOKEN", env = "LIPSERVICE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// PEM file with authorities to trust instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<String>,
}

impl ServerArgs {
    /// A client for it.
    ///
    /// # Errors
    /// A URL or file that does not serve.
    pub fn client(&self) -> anyhow::Result<Client> {
        let token = self.token.as_deref().map(str::trim).filter(|token| !token.is_empty()).map(Secret::new);
        Ok(Client::new(&self.server, token, self.ca_file.as_deref())?)
    }
}

/// Runs something that waits for the network.
///
/// # Errors
/// Its own.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
