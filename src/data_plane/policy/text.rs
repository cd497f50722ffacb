//! String tests on bytes: equality, prefix, suffix, substring and regular expression, with or without case.
//!
//! Purpose: the cheapest test that does what a matcher says, built once when a policy compiles.
//! Promises: no allocation and no UTF-8 check per record; linear time in the text.
//! Never: panics on text that is not UTF-8; it is compared as the bytes it is.

use memchr::memmem::Finder;
use regex::bytes::Regex;

use super::pattern::{self, PatternError};

/// A string test.
#[derive(Clone, Debug)]
pub(super) enum TextTest {
    Equals(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<Finder<'static>>),
    /// The same without ASCII case.
    EqualsFolded(Box<[u8]>),
    PrefixFolded(Box<[u8]>),
    SuffixFolded(Box<[u8]>),
    ContainsFolded(Box<[u8]>),
    /// And whether it ignores case.
    Regex(Box<Regex>, bool),
}

/// Where a literal must stand in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Whole,
    Start,
    End,
    Anywhere,
}

impl TextTest {
    /// A test for a literal. Without case, an ASCII literal ignores the case of ASCII letters and a literal with other
    /// characters folds as Unicode's simple case folding says.
    pub fn literal(literal: &str, place: Place, fold: bool) -> Result<Self, PatternError> {
        let bytes: Box<[u8]> = literal.as_bytes().into();
        if !fold {
            return Ok(match place {
                Place::Whole => TextTest::Equals(bytes),
                Place::Start => TextTest::Prefix(bytes),
                Place::End => TextTest::Suffix(bytes),
                Place::Anywhere => TextTest::Contains(Box::new(Finder::new(&bytes).into_owned())),
            });
        }
        if !literal.is_ascii() {
            let escaped = regex::escape(literal);
            let (before, after) = match place {
                Place::Whole => (r"\A(?:", r")\z"),
                Place::Start => (r"\A(?:", ")"),
                Place::End => ("(?:", r")\z"),
                Place::Anywhere => ("(?:", ")"),
            };
            return pattern::build(&format!("{before}{escaped}{after}"), true)
                .map(|re| TextTest::Regex(Box::new(re), true));
        }
        let lower: Box<[u8]> = literal.to_ascii_lowercase().into_bytes().into();
        Ok(match place {
            Place::Whole => TextTest::EqualsFolded(lower),
            Place::Start => TextTest::PrefixFolded(lower),
            Place::End => TextTest::SuffixFolded(lower),
            Place::Anywhere => TextTest::ContainsFolded(lower),
        })
    }

    /// A test for a regular expression in RE2 syntax.
    pub fn regex(source: &str, fold: bool) -> Result<Self, PatternError> {
        pattern::compile(source, fold).map(|re| TextTest::Regex(Box::new(re), fold))
    }

    /// Whether `text` passes.
    #[inline]
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            TextTest::Equals(literal) => text == &**literal,
            TextTest::Prefix(literal) => text.starts_with(literal),
            TextTest::Suffix(literal) => text.ends_with(literal),
            TextTest::Contains(finder) => finder.find(text).is_some(),
            TextTest::EqualsFolded(literal) => text.eq_ignore_ascii_case(literal),
            TextTest::PrefixFolded(literal) => {
                text.get(..literal.len()).is_some_and(|start| start.eq_ignore_ascii_case(literal))
            }
            TextTest::SuffixFolded(literal) => {
                text.len().checked_sub(literal.len()).is_some_and(|start| text[start..].eq_ignore_ascii_case(literal))
            }
            TextTest::ContainsFolded(literal) => contains_folded(text, literal),
            TextTest::Regex(regex, _) => regex.is_match(text),
        }
    }

    /// Whether the test asks for the whole value, not a part of it.
    pub fn is_equality(&self) -> bool {
        matches!(self, TextTest::Equals(_) | TextTest::EqualsFolded(_))
    }

    /// How costly the test is, in rough steps.
    pub fn cost(&self) -> u32 {
        match self {
            TextTest::Contains(_) => 2,
            TextTest::ContainsFolded(_) => 3,
            TextTest::Regex(..) => 8,
            _ => 0,
        }
    }
}

/// Tries each place where the first letter stands in either case.
fn contains_folded(text: &[u8], literal: &[u8]) -> bool {
    let Some((&first, _)) = literal.split_first() else { return true };
    let Some(last_start) = text.len().checked_sub(literal.len()) else { return false };
    memchr::memchr2_iter(first, first.to_ascii_uppercase(), &text[..=last_start])
        .any(|start| text[start..start + literal.len()].eq_ignore_ascii_case(literal))
}
