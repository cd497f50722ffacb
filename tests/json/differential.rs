//! Generated requests against prost and `opentelemetry-proto`, and arbitrary bytes against nothing but "no panic".

use lipservice::data_plane::view::json;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use proptest::prelude::*;
use prost::Message as _;

use super::generate::request;
use super::{encoded, one_record};

fn any_double() -> BoxedStrategy<f64> {
    // NaN is not equal to itself; `tolerance` has it as an example.
    proptest::num::f64::ANY.prop_filter("not a NaN", |value| !value.is_nan()).boxed()
}

fn finite_double() -> BoxedStrategy<f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    (NORMAL | SUBNORMAL | ZERO | POSITIVE | NEGATIVE).boxed()
}

proptest! {
    #[test]
    fn written_and_read_back_is_the_same_request(request in request(any_double())) {
        let text = encoded(&request);
        let bytes = json::decode(text.as_bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(ExportLogsServiceRequest::decode(bytes.as_slice()).unwrap(), request);
    }

    #[test]
    fn reading_what_was_written_twice_gives_the_same_text(request in request(any_double())) {
        let text = encoded(&request);
        let mut again = Vec::new();
        json::encode(&json::decode(text.as_bytes()).unwrap(), &mut again).unwrap();
        prop_assert_eq!(String::from_utf8(again).unwrap(), text);
    }

    #[test]
    fn another_implementation_reads_what_we_write(mut request in request(finite_double())) {
        // Their reader of entity references insists on every field, against the OTLP JSON mapping.
        for resource in request.resource_logs.iter_mut().filter_map(|block| block.resource.as_mut()) {
            resource.entity_refs.clear();
        }
        let text = encoded(&request);
        let read: ExportLogsServiceRequest = serde_json::from_str(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        // serde_json reads doubles to within one unit in the last place; compare what both read of it.
        let ours = ExportLogsServiceRequest::decode(json::decode(text.as_bytes()).unwrap().as_slice()).unwrap();
        prop_assert_eq!(rounded(read), rounded(ours));
    }

    #[test]
    fn we_read_what_another_implementation_writes(request in request(finite_double())) {
        let text = serde_json::to_vec(&request).unwrap();
        let bytes = json::decode(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(ExportLogsServiceRequest::decode(bytes.as_slice()).unwrap(), request);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = json::decode(&bytes);
        let _ = json::decode_lines(&bytes);
        let mut out = Vec::new();
        if json::encode(&bytes, &mut out).is_err() {
            prop_assert!(out.is_empty());
        } else {
            json::decode(&out).map_err(|error| TestCaseError::fail(error.to_string()))?;
        }
    }

    #[test]
    fn damaged_json_is_read_or_refused(request in request(any_double()), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = encoded(&request).into_bytes();
        let at = at.index(text.len());
        let _ = json::decode(&text[..at]);
        text[at] = byte;
        if let Ok(bytes) = json::decode(&text) {
            // Whatever we produce is protobuf that prost reads.
            prop_assert!(ExportLogsServiceRequest::decode(bytes.as_slice()).is_ok());
        }
    }

    #[test]
    fn damaged_protobuf_is_written_or_refused(request in request(any_double()), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = request.encode_to_vec();
        bytes.push(0);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let mut out = Vec::new();
        if json::encode(&bytes, &mut out).is_ok() {
            let again = json::decode(&out).map_err(|error| TestCaseError::fail(error.to_string()))?;
            if let Ok(request) = ExportLogsServiceRequest::decode(bytes.as_slice()) {
                let ours = ExportLogsServiceRequest::decode(again.as_slice()).unwrap();
                let (ours, theirs) = (format!("{ours:?}"), format!("{request:?}"));
                // Indices into the string table of the profiling signal are not in our tables.
                if !theirs.replace("key_strindex: 0", "").to_lowercase().contains("strindex") {
                    prop_assert_eq!(ours, theirs);
                }
            }
        }
    }
}

/// The request with every double cut to `f32`.
fn rounded(request: ExportLogsServiceRequest) -> String {
    let text = format!("{request:?}");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("DoubleValue(") {
        let (before, after) = rest.split_at(at + "DoubleValue(".len());
        let end = after.find(')').unwrap_or(after.len());
        out.push_str(before);
        match after[..end].parse::<f64>() {
            Ok(value) => out.push_str(&format!("{:e}", value as f32)),
            Err(_) => out.push_str(&after[..end]),
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

#[test]
fn a_double_survives_to_the_last_bit() {
    for bits in [0x3fb9_9999_9999_999a_u64, 0x0000_0000_0000_0001, 0x7fef_ffff_ffff_ffff, 0x4341_c379_37e0_8001] {
        let text = one_record(&format!(r#""body":{{"doubleValue":{:?}}}"#, f64::from_bits(bits)));
        let bytes = json::decode(text.as_bytes()).unwrap();
        assert!(bytes.ends_with(&bits.to_le_bytes()), "{text}");
    }
}
