//! One stored log as PostHog gives it back.
//!
//! Purpose: the same value from both of its APIs.
//! Promises: what is needed and missing or of another type is said by name; attributes that are not text become text.
//! Never: keeps what PostHog adds of its own (levels, fingerprints, checkpoints).

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::UnixNanos;
use crate::data_plane::policy::parse_timestamp;

/// A stored log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// PostHog's own id of the row.
    pub uuid: String,
    /// When it happened, to the microsecond.
    pub time: UnixNanos,
    /// When PostHog received it, to the microsecond.
    pub observed: UnixNanos,
    /// Text; a body that was no text is JSON.
    pub body: String,
    /// As sent.
    pub severity_text: String,
    /// 0 to 24.
    pub severity_number: u8,
    /// 16 bytes, or nothing.
    pub trace_id: Vec<u8>,
    /// 8 bytes, or nothing.
    pub span_id: Vec<u8>,
    /// The record's own attributes, as text.
    pub attributes: Vec<(String, String)>,
    /// Attributes of the resource, `service.name` among them.
    pub resource_attributes: Vec<(String, String)>,
    /// Name of the instrumentation scope.
    pub scope: String,
    /// As sent.
    pub event_name: String,
    /// A number by the row's id, below [`LOTS`](super::hogql::LOTS), where it was asked for: the lowest are drawn.
    pub lot: u64,
}

impl Row {
    /// Where it stands in the order of all rows.
    pub fn place(&self) -> (UnixNanos, &str) {
        (self.time, &self.uuid)
    }

    /// An attribute's text.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// A row of the logs query API. Further fields are not ours to mind.
#[derive(Deserialize)]
pub(super) struct RawRow {
    uuid: String,
    timestamp: String,
    #[serde(default)]
    observed_timestamp: Option<String>,
    body: Value,
    #[serde(default)]
    severity_text: Option<String>,
    severity_number: i64,
    #[serde(default)]
    trace_id: Option<String>,
    #[serde(default)]
    span_id: Option<String>,
    attributes: Value,
    resource_attributes: Value,
    #[serde(default)]
    instrumentation_scope: Option<String>,
    #[serde(default)]
    event_name: Option<String>,
    #[serde(default)]
    service_name: Option<String>,
}

impl RawRow {
    /// Columns of a HogQL query, in the order of [`RawRow::from_values`]: name, expression.
    pub(super) const COLUMNS: [(&str, &str); 13] = [
        ("uuid", "uuid"),
        ("timestamp", "timestamp"),
        ("observed_timestamp", "observed_timestamp"),
        ("body", "body"),
        ("severity_text", "severity_text"),
        ("severity_number", "severity_number"),
        ("trace_hex", "hex(tryBase64Decode(trace_id))"),
        ("span_hex", "hex(tryBase64Decode(span_id))"),
        ("attributes", "attributes"),
        ("resource_attributes", "resource_attributes"),
        ("instrumentation_scope", "instrumentation_scope"),
        ("event_name", "event_name"),
        ("service_name", "service_name"),
    ];

    /// From the values of those columns.
    pub(super) fn from_values(values: Vec<Value>) -> Result<RawRow, String> {
        let values: [Value; Self::COLUMNS.len()] =
            values.try_into().map_err(|_| "a row with another number of values".to_owned())?;
        let [uuid, timestamp, observed, body, text, number, trace, span, attributes, resource, scope, event, service] =
            values;
        Ok(RawRow {
            uuid: required("uuid", uuid)?,
            timestamp: required("timestamp", timestamp)?,
            observed_timestamp: optional(observed),
            body,
            severity_text: optional(text),
            severity_number: number.as_i64().ok_or_else(|| wrong("severity_number", &number))?,
            trace_id: optional(trace),
            span_id: optional(span),
            attributes,
            resource_attributes: resource,
            instrumentation_scope: optional(scope),
            event_name: optional(event),
            service_name: optional(service),
        })
    }

