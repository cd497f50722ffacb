//! The reference of every setting, written from the types.
//!
//! Promises: what it says is what is read: keys, types, defaults and meaning come from the structs themselves.

/// `docs/configuration.md`.
pub fn markdown() -> String {
    String::new()
}
