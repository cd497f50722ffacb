//! Write a request again with some records left out, annotated or rewritten.
//!
//! Purpose: turn per-record actions into bytes by copying ranges; only the lengths of blocks that changed are written
//! anew.
//! Promises: all records kept and nothing rewritten reproduces the request byte for byte; a block that loses all of its
//! records is left out, every other byte that is not a dropped record survives in its place.
//! Never: decides which records stay, parses, or fails.

use super::index::{LogIndex, RecordSpan, ResourceSpan, ScopeSpan, Span};
use super::wire::{put_len_tag, put_varint, varint_len};

/// What becomes of one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Left out.
    #[default]
    Drop,
    /// Copied as it is.
    Keep,
    /// Copied without the bytes of `without` (a whole field of the record; may be empty), then the fields at `append`
    /// of [`SplicePlan::scratch`].
    Annotate {
        /// Encoded fields to append, in the scratch buffer.
        append: Span,
        /// Range of the request to leave out.
        without: Span,
    },
    /// Replaced by the `LogRecord` message at this span of [`SplicePlan::scratch`].
    Replace(Span),
}

/// The actions for one request, in the order of its records. Reuse it between requests.
#[derive(Debug, Default)]
pub struct SplicePlan {
    /// One action a record.
    pub actions: Vec<Action>,
    /// Bytes that actions and replacements refer to.
    pub scratch: Vec<u8>,
    /// Rewritten `Resource` messages: (index of the resource block, span of scratch), ascending.
    pub resources: Vec<(u32, Span)>,
    /// Rewritten `InstrumentationScope` messages: (index of the scope block, span of scratch), ascending.
    pub scopes: Vec<(u32, Span)>,
    scope_lens: Vec<Option<usize>>,
}

impl SplicePlan {
    /// Empties the plan, keeping its buffers.
    pub fn clear(&mut self) {
        self.actions.clear();
        self.scratch.clear();
        self.resources.clear();
        self.scopes.clear();
    }

    /// Appends `bytes` to the scratch buffer and returns where they are.
    pub fn stash(&mut self, bytes: &[u8]) -> Span {
        let start = self.scratch.len();
        self.scratch.extend_from_slice(bytes);
        Span::new(start, self.scratch.len())
    }

    /// Whether the request can be forwarded as it came.
    pub fn is_identity(&self) -> bool {
        self.resources.is_empty() && self.scopes.is_empty() && self.actions.iter().all(|action| *action == Action::Keep)
    }

    /// Writes the request to `out`. `index` must be the index of `request` and hold as many records as there are
    /// actions; records beyond the actions are dropped.
    pub fn write(&mut self, request: &[u8], index: &LogIndex, out: &mut Vec<u8>) {
        if self.is_identity() && self.actions.len() == index.records.len() {
            out.extend_from_slice(request);
            return;
        }
        self.measure_scopes(index);
        let mut at = 0;
        for (i, resource) in index.resources.iter().enumerate() {
            out.extend_from_slice(&request[at..resource.field.start as usize]);
            at = resource.field.end as usize;
            self.write_resource(request, index, i, resource, out);
        }
        out.extend_from_slice(&request[at..]);
    }

    /// The payload length of each scope block after the plan; `None` where the block goes.
    fn measure_scopes(&mut self, index: &LogIndex) {
        let mut lens = std::mem::take(&mut self.scope_lens);
        lens.clear();
        lens.extend(index.scopes.iter().enumerate().map(|(i, scope)| self.scope_len(index, i, scope)));
        self.scope_lens = lens;
    }

    fn scope_len(&self, index: &LogIndex, i: usize, scope: &ScopeSpan) -> Option<usize> {
        let (first, last) = scope.records;
        let mut len = scope.payload.len();
        let mut kept = 0;
        for r in first..last {
            let record = &index.records[r as usize];
            len -= record.field.len();
            if let Some(payload) = self.record_len(r as usize, record) {
                kept += 1;
                len += 1 + varint_len(payload as u64) + payload;
            }
        }
        if kept == 0 && first != last {
            return None;
        }
        if let Some(message) = replacement(&self.scopes, i) {
            len = len - scope.scope_field.len() + 1 + varint_len(message.len() as u64) + message.len();
        }
        Some(len)
    }

    /// Payload length of a record after its action; `None` when it is dropped.
    fn record_len(&self, i: usize, record: &RecordSpan) -> Option<usize> {
        match self.actions.get(i).copied().unwrap_or_default() {
            Action::Drop => None,
            Action::Keep => Some(record.payload.len()),
            Action::Annotate { append, without } => Some(record.payload.len() - without.len() + append.len()),
            Action::Replace(span) => Some(span.len()),
        }
    }

