//! Which policies match a record, and what they decide together.
//!
//! Purpose: the hot path of policies.
//! Promises: matchers on resource and scope run at most once a block; policies that name signatures or
//! patterns cost one lookup each a record, and those that look for texts in a field one search, whatever their number; no allocation per record; hits and misses add up as `spec/policy.md` says.
//! Never: reads a clock or makes randomness.

use std::sync::atomic::{AtomicU8, Ordering};

use smallvec::SmallVec;
use twox_hash::XxHash64;

use super::anchor::Found;
use super::compile::{CompiledPolicy, Key, Rule};
use super::keep::RANDOMNESS_BITS;
use super::limiter::{Limiter, Turn};
use super::matcher::Place;
use super::read::Origin;
use crate::clock::UnixNanos;
use crate::data_plane::pattern::Grouping;
use crate::data_plane::view::{AnyValueRef, RecordRef, ResourceRef, ScopeRef};

const RANDOMNESS_MASK: u64 = (1 << RANDOMNESS_BITS) - 1;

/// The policies that can match records of one block. Reuse it between blocks to keep its buffers.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Policies without signatures and patterns whose block condition holds, in order.
    general: Vec<u16>,
    /// One per condition: not asked yet, holds, does not hold. Atomic only so that a reference can cross threads.
    conditions: Vec<AtomicU8>,
    has_ids: bool,
    /// Text indices with a policy whose block condition holds.
    texts: SmallVec<[u16; 4]>,
    now: UnixNanos,
}

const UNKNOWN: u8 = 0;
const HOLDS: u8 = 1;
const FAILS: u8 = 2;

impl Candidates {
    /// Whether no record of the block can match anything.
    pub fn is_empty(&self) -> bool {
        self.general.is_empty() && self.texts.is_empty() && !self.has_ids
    }
}

/// The policies that match one record. Reuse it between records to keep its buffer.
#[derive(Debug, Default)]
pub struct Matches {
    /// The first policy that protects the record, if any.
    pub protected: Option<u16>,
    /// Indices of all policies that match, ascending.
    pub policies: SmallVec<[u16; 8]>,
    found: Found,
}

impl Matches {
    /// Whether no policy matches.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }
}

/// Which kind of keep decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `all`, or a policy that protects.
    All,
    /// `none`.
    None,
    /// A percentage and no rate limit.
    Percentage,
    /// A rate limit, perhaps after a percentage: not a probability sample.
    RateLimit,
    /// No policy that matches says anything about keeping.
    Unmatched,
}

/// What the matching policies decide together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Whether the record stays.
    pub keep: bool,
    /// What decided.
    pub form: Form,
    /// The 56-bit rejection threshold of [`Form::Percentage`], else 0.
    pub threshold: u64,
    /// Whether a percentage was decided by a sample key other than the trace id.
    pub own_randomness: bool,
    /// What a percentage was held against: the record's randomness, or that of a sample key.
    pub randomness: u64,
    /// Whether a rate limit matches too: it must not be gone round.
    pub limited: bool,
    /// The policy that decided.
    pub policy: Option<u16>,
}

impl Resolution {
    /// No policy says anything.
    pub const UNMATCHED: Resolution = Resolution {
        keep: true,
        form: Form::Unmatched,
        threshold: 0,
        own_randomness: false,
        randomness: 0,
        limited: false,
        policy: None,
    };

    fn of(keep: bool, form: Form, policy: u16) -> Self {
        Resolution { keep, form, policy: Some(policy), ..Resolution::UNMATCHED }
    }
}

impl CompiledPolicy {
    /// Finds the policies that can match records of a scope block; call it once a block. Expired policies are left out.
    pub fn block(&self, resource: ResourceRef<'_>, scope: ScopeRef<'_>, now: UnixNanos, out: &mut Candidates) {
        out.general.clear();
        out.conditions.clear();
        out.conditions.resize_with(self.conditions.len(), || AtomicU8::new(UNKNOWN));
        out.has_ids = !self.by_signature.is_empty() || !self.by_pattern.is_empty();
        out.now = now;
        for &index in &self.general {
            if self.applies(index, out, resource, scope) {
                out.general.push(index);
            }
        }
        out.texts.clear();
        for (i, texts) in self.by_text.iter().enumerate() {
            if texts.policies.iter().any(|&index| self.applies(index, out, resource, scope)) {
                out.texts.push(i as u16);
            }
        }
    }

