//! What `encode` writes is what prost writes.

use lipservice::data_plane::view::encode::{self, Header, RecordBuilder};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

proptest! {
    #[test]
    fn attributes_are_encoded_as_under_prost(
        key in "[a-z.]{0,200}",
        text in "\\PC{0,200}",
        int in any::<i64>(),
        double in any::<f64>(),
        flag in any::<bool>(),
    ) {
        let mut out = Vec::new();
        encode::string_attribute(&mut out, encode::RESOURCE_ATTRIBUTE, &key, text.as_bytes());
        encode::int_attribute(&mut out, encode::RESOURCE_ATTRIBUTE, &key, int);
        encode::bool_attribute(&mut out, encode::RESOURCE_ATTRIBUTE, &key, flag);
        encode::double_attribute(&mut out, encode::RESOURCE_ATTRIBUTE, &key, double);
        let value = AnyValue { value: Some(Value::StringValue(text.clone())) };
        encode::value_attribute(&mut out, encode::RESOURCE_ATTRIBUTE, &key, &value.encode_to_vec());
        let values = [
            Value::StringValue(text.clone()),
            Value::IntValue(int),
            Value::BoolValue(flag),
            Value::DoubleValue(double),
            Value::StringValue(text),
        ];
        let attributes = values.into_iter().map(|value| attribute(&key, value)).collect();
        let resource = Resource { attributes, ..Resource::default() };
        // Prost leaves an empty key out, which reads the same.
        if key.is_empty() {
            prop_assert_eq!(Resource::decode(&out[..]).unwrap().encode_to_vec(), resource.encode_to_vec());
        } else {
            prop_assert_eq!(out, resource.encode_to_vec());
        }
    }
}

fn record() -> LogRecord {
    LogRecord {
        time_unix_nano: 17,
        observed_time_unix_nano: 18,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue("dropped 7 records".to_owned())) }),
        attributes: vec![
            attribute("lip.template", Value::StringValue("x".repeat(300))),
            attribute("lip.records", Value::IntValue(7)),
            attribute("lip.summary", Value::BoolValue(true)),
        ],
        trace_id: vec![7; 16],
        event_name: "lip.summary".to_owned(),
        ..LogRecord::default()
    }
}

#[test]
fn a_request_is_encoded_as_under_prost() {
    let mut builder = RecordBuilder::default();
    builder.time_unix_nano(1);
    builder.clear();
    builder.time_unix_nano(17).severity_number(9).severity_text("INFO").body(b"dropped 7 records");
    builder.string("lip.template", "x".repeat(300).as_bytes()).int("lip.records", 7).bool("lip.summary", true);
    builder.trace_id(&[7; 16]).observed_time_unix_nano(18).event_name("lip.summary");
    assert_eq!(builder.message(), record().encode_to_vec());

    for (schema_url, count) in [("", 1), ("https://example.com/1", 3)] {
        let attributes = vec![attribute("service.name", Value::StringValue("shop".to_owned()))];
        let resource = Resource { attributes, ..Resource::default() };
        let scope = InstrumentationScope { name: "lipservice".to_owned(), ..InstrumentationScope::default() };
        let (resource_bytes, scope_bytes) = (resource.encode_to_vec(), scope.encode_to_vec());
        let header = |message| Header { message, schema_url: schema_url.as_bytes() };
        let mut out = Vec::new();
        let records = std::iter::repeat_n(builder.message(), count);
        encode::resource_logs(&mut out, header(&resource_bytes), header(&scope_bytes), records);
        let log_records = vec![record(); count];
        let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, schema_url: schema_url.to_owned() }];
        let resource_logs =
            vec![ResourceLogs { resource: Some(resource), scope_logs, schema_url: schema_url.to_owned() }];
        assert_eq!(out, ExportLogsServiceRequest { resource_logs }.encode_to_vec());
    }
}
