//! What is blanked before a text leaves this machine: addresses, credentials, card numbers.
//!
//! Purpose: a second net below the mask, which already replaces what varies; a constant secret does not vary.
//! Promises: total; linear in the text (the regexes have no backtracking); a card number is one only when its Luhn
//! check digit (ISO/IEC 7812-1) is right, so that ordinary numbers stay readable.
//! Never: claims to find everything. Names, addresses of houses and free text are not recognised.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::config::RedactConfig;

const MIN_CARD_DIGITS: usize = 13;
const MAX_CARD_DIGITS: usize = 19;

/// A regex of this file; one that does not compile is caught by the tests and matches nothing.
fn regex(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

static EMAIL: LazyLock<Option<Regex>> =
    LazyLock::new(|| regex(r"[\p{L}0-9._%+\-]+(?:@|%40)[\p{L}0-9.\-]+\.\p{L}{2,24}"));

/// Credentials by shape: vendors' prefixes, JSON web tokens, basic and bearer credentials, private keys, user:password@.
static TOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(concat!(
        r"(?i)\b(?:sk|pk|rk|ghp|gho|ghu|ghs|ghr|glpat|xox[abprs]|phc|phx|hf|npm|pypi|dop_v1|shpat|AIza|AKIA|ASIA)",
        r"[_\-]?[A-Za-z0-9_\-]{12,}",
        r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)?",
        r"|\b(?:bearer|basic)\s+[A-Za-z0-9._~+/\-]{8,}=*",
        r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s]*",
        r"|://[^\s:/@]+:[^\s/@]+@",
    ))
});

/// Credentials by the word before them.
static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(concat!(
        r#"(?i)\b((?:[a-z0-9]+[_\-.])*(?:password|passwd|pwd|secret|token|api[_\-]?key|access[_\-]?key|credential)s?"#,
        r#"["']?\s*[=:]\s*["']?)([^\s"',;&<>]{3,})"#,
    ))
});

static DIGITS: LazyLock<Option<Regex>> = LazyLock::new(|| regex(r"[0-9](?:[ \-.]?[0-9]){12,40}"));

fn replace(text: String, regex: &LazyLock<Option<Regex>>, with: impl Fn(&Captures<'_>) -> String) -> String {
    let Some(regex) = regex.as_ref() else { return text };
    match regex.replace_all(&text, |found: &Captures<'_>| with(found)) {
        Cow::Borrowed(_) => text,
        Cow::Owned(replaced) => replaced,
    }
}

/// Blanks what the settings name.
pub fn redact(text: &str, config: &RedactConfig) -> String {
    let mut text = text.to_owned();
    if config.tokens {
        text = replace(text, &TOKEN, |_| "(secret)".to_owned());
        text = replace(text, &NAMED, |found| format!("{}(secret)", &found[1]));
    }
    if config.emails {
        text = replace(text, &EMAIL, |_| "(email)".to_owned());
    }
    if config.card_numbers {
        text = replace(text, &DIGITS, |found| without_cards(&found[0]));
    }
    text
}

/// A run of digits without the card numbers in it: every row of whole groups with a card's length is tried, longest
/// first. Parts of a group are not: one number in ten would pass the check.
fn without_cards(run: &str) -> String {
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for (at, _) in run.char_indices().filter(|(_, c)| c.is_ascii_digit()) {
        match groups.last_mut() {
            Some((_, end)) if *end == at => *end += 1,
            _ => groups.push((at, at + 1)),
        }
    }
    let mut out = String::with_capacity(run.len());
    let (mut first, mut copied) = (0, 0);
    while first < groups.len() {
        let start = groups[first].0;
        let digits = |last: usize| run[start..groups[last].1].chars().filter_map(|c| c.to_digit(10));
        match (first..groups.len()).rev().find(|last| is_card(&digits(*last).collect::<Vec<_>>())) {
            Some(last) => {
                out.push_str(&run[copied..start]);
                out.push_str("(card)");
                copied = groups[last].1;
                first = last + 1;
            }
            None => first += 1,
        }
    }
    out.push_str(&run[copied..]);
    out
}

/// The Luhn check: from the right, every second digit doubled and its digits added; the sum ends in 0. A card number
/// does not begin with 0.
fn is_card(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let places = digits.iter().rev().enumerate();
    let sum: u32 = places.map(|(place, digit)| if place % 2 == 1 { doubled(*digit) } else { *digit }).sum();
    (MIN_CARD_DIGITS..=MAX_CARD_DIGITS).contains(&digits.len()) && digits[0] != 0 && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_regex_compiles() {
        assert!([&EMAIL, &TOKEN, &NAMED, &DIGITS].iter().all(|regex| regex.is_some()));
    }

    #[test]
    fn secrets_do_not_leave() {
        // Number and key shapes below are published test values or made up.
        let jwt =
            format!("token {}.{}.{}", "eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3ODkwIn0", "dozjgNryP4J3jVmNHl0w5N");
        let key = format!("using {}-{} now", "sk", "abcdefghijklmnopqrstuv");
        for (text, left) in [
            ("mail from ann.b+c@mail.example.co.uk bounced", "mail from (email) bounced"),
            ("mail to jürgen@müller.example failed", "mail to (email) failed"),
            ("card 4111 1111 1111 1111 declined", "card (card) declined"),
            ("card=5500-0000-0000-0004;", "card=(card);"),
            ("pan 378282246310005", "pan (card)"),
            ("order 4111111111111112 shipped", "order 4111111111111112 shipped"),
            ("ts 20261123011241000000 ok", "ts 20261123011241000000 ok"),
            ("password=hunter2 user=ann", "password=(secret) user=ann"),
            ("db_password: 'hunter2'", "db_password: '(secret)'"),
            ("X-Api-Key: abc123def", "X-Api-Key: (secret)"),
            ("Authorization: Bearer abcdefghijkl", "Authorization: (secret)"),
            ("dial postgres://app:s3cret@db:5432/x", "dial postgres(secret)db:5432/x"),
            (key.as_str(), "using (secret) now"),
            (jwt.as_str(), "token (secret)"),
            ("the token expired", "the token expired"),
            ("", ""),
        ] {
            assert_eq!(redact(text, &RedactConfig::default()), left, "{text}");
        }
    }

    #[test]
    fn each_kind_can_be_left_alone() {
        let off = RedactConfig { emails: false, tokens: false, card_numbers: false };
        let text = "a@b.example password=x1y2 4111111111111111";
        assert_eq!(redact(text, &off), text);
        assert_eq!(
            redact(text, &RedactConfig { emails: true, ..off.clone() }),
            "(email) password=x1y2 4111111111111111"
        );
        assert_eq!(
            redact(text, &RedactConfig { tokens: true, ..off.clone() }),
            "a@b.example password=(secret) 4111111111111111"
        );
        assert_eq!(redact(text, &RedactConfig { card_numbers: true, ..off }), "a@b.example password=x1y2 (card)");
    }
}