    /// Whether a policy is not expired and its block condition holds.
    #[inline]
    fn applies(&self, index: u16, block: &Candidates, resource: ResourceRef<'_>, scope: ScopeRef<'_>) -> bool {
        let i = usize::from(index);
        if self.policies[i].expires_at.is_some_and(|expires_at| block.now >= expires_at) {
            return false;
        }
        let Some(condition) = self.compiled[i].condition else { return true };
        let Some(state) = block.conditions.get(condition as usize) else { return false };
        match state.load(Ordering::Relaxed) {
            UNKNOWN => {
                let matchers = &self.conditions[condition as usize];
                let holds = matchers.iter().all(|matcher| matcher.accepts(matcher.field.block_value(resource, scope)));
                state.store(if holds { HOLDS } else { FAILS }, Ordering::Relaxed);
                holds
            }
            state => state == HOLDS,
        }
    }

    /// Finds the policies that match a record of the block `candidates` was made for.
    #[inline]
    pub fn matches(
        &self,
        candidates: &Candidates,
        record: RecordRef<'_>,
        resource: ResourceRef<'_>,
        scope: ScopeRef<'_>,
        grouping: Grouping,
        out: &mut Matches,
    ) {
        out.policies.clear();
        out.protected = None;
        if !candidates.is_empty() {
            self.find_matches(candidates, Place { record, resource, scope }, grouping, out);
        }
    }

    fn find_matches(&self, candidates: &Candidates, place: Place<'_>, grouping: Grouping, out: &mut Matches) {
        let Place { record, resource, scope } = place;
        if candidates.has_ids {
            let by_signature = self.by_signature.get(&grouping.signature);
            let by_pattern = self.by_pattern.get(&grouping.pattern);
            for &index in by_signature.into_iter().chain(by_pattern).flatten() {
                if self.applies(index, candidates, resource, scope) && self.accepts(index, record, grouping) {
                    out.policies.push(index);
                }
            }
        }
        for &texts in &candidates.texts {
            let Matches { policies, found, .. } = out;
            self.by_text[usize::from(texts)].candidates(record, found, |index| {
                if self.applies(index, candidates, resource, scope) && self.accepts(index, record, grouping) {
                    policies.push(index);
                }
            });
        }
        for &index in &candidates.general {
            if self.accepts(index, record, grouping) {
                out.policies.push(index);
            }
        }
        // A text index may offer a policy twice.
        if !out.policies.is_sorted_by(|a, b| a < b) {
            out.policies.sort_unstable();
            out.policies.dedup();
        }
        out.protected = out.policies.iter().copied().find(|&index| self.policies[usize::from(index)].protect);
    }

    #[inline]
    fn accepts(&self, index: u16, record: RecordRef<'_>, grouping: Grouping) -> bool {
        let compiled = &self.compiled[usize::from(index)];
        compiled.signatures.iter().all(|matcher| matcher.accepts(grouping.signature))
            && compiled.patterns.iter().all(|matcher| matcher.accepts(grouping.pattern))
            && compiled.matchers.iter().all(|matcher| matcher.accepts(matcher.field.record_value(record)))
    }

    /// What the matching policies decide together. `randomness` is the record's own, of 56 bits; it serves percentages
    /// without a sample key, and those whose key the record lacks. Takes a place of each rate limit that lets the record
    /// through, and none when it is dropped. `turn` is the time, with who shares rate limits if anybody does.
    #[inline]
    pub fn resolve(
        &self,
        matches: &Matches,
        record: RecordRef<'_>,
        resource: ResourceRef<'_>,
        scope: ScopeRef<'_>,
        randomness: u64,
        turn: impl Into<Turn>,
    ) -> Resolution {
        if matches.is_empty() {
            return Resolution::UNMATCHED;
        }
        self.resolve_matching(matches, Place { record, resource, scope }, randomness, turn.into())
    }

    fn resolve_matching(&self, matches: &Matches, place: Place<'_>, randomness: u64, turn: Turn) -> Resolution {
        if let Some(index) = matches.protected {
            return Resolution::of(true, Form::All, index);
        }
        let mut all = None;
        let mut percentage: Option<(u16, u64)> = None;
        let mut limits: SmallVec<[(u16, &Limiter); 4]> = SmallVec::new();
        for index in self.counting(matches) {
            match &self.compiled[usize::from(index)].rule {
                None => {}
                Some(Rule::None) => return Resolution::of(false, Form::None, index),
                Some(Rule::All) => all = all.or(Some(index)),
                Some(Rule::Percentage { threshold, .. }) if percentage.is_some_and(|(_, most)| *threshold <= most) => {}
                Some(Rule::Percentage { threshold, .. }) => percentage = Some((index, *threshold)),
                Some(Rule::RateLimit(limiter)) => limits.push((index, limiter)),
            }
        }
        let mut decided = all.map_or(Resolution::UNMATCHED, |index| Resolution::of(true, Form::All, index));
        if let Some((index, threshold)) = percentage {
            let (random, own_randomness) = self.randomness_of(index, place, randomness);
            let keep = random >= threshold;
            let limited = !limits.is_empty();
            let (form, policy) = (Form::Percentage, Some(index));
            decided = Resolution { keep, form, threshold, own_randomness, randomness: random, limited, policy };
        }
        if decided.keep && !limits.is_empty() {
            decided = limit(&mut limits, turn);
        }
        decided
    }

