//! Does a log text speak to the model instead of about the system?
//!
//! Purpose: find texts that read like instructions, so that they are never shown to a model: statistics score them.
//! Promises: total; pure; looks through invisible characters, look-alike letters, digits for letters, spaced and
//! reversed words, rot13, percent, entity and `\u` escapes, base64 and hexadecimal; knows the words of some twenty
//! languages (`lexicon`). A false alarm costs nothing but the model's opinion on that pattern.
//! Never: is the only defence. A text that slips through meets the second opinion (`scorer`) and the bounds.

use std::sync::LazyLock;

use base64::Engine as _;
use regex::Regex;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::lexicon;
use super::quote::{MAX_LOOKED_AT_BYTES, cut, is_invisible};

/// Shortest word that is tried as base64 or hexadecimal.
const MIN_ENCODED_CHARS: usize = 16;
/// Encoded words that are tried in one text.
const MAX_ENCODED_WORDS: usize = 8;
/// Invisible characters that real logs have no use for in such numbers.
const MAX_INVISIBLE: usize = 2;

struct Lexicon {
    /// Phrases as they are, reversed and turned by rot13, so that one pass finds all.
    strong: Regex,
    marks: Regex,
    /// The lists below in one: most texts hold nothing of them.
    any: Regex,
    override_: Regex,
    target: Regex,
    address: Regex,
    scoring: Regex,
    discard: Regex,
    others: Regex,
}

/// Built once; `None` would flag everything, and the tests would say so.
static LEXICON: LazyLock<Option<Lexicon>> = LazyLock::new(|| {
    Some(Lexicon {
        strong: phrases(lexicon::STRONG)?,
        any: stems(
            &[
                lexicon::OVERRIDE,
                lexicon::TARGET,
                lexicon::ADDRESS,
                lexicon::SCORING,
                lexicon::DISCARD,
                lexicon::OTHERS,
            ]
            .concat(),
        )?,
        marks: marks(lexicon::MARKS)?,
        override_: stems(lexicon::OVERRIDE)?,
        target: stems(lexicon::TARGET)?,
        address: stems(lexicon::ADDRESS)?,
        scoring: stems(lexicon::SCORING)?,
        discard: stems(lexicon::DISCARD)?,
        others: stems(lexicon::OTHERS)?,
    })
});

fn marks(list: &[&str]) -> Option<Regex> {
    Regex::new(&list.iter().map(|mark| regex::escape(mark)).collect::<Vec<_>>().join("|")).ok()
}

/// Phrases are looked for with nothing between their letters.
fn phrases(list: &[&str]) -> Option<Regex> {
    let forms = list.iter().map(|phrase| squeeze(&fold(phrase))).flat_map(|phrase| {
        let reversed = phrase.chars().rev().collect();
        [rot13(&phrase), reversed, phrase]
    });
    Regex::new(&forms.map(|form| regex::escape(&form)).collect::<Vec<_>>().join("|")).ok()
}

/// Stems begin a word where the script has words, and stand anywhere where it has none. A space before each word, also
/// the first, lets them be plain literals.
fn stems(list: &[&str]) -> Option<Regex> {
    let start = |stem: &str| if stem.starts_with(|c: char| c.is_ascii()) { " " } else { "" };
    let alternatives =
        list.iter().map(|stem| fold(stem)).map(|stem| format!("{}{}", start(&stem), regex::escape(&stem)));
    Regex::new(&alternatives.collect::<Vec<_>>().join("|")).ok()
}

/// One form for one text: compatibility forms and accents folded, lower case, one space for all that is no letter.
fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !is_invisible(*c)).nfkd().filter(|c| !is_combining_mark(*c)) {
        if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        } else if !out.ends_with(' ') {
            out.push(' ');
        }
    }
    out.trim().to_owned()
}

fn squeeze(folded: &str) -> String {
    folded.chars().filter(|c| *c != ' ').collect()
}

/// Cyrillic and Greek letters that look like Latin ones, as those.
fn without_look_alikes(folded: &str) -> String {
    folded.chars().map(|c| lexicon::LOOK_ALIKES.iter().find(|(like, _)| *like == c).map_or(c, |(_, is)| *is)).collect()
}

fn without_digits_for_letters(text: &str) -> String {
    text.chars()
        .map(|c| lexicon::DIGITS_FOR_LETTERS.iter().find(|(like, _)| *like == c).map_or(c, |(_, is)| *is))
        .collect()
}

fn rot13(folded: &str) -> String {
    let turn = |c: char, base: u8| char::from((c as u8 - base + 13) % 26 + base);
    folded.chars().map(|c| if c.is_ascii_lowercase() { turn(c, b'a') } else { c }).collect()
}

/// Tag characters (U+E0020 to U+E007E) spell ASCII that nobody sees.
fn tags_as_ascii(text: &str) -> String {
    text.chars().filter_map(|c| u8::try_from((c as u32).checked_sub(0xe0000)?).ok()).map(char::from).collect()
}

static ESCAPES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"%([0-9A-Fa-f]{2})|\\u\{?([0-9A-Fa-f]{4,6})\}?|\\x([0-9A-Fa-f]{2})|&#x([0-9A-Fa-f]{1,6});?|&#([0-9]{1,7});?",
    )
    .ok()
});

