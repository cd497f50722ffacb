//! The time a log line says, in the formats that logs use.
//!
//! Purpose: find out once which format a log is in, then read every line's time in it.
//! Promises: looks at the first 80 bytes of a line only; what is no time is `None`; a format without a year gets years that
//! never go back from line to line.
//! Never: guesses per line: a line that does not say its time in the log's format has none.

use crate::clock::UnixNanos;

/// How far into a line a time may begin, and how much of it is looked at.
const WITHIN: usize = 80;
const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const DAY_SECONDS: i64 = 86_400;

/// Formats, the more specific first. `Y` year, `y` year of two digits, `m d H M S` two digits, `e` day with a space for a
/// zero, `b` month's and `a` weekday's short name, `L` one capital letter, `T` a T or a space, `E` seconds and `F`
/// milliseconds since 1970; all else stands for itself.
const FORMATS: [&str; 12] = [
    "Y-m-dTH:M:S",
    "Y/m/d H:M:S",
    "Y-m-d-H.M.S",
    "d/b/Y:H:M:S",
    "a b e H:M:S Y",
    "b e H:M:S",
    "y/m/d H:M:S",
    "ymd HMS",
    "m-d H:M:S",
    "Lmd H:M:S",
    "F",
    "E",
];

/// What was read of a time.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    year: Option<i64>,
    month: i64,
    day: i64,
    seconds: i64,
    nanos: i64,
    /// Seconds since 1970, where the format says that.
    epoch: Option<i64>,
}

/// Reads the times of one log.
#[derive(Clone, Debug)]
pub struct Times {
    format: Option<&'static str>,
    /// Year of lines that do not say theirs, and the month of the last one.
    year: i64,
    month: i64,
}

impl Times {
    /// Finds the format that most of `lines` are in. `year` is that of the first line, should the format have none.
    pub fn detect<'a>(lines: impl Iterator<Item = &'a [u8]>, year: i64) -> Self {
        let mut found = [0usize; FORMATS.len()];
        let mut all = 0;
        for line in lines {
            all += 1;
            for (count, format) in found.iter_mut().zip(FORMATS) {
                *count += usize::from(search(format, line).is_some());
            }
        }
        let most = found.into_iter().max().unwrap_or(0);
        // In half of the lines at least: continuation lines have none, but chance finds are rarer.
        let best = found.iter().position(|count| *count == most && most * 2 >= all && most > 0);
        Times { format: best.map(|best| FORMATS[best]), year, month: 1 }
    }

    /// The time of a line.
    pub fn read(&mut self, line: &[u8]) -> Option<UnixNanos> {
        let parts = search(self.format?, line)?;
        let seconds = match parts.epoch {
            Some(seconds) => seconds,
            None => {
                if parts.year.is_none() {
                    // From December to January: the next year. A line a little late is no new year.
                    self.year += i64::from(self.month == 12 && parts.month == 1);
                    self.month = parts.month;
                }
                let year = parts.year.unwrap_or(self.year);
                days_since_1970(year, parts.month, parts.day) * DAY_SECONDS + parts.seconds
            }
        };
        u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(u64::try_from(parts.nanos).ok()?)
    }
}

/// The first place in a line where the format fits, after its start or a separator.
fn search(format: &str, line: &[u8]) -> Option<Parts> {
    let head = &line[..line.len().min(WITHIN)];
    let starts = |at: &usize| *at == 0 || b" [(<\"'=|,;\t:".contains(&head[at - 1]);
    (0..head.len()).filter(starts).find_map(|at| fit(format, &head[at..]))
}

fn fit(format: &str, text: &[u8]) -> Option<Parts> {
    let mut parts = Parts::default();
    let mut at = 0;
    for symbol in format.bytes() {
        at += one(symbol, text.get(at..)?, &mut parts)?;
    }
    let mut rest = &text[at..];
    if parts.epoch.is_none() && rest.first().is_some_and(|b| b".,".contains(b)) {
        let digits = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        parts.nanos = (0..9).fold(0, |sum, i| sum * 10 + if i < digits { i64::from(rest[1 + i] - b'0') } else { 0 });
        rest = &rest[1 + digits..];
    }
    let zone = zone(rest);
    parts.seconds -= zone;
    // A number that goes on is another number.
    let ends = zone != 0 || !rest.first().is_some_and(u8::is_ascii_digit);
    let in_range = parts.epoch.is_some() || ((1..=12).contains(&parts.month) && (1..=31).contains(&parts.day));
    (ends && in_range).then_some(parts)
}

