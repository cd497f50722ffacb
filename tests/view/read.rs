//! Every field that `view` offers reads as prost reads it.

use lipservice::data_plane::view::index::{MAX_RECORDS, THRESHOLD_KEY};
use lipservice::data_plane::view::{AnyValueRef, Attributes, LogIndex, RecordRef, ResourceRef};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use proptest::prelude::*;
use prost::Message;

use super::generate::{Sample, sample};

fn to_prost(value: AnyValueRef<'_>) -> AnyValue {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let value = match value {
        AnyValueRef::Empty => None,
        AnyValueRef::Str(bytes) => Some(Value::StringValue(text(bytes))),
        AnyValueRef::Bool(value) => Some(Value::BoolValue(value)),
        AnyValueRef::Int(value) => Some(Value::IntValue(value)),
        AnyValueRef::Double(value) => Some(Value::DoubleValue(value)),
        AnyValueRef::Bytes(bytes) => Some(Value::BytesValue(bytes.to_vec())),
        AnyValueRef::Array(_) => {
            Some(Value::ArrayValue(ArrayValue { values: value.elements().map(to_prost).collect() }))
        }
        AnyValueRef::KvList(_) => Some(Value::KvlistValue(KeyValueList { values: attributes(value.entries()) })),
    };
    AnyValue { value }
}

/// Attributes as prost types. `view` does not tell a value that is not set from an empty one, so neither does this.
fn attributes(attributes: Attributes<'_>) -> Vec<KeyValue> {
    attributes
        .map(|entry| KeyValue {
            key: String::from_utf8(entry.key.to_vec()).unwrap(),
            value: Some(to_prost(entry.value())),
            ..KeyValue::default()
        })
        .collect()
}

/// Sets every value that is not set to an empty one.
fn filled(mut attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    for entry in &mut attributes {
        entry.value = Some(filled_value(entry.value.take().unwrap_or_default()));
    }
    attributes
}

fn filled_value(value: AnyValue) -> AnyValue {
    let value = value.value.map(|value| match value {
        Value::KvlistValue(list) => Value::KvlistValue(KeyValueList { values: filled(list.values) }),
        Value::ArrayValue(list) => {
            Value::ArrayValue(ArrayValue { values: list.values.into_iter().map(filled_value).collect() })
        }
        other => other,
    });
    AnyValue { value }
}

fn check_record(found: RecordRef<'_>, record: &LogRecord) {
    assert_eq!(found.body().map(to_prost), record.body.clone().map(filled_value));
    assert_eq!(attributes(found.attributes()), filled(record.attributes.clone()));
    assert_eq!(found.severity_text(), record.severity_text.as_bytes());
    assert_eq!(found.event_name(), record.event_name.as_bytes());
    assert_eq!(found.trace_id(), record.trace_id);
    assert_eq!(found.span_id(), record.span_id);
    assert_eq!(found.span.time_unix_nano, record.time_unix_nano);
    assert_eq!(i32::from(found.span.severity_number), record.severity_number.clamp(0, 255));
    assert_eq!(found.span.is_summary, record.attributes.iter().any(|entry| entry.key == "lip.summary"));
    let first = |key: &str| {
        let entry = record.attributes.iter().find(|entry| entry.key == key);
        entry.map(|entry| filled_value(entry.value.clone().unwrap_or_default()))
    };
    assert_eq!(found.threshold().map(to_prost), first("sampling.threshold"));
    assert_eq!(found.randomness().map(to_prost), first("sampling.randomness"));
    assert_eq!(found.attributes().get(THRESHOLD_KEY).map(to_prost), first("sampling.threshold"));
}

