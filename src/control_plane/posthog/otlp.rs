//! Rows as OTLP requests.
//!
//! Purpose: what was sent, as near as what is stored tells: the form that `analyze`, `simulate` and `generate` read.
//! Promises: every row is in exactly one request; a request covers one second, so that replayed windows fit; rows of one
//! resource and scope share a block.
//! Never: invents what PostHog does not keep (types of attributes, scope attributes, schema URLs, nanoseconds).

use super::row::Row;
use crate::data_plane::view::encode::{Header, RESOURCE_ATTRIBUTE, RecordBuilder, resource_logs, string_attribute};
use crate::data_plane::view::wire::put_len_field;

/// Records of a request.
const MAX_RECORDS: usize = 512;
const SECOND: u64 = 1_000_000_000;

/// Calls `take` with each request.
pub(super) fn requests(rows: &[Row], mut take: impl FnMut(&[u8])) {
    let mut out = Vec::new();
    for second in rows.chunk_by(|a, b| a.time / SECOND == b.time / SECOND) {
        for part in second.chunks(MAX_RECORDS) {
            out.clear();
            request(part, &mut out);
            take(&out);
        }
    }
}

fn request(rows: &[Row], out: &mut Vec<u8>) {
    let mut blocks: Vec<(&Row, Vec<Vec<u8>>)> = Vec::new();
    for row in rows {
        let same =
            |(first, _): &(&Row, _)| first.scope == row.scope && first.resource_attributes == row.resource_attributes;
        match blocks.iter_mut().find(|block| same(block)) {
            Some((_, records)) => records.push(record(row)),
            None => blocks.push((row, vec![record(row)])),
        }
    }
    for (first, records) in blocks {
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        for (key, value) in &first.resource_attributes {
            string_attribute(&mut resource, RESOURCE_ATTRIBUTE, key, value.as_bytes());
        }
        if !first.scope.is_empty() {
            put_len_field(&mut scope, 1, first.scope.as_bytes());
        }
        let header = |message| Header { message, ..Header::default() };
        resource_logs(out, header(&resource), header(&scope), records.iter().map(Vec::as_slice));
    }
}

fn record(row: &Row) -> Vec<u8> {
    let mut builder = RecordBuilder::default();
    builder.time_unix_nano(row.time);
    if row.severity_number > 0 {
        builder.severity_number(row.severity_number);
    }
    if !row.severity_text.is_empty() {
        builder.severity_text(&row.severity_text);
    }
    builder.body(row.body.as_bytes());
    for (key, value) in &row.attributes {
        builder.string(key, value.as_bytes());
    }
    if !row.trace_id.is_empty() {
        builder.trace_id(&row.trace_id);
    }
    if !row.span_id.is_empty() {
        builder.span_id(&row.span_id);
    }
    if !row.event_name.is_empty() {
        builder.event_name(&row.event_name);
    }
    builder.message().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::view::LogIndex;

    #[test]
    fn every_row_is_in_one_request_of_its_second() {
        let row = |i: u64| Row {
            uuid: i.to_string(),
            time: i * SECOND / 700,
            body: format!("line {i}"),
            severity_number: 9,
            resource_attributes: vec![("service.name".into(), if i.is_multiple_of(3) { "a" } else { "b" }.into())],
            scope: "s".into(),
            span_id: vec![7; 8],
            ..Row::default()
        };
        let rows: Vec<Row> = (0..2_000).map(row).collect();
        let (mut index, mut found) = (LogIndex::default(), Vec::new());
        requests(&rows, |request| {
            index.read(request).unwrap();
            let seconds: Vec<u64> = index.records.iter().map(|record| record.time_unix_nano / SECOND).collect();
            assert!(seconds.iter().all(|second| *second == seconds[0]) && index.resources.len() <= 2);
            assert!(index.records.len() <= MAX_RECORDS);
            found.extend(index.records.iter().map(|record| record.time_unix_nano));
        });
        found.sort_unstable();
        assert_eq!(found, rows.iter().map(|row| row.time).collect::<Vec<_>>());
    }
}
