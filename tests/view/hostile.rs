//! Bytes that nobody should send: no panic, and no other verdict than prost's.

use lipservice::data_plane::view::{Action, LogIndex, SplicePlan, halves, regroup};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

use super::generate::sample;

/// Reads all there is to read and writes all there is to write. Returns the number of records.
fn exercise(bytes: &[u8]) -> Option<usize> {
    let mut index = LogIndex::default();
    index
        .parse(bytes, |record| {
            let _ = (record.body(), record.span_id(), record.threshold(), record.randomness());
            let values = record.attributes().map(|entry| entry.value()).chain(record.body());
            for value in values {
                let _ = (value.as_str(), value.elements().count(), value.entries().count());
            }
        })
        .ok()?;
    for record in &index.records {
        let _ = index.scope_of(bytes, record).attributes().count();
        let _ = index.resource_of(bytes, record).attributes().count();
    }
    let mut plan = SplicePlan::default();
    let without = |i: usize| index.records[i].threshold_field;
    plan.actions.extend((0..index.records.len()).map(|i| match i % 3 {
        0 => Action::Drop,
        1 => Action::Keep,
        _ => Action::Annotate { append: Default::default(), without: without(i) },
    }));
    let mut out = Vec::new();
    plan.write(bytes, &index, &mut out);
    let mut again = LogIndex::default();
    again.read(&out).unwrap();
    let kept = plan.actions.iter().filter(|action| **action != Action::Drop).count();
    assert_eq!(again.records.len(), kept);
    let mut regrouped = 0;
    regroup(&[bytes, &out], 200, |_, records| regrouped += records as usize);
    assert_eq!(regrouped, index.records.len() + kept);
    halves(bytes).unwrap();
    Some(index.records.len())
}

/// Prost's complaint lies where `view` does not look.
fn is_allowed(complaint: &str) -> bool {
    let blind = [
        "invalid string value",
        "LogRecord.body",
        "LogRecord.attributes",
        "ResourceLogs.resource:",
        "ScopeLogs.scope:",
        "recursion limit",
    ];
    blind.iter().any(|place| complaint.contains(place))
}

fn agree(bytes: &[u8]) {
    let found = exercise(bytes);
    match (ExportLogsServiceRequest::decode(bytes), found) {
        (Ok(request), found) => {
            let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
            assert_eq!(found, Some(scopes.map(|s| s.log_records.len()).sum()), "prost accepts {bytes:x?}");
        }
        (Err(_), None) => {}
        (Err(error), Some(_)) => assert!(is_allowed(&error.to_string()), "only prost refuses {bytes:x?}: {error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        agree(&bytes);
    }

    #[test]
    fn any_bytes_in_a_record(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
        let len = bytes.len() as u8;
        agree(&[&[0x0a, len + 4, 0x12, len + 2, 0x12, len], &bytes[..]].concat());
    }
}

proptest! {
    #[test]
    fn valid_requests_with_some_bytes_changed(
        sample in sample(),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = sample.bytes;
        for (at, byte) in changes.iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        agree(&bytes);
    }

    #[test]
    fn valid_requests_cut_short(sample in sample(), at in any::<Index>()) {
        agree(&sample.bytes[..at.index(sample.bytes.len() + 1)]);
    }

    #[test]
    fn valid_requests_behind_a_prefix(sample in sample(), prefix in proptest::collection::vec(any::<u8>(), 1..6)) {
        agree(&[prefix, sample.bytes].concat());
    }
}

/// A field of `tag` around `inner`.
fn wrap(tag: u8, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    lipservice::data_plane::view::wire::put_varint(&mut out, inner.len() as u64);
    out.extend_from_slice(inner);
    out
}

fn request_of(record: &[u8]) -> Vec<u8> {
    wrap(0x0a, &wrap(0x12, &wrap(0x12, record)))
}

#[test]
fn malformed_requests_are_refused_where_they_break() {
    let cases: [&[u8]; 10] = [
        &[0x0a],                                                             // a tag without a length
        &[0x0a, 5, 0],                                                       // a length past the end
        &[0x0a, 2, 0x12, 1],                                                 // a length past the end of the block
        &[0x08, 1],                                                          // a block that is a number
        &[0x00],                                                             // field number 0
        &[0x0e, 0],                                                          // wire type 6
        &[0x0c],                                                             // the end of no group
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], // a varint of 70 bits
        &[0, 0, 0, 0, 2, 0x0a, 0],                                           // a gRPC prefix left on
        b"{\"resourceLogs\":[]}",
    ];
    for bytes in cases {
        let error = LogIndex::default().read(bytes).unwrap_err();
        assert!(error.offset <= bytes.len(), "{bytes:x?}: {error}");
        assert!(error.to_string().starts_with("not a valid OTLP protobuf logs request: at byte "), "{error}");
        agree(bytes);
    }
}

#[test]
fn record_fields_of_the_wrong_type_are_refused() {
    let record_fields: [&[u8]; 12] = [
        &[1 << 3, 1],
        &[2 << 3 | 2, 0],
        &[3 << 3, 1],
        &[5 << 3, 1],
        &[6 << 3, 1],
        &[7 << 3 | 2, 0],
        &[8 << 3, 1],
        &[9 << 3, 1],
        &[10 << 3, 1],
        &[11 << 3, 1],
        &[12 << 3, 1],
        &[5 << 3 | 3, 5 << 3 | 4],
    ];
    for record in record_fields {
        assert!(LogIndex::default().read(&request_of(record)).is_err(), "{record:x?}");
        agree(&request_of(record));
    }
}

#[test]
fn deep_nesting_costs_no_stack() {
    for depth in [10usize, 90, 100, 101, 10_000] {
        let groups = [vec![0x7b; depth], vec![0x7c; depth]].concat();
        agree(&groups);
        agree(&request_of(&groups));
        let mut value = Vec::new();
        for _ in 0..depth.min(2_000) {
            value = wrap(0x32, &wrap(0x0a, &wrap(0x12, &value)));
        }
        assert_eq!(exercise(&request_of(&wrap(0x2a, &value))), Some(1));
    }
}
