//! From documents to one immutable set of rules.
//!
//! Purpose: sort the policies by id, share what they have in common, and carry counters and limiter state over a reload.
//! Promises: the result depends on the documents alone, not on their order; nothing on the hot path is built later.
//! Never: reads files, applies a policy with an error.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::{HashMap, HashMapExt};
use smallvec::SmallVec;

use super::anchor::{self, TextIndex};
use super::document::Document;
use super::fields::Errors;
use super::keep::{Keep, threshold_of};
use super::limiter::Limiter;
use super::matcher::{Field, IdMatcher, LogField, Matcher};
use super::operation::Operation;
use super::published;
use super::read::{self, Origin, ReadPolicy};
use super::target::LogTarget;
use crate::clock::UnixNanos;
use crate::data_plane::pattern::{Catalogue, Pattern, PatternId};
use crate::data_plane::signature::Signature;

/// Policies of one set at most; indices are 16 bits.
pub const MAX_POLICIES: usize = u16::MAX as usize;

/// Published patterns of one set at most; further ones, in the order of their templates, do not apply.
pub const MAX_PATTERNS: usize = 50_000;

/// What is wrong with a policy or a document. The policy does not apply; the others do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The policy's id; empty when it has none, or when the document around the policies is meant.
    pub policy_id: String,
    /// Where the document came from.
    pub source: String,
    /// Every error found, each with its place in the policy.
    pub messages: Vec<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let messages = self.messages.join("; ");
        match self.policy_id.as_str() {
            "" => write!(f, "{}: {messages}", self.source),
            id => write!(f, "{}: policy {id}: {messages}", self.source),
        }
    }
}

/// A policy in force.
#[derive(Debug)]
pub struct Policy {
    /// Its id.
    pub id: Arc<str>,
    /// Its name.
    pub name: String,
    /// Whether it protects what it matches from being dropped.
    pub protect: bool,
    /// Who wrote it.
    pub origin: Origin,
    /// From when on it no longer applies.
    pub expires_at: Option<UnixNanos>,
    /// What it says about keeping; `None` when it does not say.
    pub keep: Option<Keep>,
    /// Where its document came from.
    pub source: String,
}

/// How often a policy matched, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyStats {
    /// The policy's id.
    pub id: String,
    /// Matches whose outcome was what the policy wanted.
    pub hits: u64,
    /// Matches where another decision went against it.
    pub misses: u64,
    /// Why it does not apply; empty for a policy in force.
    pub errors: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub hits: AtomicU64,
    pub misses: AtomicU64,
}

/// A keep, ready to decide.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    All,
    None,
    Percentage { threshold: u64, key: Option<Key> },
    RateLimit(Arc<Limiter>),
}

/// A sample key.
#[derive(Clone, Debug)]
pub(super) enum Key {
    TraceId,
    Field(Field),
}

/// The compiled part of a policy.
#[derive(Debug)]
pub(super) struct Compiled {
    /// Index of its block condition in [`CompiledPolicy::conditions`]; `None` when it has none.
    pub condition: Option<u32>,
    /// Whether its first positive signature matcher is answered by the signature table.
    pub signatures: Box<[IdMatcher<Signature>]>,
    /// Patterns, with those that took their place.
    pub patterns: Box<[IdMatcher<PatternId>]>,
    /// Matchers on the record, cheapest first.
    pub matchers: Box<[Matcher]>,
    pub rule: Option<Rule>,
    pub operations: Box<[Operation]>,
    pub counters: Arc<Counters>,
}

