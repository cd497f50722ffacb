//! Guesses a severity and a time from the start of a log line.
//!
//! Purpose: a plain log file has levels as words; OTLP wants numbers.
//! Promises: looks at the first 160 bytes only; the first level word wins; a word counts only where it stands alone
//! ("errors" and "terror" are not levels); no guess is INFO (9).
//! Never: changes the text, uses a regex, or fails.
//!
//! Tried in order: `level=warn`, `"level":"warn"`, `severity: Warning` and pino's numbers (`"level":50`); glog's first
//! letter (`E1122 10:00:00`); a level word in capitals, brackets, angle brackets or before a colon anywhere in the prefix;
//! Android's single letter between spaces (` E `); any other spelling as the first word.

use crate::clock::UnixNanos;

const PREFIX_BYTES: usize = 160;

/// OTLP's severity numbers and their usual texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Severity {
    /// 1 to 24.
    pub number: i32,
    /// As OTLP spells it.
    pub text: &'static str,
}

const fn severity(number: i32, text: &'static str) -> Severity {
    Severity { number, text }
}

const TRACE: Severity = severity(1, "TRACE");
const DEBUG: Severity = severity(5, "DEBUG");
/// What a line without a level is.
pub const INFO: Severity = severity(9, "INFO");
const WARN: Severity = severity(13, "WARN");
const ERROR: Severity = severity(17, "ERROR");
const FATAL: Severity = severity(21, "FATAL");

const WORDS: [(&str, Severity); 26] = [
    ("trace", TRACE),
    ("trc", TRACE),
    ("verbose", TRACE),
    ("debug", DEBUG),
    ("dbg", DEBUG),
    ("fine", DEBUG),
    ("info", INFO),
    ("inf", INFO),
    ("information", INFO),
    ("notice", severity(10, "INFO2")),
    ("warn", WARN),
    ("wrn", WARN),
    ("warning", WARN),
    ("error", ERROR),
    ("err", ERROR),
    ("eror", ERROR),
    ("severe", ERROR),
    ("exception", ERROR),
    ("fail", ERROR),
    ("fatal", FATAL),
    ("ftl", FATAL),
    ("critical", FATAL),
    ("crit", FATAL),
    ("alert", FATAL),
    ("emerg", FATAL),
    ("panic", FATAL),
];

/// The severity a word names, in any case.
pub fn by_name(word: &[u8]) -> Option<Severity> {
    WORDS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word)).map(|(_, severity)| *severity)
}

