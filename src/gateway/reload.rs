//! Go over to another configuration while records flow.
//!
//! Purpose: replace only what changed; keep windows, books, rate limits and queues.
//! Promises: new exporters are started before anything old is stopped; whatever fails leaves the running configuration
//! as it was; a receiver that changed refuses connections for the moment of its replacement, and clients retry;
//! certificates and tokens of what goes on are read again, and broken ones change nothing.
//! Never: drops a queued record: a replaced exporter drains in the background and is part of the final report.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Forwarders, Gateway, ReloadError, RunningReceiver, authenticators_of, bind, drain_exporter, end_receiver,
    sampler_of, start_exporters, wiring,
};
use crate::config::Config;
use crate::data_plane::receiver::config::OtlpReceiverConfig;
use crate::reread::Renewable;

impl Gateway {
    /// Goes over to another configuration.
    ///
    /// # Errors
    /// As [`Gateway::start`]; the running configuration is then kept.
    pub async fn reload(&mut self, config: Config) -> Result<(), ReloadError> {
        let exporters = start_exporters(&config.logs_exporters, &self.exporters, &self.clock)?;
        let forwarders = Forwarders::new(&config, &self.clock)?;
        self.reload_receivers(&config).await?;

        let sampler = sampler_of(&config);
        self.warn_of_what_needs_a_restart(&config);
        let wiring = wiring(&sampler, &exporters, forwarders.clone(), &self.limiter);
        self.pipeline.rewire(wiring);
        self.limiter.configure(config.memory_limiter.as_ref());
        let replaced = std::mem::replace(&mut self.exporters, exporters);
        for old in replaced {
            let goes_on = self.exporters.iter().any(|new| new.name == old.name && new.config == old.config);
            if !goes_on {
                let timeout = config.shutdown_timeout.0;
                self.retired.push(tokio::spawn(drain_exporter(old.exporter, timeout)));
            }
        }
        self.anomalies.configure(&config.anomalies);
        self.config = config;
        self.policies.set_paths(&sampler.policies);
        self.learner.configure(&sampler.patterns);
        self.reload_policies();
        self.timers.trigger();
        self.timers = self.background.child();
        self.tasks.retain(|task| !task.is_finished());
        self.start_timers();
        self.show(&forwarders);
        // What goes on has files that may have changed; what is new has just read its own.
        self.files().for_each(|files| files.look());
        Ok(())
    }

    /// Stops receivers that went or changed, starts those that came or changed.
    async fn reload_receivers(&mut self, config: &Config) -> Result<(), ReloadError> {
        let old_config = self.config.clone();
        let (stay, go): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.receivers).into_iter().partition(|running| is_wanted(running, config));
        self.receivers = stay;
        let come: Vec<_> = config
            .receivers
            .iter()
            .filter(|(name, _)| !self.receivers.iter().any(|running| running.name == *name))
            .cloned()
            .collect();
        let gone: Vec<_> = go.iter().map(|running| (running.name.clone(), running.config.clone())).collect();
        let until = Instant::now() + old_config.shutdown_timeout.0;
        for running in go {
            // The address may be the same, so the old listener goes first; clients retry for that moment.
            running.stop.trigger();
            end_receiver(running, until).await;
        }
        let mut bound = Vec::new();
        for (name, receiver) in come {
            match bind(config, &name, &receiver, &self.clock) {
                Ok(listener) => bound.push((name, receiver, listener)),
                Err(error) => {
                    drop(bound);
                    self.restore_receivers(&old_config, gone);
                    return Err(error);
                }
            }
        }
        for (name, receiver, listener) in bound {
            self.serve(name, receiver, listener);
        }
        Ok(())
    }

    fn restore_receivers(&mut self, config: &Config, gone: Vec<(String, OtlpReceiverConfig)>) {
        for (name, receiver) in gone {
            match bind(config, &name, &receiver, &self.clock) {
                Ok(listener) => self.serve(name, receiver, listener),
                Err(error) => tracing::error!(receiver = name, %error, "a receiver could not be brought back"),
            }
        }
    }

    /// What is renewed with its files, but for the forwarders'.
    pub(super) fn files(&self) -> impl Iterator<Item = Arc<dyn Renewable>> + '_ {
        let receivers = self.receivers.iter().flat_map(|receiver| &receiver.files);
        let exporters = self.exporters.iter().flat_map(|running| running.exporter.files());
        receivers.chain(exporters).chain(self.control.files()).cloned()
    }

    fn warn_of_what_needs_a_restart(&self, config: &Config) {
        let (old, new) = (&self.config, config);
        for (setting, changed) in [
            ("processors.sampler.window", sampler_of(old).window != sampler_of(new).window),
            ("processors.sampler.patterns.file", sampler_of(old).patterns.file != sampler_of(new).patterns.file),
            (
                "processors.sampler.patterns.max_signatures",
                sampler_of(old).patterns.max_signatures != sampler_of(new).patterns.max_signatures,
            ),
            ("service.telemetry.metrics.address", old.telemetry.metrics != new.telemetry.metrics),
            ("extensions.health_check", old.health != new.health),
            ("role, api, store, generator, control_plane", old.control != new.control),
        ] {
            if changed {
                tracing::warn!(setting, "this change takes effect at the next start");
            }
        }
    }
}

/// Whether a running receiver serves the new configuration as it is.
fn is_wanted(running: &RunningReceiver, config: &Config) -> bool {
    config.receivers.iter().any(|(name, receiver)| {
        running.name == *name
            && running.config == *receiver
            && running.authenticators == authenticators_of(config, receiver)
    })
}
