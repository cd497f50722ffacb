//! Times as the store holds them and the API shows them.
//!
//! Promises: reads and writes RFC 3339 in UTC; what is shown reads back as the same time.
//! Never: reads a clock.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};

use crate::clock::UnixNanos;
use crate::data_plane::policy::parse_timestamp;

/// Nanoseconds since the Unix epoch; RFC 3339 in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From a clock.
    pub fn of(nanos: UnixNanos) -> Self {
        Timestamp(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// From seconds since the epoch.
    pub fn of_secs(secs: i64) -> Self {
        Timestamp(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch.
    pub fn nanos(self) -> UnixNanos {
        u64::try_from(self.0).unwrap_or(0)
    }

    /// Whole seconds since the epoch.
    pub fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// As the tables hold it.
    pub fn stored(self) -> i64 {
        self.0
    }

    /// As the tables hold it.
    pub fn from_stored(nanos: i64) -> Self {
        Timestamp(nanos)
    }

    /// So much earlier.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Timestamp(self.0.saturating_sub(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Timestamp(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339(UNIX_EPOCH + Duration::from_nanos(self.nanos())).fmt(f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse_timestamp(text)
            .map(Timestamp::of)
            .ok_or_else(|| "not a time such as 2027-01-31T00:00:00Z (RFC 3339)".to_owned())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("a time in RFC 3339"))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_and_read() {
        for (nanos, text) in
            [(0, "1970-01-01T00:00:00Z"), (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z")]
        {
            let time = Timestamp::of(nanos);
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse(), Ok(time));
        }
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert_eq!(Timestamp::of_secs(61).secs(), 61);
    }
}
