//! A tree node as a typed section, with every error of it and not only the first.
//!
//! Purpose: read the parts' own config structs (serde) from a [`Node`].
//! Promises: an error names path, problem and hint; an unknown key gets a suggestion; after an error the value is left
//! at its default and reading goes on, so that all errors are found; no message shows a substituted value.
//! Never: checks meaning; see `check.rs`.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Unexpected, Visitor};

use super::error::{Place, Problem, suggest};
use super::node::{Node, Value};

/// Errors reported for one section at most.
const MAX_ERRORS: usize = 100;

/// Reads a section. Appends every error; `None` when nothing could be read.
pub fn read<T: DeserializeOwned>(node: &Node, errors: &mut Vec<Problem>) -> Option<T> {
    let mut tree = node.clone();
    for _ in 0..MAX_ERRORS {
        match T::deserialize(&tree) {
            Ok(value) => return Some(value),
            Err(error) => {
                let path = error.path.clone().unwrap_or_else(|| node.path.to_string());
                errors.push(error.into_problem(&path));
                if !tree.remove(&path) {
                    return None;
                }
            }
        }
    }
    None
}

/// An error on its way up to the node that gives it a path.
#[derive(Debug)]
pub struct ReadError {
    path: Option<String>,
    place: Option<Place>,
    problem: String,
    hint: String,
}

impl ReadError {
    fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        ReadError { path: None, place: None, problem: problem.into(), hint: hint.into() }
    }

    /// The innermost node wins.
    fn at(mut self, node: &Node) -> Self {
        if self.path.is_none() {
            self.path = Some(node.path.to_string());
            self.place = Some(node.place.clone());
            if let Some(substituted) = &node.substituted {
                self.problem = substituted.scrub(&self.problem);
            }
        }
        self
    }

    fn into_problem(self, path: &str) -> Problem {
        Problem::new(path, self.problem, self.hint).at(self.place.as_ref())
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ReadError {}

/// The kind of a value, never the value: it may be a secret in the wrong place.
fn kind(unexpected: &Unexpected<'_>) -> &'static str {
    match unexpected {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
        Unexpected::Str(_) | Unexpected::Char(_) => "text",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        _ => "something else",
    }
}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ReadError::new(message.to_string(), "")
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = match expected.to_string().as_str() {
            "a string" => "text".to_owned(),
            "a sequence" => "a list".to_owned(),
            "a boolean" => "true or false".to_owned(),
            "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number".to_owned(),
            "f32" | "f64" => "a number".to_owned(),
            other if other.starts_with("struct ") => "a map".to_owned(),
            other => other.strip_prefix("string or ").unwrap_or(other).to_owned(),
        };
        let hint = match (&unexpected, expected.as_str()) {
            (Unexpected::Unit, _) => "give a value, or remove the key to take the default",
            (Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_), "text") => {
                "put it in quotes"
            }
            (Unexpected::Str(_), "true or false") => "YAML 1.2 knows true and false only, without quotes",
            (Unexpected::Str(_), "a whole number" | "a number") => "remove the quotes or the unit",
            (Unexpected::Float(_), "a whole number") => "remove the fraction",
            (_, "a list") => "write [a] or - a",
            _ => "",
        };
        ReadError::new(format!("{} where {expected} is expected", kind(&unexpected)), hint)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let problem = match unexpected {
            Unexpected::Signed(value) => format!("{value} is out of range"),
            Unexpected::Unsigned(value) => format!("{value} is out of range"),
            _ => format!("{} that is not allowed here", kind(&unexpected)),
        };
        let expected = match expected.to_string().as_str() {
            "u32" => "a whole number from 0 to 4294967295".to_owned(),
            "u64" | "usize" => "a whole number, 0 or more".to_owned(),
            other => other.to_owned(),
        };
        ReadError::new(problem, format!("expected {expected}"))
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        ReadError::new(format!("{length} entries"), format!("expected {expected}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        ReadError::new(format!("{variant:?} is not a known value"), one_of(variant, expected))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        ReadError::new("unknown key", suggest(field, expected.iter().copied()))
    }

    fn missing_field(field: &'static str) -> Self {
        ReadError::new(format!("the key {field} is missing"), "")
    }

    fn duplicate_field(field: &'static str) -> Self {
        ReadError::new(format!("the key {field} is given twice"), "")
    }
}

fn one_of(variant: &str, expected: &[&'static str]) -> String {
    match suggest(variant, expected.iter().copied()) {
        hint if hint.starts_with("did you mean") => hint,
        _ => format!("one of {}", expected.join(", ")),
    }
}

impl Node {
    /// The scalar as text, where text is asked for: what was substituted keeps its spelling.
    fn text(&self) -> Option<&str> {
        match (&self.substituted, &self.value) {
            (Some(substituted), _) => Some(&substituted.text),
            (None, Value::String(text)) => Some(text),
            _ => None,
        }
    }

    fn visit<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => Err(ReadError::new("a number that is out of range", "")),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(entries) => visitor.visit_map(Entries { left: entries.iter(), value: None }),
        }
    }
}

