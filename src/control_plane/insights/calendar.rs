//! Days and months of the calendar, in UTC.
//!
//! Purpose: bills run by calendar month and statistics by day.
//! Promises: exact for every day of the Gregorian calendar that a time in nanoseconds can name.
//! Never: knows local time; destinations bill in UTC.
//!
//! Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms" (days_from_civil, civil_from_days).

use crate::clock::UnixNanos;

/// Seconds of a day.
pub const DAY_SECONDS: i64 = 86_400;

/// A day as the number of days since 1970-01-01.
pub type Day = i64;

/// The day of a time.
pub fn day_of(now: UnixNanos) -> Day {
    (now / 1_000_000_000) as i64 / DAY_SECONDS
}

/// How much of its day has passed, 0 to 1.
pub fn passed(now: UnixNanos) -> f64 {
    let nanos = DAY_SECONDS as u64 * 1_000_000_000;
    (now % nanos) as f64 / nanos as f64
}

/// A calendar month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month {
    /// Its first day.
    pub first: Day,
    /// The first day of the next one.
    pub next: Day,
}

impl Month {
    /// The month of a day.
    pub fn of(day: Day) -> Month {
        let (year, month, _) = civil(day);
        let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        Month { first: days(year, month, 1), next: days(next_year, next_month, 1) }
    }

    /// As `2026-11`.
    pub fn text(&self) -> String {
        let (year, month, _) = civil(self.first);
        format!("{year:04}-{month:02}")
    }
}

/// A day as `2026-11-23`.
pub fn date_text(day: Day) -> String {
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02}")
}

/// 0 for Monday to 6 for Sunday; 1970-01-01 was a Thursday.
pub fn weekday(day: Day) -> usize {
    (day + 3).rem_euclid(7) as usize
}

fn civil(day: Day) -> (i64, i64, i64) {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days(year: i64, month: i64, day: i64) -> Day {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_centuries_is_in_its_month() {
        let mut before = Month::of(0);
        assert_eq!((before.first, before.next, date_text(0).as_str()), (0, 31, "1970-01-01"));
        for day in 0..146_097 {
            let month = Month::of(day);
            assert!((month.first..month.next).contains(&day), "{day}");
            assert!((28..=31).contains(&(month.next - month.first)));
            assert!(month == before || month.first == before.next, "{day}");
            before = month;
        }
    }

    #[test]
    fn known_days() {
        let nanos = 1_772_236_800_000_000_000;
        assert_eq!((day_of(nanos), passed(nanos)), (20_512, 0.0));
        let february = Month::of(20_512);
        assert_eq!((date_text(20_512).as_str(), february.text().as_str()), ("2026-02-28", "2026-02"));
        assert_eq!(february.next - february.first, 28);
        assert_eq!(Month::of(20_512 + 731).text(), "2028-02");
        assert_eq!(date_text(20_512 + 731), "2028-02-29");
        assert_eq!((weekday(0), weekday(20_512), passed(nanos + 43_200_000_000_000)), (3, 5, 0.5));
    }
}
