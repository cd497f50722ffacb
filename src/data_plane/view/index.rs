//! Where everything is: one pass over a request that notes the byte range of each block, record and hot field.
//!
//! Purpose: pay for the walk once; later stages look fields up by offset while the bytes are still in cache.
//! Promises: the pass finishes before anyone acts, so malformed input has no effect; buffers are reused between
//! requests; a callback runs per record while its bytes are hot.
//! Never: looks inside attribute values beyond the three keys the sampler needs, copies, or allocates per record.

use super::ViewError;
use super::record::RecordRef;
use super::value::KeyValueRef;
use super::wire::{Reader, Tag, WireType};

/// Largest request the index can address (offsets are 32 bits).
pub const MAX_REQUEST_BYTES: usize = u32::MAX as usize - 1;

/// Most records, and most blocks of each kind, in one request. An empty record takes two bytes on the wire but 80 here:
/// without a bound, a small request would take forty times its size.
pub const MAX_RECORDS: usize = 1 << 20;

/// Entries whose memory an index keeps for the next request.
const KEPT_ENTRIES: usize = 1 << 16;

/// Attribute that carries the rejection threshold of an earlier sampler (OpenTelemetry probability sampling).
pub const THRESHOLD_KEY: &[u8] = b"sampling.threshold";
/// Attribute that carries explicit randomness (OpenTelemetry probability sampling).
pub const RANDOMNESS_KEY: &[u8] = b"sampling.randomness";
/// Attribute that marks a summary record of dropped records.
pub const SUMMARY_KEY: &[u8] = b"lip.summary";

/// A byte range of the request, `start..end`. Empty at 0 means "absent".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// A span from offsets that are known to fit.
    #[inline]
    pub fn new(start: usize, end: usize) -> Self {
        Span { start: start as u32, end: end as u32 }
    }
    /// Number of bytes.
    #[inline]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }
    /// Whether it holds no byte.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.end == self.start
    }
    /// Whether the field was there at all (offset 0 is always a tag, never a value).
    #[inline]
    pub fn is_present(self) -> bool {
        self.end != 0
    }
    /// The bytes of this span; empty if it does not fit `body`.
    #[inline]
    pub fn of(self, body: &[u8]) -> &[u8] {
        body.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// One `ResourceLogs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResourceSpan {
    /// Tag, length and payload.
    pub field: Span,
    /// Payload alone.
    pub payload: Span,
    /// The `Resource` message; the last one, should the block repeat it.
    pub resource: Span,
    /// Bytes of all `Resource` fields of the block, with tags and lengths. More than one is legal (they add up) but rare.
    pub resource_bytes: u32,
    /// Whether there are several `Resource` fields.
    pub repeats: bool,
    /// `schema_url`.
    pub schema_url: Span,
    /// Index range of its scopes in [`LogIndex::scopes`].
    pub scopes: (u32, u32),
}

/// One `ScopeLogs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScopeSpan {
    /// Tag, length and payload.
    pub field: Span,
    /// Payload alone.
    pub payload: Span,
    /// The `InstrumentationScope` message; the last one, should the block repeat it.
    pub scope: Span,
    /// Bytes of all `InstrumentationScope` fields of the block, with tags and lengths.
    pub scope_bytes: u32,
    /// Whether there are several `InstrumentationScope` fields.
    pub repeats: bool,
    /// `schema_url`.
    pub schema_url: Span,
    /// Index of its resource in [`LogIndex::resources`].
    pub resource_index: u32,
    /// Index range of its records in [`LogIndex::records`].
    pub records: (u32, u32),
}

