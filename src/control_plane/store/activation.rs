//! Which version is in force, and the history of that.
//!
//! Purpose: activate, roll back, deactivate; list what is in force.
//! Promises: each change is one transaction with its history and audit entries; activating what is active changes
//! nothing; of two changes at once one comes after the other; the revision grows with every change.
//! Never: looks into a document.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::versions::{document_from, target, version};
use super::{Actor, Store, StoreError, Timestamp, Version, Write, count, get};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A version was put in force.
    Activate,
    /// The version before the active one was put in force again.
    Rollback,
    /// Nothing is in force any more.
    Deactivate,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Action::Activate => "activate",
            Action::Rollback => "rollback",
            Action::Deactivate => "deactivate",
        }
    }

    fn of(text: &str) -> Self {
        match text {
            "rollback" => Action::Rollback,
            "deactivate" => Action::Deactivate,
            _ => Action::Activate,
        }
    }
}

/// One entry of the history.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Activation {
    /// Its place in the order of all activations.
    pub seq: i64,
    /// Whose policies; empty for all services.
    pub service: String,
    /// The version in force from then on; null for none.
    pub number: Option<i64>,
    /// What was done.
    pub action: Action,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A version in force.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ActiveVersion {
    /// The version, with its document.
    pub version: Version,
    /// When it was put in force.
    pub activated_at: Timestamp,
    /// Who did.
    pub activated_by: String,
}

/// Counts of changes: cheap to ask for, and different after every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    /// Of what is in force.
    pub policies: u64,
    /// Of tokens.
    pub tokens: u64,
}

fn activation(row: &AnyRow) -> Result<Activation, StoreError> {
    let action: String = get(row, "action")?;
    Ok(Activation {
        seq: get(row, "seq")?,
        service: get(row, "service")?,
        number: get(row, "number")?,
        action: Action::of(&action),
        actor: get(row, "actor")?,
        reason: get(row, "reason")?,
        at: Timestamp::from_stored(get(row, "at")?),
    })
}

impl Store {
    /// Puts a version in force. Returns whether that changed anything.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Conflict`] for a version that has expired.
    pub async fn activate(&self, service: &str, number: i64, reason: &str, actor: &Actor) -> Result<bool, StoreError> {
        let now = self.now();
        let mut write = self.write().await?;
        write.lock("policies").await?;
        let expires_at = write.expiry(service, number).await?;
        if expires_at.is_some_and(|expires_at| expires_at <= now) {
            let message = format!("version {number} of {} has expired; write a new one", target(service));
            return Err(StoreError::Conflict(message));
        }
        if write.active_number(service).await? == Some(number) {
            return Ok(false);
        }
        write.put_active(service, Some(number), Action::Activate, (reason, actor, now)).await?;
        write.commit().await?;
        Ok(true)
    }

    /// Puts `to` in force again, or without it the version that was in force before the active one first was. Returns
    /// its number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, [`StoreError::Conflict`] when it has expired.
    pub async fn roll_back(
        &self,
        service: &str,
        to: Option<i64>,
        reason: &str,
        actor: &Actor,
    ) -> Result<i64, StoreError> {
        let now = self.now();
        let mut write = self.write().await?;
        write.lock("policies").await?;
        let number = match to {
            Some(number) => number,
            None => write.earlier(service).await?,
        };
        let expires_at = write.expiry(service, number).await?;
        if expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(StoreError::Conflict(format!("version {number} of {} has expired", target(service))));
        }
        if write.active_number(service).await? == Some(number) {
            return Ok(number);
        }
        write.put_active(service, Some(number), Action::Rollback, (reason, actor, now)).await?;
        write.commit().await?;
        Ok(number)
    }

    /// Puts nothing in force. Returns whether something was.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a service without versions.
    pub async fn deactivate(&self, service: &str, reason: &str, actor: &Actor) -> Result<bool, StoreError> {
        let now = self.now();
        let mut write = self.write().await?;
        write.lock("policies").await?;
        if write.newest(service).await?.is_none() {
            return Err(StoreError::NotFound(format!("{} has no policies", target(service))));
        }
        if write.active_number(service).await?.is_none() {
            return Ok(false);
        }
        write.put_active(service, None, Action::Deactivate, (reason, actor, now)).await?;
        write.commit().await?;
        Ok(true)
    }

    /// Activations of a service before `before` (all without one), the latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn activations(
        &self,
        service: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Activation>, StoreError> {
        let sql = "SELECT seq, service, number, action, actor, reason, at FROM activations WHERE service = $1 AND \
                   seq < $2 ORDER BY seq DESC LIMIT $3";
        let rows = sqlx::query(sql)
            .bind(service.to_owned())
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(activation).collect()
    }

    /// Everything in force and not expired, with documents, in the order of services.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn active(&self) -> Result<Vec<ActiveVersion>, StoreError> {
        let mut active = self.active_heads().await?;
        let texts = self.documents(active.iter().map(|entry| &entry.version)).await?;
        for entry in &mut active {
            entry.version.document = document_from(texts.get(&entry.version.digest))?;
        }
        Ok(active)
    }

    /// Everything in force and not expired, without documents, in the order of services.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn active_heads(&self) -> Result<Vec<ActiveVersion>, StoreError> {
        let sql = "SELECT v.service, v.number, v.digest, v.policies, v.author, v.origin, v.reason, v.parent, \
                   v.created_at, v.expires_at, a.activated_at, a.activated_by FROM active_versions a JOIN \
                   policy_versions v ON v.service = a.service AND v.number = a.number \
                   WHERE v.expires_at IS NULL OR v.expires_at > $1 ORDER BY v.service";
        let rows = sqlx::query(sql).bind(self.now().stored()).fetch_all(&self.pool).await?;
        let active = |row: &AnyRow| {
            Ok(ActiveVersion {
                version: version(row, serde_json::Value::Null)?,
                activated_at: Timestamp::from_stored(get(row, "activated_at")?),
                activated_by: get(row, "activated_by")?,
            })
        };
        rows.iter().map(active).collect()
    }

    /// The number of the version in force, expired or not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn active_number(&self, service: &str) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT number FROM active_versions WHERE service = $1";
        let row = sqlx::query(sql).bind(service.to_owned()).fetch_optional(&self.pool).await?;
        row.map(|row| get(&row, "number")).transpose()
    }

    /// How often anything has changed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn revisions(&self) -> Result<Revisions, StoreError> {
        let mut revisions = Revisions::default();
        for row in sqlx::query("SELECT name, revision FROM revisions").fetch_all(&self.pool).await? {
            let name: String = get(&row, "name")?;
            match name.as_str() {
                "policies" => revisions.policies = count(&row, "revision")?,
                "tokens" => revisions.tokens = count(&row, "revision")?,
                _ => {}
            }
        }
        Ok(revisions)
    }
}

