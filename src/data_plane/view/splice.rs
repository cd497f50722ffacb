//! Write a request again with some records left out, annotated or rewritten.
//!
//! Purpose: turn per-record actions into bytes by copying ranges; only the lengths of blocks that changed are written
//! anew.
//! Promises: all records kept and nothing rewritten reproduces the request byte for byte; a block that loses all of its
//! records is left out, every other byte that is not a dropped record survives in its place.
//! Never: decides which records stay, parses, or fails.

use super::index::{LogIndex, RecordSpan, ResourceSpan, ScopeSpan, Span};
use super::wire::{Reader, put_len_field, put_len_tag, put_varint, varint_len};

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
    scope_fates: Vec<Fate>,
    resource_fates: Vec<Fate>,
}

/// What becomes of a block.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It lost all of its records.
    Gone,
    /// Not a byte of it changes.
    Whole,
    /// It is written anew, with a payload of so many bytes.
    Rewritten(usize),
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
        let (before, len) = (out.len(), self.measure(request, index));
        out.reserve(len);
        let mut run = Run::new(request, Span::new(0, request.len()), None);
        for (i, (resource, &fate)) in index.resources.iter().zip(&self.resource_fates).enumerate() {
            if let Fate::Whole = fate {
                continue;
            }
            run.break_at(resource.field, out);
            if let Fate::Rewritten(payload) = fate {
                self.write_resource(request, index, i, resource, payload, out);
            }
        }
        run.finish(out);
        debug_assert_eq!(out.len() - before, len, "what was measured is what is written");
    }

    /// Notes what becomes of each block; returns how many bytes will be written.
    fn measure(&mut self, request: &[u8], index: &LogIndex) -> usize {
        let mut fates = std::mem::take(&mut self.scope_fates);
        fates.clear();
        fates.extend(index.scopes.iter().enumerate().map(|(i, scope)| self.scope_fate(index, i, scope)));
        self.scope_fates = fates;
        let mut fates = std::mem::take(&mut self.resource_fates);
        fates.clear();
        fates.extend(index.resources.iter().enumerate().map(|(i, resource)| self.resource_fate(index, i, resource)));
        self.resource_fates = fates;
        std::iter::zip(&index.resources, &self.resource_fates).fold(request.len(), |len, (resource, fate)| match fate {
            Fate::Whole => len,
            Fate::Gone => len - resource.field.len(),
            Fate::Rewritten(payload) => len - resource.field.len() + len_field_len(*payload),
        })
    }

    fn scope_fate(&self, index: &LogIndex, i: usize, scope: &ScopeSpan) -> Fate {
        let (first, last) = scope.records;
        let mut payload = scope.payload.len();
        let mut gone = 0;
        let mut whole = true;
        for r in first..last {
            let record = &index.records[r as usize];
            let action = self.action(r as usize);
            if action == Action::Keep {
                continue;
            }
            whole = false;
            payload -= record.field.len();
            match self.record_len(action, record) {
                Some(len) => payload += len_field_len(len),
                None => gone += 1,
            }
        }
        if gone > 0 && gone == last - first {
            return Fate::Gone;
        }
        match replacement(&self.scopes, i) {
            Some(message) => Fate::Rewritten(payload - scope.scope_bytes as usize + len_field_len(message.len())),
            None if whole => Fate::Whole,
            None => Fate::Rewritten(payload),
        }
    }

    fn resource_fate(&self, index: &LogIndex, i: usize, resource: &ResourceSpan) -> Fate {
        let (first, last) = resource.scopes;
        let mut payload = resource.payload.len();
        let mut gone = 0;
        let mut whole = true;
        for s in first..last {
            let field = index.scopes[s as usize].field.len();
            match self.scope_fates[s as usize] {
                Fate::Whole => continue,
                Fate::Gone => gone += 1,
                Fate::Rewritten(len) => payload += len_field_len(len),
            }
            whole = false;
            payload -= field;
        }
        if gone > 0 && gone == last - first {
            return Fate::Gone;
        }
        match replacement(&self.resources, i) {
            Some(message) => Fate::Rewritten(payload - resource.resource_bytes as usize + len_field_len(message.len())),
            None if whole => Fate::Whole,
            None => Fate::Rewritten(payload),
        }
    }

    #[inline]
    fn action(&self, i: usize) -> Action {
        self.actions.get(i).copied().unwrap_or_default()
    }

    /// Payload length of a record after its action; `None` when it is dropped.
    fn record_len(&self, action: Action, record: &RecordSpan) -> Option<usize> {
        match action {
            Action::Drop => None,
            Action::Keep => Some(record.payload.len()),
            Action::Annotate { append, without } => {
                Some(record.payload.len() - inside(without, record).len() + append.of(&self.scratch).len())
            }
            Action::Replace(span) => Some(span.of(&self.scratch).len()),
        }
    }

    fn write_resource(
        &self,
        request: &[u8],
        index: &LogIndex,
        i: usize,
        resource: &ResourceSpan,
        payload: usize,
        out: &mut Vec<u8>,
    ) {
        put_len_tag(out, 1);
        put_varint(out, payload as u64);
        let message = replacement(&self.resources, i).map(|m| m.of(&self.scratch));
        let mut run = Run::new(request, resource.payload, message);
        run.begin(resource.resource.is_present(), out);
        for s in resource.scopes.0..resource.scopes.1 {
            let scope = &index.scopes[s as usize];
            let fate = self.scope_fates[s as usize];
            if let Fate::Whole = fate {
                continue;
            }
            run.break_at(scope.field, out);
            if let Fate::Rewritten(payload) = fate {
                self.write_scope(request, index, s as usize, scope, payload, out);
            }
        }
        run.finish(out);
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
        let mut run = Run::new(request, scope.payload, message);
        run.begin(scope.scope.is_present(), out);
        for r in scope.records.0..scope.records.1 {
            let record = &index.records[r as usize];
            let action = self.action(r as usize);
            if action != Action::Keep {
                run.break_at(record.field, out);
                self.write_record(request, action, record, out);
            }
        }
        run.finish(out);
    }

    fn write_record(&self, request: &[u8], action: Action, record: &RecordSpan, out: &mut Vec<u8>) {
        let Some(len) = self.record_len(action, record) else { return };
        put_len_tag(out, 2);
        put_varint(out, len as u64);
        match action {
            Action::Drop => {}
            Action::Keep => out.extend_from_slice(record.payload.of(request)),
            Action::Replace(span) => out.extend_from_slice(span.of(&self.scratch)),
            Action::Annotate { append, without } => {
                let without = inside(without, record);
                out.extend_from_slice(&request[record.payload.start as usize..without.start as usize]);
                out.extend_from_slice(&request[without.end as usize..record.payload.end as usize]);
                out.extend_from_slice(append.of(&self.scratch));
            }
        }
    }
}