/// One `LogRecord`: its range and the hot fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordSpan {
    /// Tag, length and payload.
    pub field: Span,
    /// Payload alone.
    pub payload: Span,
    /// The body's `AnyValue` message.
    pub body: Span,
    /// `severity_text`.
    pub severity_text: Span,
    /// `event_name`.
    pub event_name: Span,
    /// `trace_id`, whatever its length.
    pub trace_id: Span,
    /// The whole `sampling.threshold` attribute field (tag, length, payload) of the record; the first, as for every
    /// attribute that is repeated against the specification.
    pub threshold_field: Span,
    /// The `KeyValue` payload of `sampling.randomness`.
    pub randomness: Span,
    /// `time_unix_nano`.
    pub time_unix_nano: u64,
    /// `severity_number` as sent, clamped to 0..=255 (a negative number reads as 0, not specified).
    pub severity_number: u8,
    /// Whether the record is marked as a summary by an earlier LipService.
    pub is_summary: bool,
    /// Index of its scope in [`LogIndex::scopes`].
    pub scope_index: u32,
}

/// The blocks and records of one request. Reuse it between requests to keep its buffers.
#[derive(Debug, Default)]
pub struct LogIndex {
    /// `ResourceLogs` in order.
    pub resources: Vec<ResourceSpan>,
    /// `ScopeLogs` in order, over all resources.
    pub scopes: Vec<ScopeSpan>,
    /// `LogRecord` in order, over all scopes.
    pub records: Vec<RecordSpan>,
}

