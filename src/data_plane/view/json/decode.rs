//! JSON to protobuf in one streaming pass.
//!
//! Purpose: write each value to the output as it is read; a message's length is put in front when its end is known.
//! Promises: lengths are minimal, zero values of plain fields are left out, repeated numbers are packed: the bytes are
//! those of a usual encoder but for the order of fields, which is the sender's.
//! Never: recurses deeper than the JSON reader allows; trusts that text is UTF-8 (half a surrogate pair, which
//! JavaScript's `slice` leaves behind, becomes U+FFFD rather than cost the client the whole batch).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::wire::{WireType, put_len_tag, put_varint, varint_len};
use super::JsonError;
use super::scalar;
use super::schema::{Field, Kind, Label, Message};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The JSON reader quotes what it found, which may be long.
const MAX_MESSAGE_CHARS: usize = 200;

/// Reads one `message`.
pub fn decode(message: &'static Message, json: &[u8]) -> Result<Vec<u8>, JsonError> {
    // JSON is seldom less than twice its protobuf form.
    let mut writer = Writer { out: Vec::with_capacity(json.len() / 2), path: Vec::new() };
    let text = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
    read(message, text, json.len() - text.len(), &mut writer)?;
    Ok(writer.out)
}

/// Reads one `message` per line. Concatenated protobuf messages are one merged message, so nothing else is needed.
pub fn decode_lines(message: &'static Message, json: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut writer = Writer { out: Vec::with_capacity(json.len() / 2), path: Vec::new() };
    let mut line_start = if json.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    while line_start < json.len() {
        let rest = &json[line_start..];
        let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
        if !line.trim_ascii().is_empty() {
            read(message, line, line_start, &mut writer)?;
        }
        line_start += line.len() + 1;
    }
    Ok(writer.out)
}

/// Reads `text`, which begins at `offset` of the request body, and appends what it says.
fn read(message: &'static Message, text: &[u8], offset: usize, writer: &mut Writer) -> Result<(), JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let outcome = MessageSeed { writer, message }.deserialize(&mut deserializer).and_then(|_| deserializer.end());
    outcome.map_err(|error| describe(&error, text, offset, &writer.path))
}

#[cold]
fn describe(error: &serde_json::Error, text: &[u8], text_offset: usize, path: &[Step]) -> JsonError {
    let line_start = match error.line() {
        0 | 1 => 0,
        line => memchr::memchr_iter(b'\n', text).nth(line - 2).map_or(0, |newline| newline + 1),
    };
    let offset = (line_start + error.column()).min(text.len()) + text_offset;
    let position = format!(" at line {} column {}", error.line(), error.column());
    let said = error.to_string();
    let what = said.strip_suffix(&position).unwrap_or(&said);
    JsonError { offset, path: path_text(path), what: scalar::shorten(what, MAX_MESSAGE_CHARS) }
}

fn path_text(path: &[Step]) -> String {
    use fmt::Write as _;
    let mut text = String::new();
    for step in path {
        let _ = match step {
            Step::Field(name) if text.is_empty() => write!(text, "{name}"),
            Step::Field(name) => write!(text, ".{name}"),
            Step::Index(index) => write!(text, "[{index}]"),
        };
    }
    text
}

/// One step of the way to a value.
#[derive(Clone, Copy, Debug)]
enum Step {
    Field(&'static str),
    Index(usize),
}

/// The output, and where in the input we are. On an error the path stays at the fault.
struct Writer {
    out: Vec<u8>,
    path: Vec<Step>,
}

impl Writer {
    /// Writes field `number` with what `fill` appends, or nothing if `fill` says that there is nothing.
    fn delimited<E>(
        &mut self,
        number: u32,
        fill: impl FnOnce(&mut Self) -> Result<Presence, E>,
    ) -> Result<Presence, E> {
        let field_start = self.out.len();
        put_len_tag(&mut self.out, number);
        let len_at = self.out.len();
        self.out.push(0);
        let presence = fill(self)?;
        if presence == Presence::Absent {
            self.out.truncate(field_start);
            return Ok(presence);
        }
        let start = len_at + 1;
        let len = self.out.len() - start;
        if len < 0x80 {
            self.out[len_at] = len as u8;
        } else {
            let end = self.out.len();
            let shift = varint_len(len as u64) - 1;
            self.out.resize(end + shift, 0);
            self.out.copy_within(start..end, start + shift);
            let mut rest = len;
            for byte in &mut self.out[len_at..len_at + shift] {
                *byte = rest as u8 | 0x80;
                rest >>= 7;
            }
            self.out[len_at + shift] = rest as u8;
        }
        Ok(presence)
    }
}

/// Whether a value stood where one was read; `null` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Present,
    Absent,
}

