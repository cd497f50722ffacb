//! Many text tests on one field, answered by one search.
//!
//! Purpose: with hundreds of policies that look for words in the same field, read the field once and walk its bytes once,
//! then try only the policies whose words were found.
//! Promises: a policy that would match is always among those tried; what is tried is tested in full afterwards, so an index
//! changes cost and never outcomes; no allocation per record once the buffer has grown.
//! Never: decides that a policy matches.
//!
//! A policy's anchor is one of its positive tests on the record: equality with a text, a literal to be found, or the
//! literals that every match of its regular expression begins or ends with. Policies without one are tried one by one.

use std::collections::BTreeMap;

use ahash::HashMap;
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use smallvec::SmallVec;

use super::compile::Compiled;
use super::matcher::{Field, Matcher, Test};
use super::text::TextTest;
use crate::data_plane::view::{AnyValueRef, RecordRef};

/// Policies on one field from which an index pays: a search walks every byte, single tests skip most
/// (`cargo bench policies`: even at about four literals of a body of 100 bytes).
const LEAST_POLICIES: usize = 4;
/// Shorter literals are found too often to rule anything out.
const MIN_LITERAL_BYTES: usize = 3;
/// Literals that a regular expression may begin or end with.
const MAX_LITERALS: usize = 64;

type Owners = SmallVec<[u16; 2]>;

/// The policies that share a field, by what they look for in it.
#[derive(Debug)]
pub(super) struct TextIndex {
    pub field: Field,
    /// All of them, ascending.
    pub policies: Box<[u16]>,
    exact: HashMap<Box<[u8]>, Owners>,
    literals: Option<Search>,
    /// Without ASCII case.
    folded: Option<Search>,
}

#[derive(Debug)]
struct Search {
    automaton: AhoCorasick,
    /// By the automaton's pattern.
    owners: Box<[Owners]>,
}

/// What a policy hangs on.
enum Anchor {
    Exact(Box<[u8]>),
    Literals { literals: Vec<Box<[u8]>>, fold: bool },
}

/// Which literals of a search were found. Reuse it between records to keep its buffer.
#[derive(Debug, Default)]
pub(super) struct Found(Vec<u64>);

/// Takes the policies that have an anchor out of `general`, where enough of them share a field.
pub(super) fn index(general: &mut Vec<u16>, compiled: &[Compiled]) -> Box<[TextIndex]> {
    let mut fields: Vec<(Field, Vec<(u16, Anchor)>)> = Vec::new();
    for &policy in general.iter() {
        let Some((field, anchor)) = anchor_of(&compiled[usize::from(policy)].matchers) else { continue };
        match fields.iter_mut().find(|(known, _)| known == field) {
            Some((_, anchors)) => anchors.push((policy, anchor)),
            None => fields.push((field.clone(), vec![(policy, anchor)])),
        }
    }
    fields.retain(|(_, anchors)| anchors.len() >= LEAST_POLICIES);
    let indices: Vec<TextIndex> =
        fields.into_iter().filter_map(|(field, anchors)| TextIndex::new(field, anchors)).collect();
    let mut taken: Vec<u16> = indices.iter().flat_map(|index| index.policies.iter().copied()).collect();
    taken.sort_unstable();
    general.retain(|policy| taken.binary_search(policy).is_err());
    indices.into()
}

/// The anchor that rules out most: equality before literals, and of those the longest.
fn anchor_of(matchers: &[Matcher]) -> Option<(&Field, Anchor)> {
    let anchors = matchers.iter().filter(|matcher| !matcher.negate).filter_map(|matcher| {
        let Test::Text(test) = &matcher.test else { return None };
        Some((&matcher.field, anchor(test)?))
    });
    anchors.max_by_key(|(_, anchor)| match anchor {
        Anchor::Exact(_) => usize::MAX,
        Anchor::Literals { literals, .. } => literals.iter().map(|literal| literal.len()).min().unwrap_or(0),
    })
}

fn anchor(test: &TextTest) -> Option<Anchor> {
    let literals = |literal: &[u8], fold: bool| {
        (literal.len() >= MIN_LITERAL_BYTES).then(|| Anchor::Literals { literals: vec![literal.into()], fold })
    };
    match test {
        TextTest::Equals(text) => Some(Anchor::Exact(text.clone())),
        TextTest::Contains(finder) => literals(finder.needle(), false),
        TextTest::Prefix(text) | TextTest::Suffix(text) => literals(text, false),
        TextTest::ContainsFolded(text) | TextTest::EqualsFolded(text) => literals(text, true),
        TextTest::PrefixFolded(text) | TextTest::SuffixFolded(text) => literals(text, true),
        TextTest::Regex(regex, fold) => required(regex.as_str(), *fold),
    }
}

