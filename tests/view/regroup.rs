//! Joining and cutting requests loses and invents nothing.

use std::collections::HashMap;

use lipservice::data_plane::view::{LogIndex, halves, regroup};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use proptest::prelude::*;
use prost::Message;

use super::generate::{Sample, request, sample};

/// Records by what their blocks say, in order.
type Groups = HashMap<(Vec<u8>, Vec<u8>), Vec<Vec<u8>>>;

fn groups<'a>(requests: impl IntoIterator<Item = &'a ExportLogsServiceRequest>) -> Groups {
    let mut groups = Groups::new();
    for resource in requests.into_iter().flat_map(|request| &request.resource_logs) {
        let mut outer = resource.clone();
        outer.scope_logs.clear();
        for scope in &resource.scope_logs {
            let mut inner = scope.clone();
            inner.log_records.clear();
            let group = groups.entry((outer.encode_to_vec(), inner.encode_to_vec())).or_default();
            group.extend(scope.log_records.iter().map(Message::encode_to_vec));
        }
    }
    groups.retain(|_, records| !records.is_empty());
    groups
}

fn regrouped(requests: &[&[u8]], max_bytes: usize) -> Vec<(Vec<u8>, u64)> {
    let mut out = Vec::new();
    regroup(requests, max_bytes, |bytes, records| out.push((bytes, records)));
    out
}

fn decode(bytes: &[u8]) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest::decode(bytes).unwrap()
}

proptest! {
    #[test]
    fn every_record_comes_out_once_under_its_own_blocks(
        samples in proptest::collection::vec(sample(), 0..4),
        max_bytes in prop_oneof![0..2000usize, Just(usize::MAX)],
    ) {
        let requests: Vec<&[u8]> = samples.iter().map(|sample| &sample.bytes[..]).collect();
        let out = regrouped(&requests, max_bytes);
        let mut index = LogIndex::default();
        for (bytes, records) in &out {
            prop_assert!(bytes.len() <= max_bytes || *records == 1, "{} bytes, {records} records", bytes.len());
            index.read(bytes).unwrap();
            prop_assert_eq!(index.records.len() as u64, *records);
        }
        prop_assert!(max_bytes != usize::MAX || out.len() <= 1);
        let decoded: Vec<_> = out.iter().map(|(bytes, _)| decode(bytes)).collect();
        // Blocks in two encodings of one content are two groups to `regroup`, so only the sets are equal here.
        let sorted = |mut groups: Groups| {
            groups.values_mut().for_each(|records| records.sort());
            groups
        };
        let expected = groups(samples.iter().map(|sample: &Sample| &sample.request));
        prop_assert_eq!(sorted(groups(&decoded)), sorted(expected));
    }

    #[test]
    fn equal_blocks_are_joined_in_order(requests in proptest::collection::vec(request(), 1..4)) {
        let bytes: Vec<Vec<u8>> = requests.iter().map(Message::encode_to_vec).collect();
        let bytes: Vec<&[u8]> = bytes.iter().map(|bytes| &bytes[..]).collect();
        let out = regrouped(&bytes, usize::MAX);
        let groups = groups(&requests);
        prop_assert_eq!(out.len(), usize::from(!groups.is_empty()));
        for (bytes, _) in out {
            prop_assert_eq!(&self::groups([&decode(&bytes)]), &groups);
            let scopes: usize = decode(&bytes).resource_logs.iter().map(|resource| resource.scope_logs.len()).sum();
            prop_assert_eq!(scopes, groups.len());
        }
    }

    #[test]
    fn halves_hold_half_of_the_records_each(sample in sample()) {
        let mut index = LogIndex::default();
        index.read(&sample.bytes).unwrap();
        let records = index.records.len() as u64;
        let Some([(first, first_records), (second, second_records)]) = halves(&sample.bytes).unwrap() else {
            prop_assert!(records < 2);
            return Ok(());
        };
        prop_assert_eq!((first_records, second_records), (records / 2, records - records / 2));
        let parts = [decode(&first), decode(&second)];
        prop_assert_eq!(groups(&parts), groups([&sample.request]));
    }
}

#[test]
fn unknown_fields_stay_with_their_blocks() {
    // Field 15 is unknown to every message here: in the request, a resource block, a scope block and a record.
    let request = [0x7a, 1, b'q', 0x0a, 13, 0x7a, 1, b'r', 0x12, 8, 0x7a, 1, b's', 0x12, 3, 0x7a, 1, b't'];
    assert_eq!(regrouped(&[&request], usize::MAX), [(request.to_vec(), 1)]);
    let mut both = request.to_vec();
    both.splice(0..0, [0x7a, 1, b'q']);
    both.extend_from_slice(&[0x12, 3, 0x7a, 1, b't']);
    both[7] += 5;
    both[12] += 5;
    assert_eq!(regrouped(&[&request, &request], usize::MAX), [(both, 2)]);
}

#[test]
fn what_is_no_request_is_passed_on_alone() {
    let record = [0x0a, 4, 0x12, 2, 0x12, 0];
    let out = regrouped(&[&record, &[0xff], &record], usize::MAX);
    let joined = vec![0x0a, 6, 0x12, 4, 0x12, 0, 0x12, 0];
    assert_eq!(out, [(vec![0xff], 0), (joined, 2)]);
    assert!(halves(&[0xff]).is_err());
}
