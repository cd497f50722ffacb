//! Records on their way to the reservoir.
//!
//! Purpose: write a record down by itself, with its resource and scope, as policies rewrite it.
//! Promises: runs for records that their pattern offers, a few of thousands; what a policy redacts is not in what is
//! handed over; no lock of a pattern is held meanwhile.
//! Never: changes what becomes of a record.

use rand::RngCore;
use rand::rngs::SmallRng;

use super::batch::{Batch, Block};
use crate::data_plane::policy::{CompiledPolicy, Edit, Matches};
use crate::data_plane::reservoir::Offer;
use crate::data_plane::view::RecordRef;
use crate::data_plane::view::encode::{Header, resource_logs};
use crate::data_plane::window::Cell;

/// Bytes of tags and lengths around a record that is alone, about.
const FRAME_BYTES: usize = 24;

impl Batch<'_> {
    /// Offers a record to the reservoir, if there is one. Its pattern had seen `seen` records before it.
    #[cold]
    pub(super) fn hand_over(
        &self,
        cell: &Cell,
        seen: u64,
        rng: &mut SmallRng,
        (record, block): (RecordRef<'_>, &Block<'_>),
        rewriting: (&CompiledPolicy, &Matches),
    ) {
        let Some(reservoir) = self.pipeline.reservoir.get() else { return };
        let state = cell.read(self.window);
        let offer = Offer {
            service: &cell.service,
            band: cell.band,
            pattern: cell.pattern,
            seen: seen + 1,
            in_last_window: state.last.records,
        };
        let blocks = block.resource.message().len() + block.scope.message().len();
        let len = record.payload().len() + blocks + FRAME_BYTES;
        let gap = reservoir.take(offer, len, rng.next_u64(), || alone(record, block, rewriting));
        cell.offer_after(seen.saturating_add(gap));
    }
}

/// The record as a request of its own, as policies rewrite it.
pub(super) fn alone(
    record: RecordRef<'_>,
    block: &Block<'_>,
    (policy, matches): (&CompiledPolicy, &Matches),
) -> Vec<u8> {
    // An edit of its own: the record may yet be dropped, and must then leave no trace in its block.
    let mut edit = Edit::default();
    let (resource, scope) = (block.resource.message(), block.scope.message());
    let rewrites = policy.transforms(matches);
    if rewrites {
        edit.begin_resource(resource);
        edit.begin_scope(scope);
        edit.begin_record(record.payload());
        policy.apply(matches, &mut edit);
    }
    let message = edit.record().filter(|_| rewrites).unwrap_or(record.payload());
    let resource = edit.resource().filter(|_| rewrites).unwrap_or(resource);
    let scope = edit.scope().filter(|_| rewrites).unwrap_or(scope);
    let resource = Header { message: resource, schema_url: block.resource.schema_url() };
    let scope = Header { message: scope, schema_url: block.scope.schema_url() };
    let mut request = Vec::with_capacity(message.len() + resource.message.len() + scope.message.len() + 64);
    resource_logs(&mut request, resource, scope, std::iter::once(message));
    request
}
