//! Tokens of the API: who may ask for what.
//!
//! Purpose: make, list and revoke tokens.
//! Promises: a token has 256 random bits and is shown once; the database holds its SHA-256 alone, which needs no salt
//! and no slow hash, as there is nothing to guess; creating and revoking are in the audit log.
//! Never: compares; the API does, in constant time.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::versions::hex;
use super::{Actor, Store, StoreError, Timestamp, get};

/// Tokens that are not revoked, at most.
pub const MAX_TOKENS: usize = 10_000;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read everything but tokens and the audit log.
    Read,
    /// Change policies.
    Write,
    /// Report statistics and read the active policies: for gateways and SDKs.
    Ingest,
    /// Everything, tokens and the audit log included.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 4] = [Scope::Read, Scope::Write, Scope::Ingest, Scope::Admin];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Ingest => "ingest",
            Scope::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Scope::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no scope: read, write, ingest or admin"))
    }
}

/// A token to make.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// For people, and for the audit log.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// From when on it no longer serves.
    pub expires_at: Option<Timestamp>,
}

/// A token, without the token.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Token {
    /// The public part of it.
    pub id: String,
    /// For people, and for the audit log.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// From when on it no longer serves.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// SHA-256 of the whole token, in hex.
    #[serde(skip)]
    #[schema(ignore)]
    pub digest: String,
}

/// SHA-256 of a token, in hex.
pub fn digest_of(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

fn token(row: &AnyRow) -> Result<Token, StoreError> {
    let scopes: String = get(row, "scopes")?;
    let (expires_at, revoked_at): (Option<i64>, Option<i64>) = (get(row, "expires_at")?, get(row, "revoked_at")?);
    Ok(Token {
        id: get(row, "id")?,
        name: get(row, "name")?,
        scopes: scopes.split(',').filter_map(|scope| scope.parse().ok()).collect(),
        created_at: Timestamp::from_stored(get(row, "created_at")?),
        created_by: get(row, "created_by")?,
        expires_at: expires_at.map(Timestamp::from_stored),
        revoked_at: revoked_at.map(Timestamp::from_stored),
        digest: get(row, "digest")?,
    })
}

impl Store {
    /// Makes a token from 38 random bytes: 6 for its public part, 32 for the secret. Returns it, for the only time, and
    /// its entry.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when there are too many.
    pub async fn create_token(
        &self,
        new: &NewToken,
        random: [u8; 38],
        actor: &Actor,
    ) -> Result<(String, Token), StoreError> {
        use base64::Engine as _;
        let (public, secret) = random.split_at(6);
        let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
        let id = hex(public);
        let text = format!("lip_{id}_{secret}");
        let now = self.now();
        let mut scopes = new.scopes.clone();
        scopes.sort();
        scopes.dedup();
        let made = Token {
            id,
            name: new.name.clone(),
            scopes,
            created_at: now,
            created_by: actor.name.clone(),
            expires_at: new.expires_at,
            revoked_at: None,
            digest: digest_of(&text),
        };
        let mut write = self.write().await?;
        write.lock("tokens").await?;
        let live = sqlx::query("SELECT COUNT(*) AS live FROM tokens WHERE revoked_at IS NULL");
        let live = super::count(&live.fetch_one(&mut *write.tx).await?, "live")?;
        if live >= MAX_TOKENS as u64 {
            return Err(StoreError::Conflict(format!("there are {live} tokens; revoke some")));
        }
        let names: Vec<&str> = made.scopes.iter().map(|scope| scope.as_str()).collect();
        let sql = "INSERT INTO tokens (id, name, digest, scopes, created_at, created_by, expires_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
        sqlx::query(sql)
            .bind(made.id.clone())
            .bind(made.name.clone())
            .bind(made.digest.clone())
            .bind(names.join(","))
            .bind(now.stored())
            .bind(made.created_by.clone())
            .bind(made.expires_at.map(Timestamp::stored))
            .execute(&mut *write.tx)
            .await?;
        let detail = json!({ "name": made.name, "scopes": made.scopes });
        write.audit(now, actor, "token.create", &format!("token:{}", made.id), detail).await?;
        write.bump("tokens").await?;
        write.commit().await?;
        Ok((text, made))
    }

    /// Every token, revoked ones included, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let sql = "SELECT id, name, digest, scopes, created_at, created_by, expires_at, revoked_at FROM tokens \
                   ORDER BY created_at DESC, id LIMIT $1";
        let rows = sqlx::query(sql).bind(2 * MAX_TOKENS as i64).fetch_all(&self.pool).await?;
        rows.iter().map(token).collect()
    }

    /// Revokes a token. Returns whether it was in use.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn revoke_token(&self, id: &str, actor: &Actor) -> Result<bool, StoreError> {
        let now = self.now();
        let mut write = self.write().await?;
        write.lock("tokens").await?;
        let sql = "UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
        let done = sqlx::query(sql).bind(now.stored()).bind(id.to_owned()).execute(&mut *write.tx).await?;
        if done.rows_affected() == 0 {
            let known = sqlx::query("SELECT id FROM tokens WHERE id = $1").bind(id.to_owned());
            return match known.fetch_optional(&mut *write.tx).await? {
                Some(_) => Ok(false),
                None => Err(StoreError::NotFound(format!("there is no token {id:?}"))),
            };
        }
        write.audit(now, actor, "token.revoke", &format!("token:{id}"), json!({})).await?;
        write.bump("tokens").await?;
        write.commit().await?;
        Ok(true)
    }
}