impl Write<'_> {
    /// When a version expires; an error when there is no such version.
    async fn expiry(&mut self, service: &str, number: i64) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT expires_at FROM policy_versions WHERE service = $1 AND number = $2";
        let row = sqlx::query(sql).bind(service.to_owned()).bind(number).fetch_optional(&mut *self.tx).await?;
        let Some(row) = row else {
            return Err(StoreError::NotFound(format!("{} has no version {number}", target(service))));
        };
        let expires_at: Option<i64> = get(&row, "expires_at")?;
        Ok(expires_at.map(Timestamp::from_stored))
    }

    pub(super) async fn active_number(&mut self, service: &str) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT number FROM active_versions WHERE service = $1";
        let row = sqlx::query(sql).bind(service.to_owned()).fetch_optional(&mut *self.tx).await?;
        row.map(|row| get(&row, "number")).transpose()
    }

    /// What was in force before the active version was for the first time; without an active one, the last that was.
    async fn earlier(&mut self, service: &str) -> Result<i64, StoreError> {
        let active = self.active_number(service).await?.unwrap_or(0);
        let sql = "SELECT number FROM activations WHERE service = $1 AND number IS NOT NULL AND number <> $2 AND \
                   seq < COALESCE((SELECT MIN(seq) FROM activations WHERE service = $1 AND number = $2), $3) \
                   ORDER BY seq DESC LIMIT 1";
        let row =
            sqlx::query(sql).bind(service.to_owned()).bind(active).bind(i64::MAX).fetch_optional(&mut *self.tx).await?;
        match row {
            Some(row) => get(&row, "number"),
            None => Err(StoreError::NotFound(format!("{} has no earlier version to go back to", target(service)))),
        }
    }

    pub(super) async fn put_active(
        &mut self,
        service: &str,
        number: Option<i64>,
        action: Action,
        (reason, actor, now): (&str, &Actor, Timestamp),
    ) -> Result<(), StoreError> {
        let before = self.active_number(service).await?;
        sqlx::query("DELETE FROM active_versions WHERE service = $1")
            .bind(service.to_owned())
            .execute(&mut *self.tx)
            .await?;
        if let Some(number) = number {
            let sql =
                "INSERT INTO active_versions (service, number, activated_at, activated_by) VALUES ($1, $2, $3, $4)";
            sqlx::query(sql)
                .bind(service.to_owned())
                .bind(number)
                .bind(now.stored())
                .bind(actor.name.clone())
                .execute(&mut *self.tx)
                .await?;
        }
        let sql =
            "INSERT INTO activations (service, number, action, actor, reason, at) VALUES ($1, $2, $3, $4, $5, $6)";
        sqlx::query(sql)
            .bind(service.to_owned())
            .bind(number)
            .bind(action.as_str())
            .bind(actor.name.clone())
            .bind(reason.to_owned())
            .bind(now.stored())
            .execute(&mut *self.tx)
            .await?;
        let detail = json!({ "version": number, "before": before, "reason": reason });
        self.audit(now, actor, &format!("policy.{}", action.as_str()), &target(service), detail).await?;
        self.bump("policies").await
    }
}
