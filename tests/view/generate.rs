//! Requests to test with: generated with prost types, then spoiled in every way that protobuf allows.

use lipservice::data_plane::view::wire::{Reader, Tag, WireType, put_varint};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// A request as prost types, and the same request as bytes in an odd but legal encoding.
#[derive(Clone, Debug)]
pub struct Sample {
    pub request: ExportLogsServiceRequest,
    pub bytes: Vec<u8>,
}

pub fn sample() -> impl Strategy<Value = Sample> {
    (request(), any::<u64>(), prop_oneof![Just(false), Just(true)]).prop_map(|(request, seed, odd)| {
        let plain = prost::Message::encode_to_vec(&request);
        let bytes = if odd { spoil(&plain, Kind::Request, &mut SmallRng::seed_from_u64(seed)) } else { plain };
        Sample { request, bytes }
    })
}

pub fn request() -> impl Strategy<Value = ExportLogsServiceRequest> {
    vec(resource_logs(), 0..4).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

fn resource_logs() -> impl Strategy<Value = ResourceLogs> {
    (option::of(resource()), vec(scope_logs(), 0..4), word())
        .prop_map(|(resource, scope_logs, schema_url)| ResourceLogs { resource, scope_logs, schema_url })
}

/// Few distinct resources, so that regrouping finds equal ones.
pub fn resource() -> impl Strategy<Value = Resource> {
    prop_oneof![
        Just(Resource::default()),
        Just(Resource { attributes: vec![attribute("service.name", "shop")], ..Resource::default() }),
        attributes().prop_map(|attributes| Resource { attributes, dropped_attributes_count: 3, ..Resource::default() }),
    ]
}

fn scope_logs() -> impl Strategy<Value = ScopeLogs> {
    (option::of(scope()), vec(record(), 0..5), word()).prop_map(|(scope, log_records, schema_url)| ScopeLogs {
        scope,
        log_records,
        schema_url,
    })
}

pub fn scope() -> impl Strategy<Value = InstrumentationScope> {
    prop_oneof![
        Just(InstrumentationScope::default()),
        (word(), word(), attributes()).prop_map(|(name, version, attributes)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count: 1,
        }),
    ]
}

