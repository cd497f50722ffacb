//! The OTLP messages as tables: field name, number and type.
//!
//! Purpose: one reader and one writer of JSON serve all three signals, with the same tolerance everywhere.
//! Promises: the tables list every field of `opentelemetry-proto` 1.9 logs, traces and metrics, in declaration order,
//! but the two string-table indices of the profiling signal.
//! Never: reads or writes anything.
//!
//! Source: the `.proto` files of opentelemetry-proto (`common`, `resource`, `logs` here; `trace` and `metrics` beside).

use super::super::wire::WireType;

/// A message: its fields in the order of the `.proto` file.
#[derive(Debug)]
pub struct Message {
    /// Its fields.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// lowerCamelCase name, as in OTLP JSON.
    pub name: &'static str,
    /// Field number.
    pub number: u32,
    /// Type of one value.
    pub kind: Kind,
    /// How often it may stand and whether a zero counts.
    pub label: Label,
}

/// How often a field may stand, and whether its zero value says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// At most once; zero is the same as absent. A message field is present even if empty.
    Implicit,
    /// At most once; zero is a value.
    Explicit,
    /// Member of the message's only `oneof`: the last one set wins, zero is a value.
    Oneof,
    /// Any number of times; numbers are packed.
    Repeated,
    /// As `Repeated`; written to JSON even if empty, because strict readers insist on it.
    RepeatedAlways,
}

/// Type of a value, on the wire and in JSON.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Text.
    Str,
    /// Text, written to JSON even if empty, because strict readers insist on it.
    Key,
    /// Bytes, hexadecimal in JSON: trace and span ids.
    Hex,
    /// Bytes, base64 in JSON.
    Base64,
    /// Truth value.
    Bool,
    /// Enumeration: an integer; the names by value are tolerated on input.
    Enum(&'static [&'static str]),
    /// `uint32`, a varint.
    Uint32,
    /// `sint32`, a zigzag varint.
    Sint32,
    /// `fixed32`.
    Fixed32,
    /// `int64`, a varint; text in JSON.
    Int64,
    /// `uint64`, a varint; text in JSON.
    Uint64,
    /// `fixed64`; text in JSON.
    Fixed64,
    /// `sfixed64`; text in JSON.
    Sfixed64,
    /// `double`.
    Double,
    /// A message of its own.
    Message(&'static Message),
}

impl Kind {
    /// Layout of one value on the wire.
    pub fn wire_type(self) -> WireType {
        match self {
            Kind::Str | Kind::Key | Kind::Hex | Kind::Base64 | Kind::Message(_) => WireType::Len,
            Kind::Bool | Kind::Enum(_) | Kind::Uint32 | Kind::Sint32 | Kind::Int64 | Kind::Uint64 => WireType::Varint,
            Kind::Fixed32 => WireType::Fixed32,
            Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => WireType::Fixed64,
        }
    }
}

impl Message {
    /// The index of the field called `name`, in lowerCamelCase or snake_case. The search starts at `hint`: writers keep
    /// the order of the `.proto` file, so the field after the last one is nearly always the right guess.
    pub fn find(&self, name: &[u8], hint: usize) -> Option<usize> {
        let count = self.fields.len();
        let wanted = |test: fn(&str, &[u8]) -> bool| {
            (0..count).map(|i| (i + hint) % count).find(|&i| test(self.fields[i].name, name))
        };
        wanted(|camel, name| camel.as_bytes() == name)
            .or_else(|| memchr::memchr(b'_', name).and_then(|_| wanted(is_snake_case_of)))
    }
}

/// Whether `name` is `camel` written in snake_case.
fn is_snake_case_of(camel: &str, name: &[u8]) -> bool {
    let mut rest = name;
    for byte in camel.bytes() {
        if byte.is_ascii_uppercase() {
            let Some(after) = rest.strip_prefix(b"_") else { return false };
            rest = after;
        }
        let Some(after) = rest.strip_prefix(&[byte.to_ascii_lowercase()]) else { return false };
        rest = after;
    }
    rest.is_empty()
}

/// A field that stands at most once and whose zero is the same as absent.
pub const fn one(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, label: Label::Implicit }
}

