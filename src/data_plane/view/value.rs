//! `AnyValue`, `KeyValue` and attribute lists, read on demand from borrowed bytes.
//!
//! Purpose: let matchers and text extraction look at one value without decoding its neighbours.
//! Promises: iterators end at the first malformed byte instead of failing: a broken attribute is "absent", and is
//! forwarded as it came. Depth is bounded by the caller's path.
//! Never: allocates, or validates UTF-8 (callers that need `str` check).

use super::wire::{Reader, WireType};

/// One `AnyValue`. Composite values stay bytes until they are iterated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AnyValueRef<'a> {
    /// No value set (null).
    Empty,
    /// `string_value`, not checked to be UTF-8.
    Str(&'a [u8]),
    /// `bool_value`.
    Bool(bool),
    /// `int_value`.
    Int(i64),
    /// `double_value`.
    Double(f64),
    /// `array_value`: the `ArrayValue` message.
    Array(&'a [u8]),
    /// `kvlist_value`: the `KeyValueList` message.
    KvList(&'a [u8]),
    /// `bytes_value`.
    Bytes(&'a [u8]),
}

impl<'a> AnyValueRef<'a> {
    /// Reads an `AnyValue` message; the last field set wins, anything malformed reads as [`AnyValueRef::Empty`].
    #[inline]
    pub fn parse(message: &'a [u8]) -> Self {
        // Nearly every value is one string of less than 16 KiB and nothing else; no branch asks whether it is longer than 127
        // bytes, which is not predictable.
        if let [0x0a, low, high, ..] = message {
            let is_two = low >> 7;
            let len = usize::from(low & 0x7f) | usize::from(high & is_two.wrapping_neg()) << 7;
            let text = message.get(2 + usize::from(is_two)..).unwrap_or_default();
            if high & is_two << 7 == 0 && text.len() == len {
                return AnyValueRef::Str(text);
            }
        }
        AnyValueRef::parse_fields(message)
    }

    fn parse_fields(message: &'a [u8]) -> Self {
        let mut reader = Reader::new(message);
        let mut value = AnyValueRef::Empty;
        while let Ok(Some(tag)) = reader.tag() {
            let read = match (tag.field, tag.wire_type) {
                (1, WireType::Len) => reader.bytes().map(AnyValueRef::Str),
                (2, WireType::Varint) => reader.varint().map(|v| AnyValueRef::Bool(v != 0)),
                (3, WireType::Varint) => reader.varint().map(|v| AnyValueRef::Int(v as i64)),
                (4, WireType::Fixed64) => reader.fixed64().map(|v| AnyValueRef::Double(f64::from_bits(v))),
                (5, WireType::Len) => reader.bytes().map(AnyValueRef::Array),
                (6, WireType::Len) => reader.bytes().map(AnyValueRef::KvList),
                (7, WireType::Len) => reader.bytes().map(AnyValueRef::Bytes),
                _ => match reader.skip(tag) {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            match read {
                Ok(read) => value = read,
                Err(_) => return AnyValueRef::Empty,
            }
        }
        value
    }

    /// The string, if this is one and it is UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            AnyValueRef::Str(bytes) => simdutf8::basic::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The entries of a `KvList`; empty for anything else.
    pub fn entries(self) -> Attributes<'a> {
        match self {
            AnyValueRef::KvList(message) => Attributes::new(message, 1),
            _ => Attributes::new(&[], 1),
        }
    }

    /// The elements of an `Array`; empty for anything else.
    pub fn elements(self) -> impl Iterator<Item = AnyValueRef<'a>> {
        let message = match self {
            AnyValueRef::Array(message) => message,
            _ => &[],
        };
        let mut fields = LenFields::new(message, 1);
        std::iter::from_fn(move || fields.next().map(AnyValueRef::parse))
    }
}

/// One `KeyValue`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyValueRef<'a> {
    /// The key, not checked to be UTF-8.
    pub key: &'a [u8],
    /// The value's `AnyValue` message; parse it with [`AnyValueRef::parse`].
    pub value_bytes: &'a [u8],
}

impl<'a> KeyValueRef<'a> {
    /// Reads a `KeyValue` message; missing parts read as empty.
    #[inline]
    pub fn parse(message: &'a [u8]) -> Self {
        let mut found = KeyValueRef { key: &[], value_bytes: &[] };
        let mut reader = Reader::new(message);
        while let Ok(Some(tag)) = reader.tag() {
            let read = match (tag.field, tag.wire_type) {
                (1, WireType::Len) => reader.bytes().map(|bytes| found.key = bytes),
                (2, WireType::Len) => reader.bytes().map(|bytes| found.value_bytes = bytes),
                _ => reader.skip(tag),
            };
            if read.is_err() {
                break;
            }
        }
        found
    }

    /// The value.
    pub fn value(self) -> AnyValueRef<'a> {
        AnyValueRef::parse(self.value_bytes)
    }
}

/// Every occurrence of one length-delimited field of a message, as bytes.
#[derive(Clone, Debug)]
pub struct LenFields<'a> {
    reader: Reader<'a>,
    field: u32,
}

impl<'a> LenFields<'a> {
    /// Iterates field number `field` of `message`.
    pub fn new(message: &'a [u8], field: u32) -> Self {
        LenFields { reader: Reader::new(message), field }
    }
}

impl<'a> Iterator for LenFields<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        while let Ok(Some(tag)) = self.reader.tag() {
            if tag.field == self.field && tag.wire_type == WireType::Len {
                return self.reader.bytes().ok();
            }
            self.reader.skip(tag).ok()?;
        }
        None
    }
}

/// The attributes of a message, in order.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    fields: LenFields<'a>,
    /// Further messages whose attributes follow.
    messages: Option<LenFields<'a>>,
}

impl<'a> Attributes<'a> {
    /// Iterates the `KeyValue`s in field number `field` of `message`.
    pub fn new(message: &'a [u8], field: u32) -> Self {
        Attributes { fields: LenFields::new(message, field), messages: None }
    }

    /// Iterates the `KeyValue`s in field number `field` of every message in field number `message_field` of `block`:
    /// what protobuf makes of a message field that is repeated against its schema.
    pub fn of_repeated(block: &'a [u8], message_field: u32, field: u32) -> Self {
        Attributes { fields: LenFields::new(&[], field), messages: Some(LenFields::new(block, message_field)) }
    }

    /// The value of `key`; the first one, should there be several.
    pub fn get(self, key: &[u8]) -> Option<AnyValueRef<'a>> {
        let mut entries = self;
        entries.find(|entry| entry.key == key).map(KeyValueRef::value)
    }

    /// The value at the end of `path`, each step but the last a `KvList`.
    pub fn at<S: AsRef<[u8]>>(self, path: &[S]) -> Option<AnyValueRef<'a>> {
        let (first, rest) = path.split_first()?;
        let value = self.get(first.as_ref())?;
        if rest.is_empty() { Some(value) } else { value.entries().at(rest) }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = KeyValueRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<KeyValueRef<'a>> {
        loop {
            if let Some(entry) = self.fields.next() {
                return Some(KeyValueRef::parse(entry));
            }
            let message = self.messages.as_mut()?.next()?;
            self.fields = LenFields::new(message, self.fields.field);
        }
    }
}
