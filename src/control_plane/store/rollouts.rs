//! Rollouts: where each stands, and what gateways counted in its stages.
//!
//! Purpose: let a rollout outlive its process, and be driven by any.
//! Promises: at most one is open; a step is written together with what it puts in force, its history and its audit
//! entry, and only if nobody wrote another since it was read and the version in force is the expected one; counts told
//! twice count once.
//! Never: knows what a plan or a state means.

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::activation::Action;
use super::versions::target;
use super::{Actor, Store, StoreError, Timestamp, Write, count, get, stored};

/// Longest name of a replica or service, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// Rows of counts of one stage at most: replicas times services, twice.
const MAX_ROWS: i64 = 200_000;

/// A rollout as written.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutRow {
    /// Its number.
    pub id: i64,
    /// Whose policies.
    pub service: String,
    /// What was agreed on.
    pub plan: Value,
    /// Where it stands.
    pub state: Value,
    /// Why it was started.
    pub reason: String,
    /// How often it was written.
    pub revision: i64,
    /// When it was started.
    pub created_at: Timestamp,
    /// Who started it.
    pub created_by: String,
}

/// A version to put in force with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Its number; `None` for nothing.
    pub number: Option<i64>,
    /// Whether this goes back to what was before.
    pub is_return: bool,
}

/// A rollout to start.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRollout {
    /// Whose policies.
    pub service: String,
    /// The version.
    pub number: i64,
    /// The version that must be in force; `None` for none.
    pub parent: Option<i64>,
    /// Its first phase.
    pub phase: &'static str,
    /// What was agreed on.
    pub plan: Value,
    /// Where it stands.
    pub state: Value,
    /// Why.
    pub reason: String,
    /// What it puts in force at once.
    pub in_force: Option<InForce>,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutChange<'a> {
    /// Which rollout.
    pub id: i64,
    /// Whose policies.
    pub service: &'a str,
    /// How often it was written when it was read.
    pub revision: i64,
    /// Its phase after.
    pub phase: &'static str,
    /// Where it stands after.
    pub state: Value,
    /// Whether it is a step, or only time that passed.
    pub is_step: bool,
    /// Whether it is over.
    pub is_over: bool,
    /// The version that must be in force for it.
    pub active: Option<i64>,
    /// What it puts in force.
    pub in_force: Option<InForce>,
    /// Why it ends early; empty when it does not.
    pub why: &'a str,
}

/// What one side decided in a stage, as far as gateways have told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ArmStatus)]
pub struct ArmSums {
    /// Records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records kept.
    pub kept: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Records of ERROR and above that were lost.
    pub errors_lost: u64,
    /// Records of anomalous patterns.
    pub anomalous: u64,
    /// Of these, kept.
    pub anomalous_kept: u64,
}

impl ArmSums {
    /// Adds those of another.
    pub fn add(&mut self, other: &ArmSums) {
        let ArmSums { records, bytes, kept, kept_bytes, errors_lost, anomalous, anomalous_kept } = other;
        self.records += records;
        self.bytes += bytes;
        self.kept += kept;
        self.kept_bytes += kept_bytes;
        self.errors_lost += errors_lost;
        self.anomalous += anomalous;
        self.anomalous_kept += anomalous_kept;
    }
}

/// What a gateway counted of a stage so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArmRow {
    /// Whose records.
    pub service: String,
    /// `baseline` or `candidate`.
    pub arm: String,
    /// The counts.
    pub sums: ArmSums,
}

/// Counts of a stage of a rollout, by one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialRows {
    /// The rollout.
    pub rollout: i64,
    /// Its stage.
    pub stage: u32,
    /// The gateway.
    pub replica: String,
    /// Its counts since it joined the stage.
    pub rows: Vec<ArmRow>,
}

const COLUMNS: &str = "SELECT id, service, plan, state, reason, revision, created_at, created_by FROM rollouts";

fn rollout(row: &AnyRow) -> Result<RolloutRow, StoreError> {
    let tree = |column| {
        let text: String = get(row, column)?;
        serde_json::from_str(&text).map_err(|error| StoreError::Row(format!("a rollout: {error}")))
    };
    Ok(RolloutRow {
        id: get(row, "id")?,
        service: get(row, "service")?,
        plan: tree("plan")?,
        state: tree("state")?,
        reason: get(row, "reason")?,
        revision: get(row, "revision")?,
        created_at: Timestamp::from_stored(get(row, "created_at")?),
        created_by: get(row, "created_by")?,
    })
}