/// The literals one of which every match begins with, or ends with; `None` when there are too many or too short ones.
fn required(pattern: &str, fold: bool) -> Option<Anchor> {
    let mut parser = regex_syntax::ParserBuilder::new().utf8(false).case_insensitive(fold).build();
    let hir = parser.parse(pattern).ok()?;
    let of_kind = |kind: ExtractKind| {
        let mut extractor = Extractor::new();
        let seq = extractor.kind(kind).limit_total(MAX_LITERALS).extract(&hir);
        let literals: Vec<Box<[u8]>> = seq.literals()?.iter().map(|literal| literal.as_bytes().into()).collect();
        let shortest = literals.iter().map(|literal| literal.len()).min()?;
        (shortest >= MIN_LITERAL_BYTES).then_some((shortest, literals))
    };
    let best =
        [ExtractKind::Prefix, ExtractKind::Suffix].into_iter().filter_map(of_kind).max_by_key(|(least, _)| *least);
    best.map(|(_, literals)| Anchor::Literals { literals, fold: false })
}

impl TextIndex {
    /// `None` when the automaton cannot be built; the policies are then tried one by one.
    fn new(field: Field, anchors: Vec<(u16, Anchor)>) -> Option<Self> {
        let mut exact: HashMap<Box<[u8]>, Owners> = HashMap::default();
        let mut searches: [BTreeMap<Box<[u8]>, Owners>; 2] = Default::default();
        let mut policies = Vec::with_capacity(anchors.len());
        for (policy, anchor) in anchors {
            policies.push(policy);
            match anchor {
                Anchor::Exact(text) => exact.entry(text).or_default().push(policy),
                Anchor::Literals { literals, fold } => {
                    for literal in literals {
                        searches[usize::from(fold)].entry(literal).or_default().push(policy);
                    }
                }
            }
        }
        let [literals, folded] = searches;
        Some(TextIndex {
            field,
            policies: policies.into(),
            exact,
            literals: Search::new(literals, false).ok()?,
            folded: Search::new(folded, true).ok()?,
        })
    }

    /// Calls `try_policy` for each policy that a record may match, some of them twice.
    #[inline]
    pub fn candidates(&self, record: RecordRef<'_>, found: &mut Found, mut try_policy: impl FnMut(u16)) {
        match self.field.record_value(record) {
            Some(AnyValueRef::Str(text)) => {
                self.exact.get(text).into_iter().flatten().copied().for_each(&mut try_policy);
                for search in [&self.literals, &self.folded].into_iter().flatten() {
                    search.run(text, found, &mut try_policy);
                }
            }
            // Tests see bytes as hex: rare, so without an index.
            Some(AnyValueRef::Bytes(_)) => self.policies.iter().copied().for_each(try_policy),
            // No text test holds for another type, nor for a field that is absent.
            _ => {}
        }
    }
}

impl Search {
    fn new(literals: BTreeMap<Box<[u8]>, Owners>, fold: bool) -> Result<Option<Self>, aho_corasick::BuildError> {
        if literals.is_empty() {
            return Ok(None);
        }
        let (literals, owners): (Vec<_>, Vec<_>) = literals.into_iter().unzip();
        let mut builder = AhoCorasickBuilder::new();
        let automaton = builder.match_kind(MatchKind::Standard).ascii_case_insensitive(fold).build(&literals)?;
        Ok(Some(Search { automaton, owners: owners.into() }))
    }

    /// Each literal counts once, however often it occurs.
    #[inline]
    fn run(&self, text: &[u8], found: &mut Found, try_policy: &mut impl FnMut(u16)) {
        found.0.clear();
        for occurrence in self.automaton.find_overlapping_iter(text) {
            let literal = occurrence.pattern().as_usize();
            if found.0.is_empty() {
                found.0.resize(self.owners.len().div_ceil(64), 0);
            }
            let (word, bit) = (literal / 64, 1u64 << (literal % 64));
            if found.0[word] & bit == 0 {
                found.0[word] |= bit;
                self.owners[literal].iter().copied().for_each(&mut *try_policy);
            }
        }
    }
}
