//! Numbers, truth values and bytes as OTLP JSON spells them.
//!
//! Purpose: the tolerance for single values in one place.
//! Promises: integers are exact over the whole 64-bit range, doubles are the nearest to the text.
//! Never: allocates for numbers; rounds an integer.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding and the unused low bits of the last digit are not held against the sender.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
/// How much of a wrong value an error message quotes.
const MAX_QUOTED_CHARS: usize = 60;
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Reads an integer between `min` and `max`: `5`, `"5"`, `5.0`, `5e0`.
pub fn integer(json: &str, min: i128, max: i128) -> Result<i128, String> {
    let text = unquote(json);
    let value = text.parse::<i128>().ok().or_else(|| integer_from_decimal(text));
    match value {
        Some(value) if (min..=max).contains(&value) => Ok(value),
        Some(value) => Err(format!("{value} is out of range, {min} to {max} fits")),
        None => Err(format!("expected an integer, found {}", describe(json))),
    }
}

/// An integer written with a fraction of zeros or an exponent. Writers that go through a double produce these.
fn integer_from_decimal(text: &str) -> Option<i128> {
    if let Some((whole, fraction)) = text.split_once('.')
        && !fraction.is_empty()
        && fraction.bytes().all(|b| b == b'0')
    {
        return whole.parse().ok();
    }
    let value = double_from(text)?;
    // 2^96 is far outside every integer type of OTLP, and exact in both types.
    (value.fract() == 0.0 && value.abs() < 79_228_162_514_264_337_593_543_950_336.0).then_some(value as i128)
}

/// Reads a double: `0.5`, `"0.5"`, `"NaN"`, `"Infinity"`, `"-Infinity"`.
pub fn double(json: &str) -> Result<f64, String> {
    match unquote(json) {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        text => double_from(text).ok_or_else(|| format!("expected a number, found {}", describe(json))),
    }
}

fn double_from(text: &str) -> Option<f64> {
    let starts_like_number = text.strip_prefix('-').unwrap_or(text).starts_with(|c: char| c.is_ascii_digit());
    text.parse().ok().filter(|value: &f64| starts_like_number && value.is_finite())
}

/// Reads a truth value.
pub fn boolean(json: &str) -> Result<bool, String> {
    match json {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("expected true or false, found {}", describe(json))),
    }
}

/// Reads an enumeration value: an integer, as OTLP wants it, or one of `names`, as general protobuf JSON has it.
pub fn enumeration(json: &str, names: &[&str]) -> Result<i32, String> {
    let text = unquote(json);
    if let Some(value) = names.iter().position(|name| *name == text) {
        return Ok(value as i32);
    }
    integer(json, i128::from(i32::MIN), i128::from(i32::MAX)).map(|value| value as i32)
}

/// Appends the bytes that `text` spells in hexadecimal digits of either case.
pub fn hex(text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!("expected hexadecimal digits in pairs, found {} of them", text.len()));
    }
    for &[high, low] in pairs {
        match (digit(high), digit(low)) {
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => {
                return Err(format!(
                    "expected hexadecimal digits, found {}",
                    shorten(&String::from_utf8_lossy(text), MAX_QUOTED_CHARS)
                ));
            }
        }
    }
    Ok(())
}

/// Appends the bytes that `text` spells in base64, standard or URL-safe, padded or not.
pub fn base64(text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let engine = if memchr::memchr2(b'-', b'_', text).is_some() { &URL_SAFE } else { &STANDARD };
    engine.decode_vec(text, out).map_err(|error| format!("expected base64: {error}"))
}

/// Appends `bytes` in hexadecimal, lower case.
pub fn put_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Appends `bytes` in standard base64 with padding.
pub fn put_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(base64::engine::general_purpose::STANDARD.encode(bytes).as_bytes());
}

/// The inside of a JSON string without escapes, or the text as it is.
fn unquote(json: &str) -> &str {
    json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json)
}

/// A JSON value as an error message names it.
fn describe(json: &str) -> String {
    match json.as_bytes().first() {
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "an array".to_owned(),
        _ => shorten(json, MAX_QUOTED_CHARS),
    }
}

/// The first `max_chars` of `text`, on one line.
pub fn shorten(text: &str, max_chars: usize) -> String {
    let mut short: String = text.chars().take(max_chars).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        let (min, max) = (i128::from(i64::MIN), i128::from(i64::MAX));
        for (json, value) in [
            ("5", 5),
            ("\"5\"", 5),
            ("-0", 0),
            ("1.0", 1),
            ("\"-1.00\"", -1),
            ("1e3", 1000),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("9223372036854775807", max),
            ("\"-9223372036854775808\"", min),
        ] {
            assert_eq!(integer(json, min, max), Ok(value), "{json}");
        }
        for json in ["1.5", "\"\"", "\"x\"", "true", "[]", "{}", "1e400", "\"NaN\"", "9223372036854775808", "1e19"] {
            assert!(integer(json, min, max).is_err(), "{json}");
        }
    }

    #[test]
    fn doubles() {
        for (json, value) in
            [("0.1", 0.1), ("\"0.1\"", 0.1), ("5", 5.0), ("-0.0", -0.0), ("\"-Infinity\"", f64::NEG_INFINITY)]
        {
            assert_eq!(double(json).map(f64::to_bits), Ok(f64::to_bits(value)), "{json}");
        }
        assert!(double("\"NaN\"").unwrap().is_nan());
        for json in ["\"\"", "\"inf\"", "\"nan\"", "1e400", "true", "\".5\"", "{}"] {
            assert!(double(json).is_err(), "{json}");
        }
    }

    #[test]
    fn bytes() {
        for text in ["+/8=", "+/8", "-_8=", "-_8"] {
            let mut out = Vec::new();
            base64(text.as_bytes(), &mut out).unwrap();
            assert_eq!(out, [0xfb, 0xff], "{text}");
        }
        let mut out = Vec::new();
        hex(b"00aAfF", &mut out).unwrap();
        assert_eq!(out, [0, 0xaa, 0xff]);
        assert!(hex(b"0", &mut out).is_err() && hex(b"0g", &mut out).is_err() && base64(b"*", &mut out).is_err());
    }
}
