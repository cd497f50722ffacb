//! A log's signature: which kind of message is it?
//!
//! Purpose: map the text of a record to the 64-bit hash of its masked template (`spec/signature.md`).
//! Promises: a pure function of the text, equal in every process, release and language; one pass over bounded bytes; no
//! regex; no allocation but in the caller's scratch buffer.
//! Never: looks at severity, service or time.
//!
//! `text` says which text counts, `mask` makes its template: `line` holds it as sets of positions, `window` as runs
//! and marks; `scan` (with `marks` and `names`) finds what varies, `spans` joins it.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod line;
mod marks;
pub mod mask;
mod memo;
mod names;
mod scan;
mod spans;
pub mod text;
mod window;
mod words;

use std::fmt;

use twox_hash::XxHash64;

use super::view::RecordRef;
use mask::{Template, Variable};
use memo::{Found, Memo};

/// Version of `spec/signature.md`. Signatures of different versions do not compare.
pub const VERSION: u32 = 2;

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

/// Makes signatures. Holds the buffers that this takes, so keep one per worker.
#[derive(Debug, Default)]
pub struct Signer {
    template: Template,
    scratch: Vec<u8>,
    memo: Memo,
    /// The slot of the memo that holds the last template; none when the mask wrote it.
    slot: Option<usize>,
}

impl Signer {
    /// The signature of a record.
    #[inline]
    pub fn sign(&mut self, record: RecordRef<'_>) -> Signature {
        let Signer { template, scratch, memo, slot } = self;
        sign(text::of_record(record, scratch), template, memo, slot)
    }

    /// The signature of a record whose body is the string `text` (a JSON object is taken apart).
    #[inline]
    pub fn sign_text(&mut self, text: &[u8]) -> Signature {
        let Signer { template, scratch, memo, slot } = self;
        sign(text::of_text(text, scratch), template, memo, slot)
    }

    /// The masked template of a record, for people; bytes that are not UTF-8 are replaced. At most 3 KiB for UTF-8.
    pub fn template(&mut self, record: RecordRef<'_>) -> String {
        self.slot = None;
        self.template.write(text::of_record(record, &mut self.scratch));
        String::from_utf8_lossy(self.template.bytes()).into_owned()
    }

    /// The masked template of a record whose body is the string `text`, as [`Signer::template`].
    pub fn template_of_text(&mut self, text: &[u8]) -> String {
        self.slot = None;
        self.template.write(text::of_text(text, &mut self.scratch));
        String::from_utf8_lossy(self.template.bytes()).into_owned()
    }

    /// Signs `text` as [`Signer::sign_text`] does and says what of it was found to vary, in the order of the text.
    pub fn explain_text(&mut self, text: &[u8]) -> (Signature, Vec<Variable>) {
        self.slot = None;
        let variables = self.template.explain(text::of_text(text, &mut self.scratch));
        (hash(&self.template), variables)
    }

    /// The template written last, as its bytes.
    pub fn last_template(&self) -> &[u8] {
        self.slot.map_or(self.template.bytes(), |slot| self.memo.template(slot))
    }
}

#[inline]
fn sign(text: &[u8], template: &mut Template, memo: &mut Memo, slot: &mut Option<usize>) -> Signature {
    let found = memo.find(text);
    if let Found::Known(signature, at) = found {
        *slot = Some(at);
        return signature;
    }
    *slot = None;
    template.write(text);
    let signature = hash(template);
    if let Found::New(at) = found {
        memo.keep(at, template.bytes(), signature);
    }
    signature
}

#[inline]
fn hash(template: &Template) -> Signature {
    Signature(XxHash64::oneshot(0, template.bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_hash_of_the_template() {
        let mut signer = Signer::default();
        let signature = signer.sign_text(b"user=7 took 12.5 ms at /var/log/x");
        assert_eq!(signer.last_template(), b"user=<*> took <*> at <*>");
        assert_eq!(signature.0, XxHash64::oneshot(0, b"user=<*> took <*> at <*>"));
        assert_eq!(signature.to_string().parse(), Ok(signature));
        assert_eq!(signer.sign_text(b"user=ann took 9 s at /tmp"), signature);
    }

    #[test]
    fn only_16_hex_digits_are_a_signature() {
        for bad in ["", "12", "+123456789abcdef", "0123456789abcdeg", "00123456789abcdef"] {
            assert!(bad.parse::<Signature>().is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_that_differ_in_tokens_are_known_and_others_are_not() {
        let mut signer = Signer::default();
        if !signer.memo.is_on {
            return eprintln!("SKIPPED lines_that_differ_in_tokens_are_known_and_others_are_not: no AVX2");
        }
        let mut is_known = |text: &str| {
            signer.sign_text(text.as_bytes());
            signer.slot.is_some()
        };
        assert!(!is_known("took 12 ms for 3fa9c1de-77 of u17"));
        assert!(is_known("took 98 ms for 00a9cfd1-12 of u99"));
        assert!(is_known("took 98765 ms for 0fa9cfd1ef9c7d01-a7 of u1"));
        assert!(!is_known("took 98 ms for b0a9cfd1-12 of u99"), "a letter first may begin a scheme");
        assert!(!is_known("took 98 ms for 00a9cfd1-1:2 of u99"));
        for text in ["x {\"k1\": 2}", "x {\"k2\": 2}", "x {\"k1\": 2}"] {
            assert!(!is_known(text), "its template has a digit");
        }
        assert!(!is_known("") && !is_known(""));
        let long = "a ".repeat(memo::MAX_TEXT_BYTES);
        assert!(!is_known(&long) && !is_known(&long));
    }

    #[test]
    fn a_memo_that_does_not_pay_pauses() {
        let mut signer = Signer::default();
        if !signer.memo.is_on {
            return eprintln!("SKIPPED a_memo_that_does_not_pay_pauses: no AVX2");
        }
        let word = |n: u32| {
            format!("word {}", (0..8).map(|i| char::from(b'g' + (n >> (2 * i) & 3) as u8)).collect::<String>())
        };
        (0..memo::TRIAL).for_each(|n| {
            signer.sign_text(word(n).as_bytes());
        });
        assert_eq!(signer.memo.pause, memo::PAUSE);
        (0..memo::PAUSE).for_each(|_| {
            signer.sign_text(b"word 1");
        });
        assert_eq!((signer.memo.pause, signer.slot), (0, None));
        signer.sign_text(b"word 1");
        signer.sign_text(b"word 2");
        assert!(signer.slot.is_some());
    }
}