/// Reads a message's fields and appends them.
struct MessageSeed<'w> {
    writer: &'w mut Writer,
    message: &'static Message,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = Presence;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Presence, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = Presence;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_none<E>(self) -> Result<Presence, E> {
        Ok(Presence::Absent)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Presence, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Presence, A::Error> {
        let mut hint = 0;
        while let Some(found) = map.next_key_seed(NameSeed { message: self.message, hint })? {
            let Some(index) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = &self.message.fields[index];
            self.writer.path.push(Step::Field(field.name));
            map.next_value_seed(FieldSeed { writer: self.writer, field })?;
            self.writer.path.pop();
            hint = index + 1;
        }
        Ok(Presence::Present)
    }
}

/// Reads a field's name; `None` for a name that is not known.
struct NameSeed {
    message: &'static Message,
    hint: usize,
}

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<Option<usize>, E> {
        Ok(self.message.find(name, self.hint))
    }
}

/// Reads a field's value, whatever its type and label, and appends the field.
struct FieldSeed<'w> {
    writer: &'w mut Writer,
    field: &'static Field,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let FieldSeed { writer, field } = self;
        match (field.label, field.kind) {
            (Label::Repeated | Label::RepeatedAlways, _) => {
                deserializer.deserialize_option(ListVisitor { writer, field })
            }
            (_, Kind::Message(message)) => writer
                .delimited(field.number, |writer| MessageSeed { writer, message }.deserialize(deserializer))
                .map(drop),
            (_, Kind::Str | Kind::Key | Kind::Hex | Kind::Base64) => {
                let keep_empty = matches!(field.label, Label::Explicit | Label::Oneof);
                writer
                    .delimited(field.number, |writer| {
                        let start = writer.out.len();
                        let read = deserializer.deserialize_option(TextVisitor { writer, kind: field.kind })?;
                        let is_empty = writer.out.len() == start && !keep_empty;
                        Ok(if is_empty { Presence::Absent } else { read })
                    })
                    .map(drop)
            }
            (label, kind) => number(writer, label, field.number, kind, deserializer),
        }
    }
}

/// Reads a single number or truth value and appends the field.
fn number<'de, D: Deserializer<'de>>(
    writer: &mut Writer,
    label: Label,
    field_number: u32,
    kind: Kind,
    deserializer: D,
) -> Result<(), D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?.get();
    if json == "null" {
        return Ok(());
    }
    let bits = number_bits(kind, json).map_err(D::Error::custom)?;
    if bits != 0 || label != Label::Implicit {
        put_varint(&mut writer.out, u64::from(field_number) << 3 | wire_code(kind.wire_type()));
        put_bits(&mut writer.out, kind, bits);
    }
    Ok(())
}

/// The value as it stands on the wire, before varint or little-endian encoding.
fn number_bits(kind: Kind, json: &str) -> Result<u64, String> {
    let integer = |min: i128, max: i128| scalar::integer(json, min, max);
    match kind {
        Kind::Bool => scalar::boolean(json).map(u64::from),
        Kind::Enum(names) => scalar::enumeration(json, names).map(|value| i64::from(value) as u64),
        Kind::Uint32 | Kind::Fixed32 => integer(0, i128::from(u32::MAX)).map(|value| value as u64),
        Kind::Sint32 => integer(i128::from(i32::MIN), i128::from(i32::MAX)).map(|value| {
            let value = value as i32;
            u64::from((value << 1 ^ value >> 31) as u32)
        }),
        Kind::Uint64 | Kind::Fixed64 => integer(0, i128::from(u64::MAX)).map(|value| value as u64),
        Kind::Int64 | Kind::Sfixed64 => {
            integer(i128::from(i64::MIN), i128::from(i64::MAX)).map(|value| value as i64 as u64)
        }
        Kind::Double => scalar::double(json).map(f64::to_bits),
        Kind::Str | Kind::Key | Kind::Hex | Kind::Base64 | Kind::Message(_) => Err("not a number".to_owned()),
    }
}