/// All policies in force: immutable but for counters and rate limits, which a reload carries over.
#[derive(Debug, Default)]
pub struct CompiledPolicy {
    pub(super) policies: Vec<Policy>,
    pub(super) compiled: Vec<Compiled>,
    /// Distinct sets of matchers on resource and scope.
    pub(super) conditions: Vec<Box<[Matcher]>>,
    /// Policies that name signatures, by signature.
    pub(super) by_signature: HashMap<Signature, SmallVec<[u16; 4]>>,
    /// Policies that name patterns and no signatures, by pattern.
    pub(super) by_pattern: HashMap<PatternId, SmallVec<[u16; 4]>>,
    /// Policies that look for texts, where several look at the same field.
    pub(super) by_text: Box<[TextIndex]>,
    /// All others, in order.
    pub(super) general: Vec<u16>,
    problems: Vec<Problem>,
    catalogue: Arc<Catalogue>,
}

impl CompiledPolicy {
    /// A set without policies: everything is unmatched.
    pub fn empty() -> Self {
        CompiledPolicy::default()
    }

    /// Compiles documents. `previous` is the set this one replaces: a policy with the same id keeps its counters, and its
    /// rate-limit window if the limit is the same. Policies that have expired at `now` are left out.
    pub fn compile(documents: &[Document], now: UnixNanos, previous: Option<&CompiledPolicy>) -> Self {
        Self::compile_with(documents, &[], now, previous)
    }

    /// As [`CompiledPolicy::compile`], with patterns that were learned beside those of the documents.
    pub fn compile_with(
        documents: &[Document],
        learned: &[Pattern],
        now: UnixNanos,
        previous: Option<&CompiledPolicy>,
    ) -> Self {
        Self::compile_from(documents, learned, now, previous, previous)
    }

    /// A set to be tried beside the set in force: counts and rate-limit windows of policies that are the same in both go on
    /// from `state`, which is the set in force where both share traffic, and an earlier set on trial, or none, where the one
    /// on trial must have no effect.
    pub fn compile_beside(
        documents: &[Document],
        learned: &[Pattern],
        now: UnixNanos,
        in_force: &CompiledPolicy,
        state: Option<&CompiledPolicy>,
    ) -> Self {
        Self::compile_from(documents, learned, now, Some(in_force), state)
    }

    /// Takes the catalogue of `known` where it is the same, and counters and limits of `previous`.
    fn compile_from(
        documents: &[Document],
        learned: &[Pattern],
        now: UnixNanos,
        known: Option<&CompiledPolicy>,
        previous: Option<&CompiledPolicy>,
    ) -> Self {
        let mut set = CompiledPolicy::default();
        set.catalogue = set.publish(documents, learned, known);
        let mut accepted = set.read(documents, now);
        accepted.sort_by(|(a, _, _), (b, _, _)| a.id.cmp(&b.id));
        let earlier: HashMap<&str, usize> = previous
            .map(|previous| previous.policies.iter().enumerate().map(|(i, policy)| (&*policy.id, i)).collect())
            .unwrap_or_default();
        let mut heirs: HashMap<PatternId, Vec<PatternId>> = HashMap::new();
        for pattern in set.catalogue.patterns() {
            for parent in &pattern.parents {
                heirs.entry(*parent).or_default().push(pattern.id);
            }
        }
        let mut shared = Shared { conditions: HashMap::new(), heirs };
        for (policy, target, source) in accepted {
            let earlier = earlier.get(policy.id.as_str()).and_then(|&i| previous?.compiled.get(i));
            set.add(policy, target, source, earlier, &mut shared);
        }
        set.by_text = anchor::index(&mut set.general, &set.compiled);
        set.problems.sort_by(|a, b| (&a.source, &a.policy_id).cmp(&(&b.source, &b.policy_id)));
        set
    }

    /// The patterns of the documents and those that were learned. Trying to compile the same again is not worth it.
    fn publish(
        &mut self,
        documents: &[Document],
        learned: &[Pattern],
        previous: Option<&CompiledPolicy>,
    ) -> Arc<Catalogue> {
        let mut patterns = learned.to_vec();
        for document in documents {
            let mut errors = Errors::default();
            patterns.extend(published::read(document, &mut errors));
            self.report("", &document.source, errors.0);
        }
        let sorted = Catalogue::in_order(patterns, MAX_PATTERNS);
        match previous {
            Some(previous) if previous.catalogue.patterns() == sorted => Arc::clone(&previous.catalogue),
            _ => Arc::new(Catalogue::new(sorted)),
        }
    }