/// A field that stands at most once and whose zero is a value.
pub const fn optional(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, label: Label::Explicit }
}

/// A member of the message's `oneof`.
pub const fn either(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, label: Label::Oneof }
}

/// A repeated field.
pub const fn many(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, label: Label::Repeated }
}

const fn always(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, label: Label::RepeatedAlways }
}

static ANY_VALUE: Message = Message {
    fields: &[
        either("stringValue", 1, Kind::Str),
        either("boolValue", 2, Kind::Bool),
        either("intValue", 3, Kind::Int64),
        either("doubleValue", 4, Kind::Double),
        either("arrayValue", 5, Kind::Message(&ARRAY_VALUE)),
        either("kvlistValue", 6, Kind::Message(&KEY_VALUE_LIST)),
        either("bytesValue", 7, Kind::Base64),
    ],
};

static ARRAY_VALUE: Message = Message { fields: &[always("values", 1, Kind::Message(&ANY_VALUE))] };

static KEY_VALUE_LIST: Message = Message { fields: &[always("values", 1, Kind::Message(&KEY_VALUE))] };

/// `common.v1.KeyValue`: an attribute.
pub static KEY_VALUE: Message =
    Message { fields: &[one("key", 1, Kind::Key), one("value", 2, Kind::Message(&ANY_VALUE))] };

static ENTITY_REF: Message = Message {
    fields: &[
        one("schemaUrl", 1, Kind::Str),
        one("type", 2, Kind::Str),
        many("idKeys", 3, Kind::Str),
        many("descriptionKeys", 4, Kind::Str),
    ],
};

/// `resource.v1.Resource`.
pub static RESOURCE: Message = Message {
    fields: &[
        many("attributes", 1, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 2, Kind::Uint32),
        many("entityRefs", 3, Kind::Message(&ENTITY_REF)),
    ],
};

/// `common.v1.InstrumentationScope`.
pub static SCOPE: Message = Message {
    fields: &[
        one("name", 1, Kind::Str),
        one("version", 2, Kind::Str),
        many("attributes", 3, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 4, Kind::Uint32),
    ],
};

const SEVERITIES: &[&str] = &[
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];

static LOG_RECORD: Message = Message {
    fields: &[
        one("timeUnixNano", 1, Kind::Fixed64),
        one("observedTimeUnixNano", 11, Kind::Fixed64),
        one("severityNumber", 2, Kind::Enum(SEVERITIES)),
        one("severityText", 3, Kind::Str),
        one("body", 5, Kind::Message(&ANY_VALUE)),
        many("attributes", 6, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 7, Kind::Uint32),
        one("flags", 8, Kind::Fixed32),
        one("traceId", 9, Kind::Hex),
        one("spanId", 10, Kind::Hex),
        one("eventName", 12, Kind::Str),
    ],
};

static SCOPE_LOGS: Message = Message {
    fields: &[
        one("scope", 1, Kind::Message(&SCOPE)),
        many("logRecords", 2, Kind::Message(&LOG_RECORD)),
        one("schemaUrl", 3, Kind::Str),
    ],
};

static RESOURCE_LOGS: Message = Message {
    fields: &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        many("scopeLogs", 2, Kind::Message(&SCOPE_LOGS)),
        one("schemaUrl", 3, Kind::Str),
    ],
};

/// `ExportLogsServiceRequest` and `LogsData`, which are alike.
pub static LOGS: Message = Message { fields: &[many("resourceLogs", 1, Kind::Message(&RESOURCE_LOGS))] };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_both_spellings() {
        for (name, found) in [
            ("timeUnixNano", Some(0)),
            ("time_unix_nano", Some(0)),
            ("observed_time_unix_nano", Some(1)),
            ("traceId", Some(8)),
            ("trace_id", Some(8)),
            ("trace_Id", None),
            ("traceid", None),
            ("trace__id", None),
            ("trace_id_", None),
            ("_", None),
            ("", None),
        ] {
            for hint in [0, 3, 10, 11] {
                assert_eq!(LOG_RECORD.find(name.as_bytes(), hint), found, "{name:?} from {hint}");
            }
        }
    }
}