/// Forwards what YAML's own type decides.
macro_rules! forward {
    ($($method:ident)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            self.deserialize_any(visitor)
        }
    )* };
}

/// Sections where a null stands for an empty one.
macro_rules! container {
    ($($method:ident($($arg:ident: $type:ty),*) $empty:expr;)*) => { $(
        fn $method<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, ReadError> {
            match self.value {
                Value::Null => $empty(visitor).map_err(|error: ReadError| error.at(self)),
                _ => self.deserialize_any(visitor),
            }
        }
    )* };
}

fn no_items<'de, V: Visitor<'de>>(visitor: V) -> Result<V::Value, ReadError> {
    visitor.visit_seq(Items([].iter()))
}

fn no_entries<'de, V: Visitor<'de>>(visitor: V) -> Result<V::Value, ReadError> {
    visitor.visit_map(Entries { left: [].iter(), value: None })
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.visit(visitor).map_err(|error| error.at(self))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.text() {
            Some(text) => visitor.visit_str(text).map_err(|error: ReadError| error.at(self)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match (&self.value, &self.substituted) {
            (Value::Null, None) => visitor.visit_none(),
            // A variable that is set but empty is a mistake to report, not a key left out.
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        // `compression: none` is text; `none` has no other type in YAML. Numbers and the like are refused with the names.
        let result = match self.text() {
            Some(text) => visitor.visit_enum(text.into_deserializer() as StrDeserializer<'_, ReadError>),
            None => Err(ReadError::new(
                format!("not a name of {}", name.to_lowercase()),
                format!("one of {}", variants.join(", ")),
            )),
        };
        result.map_err(|error| error.at(self))
    }

    container! {
        deserialize_seq() no_items;
        deserialize_tuple(_len: usize) no_items;
        deserialize_tuple_struct(_name: &'static str, _len: usize) no_items;
        deserialize_map() no_entries;
        deserialize_struct(_name: &'static str, _fields: &'static [&'static str]) no_entries;
    }

    forward! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_identifier
        deserialize_ignored_any
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = ReadError;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        // A type that reads a text and then finds fault with it has left the node by then.
        self.0.next().map(|node| seed.deserialize(node).map_err(|error| error.at(node))).transpose()
    }
}

struct Entries<'de> {
    left: std::slice::Iter<'de, (String, Node)>,
    value: Option<&'de Node>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, node)) = self.left.next() else { return Ok(None) };
        self.value = Some(node);
        let key: StrDeserializer<'_, ReadError> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| error.at(node))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        match self.value.take() {
            Some(node) => seed.deserialize(node).map_err(|error| error.at(node)),
            None => Err(ReadError::new("a value was read before its key", "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde::Deserialize;

    use super::*;
    use crate::config::node::parse;
    use crate::config::substitute::substitute;
    use crate::units::{ByteSize, Period, Secret};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        #[default]
        Red,
        Green,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Section {
        name: String,
        count: u32,
        ratio: f64,
        on: bool,
        size: ByteSize,
        wait: Period,
        colour: Colour,
        token: Option<Secret>,
        list: Vec<String>,
        headers: BTreeMap<String, Secret>,
        inner: Option<Box<Section>>,
    }

    fn read_section(text: &str) -> (Option<Section>, Vec<String>) {
        let env = |name: &str| match name {
            "TOKEN" => Some("SECRET\"x".to_owned()),
            "NUMBER" => Some("7".to_owned()),
            _ => None,
        };
        let mut node = parse(text, &Arc::from("t")).unwrap();
        node.name_paths("s");
        let mut errors = Vec::new();
        substitute(&mut node, &env, &mut errors);
        let section = read(&node, &mut errors);
        (section, errors.into_iter().map(|error| Problem { place: None, ..error }.to_string()).collect())
    }

    #[test]
    fn everything_is_read() {
        let (section, errors) = read_section(
            "name: n\ncount: 3\nratio: 5\non: true\nsize: 1MiB\nwait: 5s\ncolour: green\ntoken: ${env:NUMBER}\n\
             list: [a, '${env:NUMBER}']\nheaders: {x: y}\ninner: {count: '${env:NUMBER}'}",
        );
        assert_eq!(errors, [""; 0]);
        let section = section.unwrap();
        assert_eq!(section.token, Some(Secret::new("7")));
        assert_eq!(section.list, ["a", "7"]);
        assert_eq!(section.inner.unwrap().count, 7);
        assert_eq!((section.ratio, section.size), (5.0, ByteSize::mib(1)));
    }

    #[test]
    fn nulls_are_empty_sections() {
        assert_eq!(read_section("list:\nheaders:\ntoken:\ninner:"), (Some(Section::default()), vec![]));
        assert_eq!(read_section("~"), (Some(Section::default()), vec![]));
    }

    #[test]
    fn all_errors_are_found_with_path_and_hint() {
        let (section, errors) = read_section(
            "nmae: n\ncount: -3\nratio: x\non: yes\nsize: 5 lightyears\nwait: 5\ncolour: grene\ntoken: 12345\n\
             list: a\nheaders: {x: [1]}\ninner: {count: 1.5, zebra: 1, colour: 5, name: }",
        );
        let expected = [
            "s.nmae: unknown key (did you mean \"name\"?)",
            "s.count: -3 is out of range (expected a whole number from 0 to 4294967295)",
            "s.ratio: text where a number is expected (remove the quotes or the unit)",
            "s.on: text where true or false is expected (YAML 1.2 knows true and false only, without quotes)",
            "s.size: \"5 lightyears\" is not a size: write a number of bytes, or one with KiB, MiB, GiB, kB, MB, GB",
            "s.wait: 5 lacks a unit: write a duration such as 5s",
            "s.colour: \"grene\" is not a known value (did you mean \"green\"?)",
            "s.token: a number where text is expected (put it in quotes)",
            "s.list: text where a list is expected (write [a] or - a)",
            "s.headers.x: a list where text is expected",
            "s.inner.count: a number where a whole number is expected (remove the fraction)",
            "s.inner.zebra: unknown key (known here: name, count, ratio, on, size, wait, colour, token, list, headers, inner)",
            "s.inner.colour: not a name of colour (one of red, green)",
            "s.inner.name: nothing where text is expected (give a value, or remove the key to take the default)",
        ];
        assert_eq!(errors, expected);
        assert!(section.is_some());
    }

    #[test]
    fn a_substituted_value_does_not_show() {
        for key in ["count", "ratio", "on", "size", "wait", "colour", "list", "headers", "inner"] {
            let (_, errors) = read_section(&format!("{key}: ${{env:TOKEN}}"));
            assert_eq!(errors.len(), 1, "{key}");
            assert!(!errors[0].contains("SECRET"), "{errors:?}");
        }
    }
}