    /// The patterns that a document publishes, without those that have an error.
    pub fn patterns_of(document: &Document) -> Vec<Pattern> {
        published::read(document, &mut Errors::default())
    }

    /// The published patterns.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// The policies without an error, with their log targets; the others become problems.
    fn read<'d>(&mut self, documents: &'d [Document], now: UnixNanos) -> Vec<(ReadPolicy, LogTarget, &'d str)> {
        let mut accepted = Vec::new();
        let mut seen: HashMap<String, &str> = HashMap::new();
        for document in documents {
            let source = document.source.as_str();
            let (trees, errors) = read::policies(document);
            self.report("", source, errors.0);
            for (i, tree) in trees.iter().enumerate() {
                let mut policy = read::policy(tree);
                if !policy.enabled {
                    continue;
                }
                if policy.id.is_empty() {
                    let messages = policy.errors.0.iter().map(|error| format!("policies[{i}]: {error}")).collect();
                    self.report("", source, messages);
                    continue;
                }
                match seen.entry(policy.id.clone()) {
                    Entry::Vacant(entry) => drop(entry.insert(source)),
                    Entry::Occupied(first) => {
                        policy.errors.note("", format!("the id is already used in {}", first.get()));
                    }
                }
                if accepted.len() >= MAX_POLICIES {
                    policy.errors.note("", format!("more than {MAX_POLICIES} policies"));
                }
                if !policy.errors.0.is_empty() {
                    self.report(&policy.id, source, policy.errors.0);
                } else if let Some(target) = policy.log.take()
                    && policy.expires_at.is_none_or(|expires_at| now < expires_at)
                {
                    accepted.push((policy, target, source));
                }
            }
        }
        accepted
    }

    fn report(&mut self, policy_id: &str, source: &str, messages: Vec<String>) {
        if !messages.is_empty() {
            self.problems.push(Problem { policy_id: policy_id.to_owned(), source: source.to_owned(), messages });
        }
    }

    fn add(
        &mut self,
        policy: ReadPolicy,
        target: LogTarget,
        source: &str,
        earlier: Option<&Compiled>,
        shared: &mut Shared,
    ) {
        let index = self.policies.len() as u16;
        let (of_block, mut of_record): (Vec<_>, Vec<_>) =
            target.matchers.into_iter().partition(|matcher| matcher.field.is_of_block());
        of_record.sort_by_key(Matcher::cost);
        let condition =
            (!of_block.is_empty()).then(|| self.condition(target.block_text, of_block, &mut shared.conditions));
        let patterns: Vec<IdMatcher<PatternId>> =
            target.patterns.into_iter().map(|matcher| with_heirs(matcher, &shared.heirs)).collect();
        if let Some(matcher) = target.signatures.iter().find(|matcher| !matcher.negate) {
            for &signature in &matcher.ids {
                self.by_signature.entry(signature).or_default().push(index);
            }
        } else if let Some(matcher) = patterns.iter().find(|matcher| !matcher.negate) {
            for &pattern in &matcher.ids {
                self.by_pattern.entry(pattern).or_default().push(index);
            }
        } else {
            self.general.push(index);
        }
        self.compiled.push(Compiled {
            condition,
            signatures: target.signatures.into(),
            patterns: patterns.into(),
            matchers: of_record.into(),
            rule: target.keep.map(|keep| rule(keep, target.sample_key, earlier)),
            operations: target.operations.into(),
            counters: earlier.map(|earlier| Arc::clone(&earlier.counters)).unwrap_or_default(),
        });
        self.policies.push(Policy {
            id: policy.id.into(),
            name: policy.name,
            protect: policy.protect,
            origin: policy.origin,
            expires_at: policy.expires_at,
            keep: target.keep,
            source: source.to_owned(),
        });
    }

    /// The index of a block condition; policies with the same one share it.
    fn condition(&mut self, text: String, mut matchers: Vec<Matcher>, known: &mut HashMap<String, u32>) -> u32 {
        matchers.sort_by_key(Matcher::cost);
        let next = self.conditions.len() as u32;
        match known.entry(text) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                self.conditions.push(matchers.into());
                *entry.insert(next)
            }
        }
    }

    /// What is wrong with the documents.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The policy with this index.
    ///
    /// # Panics
    /// Never for an index that this set gave out; those are below [`CompiledPolicy::len`].
    pub fn policy(&self, index: u16) -> &Policy {
        &self.policies[usize::from(index)]
    }

    /// Number of policies in force.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether no policy is in force.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Hits, misses and errors by policy, ordered by id. Policies that never fired are there with zeros.
    pub fn stats(&self) -> Vec<PolicyStats> {
        let mut stats: Vec<PolicyStats> = self
            .policies
            .iter()
            .zip(&self.compiled)
            .map(|(policy, compiled)| PolicyStats {
                id: policy.id.to_string(),
                hits: compiled.counters.hits.load(Ordering::Relaxed),
                misses: compiled.counters.misses.load(Ordering::Relaxed),
                errors: Vec::new(),
            })
            .collect();
        // The policies in force are in the order of their ids; the broken ones come behind until all are sorted.
        for problem in self.problems.iter().filter(|problem| !problem.policy_id.is_empty()) {
            let known = self.policies.binary_search_by(|policy| (*policy.id).cmp(&problem.policy_id));
            match known {
                Ok(i) => stats[i].errors.extend_from_slice(&problem.messages),
                Err(_) => stats.push(PolicyStats {
                    id: problem.policy_id.clone(),
                    hits: 0,
                    misses: 0,
                    errors: problem.messages.clone(),
                }),
            }
        }
        stats.sort_by(|a, b| a.id.cmp(&b.id));
        // A broken id that was used more than once is one entry.
        stats.dedup_by(|later, first| {
            let is_same = later.id == first.id;
            if is_same {
                first.errors.append(&mut later.errors);
            }
            is_same
        });
        stats
    }
}

