//! YAML as a tree that remembers where every value was written and whether it was substituted.
//!
//! Purpose: what merging, substitution and typed reading work on.
//! Promises: YAML 1.2 booleans only (`yes` and `on` are text), duplicate keys are refused, aliases and depth are bounded
//! by the parser's budget; an error of the parser never quotes the file.
//! Never: reads the environment.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess};
use serde_saphyr::Spanned;

use super::error::{Place, Problem};

/// Largest configuration file read.
pub const MAX_FILE_BYTES: u64 = 4 << 20;

/// A value and where it comes from.
#[derive(Clone)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it was written.
    pub place: Place,
    /// YAML path from the root; set by [`Node::name_paths`].
    pub path: Arc<str>,
    /// For a scalar that contains a substitution: the text it stands for and how it was written.
    pub substituted: Option<Substituted>,
}

/// A scalar after substitution.
#[derive(Clone)]
pub struct Substituted {
    /// The text put in, before it is typed: what a text setting gets.
    pub text: String,
    /// The scalar as written, such as `${env:TOKEN}`: what messages may show.
    pub written: String,
}

/// A YAML value. Maps keep the order of the file.
#[derive(Clone)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number with a fraction or exponent.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Node>),
    /// A map.
    Map(Vec<(String, Node)>),
}

impl Substituted {
    /// The message with the substituted text replaced by how it was written.
    pub fn scrub(&self, message: &str) -> String {
        if self.text.is_empty() {
            return message.to_owned();
        }
        let shown = format!("the value of {}", self.written);
        let quoted = format!("{:?}", self.text);
        let escaped = quoted.trim_matches('"');
        message.replace(&quoted, &shown).replace(escaped, &shown).replace(&self.text, &shown)
    }
}

impl Node {
    /// A node without a path yet.
    pub fn new(value: Value, place: Place) -> Self {
        Node { value, place, path: Arc::from(""), substituted: None }
    }

    /// The value under a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// The entries of a map; nothing for any other value.
    pub fn entries(&self) -> &[(String, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Gives every node below its path.
    pub fn name_paths(&mut self, path: &str) {
        self.path = Arc::from(path);
        match &mut self.value {
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.name_paths(&format!("{path}[{index}]"));
                }
            }
            Value::Map(entries) => {
                for (key, node) in entries {
                    node.name_paths(&join(path, key));
                }
            }
            _ => {}
        }
    }

    /// The node with this path, at or below this one.
    pub fn find(&self, path: &str) -> Option<&Node> {
        if *self.path == *path {
            return Some(self);
        }
        match &self.value {
            Value::List(items) => items.iter().find_map(|item| item.find(path)),
            Value::Map(entries) => entries.iter().find_map(|(_, node)| node.find(path)),
            _ => None,
        }
    }

    /// Removes the node with this path below this one; whether it was there.
    pub fn remove(&mut self, path: &str) -> bool {
        let before = self.len();
        match &mut self.value {
            Value::List(items) => {
                items.retain(|item| *item.path != *path);
                items.len() < before || items.iter_mut().any(|item| item.remove(path))
            }
            Value::Map(entries) => {
                entries.retain(|(_, node)| *node.path != *path);
                entries.len() < before || entries.iter_mut().any(|(_, node)| node.remove(path))
            }
            _ => false,
        }
    }

    /// Every scalar at or below this node that was substituted, with its path.
    pub fn substitutions<'a>(&'a self, found: &mut Vec<(&'a str, &'a Substituted)>) {
        found.extend(self.substituted.as_ref().map(|substituted| (&*self.path, substituted)));
        match &self.value {
            Value::List(items) => items.iter().for_each(|item| item.substitutions(found)),
            Value::Map(entries) => entries.iter().for_each(|(_, node)| node.substitutions(found)),
            _ => {}
        }
    }

    fn len(&self) -> usize {
        match &self.value {
            Value::List(items) => items.len(),
            Value::Map(entries) => entries.len(),
            _ => 0,
        }
    }
}

