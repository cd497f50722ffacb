//! Who sends: bearer tokens of clients, and project tokens passed on to the destination.
//!
//! Purpose: tell a gateway token (configured here, consumed here) from a project token (the destination's, passed on).
//! Promises: gateway tokens are compared in constant time and never passed on; a passed-on token is visible ASCII of
//! bounded length; tokens never appear in errors; a token file that changes holds within a second.
//! Never: judges a project token.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use subtle::{Choice, ConstantTimeEq};

use super::config::BearerTokenAuthConfig;
use super::{ReceiverError, Refusal};
use crate::clock::Clock;
use crate::reread::{self, Renewable, Reread};
use crate::units::Secret;

/// Longest token taken, in bytes.
const MAX_TOKEN_BYTES: usize = 256;
/// How often a token file is looked at, while requests come.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The authenticators of the `extensions:` section by name.
#[derive(Clone, Debug, Default)]
pub struct Authenticators {
    by_name: BTreeMap<String, Arc<Door>>,
}

/// The tokens of one authenticator, renewed with their file.
pub(super) type Door = Reread<BearerTokens>;

impl Authenticators {
    /// Reads the configured authenticators, and their token files.
    ///
    /// # Errors
    /// A token file that cannot be read, an authenticator without any token, or a token that no header can carry.
    pub fn new<'a>(
        configs: impl IntoIterator<Item = (&'a str, &'a BearerTokenAuthConfig)>,
        clock: &Clock,
    ) -> Result<Self, ReceiverError> {
        let mut by_name = BTreeMap::new();
        for (name, config) in configs {
            let (own, id) = (config.clone(), name.to_owned());
            let setting = format!("extensions.{name}");
            let files = config.filename.iter().cloned().collect();
            let door = Reread::new(&setting, files, LOOK_INTERVAL, clock, move || BearerTokens::new(&id, &own))?;
            by_name.insert(name.to_owned(), Arc::new(door));
        }
        Ok(Authenticators { by_name })
    }

    /// Those that are made of files.
    pub(super) fn files(&self) -> impl Iterator<Item = Arc<dyn Renewable>> + '_ {
        self.by_name.values().filter(|door| door.has_files()).map(|door| Arc::clone(door) as _)
    }

    /// The authenticator that `auth: {authenticator: NAME}` names.
    pub(super) fn get(&self, name: &str, setting: String) -> Result<Arc<Door>, ReceiverError> {
        self.by_name
            .get(name)
            .cloned()
            .ok_or_else(|| ReceiverError::UnknownAuthenticator { setting, name: name.to_owned() })
    }
}

/// The tokens of one authenticator.
#[derive(Debug)]
pub(super) struct BearerTokens {
    scheme: String,
    tokens: Vec<Secret>,
}

impl BearerTokens {
    fn new(name: &str, config: &BearerTokenAuthConfig) -> Result<Self, ReceiverError> {
        let mut tokens: Vec<Secret> = config.token.iter().chain(&config.tokens).cloned().collect();
        if let Some(path) = &config.filename {
            let setting = format!("extensions.{name}.filename");
            let failed = |source| ReceiverError::File { setting, path: path.clone(), source };
            let text = reread::read(path).map_err(failed)?;
            let text = String::from_utf8_lossy(&text);
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            tokens.extend(lines.map(Secret::new));
        }
        let wrong = |what: &str| Err(ReceiverError::Tokens { name: name.to_owned(), what: what.to_owned() });
        if tokens.is_empty() {
            return wrong("it has no token; set `token`, `tokens` or `filename`");
        }
        if tokens.iter().any(|token| !is_token(token.expose())) {
            return wrong("a token is empty, longer than 256 bytes, or has characters that are not visible ASCII");
        }
        Ok(BearerTokens { scheme: config.scheme.clone(), tokens })
    }

    /// Whether the token is one of these. The time it takes depends on lengths and the number of tokens only.
    fn accepts(&self, token: &str) -> bool {
        let none = Choice::from(0);
        self.tokens.iter().fold(none, |found, known| found | known.expose().as_bytes().ct_eq(token.as_bytes())).into()
    }
}

fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The tokens a request shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown<'a> {
    header: Option<&'a str>,
    query: Option<&'a str>,
}

impl<'a> Shown<'a> {
    /// Reads `Authorization: <scheme> x` and `?token=x`. Another scheme is no token.
    ///
    /// # Errors
    /// 401 for a token that is too long or not visible ASCII.
    pub(super) fn read(headers: &'a HeaderMap, query: Option<&'a str>, scheme: &str) -> Result<Self, Refusal> {
        let mut shown = Shown::default();
        if let Some(value) = headers.get(AUTHORIZATION) {
            shown.header = checked(value.to_str().map_err(|_| unusable())?, |text| after_scheme(text, scheme))?;
        }
        if let Some(query) = query {
            shown.query = checked(query, |text| query_value(text, "token"))?;
        }
        Ok(shown)
    }

    /// Lets the request in, and says which token to pass on: without an authenticator the header's, else the query's;
    /// with one, whichever did not open the door.
    ///
    /// # Errors
    /// 401 when an authenticator is set and accepts neither.
    pub(super) fn admit(self, tokens: Option<&BearerTokens>) -> Result<Option<&'a str>, Refusal> {
        let Some(tokens) = tokens else { return Ok(self.header.or(self.query)) };
        let header_opens = self.header.is_some_and(|token| tokens.accepts(token));
        let query_opens = self.query.is_some_and(|token| tokens.accepts(token));
        match (header_opens, query_opens) {
            (true, true) => Ok(None),
            (true, false) => Ok(self.query),
            (false, true) => Ok(self.header),
            (false, false) => Err(Refusal::Unauthenticated(match self {
                Shown { header: None, query: None } => format!(
                    "this gateway asks for a token: send `Authorization: {} <token>` with one of its configured tokens",
                    tokens.scheme
                ),
                _ => "the token is not one of those this gateway accepts; ask its operator for one".into(),
            })),
        }
    }
}

