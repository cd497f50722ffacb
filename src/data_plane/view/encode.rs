//! Writes attributes, records and blocks without prost.
//!
//! Purpose: the few messages of our own (an added attribute, a summary record with its blocks) as bytes.
//! Promises: minimal varints and fields in ascending order, so that the same content is the same bytes.
//! Never: reads, or checks that text is UTF-8: callers pass what they have checked.
//!
//! Field numbers are those of `opentelemetry/proto/{common,logs,resource}/v1` (OTLP 1.x).

use super::wire::{put_len_field, put_len_tag, put_varint, varint_len};

/// Field number of attributes in a `LogRecord`.
pub const RECORD_ATTRIBUTE: u32 = 6;
/// Field number of attributes in a `Resource`.
pub const RESOURCE_ATTRIBUTE: u32 = 1;
/// Field number of attributes in an `InstrumentationScope`.
pub const SCOPE_ATTRIBUTE: u32 = 3;

/// Appends an attribute with a string value, as field number `field` of the message that `out` holds.
pub fn string_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &[u8]) {
    let value_len = len_field_len(1, value.len());
    attribute_head(out, field, key, value_len);
    put_len_field(out, 1, value);
}

/// Appends an attribute with a boolean value, as [`string_attribute`].
pub fn bool_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: bool) {
    attribute_head(out, field, key, 2);
    out.extend_from_slice(&[2 << 3, u8::from(value)]);
}

/// Appends an attribute with an integer value, as [`string_attribute`].
pub fn int_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: i64) {
    attribute_head(out, field, key, 1 + varint_len(value as u64));
    out.push(3 << 3);
    put_varint(out, value as u64);
}

/// Appends an attribute with a floating-point value, as [`string_attribute`].
pub fn double_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: f64) {
    attribute_head(out, field, key, 9);
    out.push(4 << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends an attribute whose value is the `AnyValue` message `value`, as [`string_attribute`].
pub fn value_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &[u8]) {
    attribute_head(out, field, key, value.len());
    out.extend_from_slice(value);
}

/// `KeyValue` up to and with the length of its value.
fn attribute_head(out: &mut Vec<u8>, field: u32, key: &str, value_len: usize) {
    put_len_tag(out, field);
    put_varint(out, (len_field_len(1, key.len()) + len_field_len(2, value_len)) as u64);
    put_len_field(out, 1, key.as_bytes());
    put_len_tag(out, 2);
    put_varint(out, value_len as u64);
}

/// How many bytes a length-delimited field with `len` bytes of payload takes.
pub fn len_field_len(field: u32, len: usize) -> usize {
    varint_len(u64::from(field) << 3) + varint_len(len as u64) + len
}

/// Writes the fields of one `LogRecord` message in ascending order: call the methods in the order they stand here,
/// each at most once but attributes.
#[derive(Debug, Default)]
pub struct RecordBuilder {
    message: Vec<u8>,
}

impl RecordBuilder {
    /// Forgets the record, keeping the buffer.
    pub fn clear(&mut self) {
        self.message.clear();
    }

    /// The `LogRecord` message so far.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// `time_unix_nano`.
    pub fn time_unix_nano(&mut self, nanos: u64) -> &mut Self {
        self.fixed64(1, nanos)
    }

    /// `severity_number`, 1 to 24.
    pub fn severity_number(&mut self, number: u8) -> &mut Self {
        self.message.push(2 << 3);
        put_varint(&mut self.message, u64::from(number));
        self
    }

    /// `severity_text`.
    pub fn severity_text(&mut self, text: &str) -> &mut Self {
        put_len_field(&mut self.message, 3, text.as_bytes());
        self
    }

    /// A string `body`.
    pub fn body(&mut self, text: &[u8]) -> &mut Self {
        put_len_tag(&mut self.message, 5);
        put_varint(&mut self.message, len_field_len(1, text.len()) as u64);
        put_len_field(&mut self.message, 1, text);
        self
    }

    /// A string attribute.
    pub fn string(&mut self, key: &str, value: &[u8]) -> &mut Self {
        string_attribute(&mut self.message, RECORD_ATTRIBUTE, key, value);
        self
    }

    /// An integer attribute.
    pub fn int(&mut self, key: &str, value: i64) -> &mut Self {
        int_attribute(&mut self.message, RECORD_ATTRIBUTE, key, value);
        self
    }

    /// A boolean attribute.
    pub fn bool(&mut self, key: &str, value: bool) -> &mut Self {
        bool_attribute(&mut self.message, RECORD_ATTRIBUTE, key, value);
        self
    }

    /// `trace_id`, 16 bytes.
    pub fn trace_id(&mut self, id: &[u8]) -> &mut Self {
        put_len_field(&mut self.message, 9, id);
        self
    }

    /// `span_id`, 8 bytes.
    pub fn span_id(&mut self, id: &[u8]) -> &mut Self {
        put_len_field(&mut self.message, 10, id);
        self
    }

    /// `observed_time_unix_nano`.
    pub fn observed_time_unix_nano(&mut self, nanos: u64) -> &mut Self {
        self.fixed64(11, nanos)
    }

    /// `event_name`.
    pub fn event_name(&mut self, name: &str) -> &mut Self {
        put_len_field(&mut self.message, 12, name.as_bytes());
        self
    }

    fn fixed64(&mut self, field: u8, value: u64) -> &mut Self {
        self.message.push(field << 3 | 1);
        self.message.extend_from_slice(&value.to_le_bytes());
        self
    }
}

/// Appends one `ResourceLogs` field of a request: one resource, one scope, `records` (each a `LogRecord` message).
/// Empty `resource`, `scope` and schema URLs are left out.
pub fn resource_logs<'a>(
    out: &mut Vec<u8>,
    resource: Header<'_>,
    scope: Header<'_>,
    records: impl Iterator<Item = &'a [u8]> + Clone,
) {
    let scope_len = scope.len() + records.clone().map(|record| len_field_len(2, record.len())).sum::<usize>();
    put_len_tag(out, 1);
    put_varint(out, (resource.len() + len_field_len(2, scope_len)) as u64);
    resource.put_message(out);
    put_len_tag(out, 2);
    put_varint(out, scope_len as u64);
    scope.put_message(out);
    records.for_each(|record| put_len_field(out, 2, record));
    scope.put_schema_url(out);
    resource.put_schema_url(out);
}

/// What a block says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header<'a> {
    /// The `Resource` or `InstrumentationScope` message.
    pub message: &'a [u8],
    /// The block's `schema_url`.
    pub schema_url: &'a [u8],
}

impl Header<'_> {
    fn len(self) -> usize {
        let field = |number, bytes: &[u8]| if bytes.is_empty() { 0 } else { len_field_len(number, bytes.len()) };
        field(1, self.message) + field(3, self.schema_url)
    }
    fn put_message(self, out: &mut Vec<u8>) {
        if !self.message.is_empty() {
            put_len_field(out, 1, self.message);
        }
    }
    fn put_schema_url(self, out: &mut Vec<u8>) {
        if !self.schema_url.is_empty() {
            put_len_field(out, 3, self.schema_url);
        }
    }
}
