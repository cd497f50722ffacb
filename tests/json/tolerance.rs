//! Table tests: each tolerance OTLP asks for, and each refusal, by example.

use lipservice::data_plane::view::json;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;

use super::{decoded, encoded, one_record};

fn record(fields: &str) -> LogRecord {
    decoded(&one_record(fields)).resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0)
}

fn body(any_value: &str) -> Option<AnyValue> {
    record(&format!(r#""body":{any_value}"#)).body
}

fn value(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

#[test]
fn record_fields_in_every_spelling() {
    let empty = LogRecord::default();
    let time = LogRecord { time_unix_nano: 1_700_000_000_000_000_001, ..empty.clone() };
    let severity = LogRecord { severity_number: 9, ..empty.clone() };
    let trace = LogRecord { trace_id: (0xa0..0xb0).collect(), ..empty.clone() };
    let table = [
        (r#""timeUnixNano":"1700000000000000001""#, &time),
        (r#""timeUnixNano":1700000000000000001"#, &time),
        (r#""time_unix_nano":"1700000000000000001""#, &time),
        (r#""timeUnixNano":1700000000000000001.0"#, &time),
        (r#""severityNumber":9"#, &severity),
        (r#""severityNumber":"9""#, &severity),
        (r#""severityNumber":9.0"#, &severity),
        (r#""severityNumber":"SEVERITY_NUMBER_INFO""#, &severity),
        (r#""severity_number":9"#, &severity),
        (r#""traceId":"a0a1a2a3a4a5a6a7a8a9aaabacadaeaf""#, &trace),
        (r#""traceId":"A0A1A2A3A4A5A6A7A8A9AAABACADAEAF""#, &trace),
        (r#""trace_id":"a0A1a2A3a4A5a6A7a8A9aaABacADaeAF""#, &trace),
        (r#""traceId":"""#, &empty),
        (r#""traceId":null"#, &empty),
        (r#""severityNumber":null,"severityText":null,"timeUnixNano":null,"flags":null"#, &empty),
        (r#""body":null,"attributes":null"#, &empty),
        (r#""attributes":[]"#, &empty),
        (r#""unknown":{"deep":[1,{"a":null}]},"severityNumber":9,"other":"x""#, &severity),
        (r#""severityNumber":1,"severityNumber":9"#, &severity),
    ];
    for (fields, expected) in table {
        assert_eq!(&record(fields), expected, "{fields}");
    }
}

#[test]
fn values_in_every_spelling() {
    let list = |values: Vec<AnyValue>| value(Value::ArrayValue(ArrayValue { values }));
    let map = |values: Vec<KeyValue>| value(Value::KvlistValue(KeyValueList { values }));
    let text = |text: &str| value(Value::StringValue(text.to_owned()));
    let table = [
        ("null", None),
        ("{}", Some(AnyValue { value: None })),
        (r#"{"stringValue":null}"#, Some(AnyValue { value: None })),
        (r#"{"future":1}"#, Some(AnyValue { value: None })),
        (r#"{"stringValue":""}"#, text("")),
        (r#"{"string_value":"a"}"#, text("a")),
        (r#"{"stringValue":"a","intValue":null}"#, text("a")),
        (r#"{"stringValue":"\u00fc\n\ud83d\ude00 ü"}"#, text("ü\n😀 ü")),
        (r#"{"stringValue":"cut \ud83d"}"#, text("cut \u{fffd}\u{fffd}\u{fffd}")),
        (r#"{"boolValue":false}"#, value(Value::BoolValue(false))),
        (r#"{"boolValue":true}"#, value(Value::BoolValue(true))),
        (r#"{"intValue":"0"}"#, value(Value::IntValue(0))),
        (r#"{"intValue":-5}"#, value(Value::IntValue(-5))),
        (r#"{"intValue":1.0}"#, value(Value::IntValue(1))),
        (r#"{"intValue":"-9223372036854775808"}"#, value(Value::IntValue(i64::MIN))),
        (r#"{"intValue":9223372036854775807}"#, value(Value::IntValue(i64::MAX))),
        (r#"{"doubleValue":0}"#, value(Value::DoubleValue(0.0))),
        (r#"{"doubleValue":"0.1"}"#, value(Value::DoubleValue(0.1))),
        (r#"{"doubleValue":5e-324}"#, value(Value::DoubleValue(5e-324))),
        (r#"{"doubleValue":"Infinity"}"#, value(Value::DoubleValue(f64::INFINITY))),
        (r#"{"doubleValue":"-Infinity"}"#, value(Value::DoubleValue(f64::NEG_INFINITY))),
        (r#"{"bytesValue":"+/8="}"#, value(Value::BytesValue(vec![0xfb, 0xff]))),
        (r#"{"bytesValue":"-_8"}"#, value(Value::BytesValue(vec![0xfb, 0xff]))),
        (r#"{"bytesValue":""}"#, value(Value::BytesValue(vec![]))),
        (r#"{"arrayValue":{}}"#, list(vec![])),
        (r#"{"arrayValue":{"values":null}}"#, list(vec![])),
        (r#"{"arrayValue":{"values":[null,{}]}}"#, list(vec![AnyValue::default(); 2])),
        (r#"{"kvlistValue":{}}"#, map(vec![])),
        (r#"{"kvlist_value":{"values":[{}]}}"#, map(vec![KeyValue::default()])),
        (r#"{"kvlistValue":{"values":[null]}}"#, map(vec![KeyValue::default()])),
    ];
    for (json, expected) in table {
        assert_eq!(body(json), expected, "{json}");
    }
    let Some(Value::DoubleValue(nan)) = body(r#"{"doubleValue":"NaN"}"#).and_then(|value| value.value) else {
        panic!("NaN was lost");
    };
    assert!(nan.is_nan());
}

#[test]
fn empty_and_null_messages_at_every_level() {
    let nothing = ExportLogsServiceRequest::default();
    let block = ExportLogsServiceRequest { resource_logs: vec![ResourceLogs::default()] };
    let scope = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs: vec![ScopeLogs::default()], ..ResourceLogs::default() }],
    };
    let table = [
        ("{}", &nothing),
        (" \t\r\n{} \t\r\n", &nothing),
        ("\u{feff}{}", &nothing),
        ("null", &nothing),
        (r#"{"resourceLogs":null}"#, &nothing),
        (r#"{"resourceLogs":[]}"#, &nothing),
        (r#"{"unknown":[[[]]]}"#, &nothing),
        (r#"{"resourceLogs":[{}]}"#, &block),
        (r#"{"resourceLogs":[null]}"#, &block),
        (r#"{"resource_logs":[{"resource":null,"scopeLogs":null,"schemaUrl":null}]}"#, &block),
        (r#"{"resourceLogs":[{"scope_logs":[{"scope":null}]}]}"#, &scope),
    ];
    for (json, expected) in table {
        assert_eq!(&decoded(json), expected, "{json}");
    }
}

#[test]
fn refusals_name_the_place() {
    // The JSON, the fault in it, the end of the path, a part of the message.
    let table = [
        (String::new(), "", "", "EOF"),
        ("{".to_owned(), "{", "", "EOF"),
        ("{} x".to_owned(), "x", "", "trailing characters"),
        ("{}{}".to_owned(), "}{", "", "trailing characters"),
        ("[]".to_owned(), "[", "", "expected an object"),
        (r#"{"resourceLogs":{}}"#.to_owned(), "{}", "resourceLogs", "expected an array"),
        (r#"{"resourceLogs":[{},5]}"#.to_owned(), "5", "resourceLogs[1]", "expected an object"),
        (one_record(r#""severityNumber":"loud""#), "\"loud\"", "logRecords[0].severityNumber", "\"loud\""),
        (one_record(r#""severityNumber":4294967296"#), "4294967296", "severityNumber", "out of range"),
        (one_record(r#""timeUnixNano":-1"#), "-1", "timeUnixNano", "out of range"),
        (one_record(r#""timeUnixNano":1.5"#), "1.5", "timeUnixNano", "expected an integer"),
        (one_record(r#""severityText":5"#), "5", "severityText", "expected a string"),
        (one_record(r#""traceId":"xyz0""#), "\"xyz0\"", "traceId", "hexadecimal"),
        (one_record(r#""traceId":"abc""#), "\"abc\"", "traceId", "pairs"),
        (one_record(r#""body":{"bytesValue":"*"}"#), "\"*\"", "body.bytesValue", "base64"),
        (one_record(r#""body":{"boolValue":"yes"}"#), "\"yes\"", "body.boolValue", "true or false"),
        (one_record(r#""body":{"intValue":{}}"#), "{}", "body.intValue", "an object"),
        (one_record(r#""body":"text""#), "\"text\"", "body", "expected an object"),
    ];
    for (json, fault, path, what) in table {
        let error = json::decode(json.as_bytes()).unwrap_err();
        assert!(error.path.ends_with(path), "{error}\n{json}");
        assert!(error.what.contains(what), "{error}\n{json}");
        let start = json.find(fault).unwrap();
        // At the fault, or just behind it.
        assert!((start..=start + fault.len() + 1).contains(&error.offset), "{error}, {start}\n{json}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn errors_are_short_and_count_lines() {
    let long = one_record(&format!(r#""severityNumber":"{}""#, "é\\n".repeat(100_000)));
    assert!(json::decode(long.as_bytes()).unwrap_err().to_string().len() < 1000);
    let error = json::decode(b"{\n\"resourceLogs\":\n\n  [5]}").unwrap_err();
    assert_eq!((error.path.as_str(), error.offset), ("resourceLogs[0]", 23));
}

#[test]
fn nesting_is_bounded_and_what_passes_prost_reads() {
    let nested = |levels: usize, open: &str, close: &str| {
        one_record(&format!(r#""body":{}{{}}{}"#, open.repeat(levels), close.repeat(levels)))
    };
    for (open, close) in
        [(r#"{"arrayValue":{"values":["#, "]}}"), (r#"{"kvlistValue":{"values":[{"key":"k","value":"#, "}]}}")]
    {
        decoded(&nested(29, open, close));
        for levels in [60, 100_000] {
            let error = json::decode(nested(levels, open, close).as_bytes()).unwrap_err();
            assert!(error.what.contains("recursion limit"), "{error}");
        }
    }
    // Unknown fields are skipped without recursion.
    decoded(&format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000)));
}

#[test]
fn writing_refuses_what_nests_too_deeply() {
    let mut value = AnyValue::default();
    for _ in 0..60 {
        value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
    }
    let record = LogRecord { body: Some(value), ..LogRecord::default() };
    let scope = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() }],
    };
    let mut out = b"before".to_vec();
    assert!(json::encode(&request.encode_to_vec(), &mut out).is_err());
    assert_eq!(out, b"before");
}

#[test]
fn lines_are_one_request() {
    let line = one_record(r#""severityNumber":9"#);
    let lines = format!("{line}\n\n  \r\n{line}\r\n{line}");
    let bytes = json::decode_lines(lines.as_bytes()).unwrap();
    assert_eq!(ExportLogsServiceRequest::decode(bytes.as_slice()).unwrap().resource_logs.len(), 3);
    assert!(json::decode_lines(b"").unwrap().is_empty());
    let error = json::decode_lines(format!("{line}\n{{\"resourceLogs\":5}}").as_bytes()).unwrap_err();
    assert_eq!(error.path, "resourceLogs");
    assert!(error.offset > line.len(), "{error}");
}

#[test]
fn what_is_written() {
    let fields = r#""timeUnixNano":"1","severityNumber":9,"body":{"stringValue":"a\"b\\\n\u0001é"},"attributes":[{"key":"","value":{"intValue":"-1"}},{"key":"d","value":{"doubleValue":1.0}},{"key":"n","value":{"doubleValue":"NaN"}},{"key":"b","value":{"bytesValue":"+/8="}},{"key":"e"},{"key":"a","value":{"arrayValue":{"values":[]}}},{"key":"v","value":{}}],"flags":1,"traceId":"a0af""#;
    let written = encoded(&decoded(&one_record(fields)));
    assert_eq!(written, one_record(fields));
    assert_eq!(encoded(&ExportLogsServiceRequest::default()), "{}");
}

#[test]
fn writing_follows_the_merge_rules_of_protobuf() {
    // severity_number twice; body twice, as array then string then arrays; the resource in two parts; broken UTF-8;
    // an unknown field.
    let array = |n: u8| vec![0x2a, 4, 0x0a, 2, 0x18, n];
    let body: Vec<u8> = [array(1), vec![0x0a, 1, b'x'], array(2), array(3)].concat();
    let mut record = vec![0x10, 9, 0x10, 17, 0x1a, 2, b'a', 0xff, 0xf8, 0x07, 1];
    record.extend([0x2a, body.len() as u8]);
    record.extend(&body);
    let scope: Vec<u8> = [vec![0x12, record.len() as u8], record].concat();
    let resource: Vec<u8> = vec![0x0a, 4, 0x0a, 2, 0x0a, 0, 0x0a, 2, 0x10, 3];
    let block: Vec<u8> = [resource, vec![0x12, scope.len() as u8], scope].concat();
    let request: Vec<u8> = [vec![0x0a, block.len() as u8], block].concat();
    let mut out = Vec::new();
    json::encode(&request, &mut out).unwrap();
    let expected = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":""}],"droppedAttributesCount":3},"scopeLogs":[{"logRecords":[{"severityNumber":17,"severityText":"a�","body":{"arrayValue":{"values":[{"intValue":"2"},{"intValue":"3"}]}}}]}]}]}"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