pub fn record() -> impl Strategy<Value = LogRecord> {
    let numbers = (any::<u64>(), any::<u64>(), prop_oneof![-3..30i32, any::<i32>()], any::<u32>(), any::<u32>());
    let ids = (prop_oneof![Just(16), 0..20usize], any::<u8>());
    (numbers, word(), option::of(value()), attributes(), ids, word()).prop_map(
        |(numbers, severity_text, body, attributes, (id_len, id), event_name)| LogRecord {
            time_unix_nano: numbers.0,
            observed_time_unix_nano: numbers.1,
            severity_number: numbers.2,
            severity_text,
            body,
            attributes,
            dropped_attributes_count: numbers.3,
            flags: numbers.4,
            trace_id: vec![id; id_len],
            span_id: vec![id; id_len / 2],
            event_name,
        },
    )
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-zé ]{0,6}", Just("x".repeat(200))]
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let key = prop_oneof![
        4 => "[a-z.]{0,8}",
        1 => Just("sampling.threshold".to_owned()),
        1 => Just("sampling.randomness".to_owned()),
        1 => Just("lip.summary".to_owned()),
        1 => Just("k".repeat(130)),
    ];
    vec((key, option::of(value())).prop_map(|(key, value)| KeyValue { key, value, ..KeyValue::default() }), 0..5)
}

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        word().prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        (-1e9..1e9f64).prop_map(Value::DoubleValue),
        vec(any::<u8>(), 0..4).prop_map(Value::BytesValue),
    ];
    let leaf = option::weighted(0.9, leaf).prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 3, |inner| {
        let entry = ("[a-c]", option::of(inner.clone()));
        let entry = entry.prop_map(|(key, value)| KeyValue { key, value, ..KeyValue::default() });
        prop_oneof![
            vec(inner, 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec(entry, 0..3).prop_map(|values| Value::KvlistValue(KeyValueList { values })),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

pub fn attribute(key: &str, text: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// Message types, as far as their fields are messages again.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Request,
    ResourceLogs,
    ScopeLogs,
    Record,
    Resource,
    Scope,
    KeyValue,
    Value,
    Array,
    KvList,
    Leaf,
}

impl Kind {
    fn child(self, field: u32) -> Kind {
        match (self, field) {
            (Kind::Request, 1) => Kind::ResourceLogs,
            (Kind::ResourceLogs, 1) => Kind::Resource,
            (Kind::ResourceLogs, 2) => Kind::ScopeLogs,
            (Kind::ScopeLogs, 1) => Kind::Scope,
            (Kind::ScopeLogs, 2) => Kind::Record,
            (Kind::Record, 6) | (Kind::Resource, 1) | (Kind::Scope, 3) | (Kind::KvList, 1) => Kind::KeyValue,
            (Kind::Record, 5) | (Kind::KeyValue, 2) | (Kind::Array, 1) => Kind::Value,
            (Kind::Value, 5) => Kind::Array,
            (Kind::Value, 6) => Kind::KvList,
            _ => Kind::Leaf,
        }
    }
}

/// The same message with its fields in another order (those of one number keep theirs), unknown fields in between, long
/// forms of tags and lengths, and resources and scopes in two parts.
pub fn spoil(message: &[u8], kind: Kind, rng: &mut SmallRng) -> Vec<u8> {
    let mut fields = Vec::new();
    let mut reader = Reader::new(message);
    while let Some(tag) = reader.tag().unwrap() {
        let start = reader.pos();
        if tag.wire_type != WireType::Len {
            reader.skip(tag).unwrap();
            fields.push((tag, message[start..reader.pos()].to_vec()));
            continue;
        }
        let payload = reader.bytes().unwrap();
        match kind.child(tag.field) {
            Kind::Leaf => fields.push((tag, payload.to_vec())),
            child @ (Kind::Resource | Kind::Scope) if rng.random_bool(0.3) => {
                let parts = spoil_in_two(payload, child, rng);
                fields.extend(parts.map(|part| (tag, part)));
            }
            child => fields.push((tag, spoil(payload, child, rng))),
        }
    }
    write(shuffle(fields, rng), rng)
}

fn spoil_in_two(message: &[u8], kind: Kind, rng: &mut SmallRng) -> [Vec<u8>; 2] {
    let mut reader = Reader::new(message);
    let mut cuts = vec![0];
    while let Some(tag) = reader.tag().unwrap() {
        reader.skip(tag).unwrap();
        cuts.push(reader.pos());
    }
    let (first, second) = message.split_at(cuts[rng.random_range(0..cuts.len())]);
    [spoil(first, kind, rng), spoil(second, kind, rng)]
}

fn shuffle(fields: Vec<(Tag, Vec<u8>)>, rng: &mut SmallRng) -> Vec<(Tag, Vec<u8>)> {
    let mut order: Vec<u32> = fields.iter().map(|(tag, _)| tag.field).collect();
    order.shuffle(rng);
    let mut fields: Vec<_> = fields.into_iter().map(Some).collect();
    let take = |number: u32| {
        let next = fields.iter_mut().find(|f| f.as_ref().is_some_and(|(tag, _)| tag.field == number));
        next.and_then(Option::take)
    };
    order.into_iter().filter_map(take).collect()
}

fn write(fields: Vec<(Tag, Vec<u8>)>, rng: &mut SmallRng) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, payload) in fields {
        unknown_field(&mut out, rng);
        let wire_type = match tag.wire_type {
            WireType::Varint => 0,
            WireType::Fixed64 => 1,
            WireType::Len => 2,
            _ => 5,
        };
        long_varint(&mut out, u64::from(tag.field) << 3 | wire_type, rng);
        if tag.wire_type == WireType::Len {
            long_varint(&mut out, payload.len() as u64, rng);
        }
        out.extend_from_slice(&payload);
    }
    unknown_field(&mut out, rng);
    out
}

fn unknown_field(out: &mut Vec<u8>, rng: &mut SmallRng) {
    let tag = |wire_type: u64| 1234 << 3 | wire_type;
    match rng.random_range(0..20) {
        0 => put_varint(out, tag(0)),
        1 => return put_group(out),
        2 => {
            put_varint(out, tag(2));
            out.extend_from_slice(&[2, 0x0a, 0]);
            return;
        }
        3 => {
            put_varint(out, tag(5));
            out.extend_from_slice(&[1, 2, 3, 4]);
            return;
        }
        4 => {
            put_varint(out, tag(1));
            out.extend_from_slice(&[9; 8]);
            return;
        }
        _ => return,
    }
    put_varint(out, rng.random());
}

fn put_group(out: &mut Vec<u8>) {
    put_varint(out, 1000 << 3 | 3);
    out.extend_from_slice(&[0x0a, 1, b'x', 0x0b, 0x0c]);
    put_varint(out, 1000 << 3 | 4);
}

fn long_varint(out: &mut Vec<u8>, value: u64, rng: &mut SmallRng) {
    put_varint(out, value);
    if value < 1 << 20 && rng.random_bool(0.1) {
        if let Some(last) = out.last_mut() {
            *last |= 0x80;
        }
        out.extend_from_slice(&[0x80, 0]);
    }
}
