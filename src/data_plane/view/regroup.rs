//! One request from several, and two from one.
//!
//! Purpose: fill what goes out (few large requests instead of many small ones) and cut what a server refuses.
//! Promises: the records come out as they came in, byte for byte, each under a resource and a scope block that say the
//! same bytes; records of one block keep their order; a request is larger than the limit only when one record is.
//! Never: keeps blocks without records: nothing in them is a log.

use std::borrow::Cow;
use std::collections::HashMap;

use super::index::{LogIndex, Span};
use super::splice::{Action, SplicePlan};
use super::wire::{put_len_tag, put_varint};
use super::{ViewError, encode};

/// Writes `requests` anew as requests of at most `max_bytes`, in which records of equal resources and scopes stand
/// together, and calls `emit` with each request and its number of records. Resources are equal when all that their block
/// holds beside its scopes (message, `schema_url`, unknown fields) is the same bytes; scopes likewise.
///
/// Unknown fields beside the blocks go into the first request. What is not a valid request is emitted alone, unchanged,
/// with a count of 0 records.
pub fn regroup(requests: &[&[u8]], max_bytes: usize, mut emit: impl FnMut(Vec<u8>, u64)) {
    let mut grouping = Grouping::default();
    let mut index = LogIndex::default();
    for request in requests {
        match index.read(request) {
            Ok(()) => grouping.add(request, &index),
            Err(_) => emit(request.to_vec(), 0),
        }
    }
    let mut batch = Batch::new(&grouping, max_bytes);
    for (r, resource) in grouping.resources.iter().enumerate() {
        for (s, scope) in resource.scopes.iter().enumerate() {
            for (i, record) in scope.records.iter().enumerate() {
                if !batch.fits(r, s, record.len()) {
                    batch.flush(&mut emit);
                }
                batch.add(r, s, i, record.len());
            }
        }
    }
    batch.flush(&mut emit);
}

/// A request and its number of records.
pub type Part = (Vec<u8>, u64);

/// Cuts a request into two with half of the records each; `None` when it has fewer than two. Blocks without records and
/// unknown fields stay in both.
///
/// # Errors
/// When `request` is not valid.
pub fn halves(request: &[u8]) -> Result<Option<[Part; 2]>, ViewError> {
    let mut index = LogIndex::default();
    index.read(request)?;
    let records = index.records.len();
    if records < 2 {
        return Ok(None);
    }
    let middle = records / 2;
    let half = |range: std::ops::Range<usize>| {
        let mut plan = SplicePlan::default();
        plan.actions.extend((0..records).map(|i| if range.contains(&i) { Action::Keep } else { Action::Drop }));
        let mut out = Vec::with_capacity(request.len() / 2);
        plan.write(request, &index, &mut out);
        (out, range.len() as u64)
    };
    Ok(Some([half(0..middle), half(middle..records)]))
}

/// Records by what their blocks say.
#[derive(Default)]
struct Grouping<'a> {
    resources: Vec<ResourceGroup<'a>>,
    by_resource: HashMap<Cow<'a, [u8]>, usize, ahash::RandomState>,
    /// Fields of the requests that are no `ResourceLogs`.
    unknown: Vec<u8>,
}

struct ResourceGroup<'a> {
    rest: Cow<'a, [u8]>,
    scopes: Vec<ScopeGroup<'a>>,
    by_scope: HashMap<Cow<'a, [u8]>, usize, ahash::RandomState>,
}

struct ScopeGroup<'a> {
    rest: Cow<'a, [u8]>,
    /// Whole fields: tag, length and record.
    records: Vec<&'a [u8]>,
}

impl<'a> Grouping<'a> {
    fn add(&mut self, request: &'a [u8], index: &LogIndex) {
        let blocks = index.resources.iter().map(|block| block.field);
        self.unknown.extend_from_slice(&rest(request, Span::new(0, request.len()), blocks));
        for resource in &index.resources {
            let scopes = &index.scopes[resource.scopes.0 as usize..resource.scopes.1 as usize];
            if scopes.iter().all(|scope| scope.records.0 == scope.records.1) {
                continue;
            }
            let group = self.resource(rest(request, resource.payload, scopes.iter().map(|scope| scope.field)));
            for scope in scopes {
                let records = &index.records[scope.records.0 as usize..scope.records.1 as usize];
                if records.is_empty() {
                    continue;
                }
                let group = group.scope(rest(request, scope.payload, records.iter().map(|record| record.field)));
                group.records.extend(records.iter().map(|record| record.field.of(request)));
            }
        }
    }

