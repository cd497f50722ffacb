//! Versions of policies: written once, never changed.
//!
//! Purpose: keep every document that was ever in force or could have been, with who wrote it, why, and from what.
//! Promises: numbers of a service count up from 1 without gaps; writing the newest document again adds nothing.
//! Never: puts a version in force; see `activation`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::sql::Sql;
use super::{Actor, Store, StoreError, Timestamp, Write, count, get};

/// Versions whose documents one statement asks for.
const VERSIONS_AT_ONCE: usize = 200;
/// The service that stands for all services.
pub const GLOBAL: &str = "";

/// The set of policies that the loop writes, for all services. No service can be called that.
pub const GENERATED: &str = "*generated";

/// Who wrote a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VersionOrigin {
    /// A person.
    #[default]
    Human,
    /// A program.
    Generated,
}

impl VersionOrigin {
    fn as_str(self) -> &'static str {
        match self {
            VersionOrigin::Human => "human",
            VersionOrigin::Generated => "generated",
        }
    }
}

/// A version to write.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// Whose policies; [`GLOBAL`] for all services.
    pub service: String,
    /// The policies, as a document of `spec/policy.md`.
    pub document: Value,
    /// How many policies are in it.
    pub policies: u64,
    /// Who wrote it.
    pub origin: VersionOrigin,
    /// Why.
    pub reason: String,
    /// From when on it is no longer in force.
    pub expires_at: Option<Timestamp>,
    /// Number of the newest version it was made from: refused when there is a newer one. `None` does not look.
    pub parent: Option<i64>,
}

/// A version.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Version {
    /// Whose policies; empty for all services.
    pub service: String,
    /// Its number, from 1.
    pub number: i64,
    /// The policies, as a document.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub document: Value,
    /// SHA-256 of the document.
    pub digest: String,
    /// How many policies are in it.
    pub policies: u64,
    /// Who wrote it: the name of a token.
    pub author: String,
    /// A person or a program.
    pub origin: VersionOrigin,
    /// Why.
    pub reason: String,
    /// The version before it, or the one it was made from.
    pub parent: Option<i64>,
    /// When.
    pub created_at: Timestamp,
    /// From when on it is no longer in force.
    pub expires_at: Option<Timestamp>,
}

/// SHA-256 of a document's JSON, in hex.
pub(super) fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn version(row: &AnyRow, document: Value) -> Result<Version, StoreError> {
    let origin: String = get(row, "origin")?;
    let expires_at: Option<i64> = get(row, "expires_at")?;
    Ok(Version {
        service: get(row, "service")?,
        number: get(row, "number")?,
        document,
        digest: get(row, "digest")?,
        policies: count(row, "policies")?,
        author: get(row, "author")?,
        origin: if origin == "generated" { VersionOrigin::Generated } else { VersionOrigin::Human },
        reason: get(row, "reason")?,
        parent: get(row, "parent")?,
        created_at: Timestamp::from_stored(get(row, "created_at")?),
        expires_at: expires_at.map(Timestamp::from_stored),
    })
}

pub(super) fn document_of(row: &AnyRow) -> Result<Value, StoreError> {
    let text: String = get(row, "document")?;
    serde_json::from_str(&text).map_err(|error| StoreError::Row(format!("a policy document: {error}")))
}

/// The document that a text is.
///
/// # Errors
/// [`StoreError::Row`] when it is none.
pub fn document_from(text: Option<&String>) -> Result<Value, StoreError> {
    let text = text.ok_or_else(|| StoreError::Row("a policy document: it is not there".into()))?;
    serde_json::from_str(text).map_err(|error| StoreError::Row(format!("a policy document: {error}")))
}

/// How a service is called in targets and messages.
pub(super) fn target(service: &str) -> String {
    match service {
        GLOBAL => "global".to_owned(),
        GENERATED => "generated".to_owned(),
        _ => format!("service:{service}"),
    }
}

impl Store {
    /// Writes a version, unless its document and expiry are those of the newest one. Returns it and whether it is new.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when `parent` is not the newest version.
    pub async fn create_version(&self, new: &NewVersion, actor: &Actor) -> Result<(Version, bool), StoreError> {
        let mut write = self.write().await?;
        write.lock("policies").await?;
        let result = write.insert_version(new, actor, self.now()).await?;
        write.commit().await?;
        Ok(result)
    }

