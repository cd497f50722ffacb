//! Protobuf to JSON.
//!
//! Purpose: show a request as OTLP JSON in the field order of the `.proto` files, whatever order the bytes are in.
//! Promises: the merge rules of protobuf hold (the last value of a field wins, messages that stand twice are merged,
//! the last member of a `oneof` wins); on an error the output is as it was.
//! Never: allocates per field, but for the rare message that stands twice; recurses deeper than
//! [`MAX_MESSAGE_DEPTH`](super::MAX_MESSAGE_DEPTH).

use std::io::Write as _;

use super::super::ViewError;
use super::super::wire::{Reader, Tag, WireType};
use super::MAX_MESSAGE_DEPTH;
use super::scalar;
use super::schema::{Field, Kind, Label, Message};

/// Appends `bytes`, a `message`, to `out`.
pub fn encode(message: &'static Message, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ViewError> {
    let before = out.len();
    let written = put_message(message, bytes, (0, bytes.len()), 0, out);
    if written.is_err() {
        out.truncate(before);
    }
    written
}

/// One value as it stands on the wire: a number, or where its bytes are.
#[derive(Clone, Copy)]
enum Raw {
    Bits(u64),
    Range(usize, usize),
}

/// Which fields of a message are set. Tables have fewer than 32 fields.
struct Survey {
    present: u32,
    repeated: u32,
    /// The member of the `oneof` that won, and where its last unbroken run of occurrences begins.
    chosen: Option<(usize, usize)>,
}

