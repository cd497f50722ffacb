//! Queries in HogQL, PostHog's SQL.
//!
//! Purpose: rows by keyset, counts by time, and the escaping that whoever writes a query needs.
//! Promises: texts are escaped; every query bounds `timestamp`, else PostHog would read the whole table.
//! Never: sends.

use super::row::RawRow;
use crate::clock::UnixNanos;

/// Rows of an answer at most.
pub const MAX_HOGQL_ROWS: usize = 50_000;
/// Every row has one of so many lots, by its id.
pub const LOTS: u64 = 1_000_000_000;
/// The column with a row's lot.
pub const LOT: &str = "lot";

/// How long an answer may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refresh {
    /// Answered at once, computed anew.
    #[default]
    Blocking,
    /// Queued and asked for until done: for queries that take longer than a request may.
    Async,
}

impl Refresh {
    /// As PostHog calls it. Never from its cache: a cached answer does not know what arrived since.
    pub fn as_str(self) -> &'static str {
        match self {
            Refresh::Blocking => "force_blocking",
            Refresh::Async => "force_async",
        }
    }
}

/// A text as a literal, quotes included.
pub fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// A time in UTC to the microsecond: `2026-11-22 21:50:54.123456`.
pub fn moment(time: UnixNanos) -> String {
    let (seconds, micros) = (time / 1_000_000_000, time % 1_000_000_000 / 1_000);
    let days = (seconds / 86_400) as i64 + 719_468;
    // Gregorian calendar counted from March (see `data_plane::policy`'s reading of the same).
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// A time in UTC to the second, for people.
pub fn utc(time: UnixNanos) -> String {
    let mut text = moment(time);
    text.truncate(19);
    text
}

fn time(at: UnixNanos) -> String {
    format!("toDateTime('{}', 6, 'UTC')", moment(at))
}

/// Which rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Where<'a> {
    /// From this time on.
    pub from: UnixNanos,
    /// Before this time.
    pub to: UnixNanos,
    /// Of these services; of all when empty.
    pub services: &'a [String],
    /// Received since.
    pub observed_from: Option<UnixNanos>,
    /// Of these stretches; of all the time when empty.
    pub stretches: &'a [(UnixNanos, UnixNanos)],
    /// With a lot below this, of [`LOTS`]; all when left out.
    pub lots: Option<u64>,
    /// Behind this row, by time and id.
    pub after: Option<(UnixNanos, &'a str)>,
    /// Behind this row, by lot and id.
    pub after_lot: Option<(u64, &'a str)>,
}

/// A row's lot: as good as random, and the same whenever it is asked for.
fn lot() -> String {
    format!("modulo(cityHash64(uuid), {LOTS})")
}

impl Where<'_> {
    fn text(&self) -> String {
        let mut all = vec![format!("timestamp >= {}", time(self.from)), format!("timestamp < {}", time(self.to))];
        if !self.services.is_empty() {
            let names: Vec<String> = self.services.iter().map(|name| literal(name)).collect();
            all.push(format!("service_name in ({})", names.join(", ")));
        }
        if let Some(observed) = self.observed_from {
            all.push(format!("observed_timestamp >= {}", time(observed)));
        }
        if !self.stretches.is_empty() {
            let one = |(from, to): &(UnixNanos, UnixNanos)| {
                format!("timestamp >= {} and timestamp < {}", time(*from), time(*to))
            };
            let stretches: Vec<String> = self.stretches.iter().map(one).collect();
            all.push(format!("({})", stretches.join(" or ")));
        }
        if let Some(below) = self.lots {
            all.push(format!("{} < {below}", lot()));
        }
        if let Some((last, uuid)) = self.after_lot {
            let (lot, uuid) = (lot(), literal(uuid));
            all.push(format!("{lot} >= {last} and ({lot} > {last} or uuid > {uuid})"));
        }
        if let Some((at, uuid)) = self.after {
            // The plain bound first: ClickHouse finds its place by that, and not by the pair.
            let (at, uuid) = (time(at), literal(uuid));
            all.push(format!("timestamp >= {at}"));
            all.push(format!("(timestamp > {at} or uuid > {uuid})"));
        }
        all.join(" and ")
    }
}

/// Columns of whole rows; the lot where it matters. The last is named after `asked`, so that an answer says which query it
/// belongs to.
fn columns(with_lot: bool, asked: u64) -> String {
    let name_of = |(name, expression): &(&str, &str)| {
        if name == expression { (*name).to_owned() } else { format!("{expression} as {name}") }
    };
    let mut columns: Vec<String> = RawRow::COLUMNS.iter().map(name_of).collect();
    if with_lot {
        columns.push(format!("{} as {LOT}", lot()));
    }
    columns.push(format!("1 as asked_{asked}"));
    columns.join(", ")
}

/// Whole rows in the order of time and id.
pub fn rows(which: &Where<'_>, limit: usize, asked: u64) -> String {
    let (columns, limit) = (columns(which.lots.is_some(), asked), limit.clamp(1, MAX_HOGQL_ROWS));
    format!("select {columns} from logs where {} order by timestamp, uuid limit {limit}", which.text())
}

/// Whole rows in the order of lot and id: the first of them are a draw.
pub fn draw(which: &Where<'_>, limit: usize, asked: u64) -> String {
    let (columns, limit) = (columns(true, asked), limit.clamp(1, MAX_HOGQL_ROWS));
    format!("select {columns} from logs where {} order by {LOT}, uuid limit {limit}", which.text())
}

/// Rows by time, in steps of `step_seconds`: columns `start` (Unix seconds) and `rows`.
pub fn counts(which: &Where<'_>, step_seconds: u64) -> String {
    format!(
        "select toUnixTimestamp(toStartOfInterval(timestamp, toIntervalSecond({step_seconds}))) as start, count() as \
         rows from logs where {} group by start order by start limit {MAX_HOGQL_ROWS}",
        which.text()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::policy::parse_timestamp;

    #[test]
    fn a_text_cannot_end_its_literal() {
        assert_eq!(literal(r"a'b\c"), r"'a\'b\\c'");
        assert_eq!(literal("x\n\0"), r"'x\n\0'");
    }

    #[test]
    fn times_read_back_as_the_same() {
        for day in 0..40_000u64 {
            let at = day * 86_400_000_000_000 + 86_399_000_001_000;
            let text = moment(at).replace(' ', "T") + "Z";
            assert_eq!(parse_timestamp(&text), Some(at), "{text}");
        }
    }

    #[test]
    fn every_query_bounds_its_time_and_keysets_by_time_and_id() {
        let services = ["it's".to_owned()];
        let which = Where {
            from: 1_000_000_000,
            to: 2_000_000_000,
            services: &services,
            after: Some((1_500_000_000, "u'")),
            lots: Some(5),
            stretches: &[(1_000_000_000, 1_200_000_000), (1_400_000_000, 1_600_000_000)],
            ..Where::default()
        };
        let text = rows(&which, 1_000_000, 7);
        for part in [
            "timestamp >= toDateTime('1970-01-01 00:00:01.000000', 6, 'UTC')",
            "timestamp < toDateTime('1970-01-01 00:00:02.000000', 6, 'UTC')",
            r"service_name in ('it\'s')",
            "modulo(cityHash64(uuid), 1000000000) < 5",
            "01.200000', 6, 'UTC') or timestamp >= toDateTime('1970-01-01 00:00:01.400000'",
            r"(timestamp > toDateTime('1970-01-01 00:00:01.500000', 6, 'UTC') or uuid > 'u\'')",
            "order by timestamp, uuid limit 50000",
            "modulo(cityHash64(uuid), 1000000000) as lot, 1 as asked_7 from logs",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let which = Where { after: None, lots: None, after_lot: Some((9, "u'")), ..which };
        let text = draw(&which, 10, 8);
        for part in [
            r"modulo(cityHash64(uuid), 1000000000) >= 9 and (modulo(cityHash64(uuid), 1000000000) > 9 or uuid > 'u\'')",
            "as lot, 1 as asked_8 from logs",
            "order by lot, uuid limit 10",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(counts(&which, 300).contains("toIntervalSecond(300)"));
    }
}
