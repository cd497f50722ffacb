//! Policies alone, applied to a whole request.
//!
//! Purpose: what `lipservice policy eval` and the vectors of `spec/` run: match, decide, rewrite, splice, count.
//! Promises: without policies the request comes out byte for byte; counters move as in the gateway.
//! Never: protects by severity, samples by default or adds attributes; the gateway's sampler does.

use super::compile::CompiledPolicy;
use super::evaluate::{Candidates, Matches};
use super::transform::Edit;
use crate::clock::UnixNanos;
use crate::data_plane::pattern::Grouping;
use crate::data_plane::signature::Signer;
use crate::data_plane::view::{Action, LogIndex, RecordRef, ResourceRef, ScopeRef, SplicePlan, ViewError};

impl CompiledPolicy {
    /// Applies the policies to an `ExportLogsServiceRequest` and returns what is left of it. `randomness` is asked once a
    /// record that matches something, for 56 bits.
    ///
    /// # Errors
    /// When `request` is not valid protobuf; nothing is counted then.
    pub fn apply_to_request(
        &self,
        request: &[u8],
        now: UnixNanos,
        mut randomness: impl FnMut() -> u64,
    ) -> Result<Vec<u8>, ViewError> {
        self.rewrite_with(request, now, |matches, record, resource, scope| {
            let random = if matches.is_empty() { 0 } else { randomness() };
            let resolution = self.resolve(matches, record, resource, scope, random, now);
            self.count(matches, &resolution, resolution.keep);
            resolution.keep
        })
    }

    /// Rewrites every record of a request as the policies say, drops none and counts nothing.
    ///
    /// # Errors
    /// When `request` is not valid protobuf.
    pub fn rewrite(&self, request: &[u8], now: UnixNanos) -> Result<Vec<u8>, ViewError> {
        self.rewrite_with(request, now, |_, _, _, _| true)
    }

    fn rewrite_with(
        &self,
        request: &[u8],
        now: UnixNanos,
        mut keeps: impl FnMut(&Matches, RecordRef<'_>, ResourceRef<'_>, ScopeRef<'_>) -> bool,
    ) -> Result<Vec<u8>, ViewError> {
        let mut index = LogIndex::default();
        let mut groupings = Vec::new();
        let mut signer = Signer::default();
        index.parse(request, |record| {
            let signature = signer.sign(record);
            let template = String::from_utf8_lossy(signer.last_template());
            groupings.push(Grouping { signature, pattern: self.catalogue().resolve(signature, &template) });
        })?;
        let (mut plan, mut edit) = (SplicePlan::default(), Edit::default());
        let (mut candidates, mut matches) = (Candidates::default(), Matches::default());
        for (r, resource_span) in index.resources.iter().enumerate() {
            let resource = ResourceRef::new(request, resource_span);
            edit.begin_resource(resource.message());
            for s in resource_span.scopes.0..resource_span.scopes.1 {
                let scope_span = &index.scopes[s as usize];
                let scope = ScopeRef::new(request, scope_span);
                edit.begin_scope(scope.message());
                self.block(resource, scope, now, &mut candidates);
                let records = scope_span.records.0 as usize..scope_span.records.1 as usize;
                for (record_span, grouping) in index.records[records.clone()].iter().zip(&groupings[records]) {
                    let record = RecordRef::new(request, record_span);
                    self.matches(&candidates, record, resource, scope, *grouping, &mut matches);
                    let action = match keeps(&matches, record, resource, scope) {
                        false => Action::Drop,
                        true if !self.transforms(&matches) => Action::Keep,
                        true => {
                            edit.begin_record(record.payload());
                            self.apply(&matches, &mut edit);
                            edit.record().map_or(Action::Keep, |message| Action::Replace(plan.stash(message)))
                        }
                    };
                    plan.actions.push(action);
                }
                if let Some(message) = edit.scope() {
                    let span = plan.stash(message);
                    plan.scopes.push((s, span));
                }
            }
            if let Some(message) = edit.resource() {
                let span = plan.stash(message);
                plan.resources.push((r as u32, span));
            }
        }
        let mut out = Vec::with_capacity(request.len());
        plan.write(request, &index, &mut out);
        Ok(out)
    }
}
