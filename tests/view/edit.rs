//! Splicing equals the same edit under prost.
//!
//! The rule for blocks: the filter removes records, then scope blocks that lost all of theirs, then resource blocks
//! likewise. A block that came without records stays: it was not ours to judge.

use lipservice::data_plane::view::{Action, LogIndex, Span, SplicePlan, encode};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

use super::generate::{attribute, record, resource, sample, scope};

/// What to do with one record.
#[derive(Clone, Debug)]
enum Edit {
    Drop,
    Keep,
    Annotate { without_threshold: bool },
    Replace(LogRecord),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => Just(Edit::Drop),
        2 => Just(Edit::Keep),
        2 => any::<bool>().prop_map(|without_threshold| Edit::Annotate { without_threshold }),
        1 => record().prop_map(Edit::Replace),
    ]
}

/// All that may happen to one request.
#[derive(Clone, Debug)]
struct Edits {
    records: Vec<Edit>,
    resource: Option<(Index, Resource)>,
    scope: Option<(Index, InstrumentationScope)>,
}

fn edits() -> impl Strategy<Value = Edits> {
    let records = proptest::collection::vec(edit(), 48);
    let resource = proptest::option::of((any::<Index>(), resource()));
    let scope = proptest::option::of((any::<Index>(), scope()));
    (records, resource, scope).prop_map(|(records, resource, scope)| Edits { records, resource, scope })
}

fn edit_with_view(bytes: &[u8], edits: &Edits) -> Vec<u8> {
    let mut index = LogIndex::default();
    index.read(bytes).unwrap();
    let mut plan = SplicePlan::default();
    let mut attributes = Vec::new();
    encode::string_attribute(&mut attributes, encode::RECORD_ATTRIBUTE, "added", b"yes");
    for (record, edit) in index.records.iter().zip(&edits.records) {
        let action = match edit {
            Edit::Drop => Action::Drop,
            Edit::Keep => Action::Keep,
            Edit::Annotate { without_threshold } => {
                let without = if *without_threshold { record.threshold_field } else { Span::default() };
                Action::Annotate { append: plan.stash(&attributes), without }
            }
            Edit::Replace(record) => Action::Replace(plan.stash(&record.encode_to_vec())),
        };
        plan.actions.push(action);
    }
    if let Some((at, resource)) = edits.resource.as_ref().filter(|_| !index.resources.is_empty()) {
        let span = plan.stash(&resource.encode_to_vec());
        plan.resources.push((at.index(index.resources.len()) as u32, span));
    }
    if let Some((at, scope)) = edits.scope.as_ref().filter(|_| !index.scopes.is_empty()) {
        let span = plan.stash(&scope.encode_to_vec());
        plan.scopes.push((at.index(index.scopes.len()) as u32, span));
    }
    let mut out = Vec::new();
    plan.write(bytes, &index, &mut out);
    out
}

fn edit_record(record: &LogRecord, edit: &Edit) -> Option<LogRecord> {
    let mut record = record.clone();
    match edit {
        Edit::Drop => return None,
        Edit::Keep => {}
        Edit::Annotate { without_threshold } => {
            let threshold = record.attributes.iter().position(|entry| entry.key == "sampling.threshold");
            if let Some(at) = threshold.filter(|_| *without_threshold) {
                record.attributes.remove(at);
            }
            record.attributes.push(attribute("added", "yes"));
        }
        Edit::Replace(other) => record = other.clone(),
    }
    Some(record)
}