/// The scheme to look for.
pub(super) fn scheme(tokens: Option<&BearerTokens>) -> &str {
    tokens.map_or("Bearer", |tokens| &tokens.scheme)
}

fn unusable() -> Refusal {
    Refusal::Unauthenticated(format!("the token is longer than {MAX_TOKEN_BYTES} bytes or not visible ASCII"))
}

fn checked<'a>(text: &'a str, find: impl Fn(&'a str) -> Option<&'a str>) -> Result<Option<&'a str>, Refusal> {
    match find(text).filter(|token| !token.is_empty()) {
        Some(token) if !is_token(token) => Err(unusable()),
        token => Ok(token),
    }
}

fn after_scheme<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (word, rest) = value.trim().split_once(' ')?;
    word.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// A parameter of a query string, as written: tokens have no characters that need escapes.
pub(super) fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// The last token of a connection: a client sends the same one each time, so it is allocated once.
#[derive(Debug, Default)]
pub(super) struct TokenCell(Mutex<Option<Arc<str>>>);

impl TokenCell {
    /// The token as a shared string.
    pub(super) fn intern(&self, token: Option<&str>) -> Option<Arc<str>> {
        let token = token?;
        let mut last = self.0.lock();
        match &*last {
            Some(known) if **known == *token => Some(Arc::clone(known)),
            _ => last.insert(Arc::from(token)).clone().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(list: &[&str]) -> BearerTokens {
        let tokens = list.iter().map(|token| Secret::new(*token)).collect();
        BearerTokens::new("a", &BearerTokenAuthConfig { tokens, ..BearerTokenAuthConfig::default() }).unwrap()
    }

    /// `Authorization` value, query, gateway tokens → `Ok(passed on)` or what the error says.
    #[test]
    fn admission() {
        let long = format!("Bearer {}", "x".repeat(257));
        let door: &[&str] = &["k1", "k2"];
        type Case<'a> = (Option<&'a str>, Option<&'a str>, &'a [&'a str], Result<Option<&'a str>, &'a str>);
        let cases: &[Case<'_>] = &[
            (None, None, &[], Ok(None)),
            (Some("Bearer phc_1"), None, &[], Ok(Some("phc_1"))),
            (Some("bearer  phc_1 "), Some("token=phc_2"), &[], Ok(Some("phc_1"))),
            (None, Some("a=b&token=phc_2&c"), &[], Ok(Some("phc_2"))),
            (None, Some("xtoken=phc_2&tokens=1"), &[], Ok(None)),
            (Some("Bearer "), Some("token="), &[], Ok(None)),
            (Some("Basic abc"), None, &[], Ok(None)),
            (Some(&long), None, &[], Err("longer than 256")),
            (Some("Bearer a b"), None, &[], Err("not visible")),
            (None, None, door, Err("asks for a token")),
            (Some("Bearer k3"), None, door, Err("not one of those")),
            (Some("Bearer k"), None, door, Err("not one of those")),
            (Some("Basic k1"), None, door, Err("asks for a token")),
            (Some("Bearer k2"), None, door, Ok(None)),
            (Some("Bearer k1"), Some("token=phc_2"), door, Ok(Some("phc_2"))),
            (Some("Bearer phc_1"), Some("token=k1"), door, Ok(Some("phc_1"))),
            (Some("Bearer k1"), Some("token=k2"), door, Ok(None)),
        ];
        for (header, query, door, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert(AUTHORIZATION, value.parse().unwrap());
            }
            let door = (!door.is_empty()).then(|| tokens(door));
            let admitted = Shown::read(&headers, *query, scheme(door.as_ref())).and_then(|s| s.admit(door.as_ref()));
            match expected {
                Ok(token) => assert_eq!(admitted, Ok(*token), "{header:?} {query:?}"),
                Err(text) => {
                    let message = admitted.expect_err(text).to_string();
                    assert!(message.contains(text), "{message}");
                    assert!(!message.contains("k1") && !message.contains("k3"), "no token in {message}");
                }
            }
        }
    }

    #[test]
    fn token_files_and_their_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "# ours\none\n\n two \n").unwrap();
        let config = BearerTokenAuthConfig { filename: Some(path.to_string_lossy().into()), ..Default::default() };
        let read = BearerTokens::new("a", &config).unwrap();
        assert!(read.accepts("one") && read.accepts("two") && !read.accepts("# ours") && !read.accepts(""));
        std::fs::write(&path, "#\n").unwrap();
        assert!(BearerTokens::new("a", &config).unwrap_err().to_string().contains("no token"));
        std::fs::remove_file(&path).unwrap();
        let message = BearerTokens::new("a", &config).unwrap_err().to_string();
        assert!(message.contains("extensions.a.filename") && message.contains("tokens"), "{message}");
    }

    #[test]
    fn equal_tokens_are_shared() {
        let cell = TokenCell::default();
        let (first, second) = (cell.intern(Some("a")).unwrap(), cell.intern(Some("a")).unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(cell.intern(Some("b")).as_deref(), Some("b"));
        assert_eq!(cell.intern(None), None);
    }
}
