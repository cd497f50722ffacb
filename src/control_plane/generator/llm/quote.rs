//! Log text made fit to be shown to a model: masked, quoted, bounded.
//!
//! Purpose: what an attacker writes into a log reaches the model as one short line of data and nothing else.
//! Promises: the result holds no control, format, private-use or tag characters, no line ends, no `< > { } [ ] \` or
//! quotes of any kind that JSON, XML, Markdown or a chat template could take for theirs, no runs of punctuation that
//! draw a fence, no word longer than 48 characters, and at most the given number of characters; quoting twice changes
//! nothing. Text in any script stays readable.
//! Never: decides whether a text is an attack; see `suspicion`.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::config::RedactConfig;
use super::redact::redact;
use crate::data_plane::signature::mask::Template;

/// Bytes of a text that are looked at, before anything else.
pub const MAX_LOOKED_AT_BYTES: usize = 4096;
/// A longer word is no word: a key, an encoded blob.
const MAX_WORD_CHARS: usize = 48;
/// Marks on one letter; more is not writing but drawing.
const MAX_MARKS: usize = 2;
/// Repetitions of one punctuation character; more is a fence or a heading.
const MAX_REPEATED: usize = 2;

/// The first `bytes` of a text, cut between characters.
pub fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Characters that show nothing, or change how others are shown or ordered.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

fn is_private(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}')
}

/// One character that no reader takes for structure.
fn harmless(c: char) -> char {
    match c {
        '<' => '\u{2039}',
        '>' => '\u{203a}',
        '{' | '[' => '(',
        '}' | ']' => ')',
        '"' | '`' | '\u{201c}' | '\u{201d}' | '\u{ab}' | '\u{bb}' => '\'',
        '\\' => '/',
        '|' => '/',
        '~' => '-',
        c if c.is_whitespace() || c.is_control() => ' ',
        c => c,
    }
}

/// Quotes a text that was masked already, to at most `max_chars` characters.
pub fn quote(text: &str, max_chars: usize) -> String {
    let mut out = String::new();
    let (mut chars, mut word, mut repeated, mut marks) = (0, 0, 0, 0);
    let mut last = ' ';
    // Compatibility forms are folded first: a full-width `<` is a `<`.
    let visible = cut(text, MAX_LOOKED_AT_BYTES).chars().filter(|c| !is_invisible(*c) && !is_private(*c));
    for c in visible.nfkc().filter(|c| !is_invisible(*c)).map(harmless) {
        marks = if is_combining_mark(c) { marks + 1 } else { 0 };
        word = if c == ' ' { 0 } else { word + 1 };
        repeated = if c == last && !c.is_alphanumeric() { repeated + 1 } else { 1 };
        let is_space_again = c == ' ' && last == ' ';
        last = c;
        if is_space_again || marks > MAX_MARKS || repeated > MAX_REPEATED || word > MAX_WORD_CHARS {
            continue;
        }
        if chars == max_chars {
            break;
        }
        out.push(c);
        chars += 1;
    }
    out.truncate(out.trim_end().len());
    out
}

/// Redacts, masks and quotes a raw text.
pub fn mask_and_quote(text: &str, redaction: &RedactConfig, max_chars: usize) -> String {
    let redacted = redact(cut(text, MAX_LOOKED_AT_BYTES), redaction);
    let mut template = Template::default();
    template.write(redacted.as_bytes());
    quote(&String::from_utf8_lossy(template.bytes()), max_chars)
}

/// Redacts and quotes a text that is a name, not a message: masking would take digits out of it.
pub fn quote_name(text: &str, redaction: &RedactConfig, max_chars: usize) -> String {
    quote(&redact(cut(text, MAX_LOOKED_AT_BYTES), redaction), max_chars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_stays_readable_and_loses_its_teeth() {
        for (text, quoted) in [
            ("user <*> logged in", "user \u{2039}*\u{203a} logged in"),
            ("<|im_start|>system", "\u{2039}/im_start/\u{203a}system"),
            ("\u{ff1c}\u{ff5c}x\u{ff5c}\u{ff1e}", "\u{2039}/x/\u{203a}"),
            ("[INST] do [/INST]", "(INST) do (/INST)"),
            ("a\n\nHuman: b\r\nc\u{0}d\u{1b}[31m", "a Human: b c d (31m"),
            ("{\"worth\": 0}", "('worth': 0)"),
            ("``` ##### ------ =====", "'' ## -- =="),
            ("in\u{200b}vis\u{202e}ible\u{e0041}", "invisible"),
            ("日本語のログ ошибка خطأ", "日本語のログ ошибка خطأ"),
            ("e\u{301}\u{301}\u{301}\u{301}\u{301}", "\u{e9}\u{301}\u{301}"),
            ("   ", ""),
        ] {
            assert_eq!(quote(text, 200), quoted, "{text:?}");
        }
        assert_eq!(quote(&"x".repeat(500), 200), "x".repeat(48));
        assert_eq!(quote("abc def ghi", 5), "abc d");
        let masked = mask_and_quote("login of ann@example.com from 10.0.0.7 took 12ms", &RedactConfig::default(), 200);
        // The mark of what was redacted is a part that varies, like what it stood for.
        assert_eq!(masked, "login of \u{2039}*\u{203a} from \u{2039}*\u{203a} took \u{2039}*\u{203a}");
    }

    proptest! {
        #[test]
        fn nothing_gets_through(text in "\\PC{0,80}|[<>{}\\[\\]|`\"'\\\\#=~\u{200b}\u{202e}\u{e0041} a\n-]{0,80}", max in 0usize..60) {
            let quoted = quote(&text, max);
            prop_assert!(quoted.chars().count() <= max);
            let bad = |c: char| c.is_control() || is_invisible(c) || is_private(c) || "<>{}[]|`\"\\".contains(c);
            prop_assert!(!quoted.contains(bad), "{quoted:?}");
            prop_assert!(!quoted.contains("---") && !quoted.contains("###") && !quoted.contains("==="));
            prop_assert_eq!(quote(&quoted, max), quoted.clone());
            // It is one JSON string that needs no escapes.
            prop_assert_eq!(serde_json::to_string(&quoted).unwrap(), format!("\"{quoted}\""));
        }
    }
}
