//! The one way a reviewed version goes into force.
//!
//! Purpose: what `publish:` says, in one function.
//! Promises: nothing is in force here that the store does not say is; a person's rollback stands.
//! Never: judges a version.

use super::decide::{Verdict, verdict};
use super::{ACTOR, Controller, RunState};
use crate::control_plane::generator::config::Publish;
use crate::control_plane::store::{Actor, GENERATED, StoreError};

impl Controller {
    /// Puts a version of the loop's policies in force, if settings and people let it. Says what became of it.
    pub(super) async fn publish(&self, number: i64, reason: &str, actor: &Actor) -> Result<RunState, StoreError> {
        let last = self.store.activations(GENERATED, None, 1).await?;
        match verdict(self.config.publish, last.first(), ACTOR) {
            Verdict::Held => Ok(RunState::Held),
            Verdict::Publish(Publish::Manual) => Ok(RunState::Waiting),
            Verdict::Publish(Publish::Live) => {
                self.store.activate(GENERATED, number, reason, actor).await?;
                self.mirror.refresh().await?;
                (self.tell)(number);
                Ok(RunState::Published)
            }
        }
    }
}