    /// The policy that orders the record dropped (`keep: none` that counts), if any. Takes no place of a rate limit.
    #[inline]
    pub fn ordered_drop(&self, matches: &Matches) -> Option<u16> {
        if matches.policies.is_empty() {
            return None;
        }
        self.counting(matches).find(|&index| matches!(self.compiled[usize::from(index)].rule, Some(Rule::None)))
    }

    /// The matching policies whose keep counts: where a person's says something, a program's does not.
    fn counting(&self, matches: &Matches) -> impl Iterator<Item = u16> {
        let human_decides = matches.policies.iter().any(|&index| self.is_order_of_human(index));
        matches.policies.iter().copied().filter(move |&index| !human_decides || self.is_order_of_human(index))
    }

    fn is_order_of_human(&self, index: u16) -> bool {
        let i = usize::from(index);
        self.policies[i].origin == Origin::Human && self.compiled[i].rule.is_some()
    }

    /// The randomness a percentage is held against, and whether it comes from a key other than the trace id.
    fn randomness_of(&self, index: u16, place: Place<'_>, randomness: u64) -> (u64, bool) {
        let Some(Rule::Percentage { key, .. }) = &self.compiled[usize::from(index)].rule else {
            return (randomness, false);
        };
        match key {
            None => (randomness, false),
            Some(Key::TraceId) => (trace_randomness(place.record.trace_id()).unwrap_or(randomness), false),
            Some(Key::Field(field)) => match field.value(place).and_then(hash_of) {
                Some(hash) => (hash & RANDOMNESS_MASK, true),
                None => (randomness, false),
            },
        }
    }

    /// Counts hits and misses of a record's matching policies once its fate is known. `kept` is the final outcome, which
    /// may differ from the resolution's.
    ///
    /// Kept: a hit for each, but a miss for `keep: none` (another rule saved the record). Dropped: a hit for the policy
    /// that decided so, a miss for the others.
    pub fn count(&self, matches: &Matches, resolution: &Resolution, kept: bool) {
        for &index in &matches.policies {
            let compiled = &self.compiled[usize::from(index)];
            let is_hit = if kept {
                !matches!(compiled.rule, Some(Rule::None))
            } else {
                resolution.policy == Some(index) && !matches!(resolution.form, Form::All | Form::Unmatched)
            };
            let counter = if is_hit { &compiled.counters.hits } else { &compiled.counters.misses };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Asks the rate limits, the lowest rate first; all must have a place.
fn limit(limits: &mut SmallVec<[(u16, &Limiter); 4]>, turn: Turn) -> Resolution {
    limits.sort_by(|(a, left), (b, right)| left.rate().total_cmp(&right.rate()).then(a.cmp(b)));
    let mut taken: SmallVec<[(&Limiter, u32); 4]> = SmallVec::new();
    for &(index, limiter) in limits.iter() {
        match limiter.try_take(turn) {
            Some(window) => taken.push((limiter, window)),
            None => {
                for (limiter, window) in taken {
                    limiter.give_back(window);
                }
                return Resolution::of(false, Form::RateLimit, index);
            }
        }
    }
    Resolution::of(true, Form::RateLimit, limits[0].0)
}

/// The randomness of a trace id: its low 56 bits; `None` when it is not 16 bytes or all zero.
#[inline]
pub fn trace_randomness(trace_id: &[u8]) -> Option<u64> {
    let id: &[u8; 16] = trace_id.try_into().ok()?;
    let (_, low) = id.split_last_chunk::<8>()?;
    (*id != [0; 16]).then(|| u64::from_be_bytes(*low) & RANDOMNESS_MASK)
}

/// XXH64 with seed 0 of a scalar value: text and bytes as they are, integers in decimal, booleans as `true` or `false`,
/// doubles as eight little-endian bytes.
fn hash_of(value: AnyValueRef<'_>) -> Option<u64> {
    Some(match value {
        AnyValueRef::Str(bytes) | AnyValueRef::Bytes(bytes) => XxHash64::oneshot(0, bytes),
        AnyValueRef::Bool(flag) => XxHash64::oneshot(0, if flag { b"true" } else { b"false" }),
        AnyValueRef::Double(number) => XxHash64::oneshot(0, &number.to_le_bytes()),
        AnyValueRef::Int(number) => {
            use std::io::Write;
            let mut text = [0u8; 20];
            let mut left = &mut text[..];
            write!(left, "{number}").ok()?;
            let len = 20 - left.len();
            XxHash64::oneshot(0, &text[..len])
        }
        AnyValueRef::Empty | AnyValueRef::Array(_) | AnyValueRef::KvList(_) => return None,
    })
}
