//! The shop's services, each with the official OpenTelemetry SDK.
//!
//! Purpose: a real client path: SDK logger, batch processor, OTLP/gRPC exporter.
//! Promises: a record is either acknowledged by the gateway or counted as not sent; nothing is dropped by a full queue,
//! as every second is flushed before the next.
//! Never: retries on its own; what the SDK does is what an application gets.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::{KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_otlp::{LogExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{BatchConfigBuilder, BatchLogProcessor, SdkLogger, SdkLoggerProvider};

use super::templates::{SERVICES, TEMPLATES};
use super::traffic::{Event, Value, resource};

/// Room for a second of the whole shop in one service's queue.
const QUEUE_RECORDS: usize = 1 << 17;

struct App {
    provider: SdkLoggerProvider,
    logger: SdkLogger,
}

/// All services.
pub struct Apps {
    apps: Vec<App>,
}

impl Apps {
    /// Services that send to `endpoint`. Call it inside a runtime.
    ///
    /// # Errors
    /// When an exporter cannot be set up.
    pub fn new(endpoint: &str) -> anyhow::Result<Self> {
        let apps: anyhow::Result<Vec<App>> = (0..SERVICES.len()).map(|service| app(service, endpoint)).collect();
        Ok(Apps { apps: apps? })
    }

    /// Logs the events of one second and waits for the answers. Returns how many services could not deliver.
    ///
    /// # Errors
    /// When a thread cannot be joined.
    pub async fn log(&self, events: Vec<Event>) -> anyhow::Result<usize> {
        let now = SystemTime::now();
        for event in events {
            let app = &self.apps[TEMPLATES[event.template].service];
            emit(&app.logger, event, now);
        }
        let providers: Vec<_> = self.apps.iter().map(|app| app.provider.clone()).collect();
        // The SDK's flush blocks its caller.
        let flush = move || providers.iter().filter(|provider| provider.force_flush().is_err()).count();
        tokio::task::spawn_blocking(flush).await.context("a flush did not end")
    }

    /// Stops all services.
    ///
    /// # Errors
    /// When a thread cannot be joined.
    pub async fn stop(self) -> anyhow::Result<()> {
        let stop = move || {
            for app in &self.apps {
                // Everything was flushed; what is left to fail is not worth a word.
                let _ = app.provider.shutdown_with_timeout(Duration::from_secs(5));
            }
        };
        tokio::task::spawn_blocking(stop).await.context("a shutdown did not end")
    }
}

fn app(service: usize, endpoint: &str) -> anyhow::Result<App> {
    let exporter = LogExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(Duration::from_secs(10));
    let exporter = exporter.build().context("cannot set up an OTLP exporter")?;
    let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE_RECORDS).build();
    let processor = BatchLogProcessor::builder(exporter).with_batch_config(config).build();
    let attributes = resource(service).into_iter().map(|(key, value)| KeyValue::new(key, value));
    let resource = Resource::builder_empty().with_attributes(attributes).build();
    let provider = SdkLoggerProvider::builder().with_resource(resource).with_log_processor(processor).build();
    let logger = provider.logger("shop.logging");
    Ok(App { provider, logger })
}

fn emit(logger: &SdkLogger, event: Event, now: SystemTime) {
    let kind = TEMPLATES[event.template].kind;
    let mut record = logger.create_log_record();
    record.set_timestamp(now);
    record.set_observed_timestamp(now);
    record.set_severity_text(kind.severity_text());
    record.set_severity_number(match kind.severity() {
        5 => Severity::Debug,
        13 => Severity::Warn,
        17 => Severity::Error,
        _ => Severity::Info,
    });
    record.set_body(AnyValue::from(event.body));
    record.add_attributes(event.attributes.into_iter().map(|(key, value)| match value {
        Value::Text(text) => (key, AnyValue::from(text)),
        Value::Int(number) => (key, AnyValue::from(number)),
        Value::Float(number) => (key, AnyValue::from(number)),
        Value::Bool(flag) => (key, AnyValue::from(flag)),
    }));
    if let Some((trace, span)) = event.trace {
        let flags = Some(TraceFlags::SAMPLED);
        record.set_trace_context(TraceId::from_bytes(trace), SpanId::from_bytes(span), flags);
    }
    logger.emit(record);
}