/// The low three bits of a tag.
fn wire_code(wire_type: WireType) -> u64 {
    match wire_type {
        WireType::Varint => 0,
        WireType::Fixed64 => 1,
        WireType::Len => 2,
        WireType::GroupStart => 3,
        WireType::GroupEnd => 4,
        WireType::Fixed32 => 5,
    }
}

fn put_bits(out: &mut Vec<u8>, kind: Kind, bits: u64) {
    match kind.wire_type() {
        WireType::Fixed64 => out.extend_from_slice(&bits.to_le_bytes()),
        WireType::Fixed32 => out.extend_from_slice(&(bits as u32).to_le_bytes()),
        _ => put_varint(out, bits),
    }
}

/// Appends the value of a text or bytes field.
struct TextVisitor<'w> {
    writer: &'w mut Writer,
    kind: Kind,
}

impl<'de> Visitor<'de> for TextVisitor<'_> {
    type Value = Presence;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Hex => "a string of hexadecimal digits",
            Kind::Base64 => "a string in base64",
            _ => "a string",
        })
    }

    fn visit_none<E>(self) -> Result<Presence, E> {
        Ok(Presence::Absent)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Presence, D::Error> {
        deserializer.deserialize_bytes(self)
    }

    fn visit_bytes<E: serde::de::Error>(self, text: &[u8]) -> Result<Presence, E> {
        let out = &mut self.writer.out;
        match self.kind {
            Kind::Hex => scalar::hex(text, out).map_err(E::custom)?,
            Kind::Base64 => scalar::base64(text, out).map_err(E::custom)?,
            _ if simdutf8::basic::from_utf8(text).is_ok() => out.extend_from_slice(text),
            _ => {
                let repaired: Cow<'_, str> = String::from_utf8_lossy(text);
                out.extend_from_slice(repaired.as_bytes());
            }
        }
        Ok(Presence::Present)
    }
}

/// Reads an array and appends one field per element, or one packed field of numbers.
struct ListVisitor<'w> {
    writer: &'w mut Writer,
    field: &'static Field,
}

impl<'de> Visitor<'de> for ListVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let ListVisitor { writer, field } = self;
        let packed = !matches!(field.kind, Kind::Str | Kind::Key | Kind::Hex | Kind::Base64 | Kind::Message(_));
        if packed {
            return writer.delimited(field.number, |writer| elements(&mut seq, writer, field)).map(drop);
        }
        elements(&mut seq, writer, field).map(drop)
    }
}

fn elements<'de, A: SeqAccess<'de>>(
    seq: &mut A,
    writer: &mut Writer,
    field: &'static Field,
) -> Result<Presence, A::Error> {
    let mut index = 0;
    loop {
        writer.path.push(Step::Index(index));
        if seq.next_element_seed(ElementSeed { writer, field })?.is_none() {
            writer.path.pop();
            return Ok(if index == 0 { Presence::Absent } else { Presence::Present });
        }
        writer.path.pop();
        index += 1;
    }
}

/// Reads one element of an array. A `null` among messages or texts is an empty one, so that the others keep their place.
struct ElementSeed<'w> {
    writer: &'w mut Writer,
    field: &'static Field,
}

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let ElementSeed { writer, field } = self;
        match field.kind {
            Kind::Message(message) => writer
                .delimited(field.number, |writer| {
                    MessageSeed { writer, message }.deserialize(deserializer)?;
                    Ok(Presence::Present)
                })
                .map(drop),
            Kind::Str | Kind::Key | Kind::Hex | Kind::Base64 => writer
                .delimited(field.number, |writer| {
                    deserializer.deserialize_option(TextVisitor { writer, kind: field.kind })?;
                    Ok(Presence::Present)
                })
                .map(drop),
            kind => {
                let json = <&RawValue>::deserialize(deserializer)?.get();
                let bits = number_bits(kind, json).map_err(D::Error::custom)?;
                put_bits(&mut writer.out, kind, bits);
                Ok(())
            }
        }
    }
}
