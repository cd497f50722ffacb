//! RFC 3339 timestamps.
//!
//! Purpose: read `expires_at`.
//! Promises: what is no timestamp is `None`; times out of the range of 64-bit nanoseconds are the nearest in range.
//! Never: knows leap seconds or time zones; a 60th second is the next minute's first.

use crate::clock::UnixNanos;

const DAY_SECONDS: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

/// Reads `2027-01-31T23:59:59.5Z`, or with an offset such as `+01:00`; `T` and `Z` may be lower case, `T` a space.
pub fn parse(text: &str) -> Option<UnixNanos> {
    let (date, rest) = text.split_at_checked(10)?;
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = time.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let (nanos, offset) = fraction(rest)?;
    let is_in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_in_range {
        return None;
    }
    let local = days_since_epoch(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    let Ok(seconds) = u64::try_from(local - offset_seconds(offset)?) else { return Some(0) };
    Some(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Three numbers of fixed width.
fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut found = [0; 3];
    for (number, width) in found.iter_mut().zip(widths) {
        *number = digits(parts.next().filter(|part| part.len() == width)?)?;
    }
    parts.next().is_none().then_some(found)
}

/// Digits alone, without sign.
fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// The fraction of a second in nanoseconds (further digits count for nothing), and what follows it.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    let value = rest.bytes().take(len.min(9)).fold(0u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    let missing = 9u32.saturating_sub(len as u32);
    (len > 0).then(|| (value * 10u64.pow(missing), &rest[len..]))
}

fn offset_seconds(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = text.strip_prefix(['+', '-'])?.split_once(':')?;
    let (hours, minutes) = match (hours.len(), minutes.len()) {
        (2, 2) => (digits(hours)?, digits(minutes)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar, counted in years that begin in March so that a leap day comes last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn timestamps_are_read() {
        for (text, nanos) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:01z", 1_000_000_000),
            ("1970-01-01 01:00:00.25+01:00", 250_000_000),
            ("1969-12-31T23:30:00-01:00", 1_800_000_000_000),
            ("2000-02-29T12:00:00.123456789999Z", 951_825_600_123_456_789),
            ("1969-12-31T23:59:59Z", 0),
            ("0000-01-01T00:00:00Z", 0),
            ("9999-12-31T23:59:60Z", u64::MAX),
        ] {
            assert_eq!(parse(text), Some(nanos), "{text}");
        }
    }

    #[test]
    fn every_day_of_five_centuries_is_the_one_another_implementation_says() {
        for day in 0..365 * 500 {
            let time = UNIX_EPOCH + Duration::from_secs(day * 86_400 + day % 86_400);
            let text = humantime::format_rfc3339_seconds(time).to_string();
            let expected = (day * 86_400 + day % 86_400) * 1_000_000_000;
            assert_eq!(parse(&text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for text in [
            "",
            "2027-01-31",
            "2027-01-31T00:00:00",
            "2027-1-31T00:00:00Z",
            "2027-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-00-01T00:00:00Z",
            "2027-01-00T00:00:00Z",
            "2027-01-31T24:00:00Z",
            "2027-01-31T00:60:00Z",
            "2027-01-31T00:00:61Z",
            "2027-01-31T00:00:00.Z",
            "2027-01-31T00:00:00+1:00",
            "2027-01-31T00:00:00+24:00",
            "2027-01-31T00:00:00 +01:00",
            "+027-01-31T00:00:00Z",
            "2027-01-31x00:00:00Z",
            "2027-01-31T00:00:00ZZ",
            "é027-01-31T00:00:00Z",
            "2027-01-31T00:00:0éZ",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
