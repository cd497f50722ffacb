//! OTLP values as text for people, safe for terminals.
//!
//! Purpose: what the `debug` exporter prints of values and times.
//! Promises: whatever a log holds, the text holds no control character, no byte that is not UTF-8 and nothing that turns
//! the direction of writing around: a log line cannot clear a screen or pose as another line. Nesting is bounded.
//! Never: truncates; the caller does.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use crate::clock::UnixNanos;
use crate::data_plane::view::AnyValueRef;

/// Deepest value that is written out.
const MAX_DEPTH: u32 = 16;

/// Appends `bytes` as text, with everything that is not printable escaped.
pub(super) fn put_text(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_control() || is_treacherous(c) => {
                    let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// Line and paragraph separators, and the characters that embed, override or isolate a direction of writing.
fn is_treacherous(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Appends a value; strings without quotes.
pub(super) fn put_value(out: &mut String, value: AnyValueRef<'_>) {
    put_nested(out, value, 0);
}

fn put_nested(out: &mut String, value: AnyValueRef<'_>, depth: u32) {
    let _ = match value {
        AnyValueRef::Empty => Ok(()),
        AnyValueRef::Str(text) => {
            put_text(out, text);
            Ok(())
        }
        AnyValueRef::Bool(flag) => write!(out, "{flag}"),
        AnyValueRef::Int(number) => write!(out, "{number}"),
        AnyValueRef::Double(number) => write!(out, "{number}"),
        AnyValueRef::Bytes(bytes) => {
            out.push_str("0x");
            put_hex(out, bytes);
            Ok(())
        }
        AnyValueRef::Array(_) | AnyValueRef::KvList(_) if depth >= MAX_DEPTH => write!(out, "…"),
        AnyValueRef::Array(_) => {
            out.push('[');
            for (i, element) in value.elements().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                put_nested(out, element, depth + 1);
            }
            write!(out, "]")
        }
        AnyValueRef::KvList(_) => {
            out.push('{');
            for (i, entry) in value.entries().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                put_text(out, entry.key);
                out.push_str(": ");
                put_nested(out, entry.value(), depth + 1);
            }
            write!(out, "}}")
        }
    };
}

/// Appends lower-case hex digits.
pub(super) fn put_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

/// Appends a time as RFC 3339 in UTC, to the microsecond; `-` when it is 0, which OTLP means as unknown.
pub(super) fn put_time(out: &mut String, nanos: UnixNanos) {
    if nanos == 0 {
        out.push('-');
        return;
    }
    let time = UNIX_EPOCH + Duration::from_nanos(nanos);
    let _ = write!(out, "{}", humantime::format_rfc3339_micros(time));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_moves_the_terminal() {
        for (bytes, expected) in [
            (&b"plain \xc3\xbc"[..], "plain ü"),
            (b"\x1b[2J\x07\x9b", "\\u{1b}[2J\\u{7}\\x9b"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
            (b"two\nlines\r\tend\x7f\0", "two\\nlines\\r\\tend\\u{7f}\\u{0}"),
            ("\u{202e}esrever\u{2066}\u{2028}".as_bytes(), "\\u{202e}esrever\\u{2066}\\u{2028}"),
            (b"\xff\xfe", "\\xff\\xfe"),
        ] {
            let mut out = String::new();
            put_text(&mut out, bytes);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        use crate::data_plane::view::wire::put_len_field;
        let mut value = Vec::new();
        for _ in 0..1_000 {
            let mut array = Vec::new();
            put_len_field(&mut array, 1, &value);
            value.clear();
            put_len_field(&mut value, 5, &array);
        }
        let mut out = String::new();
        put_value(&mut out, AnyValueRef::parse(&value));
        assert_eq!(out, format!("{}…{}", "[".repeat(16), "]".repeat(16)));
    }

    #[test]
    fn times_are_read_by_people() {
        for (nanos, expected) in [
            (0, "-"),
            (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551Z"),
        ] {
            let mut out = String::new();
            put_time(&mut out, nanos);
            assert_eq!(out, expected);
        }
    }
}
