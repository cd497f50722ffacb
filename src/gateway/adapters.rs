//! Parts seen through the traits of other parts.
//!
//! Purpose: the data plane's stages do not know each other; here an exporter becomes a destination of the pipeline, a
//! forwarder its way out for traces and metrics, the memory limiter its overload signal.
//! Never: holds logic beyond translation.

use std::sync::Arc;

use super::StartError;
use crate::clock::Clock;
use crate::config::Config;
use crate::data_plane::exporter::{Exporter, ForwardError, ForwardKind, Forwarder, Outgoing, Reservation};
use crate::data_plane::pipeline::{Destination, Forward, Overload, Room};
use crate::data_plane::receiver::{Received, Refusal, Reply, Signal};
use crate::reread::Renewable;
use crate::telemetry::MetricSource;
use crate::telemetry::memory_limiter::MemoryLimiter;

impl Destination for Exporter {
    fn name(&self) -> &str {
        Exporter::name(self)
    }
    fn try_reserve(&self, bytes: usize) -> Option<Box<dyn Room>> {
        Exporter::try_reserve(self, bytes).map(|reservation| Box::new(reservation) as Box<dyn Room>)
    }
    fn note_refused(&self, records: u64) {
        self.note_enqueue_failed(records);
    }
    fn sent_bytes(&self) -> u64 {
        self.stats().sent_bytes
    }
}

impl Room for Reservation {
    fn submit(self: Box<Self>, outgoing: Outgoing) {
        Reservation::submit(*self, outgoing);
    }
}

/// Refuses requests while memory is short.
pub(super) struct Limit(pub(super) Arc<MemoryLimiter>);

impl Overload for Limit {
    fn check(&self) -> Option<String> {
        self.0.is_over_soft().then(|| self.0.refusal())
    }
}

/// Where traces and metrics go, if anywhere.
#[derive(Clone)]
pub(super) struct Forwarders {
    traces: Option<Forwarder>,
    metrics: Option<Forwarder>,
}

impl Forwarders {
    /// Sets up what the configuration names.
    pub(super) fn new(config: &Config, clock: &Clock) -> Result<Self, StartError> {
        let forwarder = |pipeline: &Option<(String, _)>| match pipeline {
            None => Ok(None),
            Some((name, settings)) => match Forwarder::new(name, settings, clock.clone()) {
                Ok(forwarder) => Ok(Some(forwarder)),
                Err(source) => Err(StartError::Exporter { name: name.clone(), source }),
            },
        };
        Ok(Forwarders { traces: forwarder(&config.traces)?, metrics: forwarder(&config.metrics)? })
    }

    /// Their numbers.
    pub(super) fn sources(&self) -> Vec<Arc<dyn MetricSource>> {
        let both = self.traces.iter().chain(&self.metrics);
        both.map(|forwarder| Arc::new(forwarder.clone()) as Arc<dyn MetricSource>).collect()
    }
}

impl Forwarders {
    /// What they made of files.
    pub(super) fn files(&self) -> impl Iterator<Item = Arc<dyn Renewable>> + '_ {
        self.traces.iter().chain(&self.metrics).flat_map(Forwarder::files)
    }
}

impl Forward for Forwarders {
    fn forward(&self, signal: Signal, request: Received) -> Reply {
        let (name, kind, forwarder) = match signal {
            Signal::Traces => ("traces", ForwardKind::Traces, self.traces.clone()),
            _ => ("metrics", ForwardKind::Metrics, self.metrics.clone()),
        };
        Box::pin(async move {
            let Some(forwarder) = forwarder else {
                return Err(Refusal::Unsupported(format!(
                    "this gateway takes logs only; to forward {name}, add service.pipelines.{name} with an otlp_http \
                     exporter, or send them elsewhere (OTEL_EXPORTER_OTLP_{}_ENDPOINT)",
                    name.to_uppercase()
                )));
            };
            let forwarded = forwarder.forward(kind, request.body, request.token).await;
            forwarded.map_err(|error| match error {
                ForwardError::Retryable { message, retry_after } => Refusal::Busy { message, retry_after },
                ForwardError::Unauthenticated { message } => Refusal::Unauthenticated(message),
                ForwardError::Permanent { message } => Refusal::Failed(message),
            })
        })
    }
}