fn check(sample: &Sample) {
    let mut index = LogIndex::default();
    let mut seen = 0;
    index.parse(&sample.bytes, |_| seen += 1).unwrap();
    assert_eq!(seen, index.records.len());
    assert_eq!(index.resources.len(), sample.request.resource_logs.len());
    let (mut r, mut s) = (0, 0);
    for (i, block) in sample.request.resource_logs.iter().enumerate() {
        let resource = ResourceRef::new(&sample.bytes, &index.resources[i]);
        let expected = block.resource.clone().unwrap_or_default();
        assert_eq!(attributes(resource.attributes()), filled(expected.attributes));
        assert_eq!(resource.schema_url(), block.schema_url.as_bytes());
        for scope_logs in &block.scope_logs {
            for record in &scope_logs.log_records {
                let found = index.record(&sample.bytes, r);
                check_record(found, record);
                let scope = index.scope_of(&sample.bytes, found.span);
                let expected = scope_logs.scope.clone().unwrap_or_default();
                assert_eq!(attributes(scope.attributes()), filled(expected.attributes));
                if !index.scopes[s].repeats {
                    assert_eq!(scope.name(), expected.name.as_bytes());
                    assert_eq!(scope.version(), expected.version.as_bytes());
                }
                assert_eq!(scope.schema_url(), scope_logs.schema_url.as_bytes());
                assert_eq!(index.resource_of(&sample.bytes, found.span).message(), resource.message());
                r += 1;
            }
            s += 1;
        }
    }
    assert_eq!((r, s), (index.records.len(), index.scopes.len()));
}

proptest! {
    #[test]
    fn every_field_reads_as_under_prost(sample in sample()) {
        check(&sample);
    }
}

/// A request with one record.
fn request_of(record: &[u8]) -> Vec<u8> {
    let wrapped = |field: u8, message: &[u8]| {
        let mut out = vec![field << 3 | 2];
        prost::encoding::encode_varint(message.len() as u64, &mut out);
        out.extend_from_slice(message);
        out
    };
    wrapped(1, &wrapped(2, &wrapped(2, record)))
}

#[test]
fn texts_about_as_long_as_a_byte_of_their_length_tells_read_as_under_prost() {
    let mut index = LogIndex::default();
    for len in (0..300).chain(16_370..16_400) {
        let body = Some(AnyValue { value: Some(Value::StringValue("b".repeat(len))) });
        let record = LogRecord { body, event_name: "e".repeat(len), ..LogRecord::default() };
        let request = request_of(&record.encode_to_vec());
        index.read(&request).unwrap();
        check_record(index.record(&request, 0), &record);
    }
}

#[test]
fn keys_are_told_from_what_they_begin_with_and_from_broken_attributes_around_them() {
    let attribute = |key: &str| {
        let value = AnyValue { value: Some(Value::StringValue("8".into())) };
        KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
    };
    let keys =
        ["", "s", "samp", "sampling.thresholds", "sampling.threshold", "lip.", "lip.summary", "sampling.randomness"];
    let attributes: Vec<_> = keys.into_iter().map(attribute).collect();
    let mut index = LogIndex::default();
    for turn in 0..keys.len() {
        let mut attributes = attributes.clone();
        attributes.rotate_left(turn);
        let record = LogRecord { attributes, ..LogRecord::default() };
        for broken in [&[][..], &[0x32, 0], &[0x32, 1, 0x0a], &[0x32, 2, 0x0a, 0x70], &[0x32, 3, 0x0a, 1, b's']] {
            let encoded = record.encode_to_vec();
            let request = request_of(&[broken, &encoded, broken].concat());
            index.read(&request).unwrap();
            let found = index.record(&request, 0);
            assert!(found.span.is_summary && found.threshold().is_some() && found.randomness().is_some(), "{turn}");
            let threshold = found.span.threshold_field.of(&request);
            assert!(threshold.ends_with(b"sampling.threshold\x12\x03\x0a\x018"), "{threshold:?}");
        }
    }
}

#[test]
fn an_index_is_reused_without_memory_of_the_last_request() {
    let record = [0x0a, 4, 0x12, 2, 0x12, 0];
    let mut index = LogIndex::default();
    index.read(&record).unwrap();
    assert_eq!((index.resources.len(), index.scopes.len(), index.records.len()), (1, 1, 1));
    index.read(&[]).unwrap();
    assert_eq!((index.resources.len(), index.scopes.len(), index.records.len()), (0, 0, 0));
}

#[test]
fn more_records_or_blocks_than_the_bound_are_refused() {
    let blocks = [0x0a, 0].repeat(MAX_RECORDS);
    let mut index = LogIndex::default();
    index.read(&blocks).unwrap();
    assert_eq!(index.resources.len(), MAX_RECORDS);
    let error = index.read(&[&blocks[..], &[0x0a, 0]].concat()).unwrap_err();
    assert!(error.what.contains("smaller batches"), "{error}");
    index.read(&[]).unwrap();
    assert!(index.resources.capacity() < MAX_RECORDS, "the memory of an unusual request is given back");
}