/// Guesses the severity of a line.
pub fn guess(line: &[u8]) -> Severity {
    let prefix = &line[..line.len().min(PREFIX_BYTES)];
    keyed(prefix).or_else(|| glog(prefix)).or_else(|| marked(prefix)).or_else(|| lettered(prefix)).unwrap_or(INFO)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// `level=warn`, `"level": "warn"`, `"severity":"ERROR"`, `"level":50`.
fn keyed(prefix: &[u8]) -> Option<Severity> {
    for key in ["level", "lvl", "severity", "levelname", "loglevel"] {
        for at in memchr::memmem::find_iter(prefix, key) {
            let before = at.checked_sub(1).map_or(b' ', |i| prefix[i]);
            let rest = &prefix[at + key.len()..];
            let separators = rest.iter().take_while(|byte| b"\"':= ".contains(byte)).count();
            let named = rest[..separators].iter().any(|byte| b":=".contains(byte));
            if is_word(before) || before == b'.' || !named {
                continue;
            }
            let value = &rest[separators..];
            let word = &value[..value.iter().take_while(|byte| is_word(**byte)).count()];
            if let Some(severity) = by_name(word).or_else(|| pino(word)) {
                return Some(severity);
            }
        }
    }
    None
}

fn pino(word: &[u8]) -> Option<Severity> {
    match word {
        b"10" => Some(TRACE),
        b"20" => Some(DEBUG),
        b"30" => Some(INFO),
        b"40" => Some(WARN),
        b"50" => Some(ERROR),
        b"60" => Some(FATAL),
        _ => None,
    }
}

/// `I1122 21:50:54.000 …`
fn glog(prefix: &[u8]) -> Option<Severity> {
    let (letter, rest) = prefix.split_first()?;
    let dated = rest.len() > 5 && rest[..4].iter().all(u8::is_ascii_digit) && rest[4] == b' ';
    if dated { by_letter(*letter) } else { None }
}

fn by_letter(letter: u8) -> Option<Severity> {
    match letter {
        b'V' | b'T' => Some(TRACE),
        b'D' => Some(DEBUG),
        b'I' => Some(INFO),
        b'W' => Some(WARN),
        b'E' => Some(ERROR),
        b'F' => Some(FATAL),
        _ => None,
    }
}

/// A level word that is marked as one: in capitals, `[warn]`, `<warn>`, `(warn)`, `warn:`, or the first word.
fn marked(prefix: &[u8]) -> Option<Severity> {
    let mut at = 0;
    let mut first = true;
    while at < prefix.len() {
        if !is_word(prefix[at]) {
            at += 1;
            continue;
        }
        let length = prefix[at..].iter().take_while(|byte| is_word(**byte)).count();
        let word = &prefix[at..at + length];
        let before = at.checked_sub(1).map(|i| prefix[i]);
        let after = prefix.get(at + length).copied();
        let capitals = word.len() > 2 && word.iter().all(u8::is_ascii_uppercase);
        let enclosed = matches!(before, Some(b'[' | b'<' | b'(' | b'|')) || matches!(after, Some(b']' | b'>' | b')'));
        let leading = first && !matches!(after, Some(b'.' | b'/' | b'-' | b'='));
        let joined = matches!(before, Some(b'.' | b'/' | b'-')) || matches!(after, Some(b'.' | b'/' | b'='));
        if (capitals || enclosed || leading || after == Some(b':'))
            && !joined
            && let Some(severity) = by_name(word)
        {
            return Some(severity);
        }
        // Dates and times come before the level, so digits do not end "the first word".
        first = first && word.iter().any(u8::is_ascii_digit);
        at += length;
    }
    None
}

/// ` E ` as in Android's logcat, or `[E]`, after some digits of a time.
fn lettered(prefix: &[u8]) -> Option<Severity> {
    let start = prefix.iter().position(u8::is_ascii_digit)?;
    if start > 1 {
        return None;
    }
    prefix.windows(3).find_map(|window| match window {
        [b' ', letter, b' ' | b'/'] | [b'[', letter, b']'] => by_letter(*letter),
        _ => None,
    })
}

/// The time at the start of a line: `2026-11-22T21:50:54[.frac][Z|±hh:mm]`, a space instead of the `T` and a comma
/// instead of the dot allowed, no zone meaning UTC.
pub fn leading_time(line: &[u8]) -> Option<UnixNanos> {
    let line = line.strip_prefix(b"[").unwrap_or(line);
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = line.get(from..to)?;
        digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let is = |at: usize, bytes: &[u8]| line.get(at).is_some_and(|byte| bytes.contains(byte));
    let shaped = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let [year, month, day] = [number(0, 4)?, number(5, 7)?, number(8, 10)?];
    let [hour, minute, second] = [number(11, 13)?, number(14, 16)?, number(17, 19)?];
    if !shaped || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let digits = if is(19, b".,") { line[20..].iter().take_while(|byte| byte.is_ascii_digit()).count() } else { 0 };
    let nanos = (0..9).try_fold(0, |sum, i| {
        let digit = if i < digits { number(20 + i, 21 + i) } else { Some(0) };
        digit.map(|digit| sum * 10 + digit)
    })?;
    let zone = if digits > 0 { 20 + digits } else { 19 };
    let offset_seconds = match line.get(zone) {
        Some(sign @ (b'+' | b'-')) => {
            let minutes_at = zone + if is(zone + 3, b":") { 4 } else { 3 };
            let offset = number(zone + 1, zone + 3)? * 3_600 + number(minutes_at, minutes_at + 2)? * 60;
            if *sign == b'+' { offset } else { -offset }
        }
        _ => 0,
    };
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_seconds;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(u64::try_from(nanos).ok()?)
}

/// Days of the proleptic Gregorian calendar, counted in years that begin in March so that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_guessed() {
        let table = [
            (TRACE, "TRACE enter"),
            (DEBUG, "2026-11-22 21:50:54,123 DEBUG [main] pool: 3 idle"),
            (DEBUG, "[debug] x"),
            (INFO, "a plain line"),
            (INFO, ""),
            (INFO, "INFO: no error found in 3 files"),
            (INFO, "081109 203615 148 INFO dfs.DataNode$PacketResponder: terminating"),
            (INFO, "handled errors without terror"),
            (INFO, "GET /error/page 200"),
            (INFO, "the error rate is fine"),
            (INFO, "I1122 21:50:54.000123   7 main.go:12] started"),
            (INFO, "{\"level\":30,\"msg\":\"error was 5\"}"),
            (WARN, "time=2026 level=warn msg=\"ERROR budget low\""),
            (WARN, "{\"ts\":1,\"level\":\"WARNING\",\"msg\":\"x\"}"),
            (WARN, "W1122 21:50:54.000123   7 main.go:12] slow"),
            (WARN, "2026-11-22T21:50:54Z warning: disk at 91%"),
            (ERROR, "[ERROR] cannot connect"),
            (ERROR, "error: mismatched types"),
            (ERROR, "E1122 21:50:54.000123   7 main.go:12] INFO lost"),
            (ERROR, "03-17 16:13:38.811  1702  2395 E WindowManager: bad token"),
            (ERROR, "severity: Error, code: 5"),
            (ERROR, "{\"severity\" : \"ERROR\"}"),
            (ERROR, "{\"level\":50,\"msg\":\"x\"}"),
            (ERROR, "10:00:00 [worker-1] ERROR c.a.Foo - failed"),
            (FATAL, "- 1117838570 2005.06.03 R02-M1 RAS KERNEL FATAL data storage interrupt"),
            (FATAL, "panic: runtime error: index out of range"),
            (FATAL, "<crit> out of memory"),
            (severity(10, "INFO2"), "Nov 22 21:50:54 host app[1]: NOTICE: reload"),
        ];
        for (want, line) in table {
            assert_eq!(guess(line.as_bytes()), want, "{line}");
        }
    }

    #[test]
    fn a_level_past_the_prefix_is_not_seen() {
        let line = format!("{} ERROR", "x ".repeat(PREFIX_BYTES));
        assert_eq!(guess(line.as_bytes()), INFO);
    }

    #[test]
    fn leading_times_are_read() {
        let base = 1_795_384_254_000_000_000; // 2026-11-22T21:50:54Z
        for (text, nanos) in [
            ("2026-11-22T21:50:54Z x", base),
            ("2026-11-22T21:50:54 x", base),
            ("[2026-11-22 21:50:54.5] x", base + 500_000_000),
            ("2026-11-22 21:50:54,123 x", base + 123_000_000),
            ("2026-11-22T23:50:54.000000001+02:00 x", base + 1),
            ("2026-11-22T16:20:54-0530", base),
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000_000_000),
        ] {
            assert_eq!(leading_time(text.as_bytes()), Some(nanos), "{text}");
        }
        for bad in [
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "2026-11-22X21:50:54",
            "1969-12-31T23:59:59Z",
            "9999-12-31T00:00:00Z",
            "x",
        ] {
            assert_eq!(leading_time(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line: Vec<u8>) {
            guess(&line);
            leading_time(&line);
        }
    }
}
