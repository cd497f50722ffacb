//! Values with a unit as people write them in YAML: byte sizes, periods, secrets.
//!
//! Promises: one spelling each for parsing and printing; a secret never prints, not in logs, errors or `print-config`.
//! Never: reads the environment or files.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes: `2097152`, `"2MiB"`, `"64 MiB"`, `"1GB"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const BYTE_UNITS: [(&str, u64); 9] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
    ("", 1),
];

impl ByteSize {
    /// Mebibytes.
    pub const fn mib(n: u64) -> Self {
        ByteSize(n << 20)
    }
    /// As a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl std::str::FromStr for ByteSize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
        let unit = text.trim()[digits.len()..].trim();
        let factor = BYTE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let (Ok(number), Some(factor)) = (digits.parse::<f64>(), factor) else {
            return Err(format!(
                "{text:?} is not a size: write a number of bytes, or one with KiB, MiB, GiB, kB, MB, GB"
            ));
        };
        let bytes = number * factor as f64;
        if !(0.0..=1e18).contains(&bytes) {
            return Err(format!("{text:?} is out of range"));
        }
        Ok(ByteSize(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = BYTE_UNITS[..3].iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match unit {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A span of time: `"5s"`, `"200ms"`, `"1m30s"`, `"0s"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// Seconds.
    pub const fn secs(n: u64) -> Self {
        Period(Duration::from_secs(n))
    }
    /// Milliseconds.
    pub const fn millis(n: u64) -> Self {
        Period(Duration::from_millis(n))
    }
}

impl std::str::FromStr for Period {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "0" => Ok(Period(Duration::ZERO)),
            trimmed => humantime::parse_duration(trimmed).map(Period).map_err(|_| {
                format!("{text:?} is not a duration: write a number with a unit, such as 200ms, 5s or 1m30s")
            }),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.0).to_string().replace(' ', ""))
    }
}

/// A token, key or password. Prints as `[redacted]`; compare it in constant time where a client sent the other side.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }
    /// The secret itself; never pass it to anything that prints.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "a secret; give it as ${env:NAME}" })
    }
}

/// A URL that may hold a password; prints with `***` in its place.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Wraps a URL.
    pub fn new(text: impl Into<String>) -> Self {
        SecretUrl(text.into())
    }
    /// The URL itself; never pass it to anything that prints.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after_scheme = self.0.find("://").map_or(0, |at| at + 3);
        let authority = &self.0[after_scheme..];
        let authority = &authority[..authority.find(['/', '?', '#']).unwrap_or(authority.len())];
        let Some(at) = authority.rfind('@') else {
            // Parameters may hold passwords too.
            return f.write_str(self.0.split('?').next().unwrap_or_default());
        };
        let user = authority[..at].split(':').next().unwrap_or_default();
        let hidden = if authority[..at].contains(':') { ":***" } else { "" };
        let rest = self.0[after_scheme + at..].split('?').next().unwrap_or_default();
        write!(f, "{}{user}{hidden}{rest}", &self.0[..after_scheme])
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(SecretUrl)
    }
}

impl JsonSchema for SecretUrl {
    fn schema_name() -> Cow<'static, str> {
        "url".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "a URL; a password in it is hidden" })
    }
}

/// Serde and schema for a unit that is written as text, or as a plain number where `$number` says so.
macro_rules! text_unit {
    ($unit:ty, $name:literal, $example:literal, $number:expr) => {
        impl Serialize for $unit {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $unit {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $unit;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "a {} such as {}", $name, $example)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$unit, E> {
                        let from_number: fn(u64) -> Option<$unit> = $number;
                        from_number(number).ok_or_else(|| E::custom(format!("{number} lacks a unit: write a {} such as {}", $name, $example)))
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$unit, E> {
                        match u64::try_from(number) {
                            Ok(number) => self.visit_u64(number),
                            Err(_) => Err(E::custom(format!("{number} is negative"))),
                        }
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$unit, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
        impl JsonSchema for $unit {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": ["string", "integer"], "description": concat!("a ", $name, " such as ", $example) })
            }
        }
    };
}

text_unit!(ByteSize, "size", "64MiB", |number| Some(ByteSize(number)));
text_unit!(Period, "duration", "5s", |number| (number == 0).then_some(Period(Duration::ZERO)));

/// For an optional section: the key alone (`grpc:`, a null) means "with every default", a missing key means "not at all".
///
/// # Errors
/// Those of the section itself.
pub fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(|section| Some(section.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_print() {
        for (text, bytes, printed) in [
            ("2097152", 2 << 20, "2MiB"),
            ("64 MiB", 64 << 20, "64MiB"),
            ("1.5KiB", 1536, "1536"),
            ("1GB", 1_000_000_000, "1000000000"),
            ("0", 0, "0"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), printed, "{text}");
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        for bad in ["", "MiB", "-1", "5 lightyears", "1e40"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn periods_parse_and_print() {
        for (text, millis, printed) in
            [("5s", 5_000, "5s"), ("1m30s", 90_000, "1m30s"), ("200ms", 200, "200ms"), ("0", 0, "0s")]
        {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.0.as_millis(), millis, "{text}");
            assert_eq!(period.to_string(), printed);
        }
        assert!("5".parse::<Period>().is_err());
        assert!(serde_json::from_str::<Period>("5").is_err());
    }

    #[test]
    fn passwords_in_urls_do_not_print() {
        for (url, shown) in [
            ("sqlite:a.db", "sqlite:a.db"),
            ("sqlite:a.db?mode=ro", "sqlite:a.db"),
            ("postgres://h/d", "postgres://h/d"),
            ("postgres://u@h:1/d", "postgres://u@h:1/d"),
            ("postgres://u:p@ss@h/d?password=x", "postgres://u:***@h/d"),
            ("redis://:p@h", "redis://:***@h"),
            ("u:p@h", "u:***@h"),
        ] {
            assert_eq!(SecretUrl::new(url).to_string(), shown);
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let secret = Secret::new("phc_123");
        assert_eq!(format!("{secret:?} {}", serde_json::to_string(&secret).unwrap()), "[redacted] \"[redacted]\"");
    }
}