/// `without`, or an empty range where it does not lie inside of the record.
#[inline]
fn inside(without: Span, record: &RecordSpan) -> Span {
    let payload = record.payload;
    let fits = payload.start <= without.start && without.start <= without.end && without.end <= payload.end;
    if fits { without } else { Span { start: payload.start, end: payload.start } }
}

/// Length of a field with a one-byte tag and `payload` bytes.
#[inline]
fn len_field_len(payload: usize) -> usize {
    1 + varint_len(payload as u64) + payload
}

fn replacement(replacements: &[(u32, Span)], i: usize) -> Option<Span> {
    let found = replacements.binary_search_by_key(&(i as u32), |(index, _)| *index).ok()?;
    Some(replacements[found].1)
}

/// The bytes of a block that stay as they are, copied in runs as long as possible; puts the replacement of the block's
/// header message (field 1) in its place.
struct Run<'a> {
    request: &'a [u8],
    at: usize,
    end: usize,
    /// Replacement that is still to be written.
    message: Option<&'a [u8]>,
    /// Whether the header is replaced, so that each occurrence is left out.
    replaces: bool,
}

impl<'a> Run<'a> {
    fn new(request: &'a [u8], payload: Span, message: Option<&'a [u8]>) -> Self {
        let replaces = message.is_some();
        Run { request, at: payload.start as usize, end: payload.end as usize, message, replaces }
    }

    /// A replacement for a header that was never there goes first.
    fn begin(&mut self, has_header: bool, out: &mut Vec<u8>) {
        if !has_header {
            self.put_message(out);
        }
    }

    /// Copies what comes before `child` and goes on behind it.
    #[inline]
    fn break_at(&mut self, child: Span, out: &mut Vec<u8>) {
        self.copy(child.start as usize, out);
        self.at = child.end as usize;
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.copy(self.end, out);
    }

    #[inline]
    fn copy(&mut self, to: usize, out: &mut Vec<u8>) {
        if self.replaces {
            self.copy_fields(to, out);
        } else if self.at < to {
            out.extend_from_slice(&self.request[self.at..to]);
        }
        self.at = to;
    }

    /// As `copy`, field by field, because a header may stand anywhere and more than once.
    #[cold]
    fn copy_fields(&mut self, to: usize, out: &mut Vec<u8>) {
        let mut reader = Reader::within(self.request, self.at, to);
        while let Ok(Some(tag)) = reader.tag() {
            let skipped = reader.skip(tag);
            if tag.field == 1 {
                self.put_message(out);
            } else {
                out.extend_from_slice(&self.request[self.at..reader.pos()]);
            }
            self.at = reader.pos();
            if skipped.is_err() {
                return;
            }
        }
    }

    fn put_message(&mut self, out: &mut Vec<u8>) {
        if let Some(message) = self.message.take() {
            put_len_field(out, 1, message);
        }
    }
}