fn put_message(
    message: &'static Message,
    bytes: &[u8],
    (start, end): (usize, usize),
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), ViewError> {
    if depth > MAX_MESSAGE_DEPTH {
        return Err(ViewError { offset: start, what: "messages are nested too deeply" });
    }
    let survey = survey(message, Reader::within(bytes, start, end))?;
    out.push(b'{');
    let mut comma = false;
    for (index, field) in message.fields.iter().enumerate() {
        let from = match (field.label, survey.chosen) {
            (Label::Oneof, Some((winner, from))) if winner == index => from,
            (Label::Oneof, _) => continue,
            _ => start,
        };
        let is_written_empty = matches!(field.kind, Kind::Key) || field.label == Label::RepeatedAlways;
        if survey.present >> index & 1 == 0 && !is_written_empty {
            continue;
        }
        let name_start = out.len();
        if comma {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(field.name.as_bytes());
        out.extend_from_slice(b"\":");
        let reader = Reader::within(bytes, from, end);
        let is_merged = survey.repeated >> index & 1 == 1;
        if put_field(field, reader, bytes, is_merged, depth, out)? {
            comma = true;
        } else {
            out.truncate(name_start);
        }
    }
    out.push(b'}');
    Ok(())
}

/// Walks a message once, checks it, and notes what is there.
fn survey(message: &'static Message, mut reader: Reader<'_>) -> Result<Survey, ViewError> {
    let mut survey = Survey { present: 0, repeated: 0, chosen: None };
    loop {
        let tag_at = reader.pos();
        let Some(tag) = reader.tag()? else { return Ok(survey) };
        let Some(index) = message.fields.iter().position(|field| field.number == tag.field) else {
            reader.skip(tag)?;
            continue;
        };
        let field = &message.fields[index];
        let is_packed = tag.wire_type == WireType::Len && field.label == Label::Repeated;
        if tag.wire_type != field.kind.wire_type() && !is_packed {
            return Err(ViewError { offset: tag_at, what: "a field has the wrong wire type" });
        }
        reader.skip(tag)?;
        let bit = 1 << index;
        if field.label == Label::Oneof && survey.chosen.is_none_or(|(winner, _)| winner != index) {
            // Takes the place of another member, or starts anew after one: nothing to merge with.
            survey.present &= !bit;
            survey.repeated &= !bit;
            survey.chosen = Some((index, tag_at));
        }
        survey.repeated |= survey.present & bit;
        survey.present |= bit;
    }
}

/// Writes the value of `field`; `false` if it turns out to be a zero that is not written.
fn put_field(
    field: &'static Field,
    mut reader: Reader<'_>,
    bytes: &[u8],
    is_merged: bool,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<bool, ViewError> {
    match (field.label, field.kind) {
        (Label::Repeated | Label::RepeatedAlways, _) => put_list(field, reader, bytes, depth, out).map(|()| true),
        (_, Kind::Message(message)) if is_merged => {
            let mut merged = Vec::new();
            while let Some((_, raw)) = next_of(field, &mut reader)? {
                if let Raw::Range(start, end) = raw {
                    merged.extend_from_slice(&bytes[start..end]);
                }
            }
            put_message(message, &merged, (0, merged.len()), depth + 1, out).map(|()| true)
        }
        (label, kind) => {
            let mut last = None;
            while let Some((_, raw)) = next_of(field, &mut reader)? {
                last = Some(raw);
            }
            let raw = last.unwrap_or(Raw::Range(0, 0));
            let is_zero = match raw {
                Raw::Bits(bits) => bits == 0,
                Raw::Range(start, end) => start == end,
            };
            let is_omitted = is_zero && label == Label::Implicit && !matches!(kind, Kind::Key | Kind::Message(_));
            if !is_omitted {
                put_value(kind, raw, bytes, depth, out)?;
            }
            Ok(!is_omitted)
        }
    }
}

/// The next occurrence of `field`.
fn next_of(field: &Field, reader: &mut Reader<'_>) -> Result<Option<(Tag, Raw)>, ViewError> {
    while let Some(tag) = reader.tag()? {
        if tag.field == field.number {
            return Ok(Some((tag, read_raw(tag.wire_type, reader)?)));
        }
        reader.skip(tag)?;
    }
    Ok(None)
}

fn read_raw(wire_type: WireType, reader: &mut Reader<'_>) -> Result<Raw, ViewError> {
    Ok(match wire_type {
        WireType::Varint => Raw::Bits(reader.varint()?),
        WireType::Fixed64 => Raw::Bits(reader.fixed64()?),
        WireType::Fixed32 => Raw::Bits(u64::from(reader.fixed32()?)),
        WireType::Len => {
            let (start, end) = reader.len_range()?;
            Raw::Range(start, end)
        }
        WireType::GroupStart | WireType::GroupEnd => {
            return Err(ViewError { offset: reader.pos(), what: "a field has the wrong wire type" });
        }
    })
}

fn put_list(
    field: &'static Field,
    mut reader: Reader<'_>,
    bytes: &[u8],
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), ViewError> {
    let wire_type = field.kind.wire_type();
    let mut comma = false;
    out.push(b'[');
    while let Some((tag, raw)) = next_of(field, &mut reader)? {
        let mut put = |raw: Raw, out: &mut Vec<u8>| {
            if std::mem::replace(&mut comma, true) {
                out.push(b',');
            }
            put_value(field.kind, raw, bytes, depth, out)
        };
        match raw {
            Raw::Range(start, end) if tag.wire_type != wire_type => {
                let mut packed = Reader::within(bytes, start, end);
                while !packed.is_done() {
                    put(read_raw(wire_type, &mut packed)?, out)?;
                }
            }
            raw => put(raw, out)?,
        }
    }
    out.push(b']');
    Ok(())
}

fn put_value(kind: Kind, raw: Raw, bytes: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), ViewError> {
    let (bits, start, end) = match raw {
        Raw::Bits(bits) => (bits, 0, 0),
        Raw::Range(start, end) => (0, start, end),
    };
    let text = bytes.get(start..end).unwrap_or_default();
    match kind {
        Kind::Message(message) => return put_message(message, bytes, (start, end), depth + 1, out),
        Kind::Str | Kind::Key => put_string(&String::from_utf8_lossy(text), out),
        Kind::Hex => in_quotes(out, |out| scalar::put_hex(text, out)),
        Kind::Base64 => in_quotes(out, |out| scalar::put_base64(text, out)),
        Kind::Bool => out.extend_from_slice(if bits == 0 { b"false" } else { b"true" }),
        Kind::Enum(_) => put_display(out, bits as i32),
        Kind::Uint32 | Kind::Fixed32 => put_display(out, bits as u32),
        Kind::Sint32 => put_display(out, (bits as u32 >> 1) as i32 ^ -((bits & 1) as i32)),
        Kind::Int64 | Kind::Sfixed64 => in_quotes(out, |out| put_display(out, bits as i64)),
        Kind::Uint64 | Kind::Fixed64 => in_quotes(out, |out| put_display(out, bits)),
        Kind::Double => put_double(f64::from_bits(bits), out),
    }
    Ok(())
}

fn in_quotes(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    put(out);
    out.push(b'"');
}

fn put_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to memory does not fail.
    let _ = write!(out, "{value}");
}

fn put_double(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        // Debug prints the shortest text that reads back as the same double, with an exponent where that is shorter.
        let _ = write!(out, "{value:?}");
    } else if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else {
        out.extend_from_slice(if value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    }
}

/// Quotes and escapes as RFC 8259 demands, and no more.
fn put_string(text: &str, out: &mut Vec<u8>) {
    in_quotes(out, |out| {
        let bytes = text.as_bytes();
        let mut copied = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            out.extend_from_slice(&bytes[copied..at]);
            copied = at + 1;
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                _ => put_display(out, format_args!("\\u{byte:04x}")),
            }
        }
        out.extend_from_slice(&bytes[copied..]);
    });
}
