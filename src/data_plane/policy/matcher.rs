//! One matcher: a field and a test.
//!
//! Purpose: evaluate a test on borrowed protobuf bytes.
//! Promises: a type that does not fit is no match, never an error; absent is absent whether the field is missing or, for
//! the record's own text fields and the body, empty.
//! Never: allocates (but for identifiers over 32 bytes, which are invalid anyway).

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::text::TextTest;
use crate::data_plane::view::{AnyValueRef, RecordRef, ResourceRef, ScopeRef};

/// Steps of an attribute path.
pub(super) type Path = Box<[Box<[u8]>]>;

/// A field that is not an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LogField {
    Body,
    SeverityText,
    TraceId,
    SpanId,
    EventName,
    ResourceSchemaUrl,
    ScopeSchemaUrl,
    SeverityNumber,
}

/// What a matcher, sample key or transform looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Field {
    Log(LogField),
    LogAttribute(Path),
    ResourceAttribute(Path),
    ScopeAttribute(Path),
}

/// Where the values of a record are read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub record: RecordRef<'a>,
    pub resource: ResourceRef<'a>,
    pub scope: ScopeRef<'a>,
}

impl Field {
    /// Whether all records of a block have the same value.
    pub fn is_of_block(&self) -> bool {
        match self {
            Field::ResourceAttribute(_) | Field::ScopeAttribute(_) => true,
            Field::Log(field) => matches!(field, LogField::ResourceSchemaUrl | LogField::ScopeSchemaUrl),
            Field::LogAttribute(_) => false,
        }
    }

    /// The field of a block; `None` when it is absent or belongs to the record.
    pub fn block_value<'a>(&self, resource: ResourceRef<'a>, scope: ScopeRef<'a>) -> Option<AnyValueRef<'a>> {
        match self {
            Field::ResourceAttribute(path) => present(resource.attributes().at(path)?),
            Field::ScopeAttribute(path) => present(scope.attributes().at(path)?),
            Field::Log(LogField::ResourceSchemaUrl) => text(resource.schema_url()),
            Field::Log(LogField::ScopeSchemaUrl) => text(scope.schema_url()),
            Field::Log(_) | Field::LogAttribute(_) => None,
        }
    }

    /// The field of a record; `None` when it is absent or belongs to the block.
    #[inline]
    pub fn record_value<'a>(&self, record: RecordRef<'a>) -> Option<AnyValueRef<'a>> {
        match self {
            Field::LogAttribute(path) => present(record.attributes().at(path)?),
            Field::Log(LogField::Body) => record.body().and_then(present).filter(|body| *body != AnyValueRef::Str(b"")),
            Field::Log(LogField::SeverityText) => text(record.severity_text()),
            Field::Log(LogField::EventName) => text(record.event_name()),
            Field::Log(LogField::TraceId) => identifier(record.trace_id()),
            Field::Log(LogField::SpanId) => identifier(record.span_id()),
            Field::Log(LogField::SeverityNumber) => {
                let number = record.span.severity_number;
                (number != 0).then_some(AnyValueRef::Int(i64::from(number)))
            }
            _ => None,
        }
    }

    /// The field, wherever it is.
    pub fn value<'a>(&self, place: Place<'a>) -> Option<AnyValueRef<'a>> {
        if self.is_of_block() { self.block_value(place.resource, place.scope) } else { self.record_value(place.record) }
    }

    /// How costly it is to find, in rough steps.
    pub fn cost(&self) -> u32 {
        match self {
            Field::Log(LogField::SpanId) | Field::LogAttribute(_) => 4,
            Field::Log(LogField::Body) => 1,
            _ => 0,
        }
    }
}

fn present(value: AnyValueRef<'_>) -> Option<AnyValueRef<'_>> {
    (value != AnyValueRef::Empty).then_some(value)
}

fn text(bytes: &[u8]) -> Option<AnyValueRef<'_>> {
    (!bytes.is_empty()).then_some(AnyValueRef::Str(bytes))
}