    fn write_resource(&self, request: &[u8], index: &LogIndex, i: usize, resource: &ResourceSpan, out: &mut Vec<u8>) {
        let (first, last) = resource.scopes;
        let mut len = resource.payload.len();
        let mut kept = 0;
        for s in first..last {
            len -= index.scopes[s as usize].field.len();
            if let Some(payload) = self.scope_lens[s as usize] {
                kept += 1;
                len += 1 + varint_len(payload as u64) + payload;
            }
        }
        if kept == 0 && first != last {
            return;
        }
        let message = replacement(&self.resources, i);
        if let Some(message) = message {
            len = len - resource.resource_field.len() + 1 + varint_len(message.len() as u64) + message.len();
        }
        put_len_tag(out, 1);
        put_varint(out, len as u64);
        let mut gaps =
            Gaps::new(request, resource.payload, resource.resource_field, message.map(|m| m.of(&self.scratch)));
        gaps.begin(out);
        for s in first..last {
            let scope = &index.scopes[s as usize];
            gaps.copy_to(scope.field, out);
            if let Some(payload) = self.scope_lens[s as usize] {
                self.write_scope(request, index, s as usize, scope, payload, out);
            }
        }
        gaps.finish(out);
    }

    fn write_scope(
        &self,
        request: &[u8],
        index: &LogIndex,
        i: usize,
        scope: &ScopeSpan,
        payload: usize,
        out: &mut Vec<u8>,
    ) {
        put_len_tag(out, 2);
        put_varint(out, payload as u64);
        let message = replacement(&self.scopes, i).map(|m| m.of(&self.scratch));
        let mut gaps = Gaps::new(request, scope.payload, scope.scope_field, message);
        gaps.begin(out);
        for r in scope.records.0..scope.records.1 {
            let record = &index.records[r as usize];
            gaps.copy_to(record.field, out);
            self.write_record(request, r as usize, record, out);
        }
        gaps.finish(out);
    }

    fn write_record(&self, request: &[u8], i: usize, record: &RecordSpan, out: &mut Vec<u8>) {
        let Some(len) = self.record_len(i, record) else { return };
        put_len_tag(out, 2);
        put_varint(out, len as u64);
        match self.actions[i] {
            Action::Drop => {}
            Action::Keep => out.extend_from_slice(record.payload.of(request)),
            Action::Replace(span) => out.extend_from_slice(span.of(&self.scratch)),
            Action::Annotate { append, without } if without.is_empty() => {
                out.extend_from_slice(record.payload.of(request));
                out.extend_from_slice(append.of(&self.scratch));
            }
            Action::Annotate { append, without } => {
                out.extend_from_slice(&request[record.payload.start as usize..without.start as usize]);
                out.extend_from_slice(&request[without.end as usize..record.payload.end as usize]);
                out.extend_from_slice(append.of(&self.scratch));
            }
        }
    }
}

fn replacement(replacements: &[(u32, Span)], i: usize) -> Option<Span> {
    let found = replacements.binary_search_by_key(&(i as u32), |(index, _)| *index).ok()?;
    Some(replacements[found].1)
}

/// Copies the bytes of a block between its children, and puts the replacement of its header message (field 1) in place.
struct Gaps<'a> {
    request: &'a [u8],
    at: usize,
    end: usize,
    header: Span,
    message: Option<&'a [u8]>,
}

impl<'a> Gaps<'a> {
    fn new(request: &'a [u8], payload: Span, header: Span, message: Option<&'a [u8]>) -> Self {
        Gaps { request, at: payload.start as usize, end: payload.end as usize, header, message }
    }

    /// A replacement for a header that was never there goes first.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(message) = self.message.take_if(|_| !self.header.is_present()) {
            super::wire::put_len_field(out, 1, message);
        }
    }

    fn copy_to(&mut self, child: Span, out: &mut Vec<u8>) {
        self.copy(child.start as usize, out);
        self.at = child.end as usize;
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.copy(self.end, out);
    }

    fn copy(&mut self, to: usize, out: &mut Vec<u8>) {
        let header = self.header.start as usize..self.header.end as usize;
        if self.message.is_some() && self.header.is_present() && self.at <= header.start && header.end <= to {
            out.extend_from_slice(&self.request[self.at..header.start]);
            if let Some(message) = self.message.take() {
                super::wire::put_len_field(out, 1, message);
            }
            self.at = header.end;
        }
        out.extend_from_slice(&self.request[self.at..to]);
        self.at = to;
    }
}
