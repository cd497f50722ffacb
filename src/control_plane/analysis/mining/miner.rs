//! The miner: signatures in, patterns out, as they come.
//!
//! Purpose: hold the distinct templates of signatures in candidate groups, mine the groups that changed, and put the
//! results together as patterns with stable ids and lineage.
//! Promises: the patterns are a pure function of the set of templates held: order of arrival, counts, and how often it
//! was mined between do not matter; at most `max_signatures` templates, evictions counted.
//! Never: waits, reads a clock or files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::group::{self, shape_of};
use crate::data_plane::pattern::{Catalogue, Kind, Pattern, PatternId, Token, collapse, reads_back, text_of, tokens};

/// Longest template that is mined, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 2_048;
/// Parents of one pattern at most.
pub const MAX_PARENTS: usize = 32;
/// Forms of one pattern at most.
pub const MAX_FORMS: usize = 64;

/// What mining did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Templates held.
    pub signatures: u64,
    /// Patterns published.
    pub patterns: u64,
    /// Templates that belong to a pattern with others.
    pub merged: u64,
    /// Candidate groups mined so far.
    pub groups_mined: u64,
    /// Templates forgotten because there were too many.
    pub evicted: u64,
    /// Templates not taken because they were too long.
    pub refused: u64,
    /// Joined templates that could not be written as text and stay apart.
    pub unwritable: u64,
}

/// Holds what was seen and what came of it.
#[derive(Debug)]
pub struct Miner {
    max_signatures: usize,
    /// When each template was seen last: the number of the mining before which it was.
    seen: BTreeMap<Arc<str>, u64>,
    groups: BTreeMap<String, Group>,
    published: BTreeMap<PatternId, Pattern>,
    round: u64,
    totals: Totals,
}

#[derive(Debug, Default)]
struct Group {
    templates: BTreeSet<Arc<str>>,
    joined: Vec<Joined>,
    is_stale: bool,
}

/// Tokens without the spaces before them.
type Key = Vec<(Kind, Box<str>)>;

fn key_of(tokens: &[Token]) -> Key {
    tokens.iter().map(|token| (token.kind, token.text.clone())).collect()
}

/// Templates of one group that belong together.
#[derive(Clone, Debug)]
struct Joined {
    template: Vec<Token>,
    members: usize,
}

impl Miner {
    /// An empty miner for so many distinct templates.
    pub fn new(max_signatures: usize) -> Self {
        Miner {
            max_signatures: max_signatures.max(1),
            seen: BTreeMap::new(),
            groups: BTreeMap::new(),
            published: BTreeMap::new(),
            round: 0,
            totals: Totals::default(),
        }
    }

    /// Takes the template of a signature. Returns whether it is new.
    pub fn insert(&mut self, template: &str) -> bool {
        if let Some(seen) = self.seen.get_mut(template) {
            *seen = self.round;
            return false;
        }
        if template.len() > MAX_TEMPLATE_BYTES || template.is_empty() {
            self.totals.refused += 1;
            return false;
        }
        let template: Arc<str> = template.into();
        let group = self.groups.entry(shape_of(&tokens(&template))).or_default();
        group.templates.insert(Arc::clone(&template));
        group.is_stale = true;
        self.seen.insert(template, self.round);
        true
    }

    /// Takes patterns published before, so that lineage goes on over a restart.
    pub fn remember(&mut self, patterns: &[Pattern]) {
        self.published.extend(patterns.iter().map(|pattern| (pattern.id, pattern.clone())));
    }

    /// The templates held.
    pub fn templates(&self) -> impl Iterator<Item = &str> {
        self.seen.keys().map(|template| &**template)
    }

    /// What was done so far.
    pub fn totals(&self) -> Totals {
        Totals { signatures: self.seen.len() as u64, ..self.totals }
    }

    /// Mines the groups that changed and returns all patterns, compiled.
    pub fn mine(&mut self) -> Catalogue {
        self.evict();
        self.round += 1;
        for group in self.groups.values_mut().filter(|group| group.is_stale) {
            group.mine();
            self.totals.groups_mined += 1;
        }
        let mut patterns = self.put_together();
        let catalogue = Catalogue::new(patterns.clone());
        self.trace(&mut patterns, &catalogue);
        self.published = patterns.iter().map(|pattern| (pattern.id, pattern.clone())).collect();
        self.totals.patterns = patterns.len() as u64;
        Catalogue::new(patterns)
    }

