//! Traces and metrics, which are read for forwarding: one rich request each against `opentelemetry-proto`.

use lipservice::data_plane::view::ViewError;
use lipservice::data_plane::view::json::{self, JsonError};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;

type Read = fn(&[u8]) -> Result<Vec<u8>, JsonError>;
type Write = fn(&[u8], &mut Vec<u8>) -> Result<(), ViewError>;

const SPANS: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}],"droppedAttributesCount":1},"scopeSpans":[{"scope":{"name":"lib","version":"1"},"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","traceState":"a=b","parentSpanId":"eee19b7ec3c1b173","flags":257,"name":"GET /","kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","attributes":[{"key":"n","value":{"intValue":"7"}}],"droppedAttributesCount":2,"events":[{"timeUnixNano":"1544712660500000000","name":"e","attributes":[{"key":"k","value":{"boolValue":true}}],"droppedAttributesCount":3}],"droppedEventsCount":4,"links":[{"traceId":"5b8efff798038103d269b633813fc60d","spanId":"eee19b7ec3c1b175","traceState":"c=d","attributes":[{"key":"l","value":{"doubleValue":0.5}}],"droppedAttributesCount":5,"flags":256}],"droppedLinksCount":6,"status":{"message":"bad","code":2}}],"schemaUrl":"s"}],"schemaUrl":"r"}]}"#;

const METRICS: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},"scopeMetrics":[{"scope":{"name":"lib"},"metrics":[{"name":"g","description":"d","unit":"1","gauge":{"dataPoints":[{"attributes":[{"key":"k","value":{"stringValue":"v"}}],"startTimeUnixNano":"1","timeUnixNano":"2","asDouble":0.5,"exemplars":[{"filteredAttributes":[{"key":"f","value":{"stringValue":"v"}}],"timeUnixNano":"3","asInt":"-4","spanId":"eee19b7ec3c1b174","traceId":"5b8efff798038103d269b633813fc60c"}],"flags":1}]},"metadata":[{"key":"m","value":{"stringValue":"v"}}]},{"name":"s","sum":{"dataPoints":[{"timeUnixNano":"2","asInt":"-9"},{"timeUnixNano":"3","asInt":"0"}],"aggregationTemporality":2,"isMonotonic":true}},{"name":"h","histogram":{"dataPoints":[{"startTimeUnixNano":"1","timeUnixNano":"2","count":"6","sum":0.0,"bucketCounts":["1","2","3"],"explicitBounds":[0.5,1.0],"min":-1.5,"max":3.0}],"aggregationTemporality":1}},{"name":"e","exponentialHistogram":{"dataPoints":[{"timeUnixNano":"2","count":"6","sum":1.5,"scale":-2,"zeroCount":"1","positive":{"offset":-3,"bucketCounts":["1","300"]},"negative":{"offset":4,"bucketCounts":["2"]},"flags":1,"min":0.0,"max":1.0,"zeroThreshold":0.25}],"aggregationTemporality":2}},{"name":"q","summary":{"dataPoints":[{"timeUnixNano":"2","count":"6","sum":1.5,"quantileValues":[{"quantile":0.5,"value":1.0},{"quantile":0.9}],"flags":1}]}}]}]}]}"#;

fn same_both_ways<M>(text: &str, read: Read, write: Write)
where
    M: Message + Default + PartialEq + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let bytes = read(text.as_bytes()).unwrap();
    let ours = M::decode(bytes.as_slice()).unwrap();
    let theirs: M = serde_json::from_str(text).unwrap();
    assert_eq!(ours, theirs);
    // Their JSON, full of defaults, is read as well.
    let verbose = read(&serde_json::to_vec(&theirs).unwrap()).unwrap();
    assert_eq!(M::decode(verbose.as_slice()).unwrap(), theirs);
    let mut written = Vec::new();
    write(&bytes, &mut written).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), text);
    // Prost writes fields by number and numbers packed; the text is the same.
    let mut from_prost = Vec::new();
    write(&theirs.encode_to_vec(), &mut from_prost).unwrap();
    assert_eq!(String::from_utf8(from_prost).unwrap(), text);
}

#[test]
fn traces_are_what_another_implementation_reads() {
    same_both_ways::<ExportTraceServiceRequest>(SPANS, json::decode_traces, json::encode_traces);
}

#[test]
fn metrics_are_what_another_implementation_reads() {
    same_both_ways::<ExportMetricsServiceRequest>(METRICS, json::decode_metrics, json::encode_metrics);
}

#[test]
fn the_same_tolerance_as_for_logs() {
    let table = [
        (r#""kind":"SPAN_KIND_SERVER""#, r#""kind":2"#),
        (r#""kind":"2""#, r#""kind":2"#),
        (r#""start_time_unix_nano":5"#, r#""startTimeUnixNano":"5""#),
        (r#""status":{"code":"STATUS_CODE_ERROR"}"#, r#""status":{"code":2}"#),
        (r#""status":{}"#, r#""status":{}"#),
        (r#""status":null,"events":null,"links":[null]"#, r#""links":[{}]"#),
    ];
    for (given, canonical) in table {
        let span = |fields| format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#);
        let mut written = Vec::new();
        json::encode_traces(&json::decode_traces(span(given).as_bytes()).unwrap(), &mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), span(canonical));
    }
    let point = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"bucketCounts":[1,"x"]}]}}]}]}]}"#;
    let error = json::decode_metrics(point.as_bytes()).unwrap_err();
    assert!(error.path.ends_with("dataPoints[0].bucketCounts[1]"), "{error}");
}

#[test]
fn numbers_that_are_not_packed_are_written_too() {
    // HistogramDataPoint.bucket_counts (6, fixed64) twice unpacked, inside metric 9.
    let mut point = Vec::new();
    for count in [5u64, 6] {
        point.push(0x31);
        point.extend(count.to_le_bytes());
    }
    let mut message = point;
    for tag in [0x0a, 0x4a, 0x12, 0x12, 0x0a] {
        message = [vec![tag, message.len() as u8], message].concat();
    }
    let mut written = Vec::new();
    json::encode_metrics(&message, &mut written).unwrap();
    assert!(String::from_utf8(written).unwrap().contains(r#""bucketCounts":["5","6"]"#));
}

proptest! {
    #[test]
    fn damaged_requests_are_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(), traces in any::<bool>()) {
        let (text, read, write): (_, Read, Write) = if traces {
            (SPANS, json::decode_traces, json::encode_traces)
        } else {
            (METRICS, json::decode_metrics, json::encode_metrics)
        };
        let mut damaged = text.as_bytes().to_vec();
        damaged[at.index(text.len())] = byte;
        let _ = read(&damaged);
        let mut bytes = read(text.as_bytes()).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = write(&bytes, &mut Vec::new());
    }
}