fn identifier(bytes: &[u8]) -> Option<AnyValueRef<'_>> {
    (!bytes.is_empty()).then_some(AnyValueRef::Bytes(bytes))
}

/// A number of a policy. Integers and doubles live in one domain, compared exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Double(f64),
}

impl Number {
    /// How a record's value compares to this number; `None` when it is no number or either is NaN.
    pub fn compare(self, value: AnyValueRef<'_>) -> Option<Ordering> {
        match (value, self) {
            (AnyValueRef::Int(value), Number::Int(number)) => Some(value.cmp(&number)),
            (AnyValueRef::Int(value), Number::Double(number)) => compare_mixed(value, number),
            (AnyValueRef::Double(value), Number::Int(number)) => compare_mixed(number, value).map(Ordering::reverse),
            (AnyValueRef::Double(value), Number::Double(number)) => value.partial_cmp(&number),
            _ => None,
        }
    }
}

/// Compares without rounding the integer to a double.
fn compare_mixed(int: i64, double: f64) -> Option<Ordering> {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() {
        return None;
    }
    if double >= TWO_63 {
        return Some(Ordering::Less);
    }
    if double < -TWO_63 {
        return Some(Ordering::Greater);
    }
    // In range, so the integral part is exact as an integer.
    let floor = double.floor();
    let order = int.cmp(&(floor as i64));
    Some(if order == Ordering::Equal && double > floor { Ordering::Less } else { order })
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Compare {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Compare::Equal => order == Ordering::Equal,
            Compare::Greater => order == Ordering::Greater,
            Compare::GreaterOrEqual => order != Ordering::Less,
            Compare::Less => order == Ordering::Less,
            Compare::LessOrEqual => order != Ordering::Greater,
        }
    }
}

/// What a value must be.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Exists,
    Text(TextTest),
    Number(Compare, Number),
    Bool(bool),
    Bytes(Box<[u8]>),
}

/// A field, a test, and whether the result counts the other way round.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    pub field: Field,
    pub test: Test,
    pub negate: bool,
}

impl Matcher {
    /// Whether a value passes; an absent one passes only negated.
    #[inline]
    pub fn accepts(&self, value: Option<AnyValueRef<'_>>) -> bool {
        value.is_some_and(|value| self.test.holds(value)) != self.negate
    }

    /// How costly it is, to try the cheapest first.
    pub fn cost(&self) -> u32 {
        let test = match &self.test {
            Test::Text(test) => test.cost(),
            _ => 0,
        };
        self.field.cost() + test
    }
}

impl Test {
    #[inline]
    fn holds(&self, value: AnyValueRef<'_>) -> bool {
        match (self, value) {
            (Test::Exists, _) => true,
            (Test::Text(test), AnyValueRef::Str(text)) => test.matches(text),
            // Patterns see bytes as lower-case hex; a string never equals bytes.
            (Test::Text(test), AnyValueRef::Bytes(bytes)) => !test.is_equality() && test.matches(&hex(bytes)),
            (Test::Number(compare, number), value) => number.compare(value).is_some_and(|order| compare.holds(order)),
            (Test::Bool(wanted), AnyValueRef::Bool(value)) => *wanted == value,
            (Test::Bytes(wanted), AnyValueRef::Bytes(value)) => **wanted == *value,
            _ => false,
        }
    }
}

/// Lower-case hex, on the stack for identifiers.
pub(super) fn hex(bytes: &[u8]) -> SmallVec<[u8; 64]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).collect()
}

/// A matcher on signatures or patterns: any of the list, or none of it when negated.
#[derive(Clone, Debug)]
pub(super) struct IdMatcher<Id> {
    /// Sorted.
    pub ids: Box<[Id]>,
    pub negate: bool,
}

impl<Id: Ord> IdMatcher<Id> {
    #[inline]
    pub fn accepts(&self, id: Id) -> bool {
        self.ids.binary_search(&id).is_ok() != self.negate
    }
}