impl Store {
    /// Starts a rollout.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when one is open, or another version is in force than it was made for.
    pub async fn start_rollout(&self, new: &NewRollout, actor: &Actor) -> Result<RolloutRow, StoreError> {
        let now = self.now();
        let mut write = self.write().await?;
        write.lock("policies").await?;
        let open = sqlx::query("SELECT id, service FROM rollouts WHERE ended_at IS NULL LIMIT 1");
        if let Some(row) = open.fetch_optional(&mut *write.tx).await? {
            let (id, service): (i64, String) = (get(&row, "id")?, get(&row, "service")?);
            let name = target(&service);
            return Err(StoreError::Conflict(format!("rollout {id} of {name} is open; one at a time")));
        }
        if write.active_number(&new.service).await? != new.parent {
            return Err(StoreError::Conflict("another version was put in force meanwhile".to_owned()));
        }
        let sql = "INSERT INTO rollouts (service, number, parent, phase, plan, state, reason, revision, created_at, \
                   created_by, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9, $8) RETURNING id";
        let row = sqlx::query(sql)
            .bind(new.service.clone())
            .bind(new.number)
            .bind(new.parent)
            .bind(new.phase)
            .bind(new.plan.to_string())
            .bind(new.state.to_string())
            .bind(new.reason.clone())
            .bind(now.stored())
            .bind(actor.name.clone())
            .fetch_one(&mut *write.tx)
            .await?;
        let id: i64 = get(&row, "id")?;
        let detail = json!({ "rollout": id, "version": new.number, "phase": new.phase, "reason": new.reason });
        write.audit(now, actor, "rollout.start", &target(&new.service), detail).await?;
        write.put(&new.service, new.in_force, (&format!("rollout {id}"), actor, now)).await?;
        write.commit().await?;
        Ok(RolloutRow {
            id,
            service: new.service.clone(),
            plan: new.plan.clone(),
            state: new.state.clone(),
            reason: new.reason.clone(),
            revision: 0,
            created_at: now,
            created_by: actor.name.clone(),
        })
    }