impl LogIndex {
    /// Walks `body` and calls `on_record` for each record as it is found, before the walk of the whole is known to
    /// succeed: the callback may compute, but must not act.
    ///
    /// # Errors
    /// The first place where the bytes are not a valid request; what the index then holds is unspecified.
    pub fn parse(&mut self, body: &[u8], mut on_record: impl FnMut(RecordRef<'_>)) -> Result<(), ViewError> {
        empty(&mut self.resources, body.len());
        empty(&mut self.scopes, body.len());
        empty(&mut self.records, body.len());
        if body.len() > MAX_REQUEST_BYTES {
            return Err(ViewError { offset: 0, what: "the request is larger than 4 GiB" });
        }
        let mut reader = Reader::new(body);
        let mut at = 0;
        while let Some(tag) = reader.tag()? {
            if tag.field == 1 {
                let payload = message(&mut reader, tag)?;
                let field = Span::new(at, payload.end as usize);
                self.resource_logs(body, field, payload, &mut on_record)?;
            } else {
                reader.skip(tag)?;
            }
            at = reader.pos();
        }
        Ok(())
    }

    /// Walks `body` without a callback.
    ///
    /// # Errors
    /// As [`LogIndex::parse`].
    pub fn read(&mut self, body: &[u8]) -> Result<(), ViewError> {
        self.parse(body, |_| ())
    }

    fn resource_logs(
        &mut self,
        body: &[u8],
        field: Span,
        payload: Span,
        on_record: &mut impl FnMut(RecordRef<'_>),
    ) -> Result<(), ViewError> {
        let first_scope = self.scopes.len() as u32;
        let resource_index = self.resources.len() as u32;
        check_room(self.resources.len(), payload)?;
        self.resources.push(ResourceSpan { field, payload, ..ResourceSpan::default() });
        let mut found = ResourceSpan { field, payload, ..ResourceSpan::default() };
        let mut reader = Reader::within(body, payload.start as usize, payload.end as usize);
        let mut at = reader.pos();
        while let Some(tag) = reader.tag()? {
            match tag.field {
                1 => {
                    found.repeats = found.resource.is_present();
                    found.resource = message(&mut reader, tag)?;
                    found.resource_bytes += (reader.pos() - at) as u32;
                }
                2 => {
                    let payload = message(&mut reader, tag)?;
                    let field = Span::new(at, payload.end as usize);
                    self.scope_logs(body, field, payload, resource_index, on_record)?;
                }
                3 => found.schema_url = message(&mut reader, tag)?,
                _ => reader.skip(tag)?,
            }
            at = reader.pos();
        }
        found.scopes = (first_scope, self.scopes.len() as u32);
        self.resources[resource_index as usize] = found;
        Ok(())
    }

    fn scope_logs(
        &mut self,
        body: &[u8],
        field: Span,
        payload: Span,
        resource_index: u32,
        on_record: &mut impl FnMut(RecordRef<'_>),
    ) -> Result<(), ViewError> {
        let first_record = self.records.len() as u32;
        let scope_index = self.scopes.len() as u32;
        let mut found = ScopeSpan { field, payload, resource_index, ..ScopeSpan::default() };
        let mut at = payload.start as usize;
        loop {
            // Records stand in a row, nearly all with a length of one or two bytes.
            while let Some(payload) = len_at(&body[..payload.end as usize], at, RECORD) {
                self.take_record(body, Span::new(at, payload.end as usize), payload, scope_index, on_record)?;
                at = payload.end as usize;
            }
            let mut reader = Reader::within(body, at, payload.end as usize);
            let Some(tag) = reader.tag()? else { break };
            match tag.field {
                1 => {
                    found.repeats = found.scope.is_present();
                    found.scope = message(&mut reader, tag)?;
                    found.scope_bytes += (reader.pos() - at) as u32;
                }
                2 => {
                    let payload = message(&mut reader, tag)?;
                    self.take_record(body, Span::new(at, payload.end as usize), payload, scope_index, on_record)?;
                }
                3 => found.schema_url = message(&mut reader, tag)?,
                _ => reader.skip(tag)?,
            }
            at = reader.pos();
        }
        found.records = (first_record, self.records.len() as u32);
        check_room(self.scopes.len(), payload)?;
        self.scopes.push(found);
        Ok(())
    }

    #[inline]
    fn take_record(
        &mut self,
        body: &[u8],
        field: Span,
        payload: Span,
        scope_index: u32,
        on_record: &mut impl FnMut(RecordRef<'_>),
    ) -> Result<(), ViewError> {
        check_room(self.records.len(), payload)?;
        // Filled in its place: a record's entry is too large to be passed on twice.
        let i = self.records.len();
        self.records.push(RecordSpan { field, payload, scope_index, ..RecordSpan::default() });
        let record = &mut self.records[i];
        log_record(body, record)?;
        on_record(RecordRef::new(body, record));
        Ok(())
    }
}

/// Empties a list for a request of `request_bytes`, and gives memory back that an unusual request took.
fn empty<T>(list: &mut Vec<T>, request_bytes: usize) {
    list.clear();
    if list.capacity() > KEPT_ENTRIES && request_bytes / 64 < list.capacity() {
        list.shrink_to(KEPT_ENTRIES);
    }
}

#[inline]
fn check_room(entries: usize, at: Span) -> Result<(), ViewError> {
    if entries < MAX_RECORDS {
        return Ok(());
    }
    Err(ViewError { offset: at.start as usize, what: "more than 1,048,576 records or blocks; send smaller batches" })
}

#[inline]
fn message(reader: &mut Reader<'_>, tag: Tag) -> Result<Span, ViewError> {
    if tag.wire_type != WireType::Len {
        return Err(ViewError { offset: reader.pos(), what: "a message or string field has the wrong wire type" });
    }
    let (start, end) = reader.len_range()?;
    Ok(Span::new(start, end))
}

fn expect(reader: &Reader<'_>, tag: Tag, wire_type: WireType) -> Result<(), ViewError> {
    if tag.wire_type == wire_type {
        return Ok(());
    }
    Err(ViewError { offset: reader.pos(), what: "a number field has the wrong wire type" })
}

/// Reads the fields of the record at `record.payload`. Nearly all have a one-byte tag and a length of one or two bytes:
/// those take the short way (benches/hot_path.rs, view::walk), the rest the general one.
fn log_record(body: &[u8], record: &mut RecordSpan) -> Result<(), ViewError> {
    let bytes = body.get(..record.payload.end as usize).unwrap_or_default();
    let mut at = record.payload.start as usize;
    while at < bytes.len() {
        let end = fields_in_order(bytes, at, record);
        at = if end > at { end } else { any_field(body, at, record)? };
    }
    Ok(())
}

/// Reads the fields from `at` on that stand in the order of their numbers, as encoders write them: one question each, whose
/// answer is nearly always the same as for the record before. Returns where the first other field begins.
#[inline]
fn fields_in_order(bytes: &[u8], mut at: usize, record: &mut RecordSpan) -> usize {
    if let Some(nanos) = fixed64_at(bytes, at, TIME) {
        record.time_unix_nano = nanos;
        at += 9;
    }
    if let Some([SEVERITY_NUMBER, number @ ..0x80]) = chunk_at(bytes, at) {
        record.severity_number = *number;
        at += 2;
    }
    at = take_len(bytes, at, SEVERITY_TEXT, &mut record.severity_text);
    if let Some(body) = unpredictable_len_at(bytes, at, BODY) {
        record.body = body;
        at = body.end as usize;
    }
    loop {
        // Most fields are attributes.
        while let Some(end) = plain_attribute(bytes, at) {
            at = end;
        }
        let Some(key_value) = len_at(bytes, at, ATTRIBUTE) else { break };
        note_attribute(bytes, record, Span::new(at, key_value.end as usize), key_value);
        at = key_value.end as usize;
    }
    if let Some([FLAGS, ..]) = chunk_at::<5>(bytes, at) {
        at += 5;
    }
    at = take_len(bytes, at, TRACE_ID, &mut record.trace_id);
    at = take_len(bytes, at, SPAN_ID, &mut Span::default());
    if fixed64_at(bytes, at, OBSERVED_TIME).is_some() {
        at += 9;
    }
    take_len(bytes, at, EVENT_NAME, &mut record.event_name)
}

/// Tag of a record in its scope block, as one byte: field number * 8 + wire type.
const RECORD: u8 = 2 << 3 | 2;
// Tags of the fields of `opentelemetry.proto.logs.v1.LogRecord`.
const TIME: u8 = 1 << 3 | 1;
const SEVERITY_NUMBER: u8 = 2 << 3;
const SEVERITY_TEXT: u8 = 3 << 3 | 2;
const BODY: u8 = 5 << 3 | 2;
const ATTRIBUTE: u8 = 6 << 3 | 2;
const FLAGS: u8 = 8 << 3 | 5;
const TRACE_ID: u8 = 9 << 3 | 2;
const SPAN_ID: u8 = 10 << 3 | 2;
const OBSERVED_TIME: u8 = 11 << 3 | 1;
const EVENT_NAME: u8 = 12 << 3 | 2;

#[inline]
fn chunk_at<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

/// The value of the 64-bit field at `at`, if its tag is `tag`.
#[inline]
fn fixed64_at(bytes: &[u8], at: usize, tag: u8) -> Option<u64> {
    let [found, value @ ..] = chunk_at::<9>(bytes, at)?;
    (*found == tag).then(|| u64::from_le_bytes(*value))
}

/// Where the value of the field at `at` is, if its tag is `tag` and its length has one or two bytes.
#[inline]
fn len_at(bytes: &[u8], at: usize, tag: u8) -> Option<Span> {
    let &[found, low] = chunk_at(bytes, at)?;
    if found != tag {
        return None;
    }
    if low >= 0x80 {
        return unpredictable_len_at(bytes, at, tag);
    }
    let (start, end) = (at + 2, at + 2 + usize::from(low));
    (end <= bytes.len()).then(|| Span::new(start, end))
}

/// As [`len_at`], for fields that are as often longer than 127 bytes as not: without a branch on that.
#[inline]
fn unpredictable_len_at(bytes: &[u8], at: usize, tag: u8) -> Option<Span> {
    let &[found, low, high] = chunk_at(bytes, at)?;
    let is_two = low >> 7;
    let len = usize::from(low & 0x7f) | usize::from(high & is_two.wrapping_neg()) << 7;
    let start = at + 2 + usize::from(is_two);
    (found == tag && high & is_two << 7 == 0 && start + len <= bytes.len()).then(|| Span::new(start, start + len))
}

/// Notes where the value of the field at `at` is, if it is as [`len_at`] says, and returns where the next field begins.
#[inline]
fn take_len(bytes: &[u8], at: usize, tag: u8, into: &mut Span) -> usize {
    let Some(span) = len_at(bytes, at, tag) else { return at };
    *into = span;
    span.end as usize
}

/// Reads the field at `at`, whatever it is, and returns where it ends.
#[cold]
fn any_field(body: &[u8], at: usize, record: &mut RecordSpan) -> Result<usize, ViewError> {
    let mut reader = Reader::within(body, at, record.payload.end as usize);
    let Some(tag) = reader.tag()? else { return Ok(at) };
    match tag.field {
        1 => {
            expect(&reader, tag, WireType::Fixed64)?;
            record.time_unix_nano = reader.fixed64()?;
        }
        11 => {
            expect(&reader, tag, WireType::Fixed64)?;
            reader.fixed64()?;
        }
        2 => {
            expect(&reader, tag, WireType::Varint)?;
            // The enum is an int32: negative numbers come sign-extended to ten bytes.
            record.severity_number = (reader.varint()? as i32).clamp(0, 255) as u8;
        }
        3 => record.severity_text = message(&mut reader, tag)?,
        5 => record.body = message(&mut reader, tag)?,
        6 => {
            let key_value = message(&mut reader, tag)?;
            note_attribute(body, record, Span::new(at, key_value.end as usize), key_value);
        }
        7 => {
            expect(&reader, tag, WireType::Varint)?;
            reader.varint()?;
        }
        8 => {
            expect(&reader, tag, WireType::Fixed32)?;
            reader.fixed32()?;
        }
        9 => record.trace_id = message(&mut reader, tag)?,
        10 => drop(message(&mut reader, tag)?),
        12 => record.event_name = message(&mut reader, tag)?,
        _ => reader.skip(tag)?,
    }
    Ok(reader.pos())
}

/// Where an attribute ends that begins with its key, one of no interest, and has lengths of one byte; `None` for any
/// other field.
#[inline(always)]
fn plain_attribute(bytes: &[u8], at: usize) -> Option<usize> {
    let header = u64::from_le_bytes(*chunk_at(bytes, at)?);
    let end = at + 2 + (header as usize >> 8 & 0x7f);
    // Two tags, and two lengths below 128, in one comparison.
    let begins_with_key = header & 0x80ff_80ff == u64::from(ATTRIBUTE) | 0x0a << 16;
    let key = (header >> 32) as u32;
    (begins_with_key && key != SAMPLING && key != LIP && end <= bytes.len()).then_some(end)
}

/// What the three keys begin with.
const SAMPLING: u32 = u32::from_le_bytes(*b"samp");
const LIP: u32 = u32::from_le_bytes(*b"lip.");

/// Looks for the three keys the sampler needs. Every encoder writes the key first, so one length byte rules out nearly
/// all attributes.
#[inline(always)]
fn note_attribute(body: &[u8], record: &mut RecordSpan, field: Span, key_value: Span) {
    let bytes = key_value.of(body);
    let key = match bytes {
        [0x0a, 11 | 18 | 19, rest @ ..] => rest.get(..bytes[1] as usize).unwrap_or_default(),
        [0x0a, 0..0x80, ..] => return,
        _ => KeyValueRef::parse(bytes).key,
    };
    match key {
        THRESHOLD_KEY if !record.threshold_field.is_present() => record.threshold_field = field,
        RANDOMNESS_KEY if !record.randomness.is_present() => record.randomness = key_value,
        SUMMARY_KEY => record.is_summary = true,
        _ => {}
    }
}