/// Escapes of URLs, JSON, C and HTML resolved, once.
fn unescape(text: &str) -> Option<String> {
    let escapes = ESCAPES.as_ref()?;
    let mut bytes = Vec::with_capacity(text.len());
    let mut copied = 0;
    for found in escapes.captures_iter(text) {
        let whole = found.get(0)?;
        bytes.extend_from_slice(&text.as_bytes()[copied..whole.start()]);
        copied = whole.end();
        let (group, radix) = (1..=5).find_map(|group| Some((group, found.get(group)?)))?;
        let number = u32::from_str_radix(radix.as_str(), if group == 5 { 10 } else { 16 }).unwrap_or(0);
        match group {
            1 | 3 => bytes.push(number as u8),
            _ => bytes.extend_from_slice(char::from_u32(number).unwrap_or(' ').encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if copied == 0 {
        return None;
    }
    bytes.extend_from_slice(&text.as_bytes()[copied..]);
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Words that decode to readable text.
fn decoded_words(text: &str) -> Vec<String> {
    let is_code = |c: char| c.is_ascii_alphanumeric() || "+/-_=".contains(c);
    let words = text.split(|c: char| !is_code(c)).filter(|word| word.len() >= MIN_ENCODED_CHARS);
    words.take(MAX_ENCODED_WORDS).flat_map(|word| [from_base64(word), from_hexadecimal(word)]).flatten().collect()
}

fn from_base64(word: &str) -> Option<String> {
    let word: String = word.trim_end_matches('=').replace('-', "+").replace('_', "/");
    readable(base64::engine::general_purpose::STANDARD_NO_PAD.decode(word).ok()?)
}

fn from_hexadecimal(word: &str) -> Option<String> {
    let pairs = word.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok().filter(|_| pair.len() == 2))
        .collect();
    readable(bytes?)
}

fn readable(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    (!text.chars().any(|c| c.is_control() && !c.is_whitespace())).then_some(text)
}

/// Whether a text looks like an attempt to instruct whoever scores it.
pub fn is_suspicious(text: &str) -> bool {
    let text = cut(text, MAX_LOOKED_AT_BYTES);
    let tags = tags_as_ascii(text);
    let invisible = text.chars().filter(|c| is_invisible(*c) && !('\u{fe00}'..='\u{fe0f}').contains(c)).count();
    let overrides = text.chars().any(|c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
    if !tags.is_empty() || overrides || invisible > MAX_INVISIBLE {
        return true;
    }
    let mut plain = vec![text.to_owned()];
    plain.extend(unescape(text));
    let decoded: Vec<String> = plain.iter().flat_map(|text| decoded_words(text)).collect();
    plain.extend(decoded);
    plain.iter().any(|text| speaks(text))
}

/// Whether several texts do that, each alone or one after the other.
pub fn any_suspicious<'a>(texts: impl IntoIterator<Item = &'a str>) -> bool {
    let mut seen: Vec<&str> = Vec::new();
    for text in texts {
        let text = cut(text, MAX_LOOKED_AT_BYTES);
        if seen.contains(&text) {
            continue;
        }
        if is_suspicious(text) {
            return true;
        }
        seen.push(text);
    }
    seen.len() > 1 && is_suspicious(&seen.join(" "))
}

fn speaks(text: &str) -> bool {
    let Some(lexicon) = LEXICON.as_ref() else { return true };
    let compatible: String = text.nfkc().filter(|c| !is_invisible(*c)).collect::<String>().to_lowercase();
    if lexicon.marks.is_match(&compatible) {
        return true;
    }
    let folded = fold(text);
    let mut forms = Vec::new();
    if !folded.is_ascii() {
        forms.push(without_look_alikes(&folded));
    }
    if text.contains(|c| lexicon::DIGITS_FOR_LETTERS.iter().any(|(like, _)| *like == c)) {
        forms.push(fold(&without_digits_for_letters(text)));
    }
    forms.push(folded);
    forms.iter().any(|form| lexicon.strong.is_match(&squeeze(form)) || lexicon.speaks(form))
}

impl Lexicon {
    /// Two kinds of words that seldom meet in a log.
    fn speaks(&self, folded: &str) -> bool {
        let words = format!(" {folded}");
        let has = |regex: &Regex| regex.is_match(&words);
        if !has(&self.any) {
            return false;
        }
        let (scoring, others) = (has(&self.scoring), has(&self.others));
        let (address, target) = (has(&self.address), has(&self.target));
        let discard = has(&self.discard);
        has(&self.override_) && (target || others || scoring || address)
            || scoring && (address || others || discard)
            || discard && (others || address)
            || address && target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_logs_are_not_suspected() {
        assert!(LEXICON.is_some() && ESCAPES.is_some());
        for text in [
            "user <*> logged in from <*>",
            "Connection reset by peer, retrying in <*> ms",
            "GET /api/v1/orders/<*> 200 in <*>ms",
            "dropped <*> packets on eth0",
            "Removing block <*> from <*>",
            "operating system rating: operations generating separate reports",
            "ignoring malformed header from <*>",
            "Lost task <*> in stage <*> (TID <*>, <*>, executor <*>)",
            "Verbindung zu <*> verloren, neuer Versuch",
            "ошибка подключения к базе данных",
            "データベース接続に失敗しました",
            "连接数据库失败",
            "loaded model checkpoint <*>",
            "checkout-service",
            "commit 3f786850e387550fdab836ed7e6dc881de23001b pushed",
            "request body dGhpcyBpcyBhbiBvcmRpbmFyeSB0ZXh0 stored",
            "path=/a%20b%2Fc took <*>",
        ] {
            assert!(!is_suspicious(text), "{text}");
        }
    }
}
