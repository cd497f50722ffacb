//! Patterns as they are published, and the pattern of a message.
//!
//! Purpose: compile templates once; answer which pattern a signature belongs to.
//! Promises: the answer depends on the message's template and the published templates alone, not on their order; a message
//! that no template matches is its own pattern, with its signature's number as id.
//! Never: learns.

use std::fmt;
use std::sync::Arc;

use twox_hash::XxHash64;

use super::token::{self, Token};
use super::trie::Trie;
use crate::data_plane::signature::Signature;

/// The 64-bit hash (XXH64, seed 0) of a pattern's template. Prints as 16 lower-case hex digits. A pattern that nobody
/// published has the signature's template, and so the signature's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PatternId(pub u64);

impl PatternId {
    /// The id of a template.
    pub fn of(template: &str) -> Self {
        PatternId(XxHash64::oneshot(0, template.as_bytes()))
    }
}

impl From<Signature> for PatternId {
    fn from(signature: Signature) -> Self {
        PatternId(signature.0)
    }
}

impl fmt::Display for PatternId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for PatternId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let signature = text.parse::<Signature>();
        signature.map(PatternId::from).map_err(|_| format!("{text:?} is not a pattern: write 16 hex digits"))
    }
}

/// What a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Its signature.
    pub signature: Signature,
    /// Its pattern.
    pub pattern: PatternId,
}

impl From<Signature> for Grouping {
    /// Of a message that no published template matches.
    fn from(signature: Signature) -> Self {
        Grouping { signature, pattern: signature.into() }
    }
}

/// A published pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Hash of `template`.
    pub id: PatternId,
    /// What its messages have in common, `<*>` where they differ.
    pub template: Arc<str>,
    /// Other templates whose messages belong to it: other numbers of items, optional parts.
    pub forms: Vec<Box<str>>,
    /// Patterns that went into this one when their templates widened.
    pub parents: Vec<PatternId>,
}

impl Pattern {
    /// A pattern without forms and parents.
    pub fn new(template: &str) -> Self {
        Pattern { id: PatternId::of(template), template: template.into(), forms: Vec::new(), parents: Vec::new() }
    }
}

/// All published patterns.
#[derive(Clone, Debug)]
pub struct Catalogue {
    patterns: Vec<Pattern>,
    trie: Trie,
    version: u64,
}

impl Default for Catalogue {
    fn default() -> Self {
        Catalogue::new(Vec::new())
    }
}

impl Catalogue {
    /// Patterns as a catalogue holds them: in the order of their templates, `most` at most, each with its id. Of two with the
    /// same template, forms and parents are put together.
    pub fn in_order(mut patterns: Vec<Pattern>, most: usize) -> Vec<Pattern> {
        patterns.sort_by(|a, b| (&a.template, &a.forms).cmp(&(&b.template, &b.forms)));
        patterns.dedup_by(|later, first| {
            let is_same = later.template == first.template;
            if is_same {
                first.forms.append(&mut later.forms);
                first.parents.append(&mut later.parents);
            }
            is_same
        });
        patterns.truncate(most);
        for pattern in &mut patterns {
            pattern.id = PatternId::of(&pattern.template);
            pattern.parents.sort_unstable();
            pattern.parents.dedup();
            pattern.forms.sort_unstable();
            pattern.forms.dedup();
        }
        patterns
    }

    /// Compiles patterns. A form that two patterns claim belongs to the one whose template comes first in the order of bytes.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        let patterns = Self::in_order(patterns, usize::MAX);
        let mut trie = Trie::new();
        let mut version = 0;
        // Templates before forms: a form never takes the place of another pattern's template.
        for (i, pattern) in patterns.iter().enumerate() {
            insert(&mut trie, &pattern.template, i as u32);
            version = XxHash64::oneshot(version, pattern.template.as_bytes());
        }
        for (i, pattern) in patterns.iter().enumerate() {
            for form in &pattern.forms {
                insert(&mut trie, form, i as u32);
                version = XxHash64::oneshot(version, form.as_bytes());
            }
        }
        Catalogue { patterns, trie, version }
    }

    /// A number that differs when the templates do.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The patterns, in the order of their templates.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether nothing is published.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The published pattern that a message with this template belongs to, if any.
    pub fn find(&self, template: &str) -> Option<&Pattern> {
        if self.is_empty() {
            return None;
        }
        self.find_tokens(&token::tokens(template))
    }

    /// As [`Catalogue::find`], for a template that is cut into tokens already.
    pub fn find_tokens(&self, tokens: &[Token]) -> Option<&Pattern> {
        self.patterns.get(self.trie.find(tokens)? as usize)
    }

    /// The pattern of a message with this signature and template.
    pub fn resolve(&self, signature: Signature, template: &str) -> PatternId {
        self.find(template).map_or_else(|| PatternId::from(signature), |pattern| pattern.id)
    }
}

/// Puts in a template as it stands and as messages are read, where lists and repetitions are one token.
fn insert(trie: &mut Trie, template: &str, value: u32) {
    trie.insert(&token::tokens(template), value);
    trie.insert(&token::plain_tokens(template), value);
}