/// `path.key`.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Parses one YAML document.
///
/// # Errors
/// A problem with the line of the fault; it does not quote the text.
pub fn parse(text: &str, file: &Arc<str>) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(raw_to_node(raw, file)),
        Err(error) => {
            let line = error.location().map_or(0, |location| location.line());
            let place = Place { file: file.clone(), line: u32::try_from(line).unwrap_or(0) };
            Err(Problem::new("", describe(&error), "").at(Some(&place)))
        }
    }
}

/// The scalar a text stands for when written alone in YAML; text that would be a list or map stays text.
pub fn scalar(text: &str) -> Value {
    let empty: Arc<str> = Arc::from("");
    match parse(text, &empty) {
        Ok(Node { value: Value::List(_) | Value::Map(_), .. }) | Err(_) => Value::String(text.to_owned()),
        Ok(node) => node.value,
    }
}

fn describe(error: &serde_saphyr::Error) -> String {
    let message = error.without_snippet().to_string();
    let first_line = message.lines().next().unwrap_or_default();
    format!("not readable as YAML: {first_line}")
}

/// What the YAML parser is asked for; the span is added around it.
enum Raw {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    String(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn raw_to_node(raw: Spanned<Raw>, file: &Arc<str>) -> Node {
    let line = raw.referenced.line();
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::Int(value) => Value::Int(value),
        Raw::Float(value) => Value::Float(value),
        Raw::String(value) => Value::String(value),
        Raw::List(items) => Value::List(items.into_iter().map(|item| raw_to_node(item, file)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    // The line of the key: a value may begin lines below.
                    let key_line = u32::try_from(key.referenced.line()).unwrap_or(0);
                    let mut node = raw_to_node(value, file);
                    node.place.line = if key_line == 0 { node.place.line } else { key_line };
                    (key.value, node)
                })
                .collect(),
        ),
    };
    Node::new(value, Place { file: file.clone(), line: u32::try_from(line).unwrap_or(0) })
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
                Ok(Raw::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
                Ok(Raw::Int(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
                Ok(Raw::Int(value.into()))
            }
            fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
                Ok(Raw::Int(value))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
                Ok(Raw::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
                Ok(Raw::String(value.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<str> {
        Arc::from("t.yaml")
    }

    #[test]
    fn scalars_are_typed_as_yaml_1_2() {
        let node = parse("a: 1\nb: yes\nc: true\nd: '1'\ne: 1.5\nf:\ng: 0123\nh: ~\ni: -7", &file()).unwrap();
        let kinds: Vec<&str> = node
            .entries()
            .iter()
            .map(|(_, node)| match &node.value {
                Value::Null => "null",
                Value::Bool(_) => "bool",
                Value::Int(_) => "int",
                Value::Float(_) => "float",
                Value::String(_) => "string",
                _ => "other",
            })
            .collect();
        assert_eq!(kinds, ["int", "string", "bool", "string", "float", "null", "string", "null", "int"]);
    }

    #[test]
    fn lines_are_those_of_the_key() {
        let node = parse("a:\n  b:\n    - x\n    - y\nc: 1\n", &file()).unwrap();
        assert_eq!(node.get("a").unwrap().place.line, 1);
        assert_eq!(node.get("a").unwrap().get("b").unwrap().place.line, 2);
        assert_eq!(node.get("c").unwrap().place.line, 5);
    }

    #[test]
    fn faults_have_a_line_and_do_not_quote_the_text() {
        for (text, line) in [("a: 1\na: 2", 2), ("a: [MARKER", 1), ("a: 1\n  b: MARKER", 2)] {
            let problem = parse(text, &file()).err().unwrap();
            assert_eq!(problem.place.clone().unwrap().line, line, "{problem}");
            assert!(!problem.to_string().contains("MARKER"), "{problem}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(parse(&"[".repeat(100_000), &file()).is_err());
    }

    #[test]
    fn only_scalars_come_out_of_scalar() {
        assert!(matches!(scalar("12"), Value::Int(12)));
        assert!(matches!(scalar(""), Value::Null));
        assert!(matches!(scalar("a: b"), Value::String(_)));
        assert!(matches!(scalar("[a, b]"), Value::String(_)));
        assert!(matches!(scalar("true"), Value::Bool(true)));
    }
}