    /// Reads the parts.
    pub(super) fn read(self) -> Result<Row, String> {
        let time = |name: &str, text: &str| moment(text).ok_or_else(|| format!("{name} is {text:?}"));
        let at = time("timestamp", &self.timestamp)?;
        let observed = self.observed_timestamp.as_deref().map(|text| time("observed_timestamp", text)).transpose()?;
        if self.uuid.is_empty() {
            return Err("uuid is empty".into());
        }
        let mut resource_attributes = pairs("resource_attributes", self.resource_attributes)?;
        let service = self.service_name.filter(|name| !name.is_empty());
        if let Some(service) = service
            && !resource_attributes.iter().any(|(key, _)| key == "service.name")
        {
            resource_attributes.push(("service.name".into(), service));
        }
        Ok(Row {
            uuid: self.uuid,
            time: at,
            observed: observed.unwrap_or(at),
            body: text(self.body),
            severity_text: self.severity_text.unwrap_or_default(),
            severity_number: u8::try_from(self.severity_number).unwrap_or(0).min(24),
            trace_id: id(self.trace_id.as_deref().unwrap_or_default(), 16),
            span_id: id(self.span_id.as_deref().unwrap_or_default(), 8),
            attributes: pairs("attributes", self.attributes)?,
            resource_attributes,
            scope: self.instrumentation_scope.unwrap_or_default(),
            event_name: self.event_name.unwrap_or_default(),
            lot: 0,
        })
    }
}

fn required(name: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong(name, &other)),
    }
}

fn optional(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn wrong(name: &str, value: &Value) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("{name} is {kind}")
}

/// RFC 3339; ClickHouse's own form without a zone is UTC.
fn moment(text: &str) -> Option<UnixNanos> {
    parse_timestamp(text).or_else(|| parse_timestamp(&format!("{text}Z")))
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A map, which some versions give as JSON in a text.
fn pairs(name: &str, value: Value) -> Result<Vec<(String, String)>, String> {
    let flat = |map: Map<String, Value>| map.into_iter().map(|(key, value)| (key, text(value))).collect();
    match value {
        Value::Object(map) => Ok(flat(map)),
        Value::Null => Ok(Vec::new()),
        Value::String(json) => match serde_json::from_str(&json) {
            Ok(map) => Ok(flat(map)),
            Err(_) => Err(format!("{name} is text that is no JSON")),
        },
        other => Err(wrong(name, &other)),
    }
}

/// Hex digits as `len` bytes; nothing for anything else, and for zeros, which stand for no id.
fn id(hex: &str, len: usize) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let bytes: Option<Vec<u8>> =
        hex.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect();
    bytes.filter(|bytes| bytes.len() == len && bytes.iter().any(|byte| *byte != 0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Row, String> {
        serde_json::from_str::<RawRow>(json).map_err(|error| error.to_string()).and_then(RawRow::read)
    }

    const WHOLE: &str = r#"{"uuid":"u1","timestamp":"2026-11-22T21:50:54.123456Z","observed_timestamp":"2026-11-22T22:50:55+01:00",
        "body":"hi","severity_text":"INFO","severity_number":9,"level":"info","trace_id":"000102030405060708090A0B0C0D0E0F",
        "span_id":"0000000000000000","attributes":{"n":"1"},"resource_attributes":{"service.name":"shop"},"new":[1]}"#;

    #[test]
    fn a_row_is_read_and_what_is_new_is_ignored() {
        let row = read(WHOLE).unwrap();
        assert_eq!((row.time, row.observed), (1_795_384_254_123_456_000, 1_795_384_255_000_000_000));
        assert_eq!((row.trace_id[15], row.span_id.len()), (15, 0), "zeros are no id");
        assert_eq!((row.attribute("n"), row.resource_attributes.len()), (Some("1"), 1));
    }

    #[test]
    fn what_is_missing_or_odd_is_named() {
        for (from, to, says) in [
            ("\"uuid\"", "\"id\"", "missing field `uuid`"),
            ("\"body\"", "\"text\"", "missing field `body`"),
            ("\"attributes\"", "\"tags\"", "missing field `attributes`"),
            ("2026-11-22T21:50:54.123456Z", "yesterday", "timestamp is \"yesterday\""),
            ("{\"n\":\"1\"}", "[1]", "attributes is a list"),
            ("\"severity_number\":9", "\"severity_number\":\"9\"", "invalid type: string"),
        ] {
            let error = read(&WHOLE.replace(from, to)).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let odd = WHOLE.replace("\"hi\"", "{\"a\":1}").replace("{\"n\":\"1\"}", "\"{\\\"n\\\":1}\"");
        let odd = read(&odd.replace("2026-11-22T21:50:54.123456Z", "2026-11-22 21:50:54.123456")).unwrap();
        assert_eq!((odd.body.as_str(), odd.attribute("n")), ("{\"a\":1}", Some("1")));
    }
}