/// What policies of a set share while they are compiled.
struct Shared {
    /// Block conditions by their text.
    conditions: HashMap<String, u32>,
    /// Patterns by those that went into them.
    heirs: HashMap<PatternId, Vec<PatternId>>,
}

/// A matcher that goes on to match when the patterns it names have widened into others.
fn with_heirs(matcher: IdMatcher<PatternId>, heirs: &HashMap<PatternId, Vec<PatternId>>) -> IdMatcher<PatternId> {
    let heirs = matcher.ids.iter().filter_map(|id| heirs.get(id)).flatten();
    let mut ids: Vec<PatternId> = matcher.ids.iter().chain(heirs).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    IdMatcher { ids: ids.into(), negate: matcher.negate }
}

fn rule(keep: Keep, sample_key: Option<Field>, earlier: Option<&Compiled>) -> Rule {
    match keep {
        Keep::All => Rule::All,
        Keep::None => Rule::None,
        Keep::Percentage(percentage) => {
            let key = sample_key.map(|field| match field {
                Field::Log(LogField::TraceId) => Key::TraceId,
                field => Key::Field(field),
            });
            Rule::Percentage { threshold: threshold_of(percentage), key }
        }
        Keep::RateLimit { limit, window } => match earlier.and_then(|earlier| earlier.rule.as_ref()) {
            Some(Rule::RateLimit(limiter)) if limiter.is_same(limit, window) => Rule::RateLimit(Arc::clone(limiter)),
            _ => Rule::RateLimit(Arc::new(Limiter::new(limit, window))),
        },
    }
}