    /// Writes a step. Returns false, having written nothing, when someone else did since it was read, or another version is
    /// in force.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn change_rollout(&self, change: &RolloutChange<'_>, actor: &Actor) -> Result<bool, StoreError> {
        let now = self.now();
        let mut write = self.write().await?;
        write.lock("policies").await?;
        if write.active_number(change.service).await? != change.active {
            return Ok(false);
        }
        let sql = "UPDATE rollouts SET phase = $1, state = $2, revision = revision + 1, updated_at = $3, ended_at = $4 \
                   WHERE id = $5 AND revision = $6 AND ended_at IS NULL";
        let written = sqlx::query(sql)
            .bind(change.phase)
            .bind(change.state.to_string())
            .bind(now.stored())
            .bind(change.is_over.then_some(now.stored()))
            .bind(change.id)
            .bind(change.revision)
            .execute(&mut *write.tx)
            .await?;
        if written.rows_affected() != 1 {
            return Ok(false);
        }
        if change.is_step {
            let detail = json!({ "rollout": change.id, "phase": change.phase, "stage": change.state.get("stage"),
                                 "why": change.why });
            let action = format!("rollout.{}", change.phase);
            write.audit(now, actor, &action, &target(change.service), detail).await?;
            let because = if change.why.is_empty() { String::new() } else { format!(": {}", change.why) };
            let reason = format!("rollout {}{because}", change.id);
            write.put(change.service, change.in_force, (&reason, actor, now)).await?;
        }
        if change.is_over {
            // The present stage's counts stay, for people; those of rollouts before are no longer asked for.
            let sql = "DELETE FROM rollout_counts WHERE rollout < $1";
            sqlx::query(sql).bind(change.id).execute(&mut *write.tx).await?;
        }
        write.commit().await?;
        Ok(true)
    }

    /// The open rollout.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open_rollout(&self) -> Result<Option<RolloutRow>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE ended_at IS NULL ORDER BY id LIMIT 1"));
        let row = sqlx::query(sql).fetch_optional(&self.pool).await?;
        row.as_ref().map(rollout).transpose()
    }

    /// The latest rollout of a service, over or not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn latest_rollout(&self, service: &str) -> Result<Option<RolloutRow>, StoreError> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE service = $1 ORDER BY id DESC LIMIT 1"));
        let row = sqlx::query(sql).bind(service.to_owned()).fetch_optional(&self.pool).await?;
        row.as_ref().map(rollout).transpose()
    }

    /// Takes what gateways counted. What belongs to a rollout that is not open is passed over.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn note_trials(&self, trials: &[TrialRows]) -> Result<(), StoreError> {
        if trials.is_empty() {
            return Ok(());
        }
        let mut write = self.write().await?;
        let open = sqlx::query("SELECT id FROM rollouts WHERE ended_at IS NULL");
        let open = open.fetch_all(&mut *write.tx).await?;
        let open: Vec<i64> = open.iter().map(|row| get(row, "id")).collect::<Result<_, _>>()?;
        for trial in trials.iter().filter(|trial| open.contains(&trial.rollout)) {
            for row in &trial.rows {
                write.put_counts(trial, row).await?;
            }
        }
        write.commit().await
    }

    /// What was counted in a stage, all gateways together.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trial_counts(&self, rollout: i64, stage: u32) -> Result<Vec<ArmRow>, StoreError> {
        let sql = "SELECT service, arm, CAST(SUM(records) AS BIGINT) AS records, CAST(SUM(bytes) AS BIGINT) AS bytes, \
                   CAST(SUM(kept) AS BIGINT) AS kept, CAST(SUM(kept_bytes) AS BIGINT) AS kept_bytes, \
                   CAST(SUM(errors_lost) AS BIGINT) AS errors_lost, CAST(SUM(anomalous) AS BIGINT) AS anomalous, \
                   CAST(SUM(anomalous_kept) AS BIGINT) AS anomalous_kept FROM rollout_counts \
                   WHERE rollout = $1 AND stage = $2 GROUP BY service, arm ORDER BY service, arm LIMIT $3";
        let rows = sqlx::query(sql).bind(rollout).bind(i64::from(stage)).bind(MAX_ROWS).fetch_all(&self.pool).await?;
        let arm = |row: &AnyRow| {
            Ok(ArmRow {
                service: get(row, "service")?,
                arm: get(row, "arm")?,
                sums: ArmSums {
                    records: count(row, "records")?,
                    bytes: count(row, "bytes")?,
                    kept: count(row, "kept")?,
                    kept_bytes: count(row, "kept_bytes")?,
                    errors_lost: count(row, "errors_lost")?,
                    anomalous: count(row, "anomalous")?,
                    anomalous_kept: count(row, "anomalous_kept")?,
                },
            })
        };
        rows.iter().map(arm).collect()
    }
}

impl Write<'_> {
    /// Puts in force what a step says, and lets other processes notice the step.
    async fn put(
        &mut self,
        service: &str,
        in_force: Option<InForce>,
        about: (&str, &Actor, Timestamp),
    ) -> Result<(), StoreError> {
        let Some(InForce { number, is_return }) = in_force else { return self.bump("policies").await };
        let action = match (number, is_return) {
            (None, _) => Action::Deactivate,
            (Some(_), true) => Action::Rollback,
            (Some(_), false) => Action::Activate,
        };
        self.put_active(service, number, action, about).await
    }

    /// A gateway's counts only grow while it lives: an older word that comes late changes nothing.
    async fn put_counts(&mut self, trial: &TrialRows, row: &ArmRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO rollout_counts (rollout, stage, replica, service, arm, records, bytes, kept, kept_bytes, \
                   errors_lost, anomalous, anomalous_kept) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
                   ON CONFLICT (rollout, stage, replica, service, arm) DO UPDATE SET records = excluded.records, \
                   bytes = excluded.bytes, kept = excluded.kept, kept_bytes = excluded.kept_bytes, \
                   errors_lost = excluded.errors_lost, anomalous = excluded.anomalous, \
                   anomalous_kept = excluded.anomalous_kept WHERE excluded.records >= rollout_counts.records";
        let text = |text: &str| super::ingest::cut(text, MAX_NAME_BYTES);
        // Bounded like statistics, so that sums stay far from overflow.
        let number = |value: u64| stored(value.min(1 << 48));
        sqlx::query(sql)
            .bind(trial.rollout)
            .bind(i64::from(trial.stage))
            .bind(text(&trial.replica))
            .bind(text(&row.service))
            .bind(text(&row.arm))
            .bind(number(row.sums.records))
            .bind(number(row.sums.bytes))
            .bind(number(row.sums.kept))
            .bind(number(row.sums.kept_bytes))
            .bind(number(row.sums.errors_lost))
            .bind(number(row.sums.anomalous))
            .bind(number(row.sums.anomalous_kept))
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}
