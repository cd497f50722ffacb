//! What would become of one record, and why.
//!
//! Purpose: answer a person's question with the very functions that decide about records.
//! Promises: counts nothing in windows or books; takes a place of a rate limit only of the set it is given; answers as if
//! nothing were anomalous, so that the same question has the same answer.
//! Never: keeps, drops or forwards anything.

use crate::clock::UnixNanos;
use crate::data_plane::pattern::{Grouping, PatternId};
use crate::data_plane::policy::{Candidates, CompiledPolicy, Matches, Resolution, trace_randomness};
use crate::data_plane::sampler::{Boosts, Decision, Facts, Incoming, Settings, decide};
use crate::data_plane::signature::{Signature, Signer};
use crate::data_plane::view::{AnyValueRef, LogIndex, ResourceRef, ScopeRef, ViewError};
use crate::data_plane::window::{Band, Sight};

/// What the decision stands on, and the decision.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// `service.name`; `unknown_service` without one.
    pub service: String,
    /// Severity band.
    pub band: Band,
    /// Signature of the text.
    pub signature: Signature,
    /// Its pattern: a learned one, or the signature's own.
    pub pattern: PatternId,
    /// The text with its variable parts masked.
    pub template: String,
    /// Indices of the policies that match, in the order of ids.
    pub matched: Vec<u16>,
    /// Whether the severity alone keeps it.
    pub severity_protected: bool,
    /// The 56-bit randomness percentages were held against.
    pub randomness: u64,
    /// What becomes of it.
    pub decision: Decision,
}

/// Decides about the first record of a request, `None` when it has none. `sight` is what its pattern has seen before,
/// `fresh` the randomness of a record that brings none.
///
/// # Errors
/// A request that is no protobuf of logs.
pub fn explain(
    policy: &CompiledPolicy,
    (settings, protect_from): (&Settings, Option<Band>),
    request: &[u8],
    sight: Sight,
    now: UnixNanos,
    fresh: u64,
) -> Result<Option<Explanation>, ViewError> {
    let (mut signer, mut groupings) = (Signer::default(), Vec::new());
    let mut index = LogIndex::default();
    index.parse(request, |record| {
        let signature = signer.sign(record);
        let template = String::from_utf8_lossy(signer.last_template());
        groupings.push(Grouping { signature, pattern: policy.catalogue().resolve(signature, &template) });
    })?;
    let place = index.resources.iter().find_map(|resource| {
        let scope = (resource.scopes.0..resource.scopes.1).map(|s| &index.scopes[s as usize]);
        let scope = scope.into_iter().find(|scope| scope.records.0 < scope.records.1)?;
        Some((resource, scope, scope.records.0 as usize))
    });
    let Some((resource, scope, i)) = place else { return Ok(None) };
    let (resource, scope) = (ResourceRef::new(request, resource), ScopeRef::new(request, scope));
    let (record, grouping) = (index.record(request, i), groupings[i]);
    let (mut candidates, mut matches) = (Candidates::default(), Matches::default());
    policy.block(resource, scope, now, &mut candidates);
    policy.matches(&candidates, record, resource, scope, grouping, &mut matches);
    let band = Band::of(record.span.severity_number, record.severity_text());
    let facts = Facts {
        incoming: Incoming::of(record, trace_randomness(record.trace_id()), || fresh),
        is_summary: record.span.is_summary,
        protected_by: matches.protected,
        severity_protected: protect_from.is_some_and(|from| band >= from),
        ordered_drop: policy.ordered_drop(&matches),
        boost: Boosts::new().threshold(0, grouping.pattern),
        sight,
    };
    let ask = || -> Resolution { policy.resolve(&matches, record, resource, scope, facts.incoming.randomness, now) };
    let decision = decide(&facts, settings, ask);
    let service = match resource.attributes().get(b"service.name") {
        Some(AnyValueRef::Str(name)) if !name.is_empty() => String::from_utf8_lossy(name).into_owned(),
        _ => "unknown_service".to_owned(),
    };
    Ok(Some(Explanation {
        service,
        band,
        signature: grouping.signature,
        pattern: grouping.pattern,
        template: signer.template(record).to_string(),
        matched: matches.policies.to_vec(),
        severity_protected: facts.severity_protected,
        randomness: facts.incoming.randomness,
        decision,
    }))
}
