//! JSON bodies read as they are described, and no other way.
//!
//! Purpose: what serde takes beyond a description: an array of fields in place of an object, and `{"human": null}` in place of
//! `"human"`.
//! Promises: an object is read from an object alone, a name from a text alone, at any depth; an error names its place.
//! Never: knows a type; enums of bodies are names, or this refuses them.

use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer as _, MapAccess, SeqAccess,
    Visitor,
};

/// Reads a body. An error comes with the place it is at, empty for the body itself.
///
/// # Errors
/// What is no JSON, or not what is asked for.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, (String, serde_json::Error)> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    match T::deserialize(Strict(&mut json)) {
        Ok(read) => json.end().map(|()| read).map_err(|error| (String::new(), error)),
        // Once more, now with a note of the way: keeping one costs, and errors are few.
        Err(error) if error.is_data() => Err((place_of::<T>(bytes), error)),
        // What is no JSON says itself where it breaks off.
        Err(error) => Err((String::new(), error)),
    }
}

fn place_of<T: DeserializeOwned>(bytes: &[u8]) -> String {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize::<_, T>(Strict(&mut json));
    let place = read.err().map(|error| error.path().to_string());
    place.filter(|place| place != ".").unwrap_or_default()
}

/// A deserializer, strictly.
struct Strict<D>(D);
/// A visitor, or what a visitor goes through, with everything inside it read strictly.
struct Inside<V>(V);
/// Takes the name of a variant.
struct Name<V>(V);

macro_rules! pass {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => { $(
        fn $name<V: Visitor<'de>>(self, $($argument: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$name($($argument,)* Inside(visitor))
        }
    )* };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Inside(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_str(Name(visitor))
    }

    pass! {
        deserialize_any(); deserialize_bool(); deserialize_char(); deserialize_str(); deserialize_string();
        deserialize_i8(); deserialize_i16(); deserialize_i32(); deserialize_i64(); deserialize_i128();
        deserialize_u8(); deserialize_u16(); deserialize_u32(); deserialize_u64(); deserialize_u128();
        deserialize_f32(); deserialize_f64(); deserialize_bytes(); deserialize_byte_buf(); deserialize_option();
        deserialize_unit(); deserialize_unit_struct(name: &'static str); deserialize_seq(); deserialize_map();
        deserialize_newtype_struct(name: &'static str); deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize); deserialize_identifier(); deserialize_ignored_any();
    }
}

macro_rules! take {
    ($($name:ident($kind:ty);)*) => { $(
        fn $name<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.0.$name(value)
        }
    )* };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Inside<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    take! {
        visit_bool(bool); visit_i64(i64); visit_i128(i128); visit_u64(u64); visit_u128(u128); visit_f64(f64);
        visit_char(char); visit_str(&str); visit_borrowed_str(&'de str); visit_string(String); visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]); visit_byte_buf(Vec<u8>);
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Inside(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Inside(fields))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(variant)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Inside<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        self.0.next_element_seed(Inside(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Inside<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.0.next_value_seed(Inside(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Inside<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(deserializer))
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Name<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<V::Value, E> {
        self.0.visit_enum(name.into_deserializer())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Who {
        Human,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        count: u64,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Outer {
        who: Option<Who>,
        one: Option<Inner>,
        many: Vec<Inner>,
        named: BTreeMap<String, Inner>,
        raw: Option<Box<RawValue>>,
    }

    #[test]
    fn what_is_described_is_read() {
        let text = r#"{"who": "human", "one": {"count": 1}, "many": [{"count": 18446744073709551615}],
                       "named": {"a": {"count": 3}}, "raw": [1, {"b": null}]}"#;
        let read: Outer = from_slice(text.as_bytes()).unwrap();
        assert_eq!((read.who, read.one.unwrap().count), (Some(Who::Human), 1));
        assert_eq!((read.many[0].count, read.named["a"].count), (u64::MAX, 3));
        assert_eq!(read.raw.unwrap().get(), r#"[1, {"b": null}]"#);
        assert!(from_slice::<Outer>(b"{}").unwrap().who.is_none());
    }

    #[test]
    fn what_is_not_is_refused_and_its_place_named() {
        for (text, place) in [
            ("[]", ""),
            ("{} x", ""),
            ("{", ""),
            (r#"{"who": {"human": null}}"#, "who"),
            (r#"{"who": 0}"#, "who"),
            (r#"{"who": "dog"}"#, "who"),
            (r#"{"one": [1]}"#, "one"),
            (r#"{"many": [{"count": 1}, [1]]}"#, "many[1]"),
            (r#"{"many": [{"count": 18446744073709551616}]}"#, "many[0].count"),
            (r#"{"named": {"a": [1]}}"#, "named.a"),
        ] {
            let (found, error) = from_slice::<Outer>(text.as_bytes()).unwrap_err();
            assert_eq!(found, place, "{text}: {error}");
        }
    }
}
