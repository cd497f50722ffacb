//! OTLP JSON: what must be tolerated, what must be refused, and agreement with prost and `opentelemetry-proto`.

mod differential;
mod generate;
mod other_signals;
mod tolerance;

use lipservice::data_plane::view::json;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;

/// Our decoder, then prost: the request that a piece of JSON stands for.
fn decoded(text: &str) -> ExportLogsServiceRequest {
    let bytes = json::decode(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    ExportLogsServiceRequest::decode(bytes.as_slice()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A request with one record that has `fields`, written as JSON members.
fn one_record(fields: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{fields}}}]}}]}}]}}"#)
}

/// The protobuf request as our JSON.
fn encoded(request: &ExportLogsServiceRequest) -> String {
    let mut out = Vec::new();
    json::encode(&request.encode_to_vec(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}