    /// One version with its document.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn version(&self, service: &str, number: i64) -> Result<Version, StoreError> {
        let sql = "SELECT service, number, digest, policies, author, origin, reason, parent, created_at, expires_at, \
                   document FROM policy_versions WHERE service = $1 AND number = $2";
        let row = sqlx::query(sql).bind(service.to_owned()).bind(number).fetch_optional(&self.pool).await?;
        match row {
            Some(row) => version(&row, document_of(&row)?),
            None => Err(StoreError::NotFound(format!("{} has no version {number}", target(service)))),
        }
    }

    /// The texts of versions' documents, by their digest.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn documents(
        &self,
        versions: impl Iterator<Item = &Version>,
    ) -> Result<HashMap<String, String>, StoreError> {
        let mut texts = HashMap::new();
        let versions: Vec<&Version> = versions.collect();
        for versions in versions.chunks(VERSIONS_AT_ONCE) {
            let mut sql = Sql::new("SELECT digest, document FROM policy_versions WHERE ");
            for (index, version) in versions.iter().enumerate() {
                sql.push(if index > 0 { " OR (service = " } else { "(service = " }).bind(version.service.clone());
                sql.push(" AND number = ").bind(version.number).push(")");
            }
            for row in sql.build()?.persistent(false).fetch_all(&self.pool).await? {
                texts.insert(get(&row, "digest")?, get(&row, "document")?);
            }
        }
        Ok(texts)
    }

    /// Versions of a service before `before` (all without one), the newest first, without their documents.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn versions(&self, service: &str, before: Option<i64>, limit: u32) -> Result<Vec<Version>, StoreError> {
        let sql = "SELECT service, number, digest, policies, author, origin, reason, parent, created_at, expires_at \
                   FROM policy_versions WHERE service = $1 AND number < $2 ORDER BY number DESC LIMIT $3";
        let rows = sqlx::query(sql)
            .bind(service.to_owned())
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| version(row, Value::Null)).collect()
    }

    /// The newest version of every service after `after`, in the order of names, without documents.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn newest_versions(&self, after: Option<&str>, limit: u32) -> Result<Vec<Version>, StoreError> {
        let sql = "SELECT v.service, v.number, v.digest, v.policies, v.author, v.origin, v.reason, v.parent, \
                   v.created_at, v.expires_at FROM policy_versions v JOIN (SELECT service, MAX(number) AS newest FROM \
                   policy_versions GROUP BY service) n ON n.service = v.service AND n.newest = v.number \
                   WHERE ($1 = 0 OR v.service > $2) ORDER BY v.service LIMIT $3";
        let rows = sqlx::query(sql)
            .bind(i64::from(after.is_some()))
            .bind(after.unwrap_or_default().to_owned())
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| version(row, Value::Null)).collect()
    }
}

impl Write<'_> {
    pub(super) async fn newest(&mut self, service: &str) -> Result<Option<Version>, StoreError> {
        let sql = "SELECT service, number, digest, policies, author, origin, reason, parent, created_at, expires_at \
                   FROM policy_versions WHERE service = $1 ORDER BY number DESC LIMIT 1";
        let row = sqlx::query(sql).bind(service.to_owned()).fetch_optional(&mut *self.tx).await?;
        row.as_ref().map(|row| version(row, Value::Null)).transpose()
    }

    async fn insert_version(
        &mut self,
        new: &NewVersion,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(Version, bool), StoreError> {
        let text = new.document.to_string();
        let digest = digest(&text);
        let newest = self.newest(&new.service).await?;
        let newest_number = newest.as_ref().map_or(0, |newest| newest.number);
        if let Some(parent) = new.parent.filter(|parent| *parent != newest_number) {
            let name = target(&new.service);
            let message = format!("made from version {parent} of {name}, whose newest version is {newest_number}");
            return Err(StoreError::Conflict(message));
        }
        if let Some(newest) = newest
            && newest.digest == digest
            && newest.expires_at == new.expires_at
        {
            return Ok((Version { document: new.document.clone(), ..newest }, false));
        }
        let version = Version {
            service: new.service.clone(),
            number: newest_number + 1,
            document: new.document.clone(),
            digest,
            policies: new.policies,
            author: actor.name.clone(),
            origin: new.origin,
            reason: new.reason.clone(),
            parent: (newest_number > 0).then_some(newest_number),
            created_at: now,
            expires_at: new.expires_at,
        };
        self.put_version(&version, text).await?;
        let detail = json!({ "version": version.number, "digest": version.digest, "reason": version.reason });
        self.audit(now, actor, "policy.create", &target(&version.service), detail).await?;
        Ok((version, true))
    }

    async fn put_version(&mut self, version: &Version, text: String) -> Result<(), StoreError> {
        let sql = "INSERT INTO policy_versions (service, number, document, digest, policies, author, origin, reason, \
                   parent, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        sqlx::query(sql)
            .bind(version.service.clone())
            .bind(version.number)
            .bind(text)
            .bind(version.digest.clone())
            .bind(super::stored(version.policies))
            .bind(version.author.clone())
            .bind(version.origin.as_str())
            .bind(version.reason.clone())
            .bind(version.parent)
            .bind(version.created_at.stored())
            .bind(version.expires_at.map(Timestamp::stored))
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}
