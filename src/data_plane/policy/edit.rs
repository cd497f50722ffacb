//! Changes to one protobuf message, field by field.
//!
//! Purpose: remove, replace, rename and add fields and attributes of a record, resource or scope without decoding it.
//! Promises: bytes that are not meant survive as they are, unknown fields, order and malformed rest too; a change that
//! finds nothing to do writes nothing.
//! Never: decides what to change.
//!
//! All functions append the changed message to `out` and say whether they changed anything; if not, `out` is as before.
//! An attribute list is the repeated `KeyValue` field number `field` of a message: 6 of a record, 1 of a resource, 3 of a
//! scope, 1 of a `KeyValueList`.

use crate::data_plane::view::wire::{Reader, WireType, put_len_field};
use crate::data_plane::view::{AnyValueRef, Attributes, KeyValueRef};

/// Field number of the entries of a `KeyValueList`.
const ENTRIES: u32 = 1;
/// Field numbers of `KeyValue`.
const KEY: u32 = 1;
const VALUE: u32 = 2;
/// Field number of `AnyValue.kvlist_value`.
const KVLIST: u32 = 6;

/// What becomes of an entry of an attribute list.
pub(super) enum Entry {
    Keep,
    Drop,
    /// A new `KeyValue` message.
    Write(Vec<u8>),
}

/// An `AnyValue` message with a string.
pub(super) fn string_value(text: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(text.len() + 4);
    put_len_field(&mut value, 1, text);
    value
}

fn key_value(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut entry = Vec::with_capacity(key.len() + value.len() + 8);
    put_len_field(&mut entry, KEY, key);
    put_len_field(&mut entry, VALUE, value);
    entry
}

/// Copies a message, asking `each` what becomes of each occurrence of the length-delimited field number `field`.
pub(super) fn map_field(message: &[u8], field: u32, out: &mut Vec<u8>, mut each: impl FnMut(&[u8]) -> Entry) -> bool {
    let begin = out.len();
    let mut reader = Reader::new(message);
    let mut copied = 0;
    let mut changed = false;
    loop {
        let start = reader.pos();
        let Ok(Some(tag)) = reader.tag() else { break };
        if tag.field != field || tag.wire_type != WireType::Len {
            if reader.skip(tag).is_err() {
                break;
            }
            continue;
        }
        let Ok(payload) = reader.bytes() else { break };
        let entry = each(payload);
        if matches!(entry, Entry::Keep) {
            continue;
        }
        changed = true;
        out.extend_from_slice(&message[copied..start]);
        if let Entry::Write(payload) = entry {
            put_len_field(out, field, &payload);
        }
        copied = reader.pos();
    }
    if changed {
        out.extend_from_slice(&message[copied..]);
    } else {
        out.truncate(begin);
    }
    changed
}

/// The last occurrence of a length-delimited field.
pub(super) fn last_field(message: &[u8], field: u32) -> Option<&[u8]> {
    let mut found = None;
    let mut reader = Reader::new(message);
    while let Ok(Some(tag)) = reader.tag() {
        if tag.field == field && tag.wire_type == WireType::Len {
            match reader.bytes() {
                Ok(bytes) => found = Some(bytes),
                Err(_) => break,
            }
        } else if reader.skip(tag).is_err() {
            break;
        }
    }
    found
}

/// Removes every occurrence of a field.
pub(super) fn remove_field(message: &[u8], field: u32, out: &mut Vec<u8>) -> bool {
    map_field(message, field, out, |_| Entry::Drop)
}

/// Sets a field: in place of its first occurrence, without the others; at the end when it is absent.
pub(super) fn set_field(message: &[u8], field: u32, payload: &[u8], out: &mut Vec<u8>) {
    let mut is_first = true;
    let found = map_field(message, field, out, |_| {
        let entry = if is_first { Entry::Write(payload.to_vec()) } else { Entry::Drop };
        is_first = false;
        entry
    });
    if !found {
        out.extend_from_slice(message);
        put_len_field(out, field, payload);
    }
}

/// A copy of `message` with a field set.
fn with_field(message: &[u8], field: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + payload.len() + 8);
    set_field(message, field, payload, &mut out);
    out
}

/// Changes the attribute list of a message at one key: message, field number of the list, key, out.
pub(super) type Leaf<'l> = &'l mut dyn FnMut(&[u8], u32, &[u8], &mut Vec<u8>) -> bool;