fn edit_with_prost(request: &ExportLogsServiceRequest, edits: &Edits) -> ExportLogsServiceRequest {
    let mut request = request.clone();
    let resources = request.resource_logs.len();
    if let Some((at, resource)) = edits.resource.as_ref().filter(|_| resources > 0) {
        request.resource_logs[at.index(resources)].resource = Some(resource.clone());
    }
    let mut scopes: Vec<&mut ScopeLogs> = request.resource_logs.iter_mut().flat_map(|r| &mut r.scope_logs).collect();
    if let Some((at, scope)) = edits.scope.as_ref().filter(|_| !scopes.is_empty()) {
        let at = at.index(scopes.len());
        scopes[at].scope = Some(scope.clone());
    }
    let mut records = edits.records.iter();
    let mut edit_scope = |scope: &mut ScopeLogs| {
        let before = scope.log_records.len();
        let edited = scope.log_records.iter().zip(records.by_ref().take(before)).collect::<Vec<_>>();
        scope.log_records = edited.into_iter().filter_map(|(record, edit)| edit_record(record, edit)).collect();
        before == 0 || !scope.log_records.is_empty()
    };
    let edit_resource = |resource: &mut ResourceLogs| {
        let before = resource.scope_logs.len();
        resource.scope_logs.retain_mut(&mut edit_scope);
        before == 0 || !resource.scope_logs.is_empty()
    };
    request.resource_logs.retain_mut(edit_resource);
    request
}

proptest! {
    #[test]
    fn keeping_everything_reproduces_the_request(sample in sample()) {
        let edits = Edits { records: vec![Edit::Keep; 48], resource: None, scope: None };
        prop_assert_eq!(edit_with_view(&sample.bytes, &edits), sample.bytes);
    }

    #[test]
    fn keeping_some_equals_decode_filter_encode(sample in sample(), kept in proptest::collection::vec(any::<bool>(), 48)) {
        let records = kept.into_iter().map(|keep| if keep { Edit::Keep } else { Edit::Drop }).collect();
        let edits = Edits { records, resource: None, scope: None };
        let out = edit_with_view(&sample.bytes, &edits);
        prop_assert_eq!(ExportLogsServiceRequest::decode(&out[..]).unwrap(), edit_with_prost(&sample.request, &edits));
    }

    #[test]
    fn every_edit_equals_the_same_edit_under_prost(sample in sample(), edits in edits()) {
        let out = edit_with_view(&sample.bytes, &edits);
        prop_assert_eq!(ExportLogsServiceRequest::decode(&out[..]).unwrap(), edit_with_prost(&sample.request, &edits));
    }

    #[test]
    fn unknown_fields_of_kept_records_survive(sample in sample(), edits in edits()) {
        let mut index = LogIndex::default();
        index.read(&sample.bytes).unwrap();
        let out = edit_with_view(&sample.bytes, &edits);
        let mut edited = LogIndex::default();
        edited.read(&out).unwrap();
        let stays = |edit: &&Edit| !matches!(edit, Edit::Drop);
        let mut after = edited.records.iter();
        for (record, edit) in index.records.iter().zip(&edits.records).filter(|(_, edit)| stays(edit)) {
            let found = after.next().unwrap();
            if let Edit::Keep = edit {
                prop_assert_eq!(found.field.of(&out), record.field.of(&sample.bytes));
            }
        }
        prop_assert!(after.next().is_none());
    }
}

#[test]
fn a_range_to_leave_out_that_is_not_in_the_record_is_ignored() {
    let request = [0x0a, 6, 0x12, 4, 0x12, 2, 0x4a, 0];
    let mut index = LogIndex::default();
    index.read(&request).unwrap();
    for without in [Span { start: 0, end: 8 }, Span { start: 7, end: 6 }, Span { start: 900, end: 901 }] {
        let mut plan = SplicePlan::default();
        plan.actions.push(Action::Annotate { append: Span { start: 50, end: 60 }, without });
        let mut out = Vec::new();
        plan.write(&request, &index, &mut out);
        assert_eq!(out, request);
    }
}

#[test]
fn records_beyond_the_actions_are_dropped() {
    let request = [0x0a, 6, 0x12, 4, 0x12, 0, 0x12, 0];
    let mut index = LogIndex::default();
    index.read(&request).unwrap();
    let mut plan = SplicePlan::default();
    plan.actions.push(Action::Keep);
    let mut out = Vec::new();
    plan.write(&request, &index, &mut out);
    assert_eq!(out, [0x0a, 4, 0x12, 2, 0x12, 0]);
}
