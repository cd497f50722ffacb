//! One record, resource or scope of an indexed request, with its fields on demand.
//!
//! Purpose: what signatures, matchers and text outputs see of a request.
//! Promises: every accessor is total: absent and malformed fields read as absent.
//! Never: copies or allocates.

use super::index::{LogIndex, RecordSpan, ResourceSpan, ScopeSpan};
use super::value::{AnyValueRef, Attributes, KeyValueRef};
use super::wire::{Reader, WireType};

/// One `LogRecord`.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    request: &'a [u8],
    /// Where its fields are.
    pub span: &'a RecordSpan,
}

impl<'a> RecordRef<'a> {
    /// The record at `span` of `request`.
    #[inline]
    pub fn new(request: &'a [u8], span: &'a RecordSpan) -> Self {
        RecordRef { request, span }
    }
    /// The `LogRecord` message, without tag and length.
    pub fn payload(self) -> &'a [u8] {
        self.span.payload.of(self.request)
    }
    /// The body; `None` when the field is not set.
    #[inline]
    pub fn body(self) -> Option<AnyValueRef<'a>> {
        self.span.body.is_present().then(|| AnyValueRef::parse(self.span.body.of(self.request)))
    }
    /// `severity_text`, empty when not set.
    pub fn severity_text(self) -> &'a [u8] {
        self.span.severity_text.of(self.request)
    }
    /// `event_name`, empty when not set.
    pub fn event_name(self) -> &'a [u8] {
        self.span.event_name.of(self.request)
    }
    /// `trace_id` as sent; only 16 bytes that are not all zero are valid.
    pub fn trace_id(self) -> &'a [u8] {
        self.span.trace_id.of(self.request)
    }
    /// `span_id` as sent (looked up on demand).
    pub fn span_id(self) -> &'a [u8] {
        len_field(self.payload(), 10)
    }
    /// The record's attributes.
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::new(self.payload(), 6)
    }
    /// The value of the incoming `sampling.threshold`, if the record has one.
    #[inline]
    pub fn threshold(self) -> Option<AnyValueRef<'a>> {
        let field = self.span.threshold_field;
        if field.is_present() { Some(KeyValueRef::parse(len_field(field.of(self.request), 6)).value()) } else { None }
    }
    /// The value of `sampling.randomness`, if the record has one.
    #[inline]
    pub fn randomness(self) -> Option<AnyValueRef<'a>> {
        let span = self.span.randomness;
        if span.is_present() { Some(KeyValueRef::parse(span.of(self.request)).value()) } else { None }
    }
}

/// The resource of a block.
#[derive(Clone, Copy, Debug)]
pub struct ResourceRef<'a> {
    request: &'a [u8],
    span: &'a ResourceSpan,
}

impl<'a> ResourceRef<'a> {
    /// The resource at `span` of `request`.
    pub fn new(request: &'a [u8], span: &'a ResourceSpan) -> Self {
        ResourceRef { request, span }
    }
    /// The `Resource` message; empty when not set. A block may repeat it, then this is the last one.
    pub fn message(self) -> &'a [u8] {
        self.span.resource.of(self.request)
    }
    /// The resource's attributes.
    pub fn attributes(self) -> Attributes<'a> {
        if self.span.repeats {
            return Attributes::of_repeated(self.span.payload.of(self.request), 1, 1);
        }
        Attributes::new(self.message(), 1)
    }
    /// The block's `schema_url`, empty when not set.
    pub fn schema_url(self) -> &'a [u8] {
        self.span.schema_url.of(self.request)
    }
}

/// The instrumentation scope of a block.
#[derive(Clone, Copy, Debug)]
pub struct ScopeRef<'a> {
    request: &'a [u8],
    span: &'a ScopeSpan,
}

impl<'a> ScopeRef<'a> {
    /// The scope at `span` of `request`.
    pub fn new(request: &'a [u8], span: &'a ScopeSpan) -> Self {
        ScopeRef { request, span }
    }
    /// The `InstrumentationScope` message; empty when not set. A block may repeat it, then this is the last one.
    pub fn message(self) -> &'a [u8] {
        self.span.scope.of(self.request)
    }
    /// The scope's attributes.
    pub fn attributes(self) -> Attributes<'a> {
        if self.span.repeats {
            return Attributes::of_repeated(self.span.payload.of(self.request), 1, 3);
        }
        Attributes::new(self.message(), 3)
    }
    /// `name`, empty when not set.
    pub fn name(self) -> &'a [u8] {
        len_field(self.message(), 1)
    }
    /// `version`, empty when not set.
    pub fn version(self) -> &'a [u8] {
        len_field(self.message(), 2)
    }
    /// The block's `schema_url`, empty when not set.
    pub fn schema_url(self) -> &'a [u8] {
        self.span.schema_url.of(self.request)
    }
}

impl LogIndex {
    /// The record with index `i` of `request`, which must be the request that was indexed.
    pub fn record<'a>(&'a self, request: &'a [u8], i: usize) -> RecordRef<'a> {
        RecordRef::new(request, &self.records[i])
    }
    /// The scope of a record.
    pub fn scope_of<'a>(&'a self, request: &'a [u8], record: &RecordSpan) -> ScopeRef<'a> {
        ScopeRef::new(request, &self.scopes[record.scope_index as usize])
    }
    /// The resource of a record.
    pub fn resource_of<'a>(&'a self, request: &'a [u8], record: &RecordSpan) -> ResourceRef<'a> {
        let scope = &self.scopes[record.scope_index as usize];
        ResourceRef::new(request, &self.resources[scope.resource_index as usize])
    }
}

/// The last occurrence of a length-delimited field of a message, empty when absent or malformed.
fn len_field(message: &[u8], field: u32) -> &[u8] {
    let mut found: &[u8] = &[];
    let mut reader = Reader::new(message);
    while let Ok(Some(tag)) = reader.tag() {
        if tag.field == field && tag.wire_type == WireType::Len {
            match reader.bytes() {
                Ok(bytes) => found = bytes,
                Err(_) => break,
            }
        } else if reader.skip(tag).is_err() {
            break;
        }
    }
    found
}