    /// Forgets the templates that were not seen for longest.
    fn evict(&mut self) {
        let Some(too_many) = self.seen.len().checked_sub(self.max_signatures).filter(|n| *n > 0) else { return };
        let mut oldest: Vec<(u64, Arc<str>)> = self.seen.iter().map(|(t, seen)| (*seen, Arc::clone(t))).collect();
        oldest.sort_unstable();
        for (_, template) in oldest.into_iter().take(too_many) {
            self.seen.remove(&template);
            let shape = shape_of(&tokens(&template));
            if let Some(group) = self.groups.get_mut(&shape) {
                group.templates.remove(&template);
                group.is_stale = true;
                if group.templates.is_empty() {
                    self.groups.remove(&shape);
                }
            }
            self.totals.evicted += 1;
        }
    }

    /// Joins what is the same but for the number of items, over all groups, and leaves out what stayed alone.
    fn put_together(&mut self) -> Vec<Pattern> {
        let mut by_canonical: BTreeMap<Key, (Vec<Token>, Vec<&Joined>)> = BTreeMap::new();
        for joined in self.groups.values().flat_map(|group| &group.joined) {
            let mut canonical = joined.template.clone();
            collapse(&mut canonical);
            let key = key_of(&canonical);
            let (template, all) = by_canonical.entry(key).or_insert_with(|| (canonical.clone(), Vec::new()));
            for (token, other) in std::iter::zip(template, canonical) {
                token.space |= other.space;
            }
            all.push(joined);
        }
        let (mut patterns, mut merged, mut unwritable) = (Vec::new(), 0, 0);
        for (template, all) in by_canonical.into_values() {
            let members: usize = all.iter().map(|joined| joined.members).sum();
            if members < 2 {
                continue;
            }
            let forms = all.iter().filter(|joined| joined.template.len() != template.len());
            if !reads_back(&template) || !forms.clone().all(|form| reads_back(&form.template)) {
                unwritable += 1;
                continue;
            }
            let mut pattern = Pattern::new(&text_of(&template));
            pattern.forms = forms.map(|form| text_of(&form.template).into()).take(MAX_FORMS).collect();
            merged += members as u64;
            patterns.push(pattern);
        }
        (self.totals.merged, self.totals.unwritable) = (merged, unwritable);
        patterns
    }

    /// Notes which of the patterns published before went into which of the new.
    fn trace(&self, patterns: &mut [Pattern], catalogue: &Catalogue) {
        let mut parents: BTreeMap<PatternId, BTreeSet<PatternId>> = BTreeMap::new();
        for old in self.published.values() {
            let Some(heir) = catalogue.find(&old.template) else { continue };
            let heirs = parents.entry(heir.id).or_default();
            heirs.extend(old.parents.iter().copied());
            heirs.insert(old.id);
        }
        for pattern in patterns {
            let of_pattern = parents.remove(&pattern.id).unwrap_or_default();
            pattern.parents = of_pattern.into_iter().filter(|id| *id != pattern.id).take(MAX_PARENTS).collect();
        }
    }
}

impl Group {
    fn mine(&mut self) {
        // Templates that are the same but for spaces, or the number of items, are one.
        let mut distinct: BTreeMap<Key, (Vec<Token>, usize)> = BTreeMap::new();
        for template in &self.templates {
            let found = tokens(template);
            let key = key_of(&found);
            let (known, count) = distinct.entry(key).or_insert_with(|| (found.clone(), 0));
            for (token, other) in std::iter::zip(known, found) {
                token.space |= other.space;
            }
            *count += 1;
        }
        let (templates, counts): (Vec<Vec<Token>>, Vec<usize>) = distinct.into_values().unzip();
        let rows: Vec<&[Token]> = templates.iter().map(Vec::as_slice).collect();
        self.joined = group::mine(&rows)
            .into_iter()
            .map(|cluster| Joined {
                members: cluster.members.iter().map(|member| counts[*member as usize]).sum(),
                template: cluster.template,
            })
            .collect();
        self.is_stale = false;
    }
}