/// Goes down `path` and lets `leaf` change the attribute list that holds its last step.
pub(super) fn in_parent(message: &[u8], field: u32, path: &[Box<[u8]>], out: &mut Vec<u8>, leaf: Leaf<'_>) -> bool {
    match path {
        [] => false,
        [key] => leaf(message, field, key, out),
        [first, rest @ ..] => map_field(message, field, out, |payload| {
            let entry = KeyValueRef::parse(payload);
            let AnyValueRef::KvList(list) = entry.value() else { return Entry::Keep };
            if *entry.key != **first {
                return Entry::Keep;
            }
            let mut changed = Vec::with_capacity(list.len() + 64);
            if !in_parent(list, ENTRIES, rest, &mut changed, leaf) {
                return Entry::Keep;
            }
            Entry::Write(with_field(payload, VALUE, &with_field(entry.value_bytes, KVLIST, &changed)))
        }),
    }
}

/// Removes an attribute, every occurrence of it.
pub(super) fn remove(message: &[u8], field: u32, key: &[u8], out: &mut Vec<u8>) -> bool {
    map_field(
        message,
        field,
        out,
        |payload| {
            if KeyValueRef::parse(payload).key == key { Entry::Drop } else { Entry::Keep }
        },
    )
}

/// Replaces the value of an attribute, every occurrence of it, by the `AnyValue` message that `change` makes of it;
/// `None` leaves it.
pub(super) fn replace(
    message: &[u8],
    field: u32,
    key: &[u8],
    out: &mut Vec<u8>,
    change: &mut dyn FnMut(AnyValueRef<'_>) -> Option<Vec<u8>>,
) -> bool {
    map_field(message, field, out, |payload| {
        let entry = KeyValueRef::parse(payload);
        if entry.key != key || entry.value() == AnyValueRef::Empty {
            return Entry::Keep;
        }
        change(entry.value()).map_or(Entry::Keep, |value| Entry::Write(with_field(payload, VALUE, &value)))
    })
}

/// Gives an attribute another key; it moves to the end. Without `upsert` nothing happens when the key is taken, with it
/// the attribute there goes.
pub(super) fn rename(message: &[u8], field: u32, from: &[u8], to: &[u8], upsert: bool, out: &mut Vec<u8>) -> bool {
    let mut entries = Attributes::new(message, field);
    let Some(source) = entries.find(|entry| entry.key == from) else { return false };
    if source.value() == AnyValueRef::Empty || from == to || (!upsert && exists(message, field, to)) {
        return false;
    }
    let mut renamed = None;
    map_field(message, field, out, |payload| {
        let key = KeyValueRef::parse(payload).key;
        if key == from && renamed.is_none() {
            renamed = Some(with_field(payload, KEY, to));
        }
        if key == from || key == to { Entry::Drop } else { Entry::Keep }
    });
    if let Some(renamed) = &renamed {
        put_len_field(out, field, renamed);
    }
    renamed.is_some()
}

/// Whether an attribute has a value.
pub(super) fn exists(message: &[u8], field: u32, key: &[u8]) -> bool {
    Attributes::new(message, field).get(key).is_some_and(|value| value != AnyValueRef::Empty)
}

/// Sets the attribute at `path` to an `AnyValue` message, making the maps on the way. Without `upsert` an attribute that
/// has a value stays. A step that is there but is no map stops it.
pub(super) fn add(
    message: &[u8],
    field: u32,
    path: &[Box<[u8]>],
    value: &[u8],
    upsert: bool,
    out: &mut Vec<u8>,
) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    let present = Attributes::new(message, field).get(first);
    let value = match (present, rest) {
        (Some(AnyValueRef::Empty) | None, []) => value.to_vec(),
        (Some(_), []) if upsert => value.to_vec(),
        (Some(AnyValueRef::KvList(list)), [_, ..]) => {
            let mut changed = Vec::with_capacity(list.len() + value.len() + 64);
            if !add(list, ENTRIES, rest, value, upsert, &mut changed) {
                return false;
            }
            with_field(&[], KVLIST, &changed)
        }
        (Some(AnyValueRef::Empty) | None, [_, ..]) => {
            let mut list = Vec::with_capacity(value.len() + 64);
            add(&[], ENTRIES, rest, value, upsert, &mut list);
            with_field(&[], KVLIST, &list)
        }
        (Some(_), _) => return false,
    };
    let mut is_first = true;
    let found = map_field(message, field, out, |payload| {
        if *KeyValueRef::parse(payload).key != **first {
            return Entry::Keep;
        }
        let entry = if is_first { Entry::Write(with_field(payload, VALUE, &value)) } else { Entry::Drop };
        is_first = false;
        entry
    });
    if !found {
        out.extend_from_slice(message);
        put_len_field(out, field, &key_value(first, &value));
    }
    true
}