/// Reads what one symbol stands for; how many bytes it took.
fn one(symbol: u8, text: &[u8], parts: &mut Parts) -> Option<usize> {
    let two = |most: i64| number(text, 2).filter(|value| *value <= most);
    match symbol {
        b'Y' => parts.year = Some(number(text, 4).filter(|year| (1970..2262).contains(year))?),
        b'y' => parts.year = Some(number(text, 2)? + 2000),
        b'm' => parts.month = two(12)?,
        b'd' => parts.day = two(31)?,
        b'e' => parts.day = if text.first() == Some(&b' ') { number(&text[1..], 1)? } else { two(31)? },
        b'H' => parts.seconds += two(23)? * 3_600,
        b'M' => parts.seconds += two(59)? * 60,
        b'S' => parts.seconds += two(60)?,
        b'b' => parts.month = 1 + MONTHS.iter().position(|name| text.starts_with(name))? as i64,
        b'a' => {
            [&b"Mon"[..], b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"].iter().find(|name| text.starts_with(name))?;
        }
        b'L' => return text.first().filter(|b| b.is_ascii_uppercase()).map(|_| 1),
        b'T' => return text.first().filter(|b| b"Tt ".contains(b)).map(|_| 1),
        b'E' => parts.epoch = Some(number(text, 10).filter(|seconds| *seconds > 100_000_000)?),
        b'F' => {
            let millis = number(text, 13).filter(|millis| *millis > 100_000_000_000)?;
            (parts.epoch, parts.nanos) = (Some(millis / 1_000), millis % 1_000 * 1_000_000);
        }
        other => return (text.first() == Some(&other)).then_some(1),
    }
    Some(match symbol {
        b'Y' => 4,
        b'b' | b'a' => 3,
        b'E' => 10,
        b'F' => 13,
        _ => 2,
    })
}

/// Digits alone.
fn number(text: &[u8], digits: usize) -> Option<i64> {
    let digits = text.get(..digits)?;
    digits.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + i64::from(b - b'0')))
}

/// Seconds east of Greenwich that `+hh:mm`, `-hhmm` or nothing stands for, perhaps after a space.
fn zone(text: &[u8]) -> i64 {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, digits) = match text.split_first() {
        Some((b'+', digits)) => (1, digits),
        Some((b'-', digits)) => (-1, digits),
        _ => return 0,
    };
    let minutes_at = if digits.get(2) == Some(&b':') { 3 } else { 2 };
    let minutes = digits.get(minutes_at..).and_then(|digits| number(digits, 2));
    match (number(digits, 2), minutes) {
        (Some(hours), Some(minutes)) if hours < 15 => sign * (hours * 3_600 + minutes * 60),
        _ => 0,
    }
}

/// Days of the proleptic Gregorian calendar, counted in years that begin in March so that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Year, month, day, hour, minute and second in UTC.
pub fn civil(time: UnixNanos) -> [i64; 6] {
    let seconds = (time / 1_000_000_000) as i64;
    let (days, second) = (seconds / DAY_SECONDS + 719_468, seconds % DAY_SECONDS);
    // 400 years have 146,097 days; years begin in March.
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    [year, month, day, second / 3_600, second / 60 % 60, second % 60]
}

/// `2026-11-22 21:50:54` in UTC.
pub fn text(time: UnixNanos) -> String {
    let [year, month, day, hour, minute, second] = civil(time);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<UnixNanos> {
        Times::detect([line.as_bytes()].into_iter(), 2026).read(line.as_bytes())
    }

    #[test]
    fn the_usual_formats_are_read() {
        let base = 1_795_384_254_000_000_000; // 2026-11-22T21:50:54Z
        for (line, nanos) in [
            ("2026-11-22T21:50:54Z x", base),
            ("[2026-11-22 21:50:54,123] x", base + 123_000_000),
            ("x 2026-11-22T22:50:54.5+01:00 x", base + 500_000_000),
            ("2026/11/22 21:50:54 [error] x", base),
            ("10.0.0.1 - - [22/Nov/2026:16:50:54 -0500] \"GET / HTTP/1.1\" 200", base),
            ("[Sun Nov 22 21:50:54 2026] [notice] x", base),
            ("Nov 22 21:50:54 host app[12]: x", base),
            ("Nov  2 21:50:54 host app[12]: x", base - 20 * 86_400_000_000_000),
            ("26/11/22 21:50:54 INFO x", base),
            ("261122 215054 148 INFO x", base),
            ("11-22 21:50:54.811  1702  2395 D x", base + 811_000_000),
            ("E1122 21:50:54.000123   7 main.go:12] x", base + 123_000),
            ("{\"ts\":1795384254123,\"msg\":\"x\"}", base + 123_000_000),
            ("- 1795384254 2026.11.22 x", base),
        ] {
            assert_eq!(read(line), Some(nanos), "{line}");
        }
        for line in ["", "x", "id 12345678901234567", "2026-13-01 00:00:00", "2026-11-22", "99:99:99", "1795384"] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn years_go_on_where_lines_do_not_say_them() {
        let lines = ["Dec 31 23:59:59 h a: x", "Jan  1 00:00:01 h a: x"];
        let mut times = Times::detect(lines.iter().map(|line| line.as_bytes()), 2026);
        let [first, second] = lines.map(|line| times.read(line.as_bytes()).unwrap());
        assert_eq!((text(first).as_str(), text(second).as_str()), ("2026-12-31 23:59:59", "2027-01-01 00:00:01"));
    }

    #[test]
    fn a_log_is_in_one_format() {
        let lines = ["2026-11-22T21:50:54Z a", "  at x", "2026-11-22T21:50:55Z b", "1795384254 c"];
        let mut times = Times::detect(lines.iter().map(|line| line.as_bytes()), 2026);
        assert_eq!(lines.map(|line| times.read(line.as_bytes()).is_some()), [true, false, true, false]);
    }

    #[test]
    fn dates_turn_round() {
        for days in (0..80_000).step_by(13) {
            let [year, month, day, ..] = civil(days as u64 * 86_400_000_000_000);
            assert_eq!(days_since_1970(year, month, day), days, "{year}-{month}-{day}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(lines: Vec<Vec<u8>>) {
            let mut times = Times::detect(lines.iter().map(Vec::as_slice), 2026);
            for line in &lines {
                times.read(line);
            }
        }
    }
}
