//! What is wrong with a configuration, and where.
//!
//! Purpose: one shape for every problem: YAML path, problem, hint, file and line.
//! Promises: a value that came from `${env:…}`, `${file:…}` or a secret setting never appears in a message.
//! Never: decides whether something is wrong.

use std::fmt;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file's path as given, or `--set`.
    pub file: Arc<str>,
    /// Line, from 1; 0 where unknown.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// One problem. As an error it keeps the configuration from being used; as a [`Warning`] it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// YAML path, such as `exporters.posthog.token` or `service.pipelines.logs.receivers[0]`; empty for a whole file.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// Where it was written, when known.
    pub place: Option<Place>,
}

/// Something worth changing that does not keep the gateway from running.
pub type Warning = Problem;

impl Problem {
    /// A problem at a path.
    pub fn new(path: impl Into<String>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Problem { path: path.into(), problem: problem.into(), hint: hint.into(), place: None }
    }

    /// The same, with the place it was written at.
    #[must_use]
    pub fn at(mut self, place: Option<&Place>) -> Self {
        self.place = self.place.or_else(|| place.cloned());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, &self.place) {
            (path, _) if !path.is_empty() => write!(f, "{path}: ")?,
            (_, Some(place)) => write!(f, "{place}: ")?,
            _ => {}
        }
        f.write_str(&self.problem)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        match &self.place {
            Some(place) if !self.path.is_empty() => write!(f, " at {place}"),
            _ => Ok(()),
        }
    }
}

/// Every problem found, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} error{}", self.0.len(), if self.0.len() == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// `did you mean "x"?` where one of the known names is close, else the list of them.
pub fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known.iter().map(|candidate| (edit_distance(name, candidate), *candidate)).min();
    match nearest {
        Some((distance, candidate)) if distance <= 1 + candidate.chars().count() / 4 => {
            format!("did you mean {candidate:?}?")
        }
        Some(_) => format!("known here: {}", known.join(", ")),
        None => "nothing is known here".into(),
    }
}

/// Levenshtein distance, case-insensitive, over the first 64 characters of each.
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().take(64).flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let known = ["endpoint", "timeout", "tls"];
        for (name, hint) in [
            ("endpiont", "did you mean \"endpoint\"?"),
            ("TLS", "did you mean \"tls\"?"),
            ("tokens", "known here: endpoint, timeout, tls"),
        ] {
            assert_eq!(suggest(name, known), hint);
        }
        assert_eq!(suggest("x", []), "nothing is known here");
    }

    #[test]
    fn problems_print_path_hint_and_place() {
        let place = Place { file: "a.yaml".into(), line: 3 };
        let problem = Problem::new("a.b", "unknown key", "did you mean c?").at(Some(&place));
        assert_eq!(problem.to_string(), "a.b: unknown key (did you mean c?) at a.yaml:3");
        assert_eq!(Problem::new("", "not YAML", "").at(Some(&place)).to_string(), "a.yaml:3: not YAML");
    }
}
