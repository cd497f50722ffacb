//! What the checks found, and how it is shown.
//!
//! Promises: no secret of the configuration is printed, whoever's words it stands in; text from elsewhere cannot move the
//! terminal.
//! Never: checks anything.

use serde_json::{Value, json};

use super::super::printable;

/// A secret shorter than this is part of too many words to be hidden in them.
const MIN_HIDDEN_BYTES: usize = 4;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Unwise, or not checked.
    Warn,
    /// Records would be lost or refused.
    Fail,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        }
    }
}

struct Finding {
    check: &'static str,
    subject: String,
    status: Status,
    says: String,
}

/// All that was found so far.
#[derive(Default)]
pub struct Findings {
    all: Vec<Finding>,
    secrets: Vec<String>,
}

impl Findings {
    /// Hides this text from now on.
    pub fn hide(&mut self, secret: &str) {
        for part in std::iter::once(secret).chain(secret.split_whitespace()) {
            // `Bearer` and its kin hide nothing.
            if part.len() >= MIN_HIDDEN_BYTES && !part.chars().all(|c| c.is_ascii_alphabetic()) {
                self.secrets.push(part.to_owned());
            }
        }
        // The longest first, so that no rest of a longer one remains.
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// Notes what `check` found about `subject`, in one sentence.
    pub fn add(&mut self, check: &'static str, subject: &str, status: Status, says: impl AsRef<str>) {
        let clean = |text: &str| {
            let hidden = self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "[redacted]"));
            printable(&hidden)
        };
        let (subject, says) = (clean(subject), clean(says.as_ref()));
        self.all.push(Finding { check, subject, status, says });
    }

    /// How many ended like this.
    pub fn count(&self, status: Status) -> usize {
        self.all.iter().filter(|finding| finding.status == status).count()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let checks = self.all.iter().map(|finding| {
            let Finding { check, subject, status, says } = finding;
            json!({ "check": check, "subject": subject, "status": status.as_str(), "says": says })
        });
        json!({ "ok": self.count(Status::Fail) == 0, "checks": checks.collect::<Vec<Value>>() })
    }

    /// For people.
    pub fn table(&self) -> String {
        let width = |of: fn(&Finding) -> usize| self.all.iter().map(of).max().unwrap_or(0);
        let check = width(|finding| finding.check.len());
        let subject = width(|finding| finding.subject.chars().count());
        let mut out = String::new();
        for finding in &self.all {
            let status = finding.status.as_str();
            out +=
                &format!("{status:<4}  {:<check$}  {:<subject$}  {}\n", finding.check, finding.subject, finding.says);
        }
        let (ok, warn, fail) = (self.count(Status::Ok), self.count(Status::Warn), self.count(Status::Fail));
        out + &format!("\n{ok} ok, {warn} to look at, {fail} failed\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_what_a_terminal_would_obey_are_not_printed() {
        let mut findings = Findings::default();
        findings.hide("Bearer phc_secret1");
        findings.hide("phc_secret");
        findings.add("token", "exporters.a", Status::Fail, "phc_secret1 and phc_secret of the Bearer \u{1b}[2J");
        let expected = "fail  token  exporters.a  [redacted] and [redacted] of the Bearer \u{fffd}[2J\n";
        assert!(findings.table().starts_with(expected), "{}", findings.table());
        assert_eq!(findings.json()["ok"], false);
    }
}
