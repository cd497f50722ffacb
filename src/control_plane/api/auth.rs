//! Who asks, and whether they may.
//!
//! Purpose: a token's scopes, checked per address and method.
//! Promises: digests are compared in constant time; where no token was ever made, the API is open to those who reach
//! it, which is loopback unless `insecure` is written; a page in a browser cannot reach an open API by another name.
//! Never: logs or echoes a token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{HeaderMap, Uri};
use subtle::ConstantTimeEq as _;

use super::Api;
use super::problem::{Failure, Kind};
use crate::control_plane::mirror::Tokens;
use crate::control_plane::store::{Actor, Scope, Timestamp, digest_of};

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The id of a request, in its answer and in the audit log.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Name of the token, or `anonymous`.
    pub name: String,
    /// What distinguishes it for rate limits.
    pub key: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

impl Caller {
    fn may(&self, scope: Scope) -> bool {
        let covers = |own: &Scope| *own == scope || *own == Scope::Admin;
        self.scopes.iter().any(covers)
    }
}

/// Whose request this is.
///
/// # Errors
/// 401.
pub fn caller(
    headers: &HeaderMap,
    uri: &Uri,
    peer: IpAddr,
    tokens: &Tokens,
    now: Timestamp,
) -> Result<Caller, Failure> {
    let refused = |detail: &str| Failure::new(Kind::Unauthenticated, detail);
    if !tokens.exist() {
        // A name that resolves to this machine is how a web page would get here (DNS rebinding).
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or(uri.authority().map(|authority| authority.as_str())).unwrap_or_default();
        return match is_plain(host) {
            true => Ok(Caller { name: "anonymous".into(), key: peer.to_string(), scopes: vec![Scope::Admin] }),
            false => Err(refused("without tokens, use an IP address or localhost as the host; or make a token")),
        };
    }
    let value = headers.get(AUTHORIZATION).ok_or_else(|| refused("send Authorization: Bearer <token>"))?;
    let text = value.to_str().map_err(|_| refused("the token cannot be read"))?;
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = token.map(|(_, token)| token.trim()).ok_or_else(|| refused("send Authorization: Bearer <token>"))?;
    let id = token.strip_prefix("lip_").and_then(|rest| rest.split_once('_')).map_or("", |(id, _)| id);
    let unknown = || refused("the token is not known, has expired or was revoked");
    let known = tokens.get(id).ok_or_else(unknown)?;
    let is_same: bool = known.digest.as_bytes().ct_eq(digest_of(token).as_bytes()).into();
    let is_live = known.revoked_at.is_none() && known.expires_at.is_none_or(|at| at > now);
    match is_same && is_live {
        true => Ok(Caller { name: known.name.clone(), key: known.id.clone(), scopes: known.scopes.clone() }),
        false => Err(unknown()),
    }
}

/// Whether a host is an address or `localhost`.
fn is_plain(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn allowed(parts: &Parts, any_of: &[Scope]) -> Result<Actor, Failure> {
    let caller = parts.extensions.get::<Arc<Caller>>();
    let caller = caller.ok_or_else(|| Failure::new(Kind::Unauthenticated, "send Authorization: Bearer <token>"))?;
    if !any_of.iter().any(|scope| caller.may(*scope)) {
        let names: Vec<&str> = any_of.iter().map(|scope| scope.as_str()).collect();
        return Err(Failure::new(Kind::Forbidden, format!("this needs the scope {}", names.join(" or "))));
    }
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    Ok(Actor { name: caller.name.clone(), request_id })
}

/// Proofs of a scope: a handler that takes one cannot be reached without.
macro_rules! proof {
    ($($(#[$doc:meta])* $name:ident $(($of:ty))?: $scopes:expr, $proof:expr;)*) => { $(
        $(#[$doc])*
        pub struct $name $((pub $of))?;

        impl FromRequestParts<Arc<Api>> for $name {
            type Rejection = Failure;
            async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Failure> {
                allowed(parts, &$scopes).map($proof)
            }
        }
    )* };
}

proof! {
    /// May read.
    CanRead: [Scope::Read], |_| CanRead;
    /// May read the policies in force.
    CanFollow: [Scope::Read, Scope::Ingest], |_| CanFollow;
    /// May report statistics.
    CanIngest: [Scope::Ingest], |_| CanIngest;
    /// May change policies.
    CanWrite(Actor): [Scope::Write], CanWrite;
    /// May do everything.
    CanAdminister(Actor): [Scope::Admin], CanAdminister;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_no_names() {
        for (host, plain) in [
            ("127.0.0.1:8000", true),
            ("localhost:8000", true),
            ("LOCALHOST", true),
            ("[::1]:8000", true),
            ("10.0.0.7", true),
            ("", true),
            ("evil.example", false),
            ("localhost.evil.example:8000", false),
            ("[evil]:1", false),
        ] {
            assert_eq!(is_plain(host), plain, "{host}");
        }
    }
}
