//! The one way a reviewed version goes into force.
//!
//! Purpose: what `publish:` says, in one function.
//! Promises: nothing is in force here that the store does not say is; a person's rollback stands.
//! Never: judges a version.

use super::decide::{Verdict, verdict};
use super::{ACTOR, Controller, RunState};
use crate::control_plane::generator::config::Publish;
use crate::control_plane::replay::Report;
use crate::control_plane::rollout::{self, Mode, Prediction, Start};
use crate::control_plane::store::{Actor, GENERATED, StoreError};

impl Controller {
    /// Puts a version of the loop's policies in force, if settings and people let it. Says what became of it.
    /// `report` is the replay it passed its review by: what a rollout holds it to.
    pub(super) async fn publish(
        &self,
        number: i64,
        reason: &str,
        report: &Report,
        actor: &Actor,
    ) -> Result<RunState, StoreError> {
        let last = self.store.activations(GENERATED, None, 1).await?;
        match verdict(self.config.publish, last.first(), ACTOR) {
            Verdict::Held => Ok(RunState::Held),
            Verdict::Publish(Publish::Manual) => Ok(RunState::Waiting),
            Verdict::Publish(Publish::Shadow) => self.roll_out(number, Mode::Shadow, reason, report, actor).await,
            Verdict::Publish(Publish::Canary) => self.roll_out(number, Mode::Canary, reason, report, actor).await,
            Verdict::Publish(Publish::Live) => {
                self.store.activate(GENERATED, number, reason, actor).await?;
                self.mirror.refresh().await?;
                (self.tell)(number);
                Ok(RunState::Published)
            }
        }
    }

    /// Starts a rollout of a version; while another is under way the version waits, as the next run writes a better one.
    async fn roll_out(
        &self,
        number: i64,
        mode: Mode,
        reason: &str,
        report: &Report,
        actor: &Actor,
    ) -> Result<RunState, StoreError> {
        if self.store.open_rollout().await?.is_some() {
            return Ok(RunState::Waiting);
        }
        let start = Start {
            service: GENERATED.to_owned(),
            version: number,
            mode,
            manual: false,
            prediction: Prediction::of(report, self.rollout.tolerance),
            reason: reason.to_owned(),
        };
        rollout::start(&self.store, &start, &self.rollout, actor).await?;
        self.mirror.refresh().await?;
        Ok(RunState::Rollout)
    }
}
