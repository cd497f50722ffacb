//! Records on their way from what was read into requests.
//!
//! Purpose: cut what came as one document into requests that servers take.
//! Promises: a record keeps its resource and scope, and the order stays; no request has empty blocks, more records than
//! asked for, or, with more than one record, more bytes than [`BATCH_BYTES`].
//! Never: reads or sends.

use std::collections::VecDeque;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

/// Batches are closed at this many bytes: with one more line they stay under 4 MiB.
pub const BATCH_BYTES: usize = 2 << 20;

/// Some records to send in one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The request.
    pub request: ExportLogsServiceRequest,
    /// Records in it.
    pub records: u64,
}

/// What was read and is not yet in a batch.
#[derive(Default)]
pub struct Pending {
    /// Lines of text.
    pub text: Vec<LogRecord>,
    /// What came as OTLP.
    pub requests: VecDeque<ResourceLogs>,
    /// Bytes of all of it, about.
    pub bytes: usize,
}

impl Pending {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.requests.is_empty()
    }

    /// How many records there are.
    pub fn records(&self) -> usize {
        let nested =
            self.requests.iter().flat_map(|resource| &resource.scope_logs).map(|scope| scope.log_records.len());
        self.text.len() + nested.sum::<usize>()
    }

    /// The next batch of what is there, of `largest` records at most; lines get the resource.
    pub fn batch(&mut self, largest: usize, resource: &[KeyValue]) -> Option<Batch> {
        let mut resource_logs = self.cut(largest);
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            let scope = InstrumentationScope {
                name: "lipservice.send".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                ..Default::default()
            };
            let scope_logs = ScopeLogs { scope: Some(scope), log_records: text, ..Default::default() };
            let resource = Resource { attributes: resource.to_vec(), ..Default::default() };
            resource_logs.push(ResourceLogs {
                resource: Some(resource),
                scope_logs: vec![scope_logs],
                ..Default::default()
            });
        }
        self.bytes = self.requests.iter().map(Message::encoded_len).sum();
        let records = resource_logs.iter().flat_map(|logs| &logs.scope_logs).map(|scope| scope.log_records.len());
        let records = records.sum::<usize>() as u64;
        (records > 0).then_some(Batch { request: ExportLogsServiceRequest { resource_logs }, records })
    }

    /// As many records from the front as a batch takes, under copies of their resource and scope.
    fn cut(&mut self, largest: usize) -> Vec<ResourceLogs> {
        let (mut out, mut records, mut bytes) = (Vec::new(), 0, 0);
        while let Some(mut block) = self.requests.pop_front() {
            let mut left: VecDeque<ScopeLogs> = std::mem::take(&mut block.scope_logs).into();
            let mut taken = Vec::new();
            while let Some(mut scope) = left.pop_front() {
                let mut fit = 0;
                while records < largest
                    && let Some(record) = scope.log_records.get(fit)
                    && (records == 0 || bytes + record.encoded_len() <= BATCH_BYTES)
                {
                    bytes += record.encoded_len();
                    (fit, records) = (fit + 1, records + 1);
                }
                let rest = scope.log_records.split_off(fit);
                let is_full = !rest.is_empty();
                if is_full {
                    let schema_url = scope.schema_url.clone();
                    left.push_front(ScopeLogs { scope: scope.scope.clone(), log_records: rest, schema_url });
                }
                if fit > 0 {
                    taken.push(scope);
                }
                if is_full {
                    break;
                }
            }
            if !taken.is_empty() {
                out.push(ResourceLogs { scope_logs: taken, ..block.clone() });
            }
            if !left.is_empty() {
                self.requests.push_front(ResourceLogs { scope_logs: left.into(), ..block });
                break;
            }
        }
        out
    }
}