    fn resource(&mut self, rest: Cow<'a, [u8]>) -> &mut ResourceGroup<'a> {
        let resources = &mut self.resources;
        let i = *self.by_resource.entry(rest).or_insert_with_key(|rest| {
            resources.push(ResourceGroup { rest: rest.clone(), scopes: Vec::new(), by_scope: HashMap::default() });
            resources.len() - 1
        });
        &mut resources[i]
    }
}

impl<'a> ResourceGroup<'a> {
    fn scope(&mut self, rest: Cow<'a, [u8]>) -> &mut ScopeGroup<'a> {
        let scopes = &mut self.scopes;
        let i = *self.by_scope.entry(rest).or_insert_with_key(|rest| {
            scopes.push(ScopeGroup { rest: rest.clone(), records: Vec::new() });
            scopes.len() - 1
        });
        &mut scopes[i]
    }
}

/// The bytes of `within` beside `children`, in order; borrowed when they are one run.
fn rest(request: &[u8], within: Span, children: impl Iterator<Item = Span>) -> Cow<'_, [u8]> {
    let mut rest: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    let mut at = within.start;
    let end = Span { start: within.end, end: within.end };
    for child in children.chain(std::iter::once(end)) {
        let gap = Span { start: at, end: child.start }.of(request);
        at = child.end;
        if rest.is_empty() {
            rest = Cow::Borrowed(gap);
        } else if !gap.is_empty() {
            rest.to_mut().extend_from_slice(gap);
        }
    }
    rest
}

/// The request being filled: which records of which groups, and how long its blocks are so far.
struct Batch<'g, 'a> {
    grouping: &'g Grouping<'a>,
    max_bytes: usize,
    /// Fields outside of all blocks that the next request begins with.
    unknown: &'g [u8],
    resources: Vec<Planned>,
    scopes: Vec<Planned>,
    /// Bytes of the finished resource blocks, as fields.
    closed_bytes: usize,
    records: u64,
}

/// A block of the request being filled.
struct Planned {
    /// Its group.
    group: usize,
    /// Its children: indices of `Batch::scopes`, or of the records of the group.
    children: std::ops::Range<usize>,
    /// Its payload so far; for a resource, without the scope that is still being filled.
    payload: usize,
}

impl<'g, 'a> Batch<'g, 'a> {
    fn new(grouping: &'g Grouping<'a>, max_bytes: usize) -> Self {
        let unknown = &grouping.unknown;
        let (resources, scopes) = (Vec::new(), Vec::new());
        Batch { grouping, max_bytes, unknown, resources, scopes, closed_bytes: 0, records: 0 }
    }

    /// Payloads of the last resource and its last scope, if they are of these groups; else of new blocks.
    fn open_payloads(&self, r: usize, s: usize) -> (usize, usize) {
        let group = &self.grouping.resources[r];
        let scope = group.scopes[s].rest.len();
        match (self.resources.last(), self.scopes.last()) {
            (Some(resource), Some(last)) if resource.group == r && last.group == s => (resource.payload, last.payload),
            (Some(resource), Some(last)) if resource.group == r => (resource.payload + field_len(last.payload), scope),
            _ => (group.rest.len(), scope),
        }
    }

    /// Whether a record of `len` bytes still fits, with the blocks it needs. Into an empty request, every record fits.
    fn fits(&self, r: usize, s: usize, len: usize) -> bool {
        let (resource, scope) = self.open_payloads(r, s);
        let closed = match self.resources.last() {
            Some(last) if last.group != r => self.closed_bytes + self.open_field_len(),
            _ => self.closed_bytes,
        };
        let total = self.unknown.len() + closed + field_len(resource + field_len(scope + len));
        self.records == 0 || total <= self.max_bytes
    }

    /// Length of the field of the resource that is still being filled.
    fn open_field_len(&self) -> usize {
        match (self.resources.last(), self.scopes.last()) {
            (Some(resource), Some(scope)) => field_len(resource.payload + field_len(scope.payload)),
            _ => 0,
        }
    }

    fn add(&mut self, r: usize, s: usize, i: usize, len: usize) {
        let (resource_payload, scope_payload) = self.open_payloads(r, s);
        let same_resource = self.resources.last().is_some_and(|last| last.group == r);
        if !same_resource {
            self.closed_bytes += self.open_field_len();
            let scopes = self.scopes.len();
            self.resources.push(Planned { group: r, children: scopes..scopes, payload: 0 });
        }
        if !same_resource || self.scopes.last().is_none_or(|last| last.group != s) {
            self.scopes.push(Planned { group: s, children: i..i, payload: 0 });
        }
        let scopes = self.scopes.len();
        if let (Some(resource), Some(scope)) = (self.resources.last_mut(), self.scopes.last_mut()) {
            resource.payload = resource_payload;
            resource.children.end = scopes;
            scope.payload = scope_payload + len;
            scope.children.end = i + 1;
        }
        self.records += 1;
    }

    fn flush(&mut self, emit: &mut impl FnMut(Vec<u8>, u64)) {
        if self.records == 0 {
            return;
        }
        let mut out = Vec::with_capacity(self.unknown.len() + self.closed_bytes + self.open_field_len());
        out.extend_from_slice(self.unknown);
        for resource in &self.resources {
            self.write_resource(resource, &mut out);
        }
        emit(out, self.records);
        self.unknown = &[];
        self.resources.clear();
        self.scopes.clear();
        self.closed_bytes = 0;
        self.records = 0;
    }

    fn write_resource(&self, resource: &Planned, out: &mut Vec<u8>) {
        let group = &self.grouping.resources[resource.group];
        let scopes = &self.scopes[resource.children.clone()];
        let payload = group.rest.len() + scopes.iter().map(|scope| field_len(scope.payload)).sum::<usize>();
        put_len_tag(out, 1);
        put_varint(out, payload as u64);
        out.extend_from_slice(&group.rest);
        for scope in scopes {
            let group = &group.scopes[scope.group];
            put_len_tag(out, 2);
            put_varint(out, scope.payload as u64);
            out.extend_from_slice(&group.rest);
            group.records[scope.children.clone()].iter().for_each(|record| out.extend_from_slice(record));
        }
    }
}

/// Length of a block's field: one byte of tag, the length, the payload.
fn field_len(payload: usize) -> usize {
    encode::len_field_len(1, payload)
}
