//! A log's signature: which kind of message is it?
//!
//! Purpose: map the text of a record to the 64-bit hash of its masked template (`spec/signature.md`).
//! Promises: a pure function of the text, equal in every process, release and language; one pass over bounded bytes; no
//! regex; no allocation but in the caller's scratch buffer.
//! Never: looks at severity, service or time.

use std::fmt;

/// The 64-bit hash of a record's masked template. Prints as 16 lower-case hex digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signature(pub u64);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for Signature {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(hash) if digits => Ok(Signature(hash)),
            _ => Err(format!("{text:?} is not a signature: write 16 hex digits")),
        }
    }
}
