//! The bill of a calendar month: what was sent, what it costs, and what it will have cost when the month ends.
//!
//! Purpose: one account for everything, and its shares by service, severity and pattern.
//! Promises: the free tier and price steps count from the month's first day; what is still to come has an interval; the
//! parts of a bill add up to it; days that were not seen are said to be missing, never made up.
//! Never: asks for anything; bytes come in as billed, prices as configured.
//!
//! A part's money is its share of the bytes of the whole bill: a free tier or a discount belongs to everyone alike.

use serde::Serialize;
use utoipa::ToSchema;

use super::calendar::{Day, Month, date_text, day_of, passed, weekday};
use super::{Forecast, Prices, forecast};
use crate::clock::UnixNanos;

/// Whole days that a trend is fitted to at most: five weeks.
const MAX_TREND_DAYS: usize = 35;
/// Share of a day that must have been seen before it says anything of a day: ten minutes.
const LEAST_OF_A_DAY: f64 = 1.0 / 144.0;

/// Bytes of one day, as billed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DayBytes {
    /// Which day.
    pub day: Day,
    /// What would have been billed if everything had been sent.
    pub received: f64,
    /// What was sent.
    pub sent: f64,
}

/// What came in and went out of one service, severity and pattern over a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// Service.
    pub service: String,
    /// Severity band.
    pub severity: String,
    /// The pattern's id; empty for records beyond the bound on patterns.
    pub pattern: String,
    /// Masked template.
    pub template: String,
    /// One text of the pattern.
    pub example: String,
    /// Records that came in.
    pub records: f64,
    /// Records that went out.
    pub kept: f64,
    /// Bytes that came in, as billed.
    pub received: f64,
    /// Bytes that went out, as billed.
    pub sent: f64,
}

/// Everything a bill is made of.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// When the first record came.
    pub began: Option<UnixNanos>,
    /// All days with records, the earliest first.
    pub days: Vec<DayBytes>,
    /// The days of services.
    pub services: Vec<(String, Vec<DayBytes>)>,
    /// Parts over a recent span.
    pub parts: Vec<Part>,
    /// Length of that span in seconds.
    pub parts_seconds: f64,
    /// Billed bytes for each byte of a record: blocks, annotations and summaries come on top of records.
    pub overhead: f64,
    /// Whether that was measured at the destination, or is a guess.
    pub is_measured: bool,
    /// Money spent on language models, by day.
    pub llm: Vec<(Day, f64)>,
}

/// Bytes and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Amount {
    /// Bytes as billed.
    pub bytes: f64,
    /// In the currency of the prices.
    pub money: f64,
}

/// What a month will have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Projection {
    /// Most likely.
    pub expected: Amount,
    /// Lower end of the 90 % interval.
    pub low: Amount,
    /// Upper end.
    pub high: Amount,
}

/// Where a daily series is heading.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Heading {
    /// Whole days it was fitted to.
    pub days: usize,
    /// Bytes of a day on average.
    pub mean_bytes: f64,
    /// Change from one day to the next, in bytes; 0 with fewer than three days.
    pub change_a_day_bytes: f64,
    /// Deviation of each weekday from the line in bytes, Monday first; zeros with fewer than two weeks.
    pub weekdays_bytes: [f64; 7],
}

/// The account of everything or of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Account {
    /// What was sent since midnight UTC.
    pub today: Amount,
    /// What was sent since the month's first day.
    pub month_to_date: Amount,
    /// What the same records would have been, all of them sent.
    pub month_to_date_unsampled: Amount,
    /// What the month will have come to; null with less than ten minutes of history.
    pub projection: Option<Projection>,
    /// The same had everything been sent.
    pub projection_unsampled: Option<Projection>,
    /// Null without a whole day of history.
    pub trend: Option<Heading>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ServiceCost {
    /// `service.name`.
    pub name: String,
    /// Its share of the bill.
    #[serde(flatten)]
    pub account: Account,
}

/// A part of a recent span, and its share of the month's bill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Share {
    /// Service; empty for a severity.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// Severity band.
    pub severity: String,
    /// Pattern id; empty for a severity.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pattern: String,
    /// Masked template; empty for a severity.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// Records that came in during the span.
    pub records: f64,
    /// Bytes that came in during the span.
    pub received_bytes: f64,
    /// Bytes that went out during the span.
    pub sent_bytes: f64,
    /// Cost of a month at this rate.
    pub money_a_month: f64,
}

/// One day of the series.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct DayCost {
    /// Such as `2026-11-23`.
    pub date: String,
    /// Bytes had everything been sent.
    pub received_bytes: f64,
    /// Bytes sent.
    pub sent_bytes: f64,
}

/// What language models cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct LlmCost {
    /// Since midnight UTC, in US dollars.
    pub today: f64,
    /// Since the month's first day.
    pub month_to_date: f64,
    /// Expected at the month's end, at the mean of the days seen.
    pub projected: f64,
}

/// What sampling saves, what it costs, and what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Ledger {
    /// Bill avoided since the month's first day.
    pub saved_to_date: f64,
    /// Bill avoided when the month ends; null without a projection.
    pub saved_projected: Option<f64>,
    /// Spent on language models.
    pub llm: LlmCost,
    /// What is saved, less what language models cost, at the month's end.
    pub net_projected: Option<f64>,
}

/// Everything about cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Costs {
    /// Sign of amounts.
    pub currency: String,
    /// Such as `2026-11`.
    pub month: String,
    /// Days of the month, and how many of them have passed.
    pub days_in_month: u32,
    /// Days passed, the part of today included.
    pub days_passed: f64,
    /// Whether there are statistics from the month's first day on; if not, sums to date hold only what was seen.
    pub is_complete: bool,
    /// Billed bytes for each byte of a record.
    pub overhead: f64,
    /// Whether the overhead was measured from what destinations took.
    pub is_overhead_measured: bool,
    /// Everything.
    pub total: Account,
    /// By service, the most expensive first.
    pub services: Vec<ServiceCost>,
    /// By severity band.
    pub severities: Vec<Share>,
    /// By pattern, the most expensive first.
    pub patterns: Vec<Share>,
    /// Seconds that severities and patterns are about.
    pub span_seconds: f64,
    /// The days behind the trend.
    pub days: Vec<DayCost>,
    /// Savings against what they cost.
    pub ledger: Ledger,
}

/// Writes the bill as of `now`, with at most `top` patterns.
pub fn costs(usage: &Usage, prices: &Prices, now: UnixNanos, top: usize) -> Costs {
    let today = day_of(now);
    let month = Month::of(today);
    let at = At { now, today, month, began: usage.began };
    let sent = Series::of(&usage.days, at, |day| day.sent);
    let received = Series::of(&usage.days, at, |day| day.received);
    let bill = Bill::of(&sent, prices);
    let unsampled = Bill::of(&received, prices);
    let account = |days: &[DayBytes]| {
        let (sent, received) = (Series::of(days, at, |day| day.sent), Series::of(days, at, |day| day.received));
        Account {
            today: bill.today(sent.today),
            month_to_date: bill.to_date(sent.to_date),
            month_to_date_unsampled: unsampled.to_date(received.to_date),
            projection: sent.ahead.map(|ahead| bill.projected(sent.to_date, ahead)),
            projection_unsampled: received.ahead.map(|ahead| unsampled.projected(received.to_date, ahead)),
            trend: sent.heading,
        }
    };
    let total = account(&usage.days);
    let mut services: Vec<ServiceCost> =
        usage.services.iter().map(|(name, days)| ServiceCost { name: name.clone(), account: account(days) }).collect();
    services.sort_by(|a, b| {
        let bytes = |cost: &ServiceCost| cost.account.month_to_date.bytes;
        bytes(b).total_cmp(&bytes(a)).then_with(|| a.name.cmp(&b.name))
    });
    let (severities, patterns) = shares(usage, prices, top);
    Costs {
        currency: prices.currency.clone(),
        month: month.text(),
        days_in_month: (month.next - month.first) as u32,
        days_passed: (today - month.first) as f64 + passed(now),
        is_complete: at.began.is_some_and(|began| day_of(began) <= month.first),
        overhead: usage.overhead,
        is_overhead_measured: usage.is_measured,
        ledger: ledger(&total, &usage.llm, at),
        total,
        services,
        severities,
        patterns,
        span_seconds: usage.parts_seconds,
        days: usage.days.iter().map(day_cost).collect(),
    }
}

fn day_cost(day: &DayBytes) -> DayCost {
    DayCost { date: date_text(day.day), received_bytes: day.received, sent_bytes: day.sent }
}

/// A moment in its month, and where history begins.
#[derive(Clone, Copy)]
struct At {
    now: UnixNanos,
    today: Day,
    month: Month,
    began: Option<UnixNanos>,
}

/// One series of days, seen from a moment.
struct Series {
    today: f64,
    /// This month's days, today included.
    to_date: f64,
    /// From now to the month's end.
    ahead: Option<Forecast>,
    heading: Option<Heading>,
}

impl Series {
    fn of(days: &[DayBytes], at: At, value: impl Fn(&DayBytes) -> f64) -> Series {
        let sum =
            |from: Day, to: Day| -> f64 { days.iter().filter(|day| (from..to).contains(&day.day)).map(&value).sum() };
        let today = sum(at.today, at.today + 1);
        let whole = whole_days(days, at, &value);
        let first = at.today - whole.len() as Day;
        Series {
            today,
            to_date: sum(at.month.first, at.today + 1),
            ahead: ahead(&whole, today, at),
            heading: heading(&whole, first),
        }
    }
}

/// The days before today, those without a record as 0. The first day of history began somewhere within the day: it is
/// left out when there are others, else taken for a whole one at its rate.
fn whole_days(days: &[DayBytes], at: At, value: &impl Fn(&DayBytes) -> f64) -> Vec<f64> {
    let Some(began) = at.began else { return Vec::new() };
    let first = if at.today - day_of(began) >= 2 { day_of(began) + 1 } else { day_of(began) };
    let first = first.max(at.today - MAX_TREND_DAYS as Day);
    let mut values = vec![0.0; usize::try_from(at.today - first).unwrap_or(0)];
    for day in days.iter().filter(|day| (first..at.today).contains(&day.day)) {
        values[(day.day - first) as usize] += value(day);
    }
    if let [one] = &mut values[..]
        && first == day_of(began)
    {
        *one /= (1.0 - passed(began)).max(LEAST_OF_A_DAY);
    }
    values
}

/// What is still to come this month: the rest of today and the days after it.
fn ahead(whole: &[f64], today: f64, at: At) -> Option<Forecast> {
    let (passed, days_after) = (passed(at.now), usize::try_from(at.month.next - at.today - 1).unwrap_or(0));
    // Without a whole day, today stands for one as soon as some of it was seen.
    let began = at.began.filter(|began| day_of(*began) == at.today).map_or(0.0, super::calendar::passed);
    let as_a_day = [today / (passed - began).max(LEAST_OF_A_DAY)];
    let whole = match whole {
        [] if at.began.is_none() || passed - began < LEAST_OF_A_DAY => return None,
        [] => &as_a_day[..],
        whole => whole,
    };
    let (_, of_today) = forecast(whole, 1)?;
    let (_, all) = forecast(whole, days_after + 1)?;
    let rest = of_today.expected * passed;
    // The part of today that has passed is certain; the interval shrinks with the days that are left.
    let left = ((days_after as f64 + 1.0 - passed) / (days_after as f64 + 1.0)).sqrt();
    let expected = (all.expected - rest).max(0.0);
    Some(Forecast {
        expected,
        low: (expected - (all.expected - all.low) * left).max(0.0),
        high: expected + (all.high - all.expected) * left,
    })
}

fn heading(whole: &[f64], first: Day) -> Option<Heading> {
    let (trend, _) = forecast(whole, 1)?;
    let mut weekdays = [0.0; 7];
    for (i, deviation) in trend.season.iter().enumerate() {
        weekdays[weekday(first + i as Day)] = *deviation;
    }
    Some(Heading {
        days: whole.len(),
        mean_bytes: trend.mean,
        change_a_day_bytes: trend.slope,
        weekdays_bytes: weekdays,
    })
}

/// The bill of everything: what its parts pay for a byte.
struct Bill<'p> {
    prices: &'p Prices,
    today: f64,
    to_date: f64,
    ahead: Option<Forecast>,
}

impl<'p> Bill<'p> {
    fn of(series: &Series, prices: &'p Prices) -> Bill<'p> {
        Bill { prices, today: series.today, to_date: series.to_date, ahead: series.ahead }
    }

    /// Money for `bytes` of `all`, whose bill is `money`.
    fn share(bytes: f64, all: f64, money: f64) -> Amount {
        Amount { bytes, money: if all > 0.0 { bytes / all * money } else { 0.0 } }
    }

    /// Today costs what it added to the month's bill.
    fn today(&self, bytes: f64) -> Amount {
        let added = self.prices.month(self.to_date) - self.prices.month(self.to_date - self.today);
        Self::share(bytes, self.today, added)
    }

    fn to_date(&self, bytes: f64) -> Amount {
        Self::share(bytes, self.to_date, self.prices.month(self.to_date))
    }

    fn projected(&self, to_date: f64, ahead: Forecast) -> Projection {
        let all = self.ahead.unwrap_or(ahead);
        let at = |own: f64, all: f64| {
            let whole = self.to_date + all;
            Self::share(to_date + own, whole, self.prices.month(whole))
        };
        Projection {
            expected: at(ahead.expected, all.expected),
            low: at(ahead.low, all.low),
            high: at(ahead.high, all.high),
        }
    }
}

fn ledger(total: &Account, llm: &[(Day, f64)], at: At) -> Ledger {
    let spent =
        |from: Day| llm.iter().filter(|(day, _)| *day >= from && *day <= at.today).map(|(_, money)| money).sum();
    let (today, month_to_date): (f64, f64) = (spent(at.today), spent(at.month.first));
    // From the first day that cost anything: a loop that began yesterday did not begin with the month.
    let began = llm.iter().filter(|(_, money)| *money > 0.0).map(|(day, _)| *day).min().unwrap_or(at.today);
    let days = ((at.today - began.max(at.month.first)) as f64 + passed(at.now)).max(1.0);
    let left = (at.month.next - at.today) as f64 - passed(at.now);
    let llm = LlmCost { today, month_to_date, projected: month_to_date + month_to_date / days * left };
    let saved = total.projection_unsampled.zip(total.projection);
    let saved_projected = saved.map(|(without, with)| without.expected.money - with.expected.money);
    Ledger {
        saved_to_date: total.month_to_date_unsampled.money - total.month_to_date.money,
        saved_projected,
        net_projected: saved_projected.map(|saved| saved - llm.projected),
        llm,
    }
}

/// Parts of the recent span by severity and by pattern, priced as a month at that rate.
fn shares(usage: &Usage, prices: &Prices, top: usize) -> (Vec<Share>, Vec<Share>) {
    let months = usage.parts_seconds / (super::MONTH_DAYS * 86_400.0);
    let sent: f64 = usage.parts.iter().map(|part| part.sent).sum();
    let a_byte = if sent > 0.0 && months > 0.0 { prices.month(sent / months) / sent } else { 0.0 };
    let mut severities: std::collections::BTreeMap<&str, Share> = std::collections::BTreeMap::new();
    let mut patterns = Vec::with_capacity(usage.parts.len());
    for part in &usage.parts {
        let share = Share {
            severity: part.severity.clone(),
            records: part.records,
            received_bytes: part.received,
            sent_bytes: part.sent,
            money_a_month: part.sent * a_byte,
            ..Share::default()
        };
        let band = severities
            .entry(&part.severity)
            .or_insert_with(|| Share { severity: part.severity.clone(), ..Share::default() });
        band.records += share.records;
        band.received_bytes += share.received_bytes;
        band.sent_bytes += share.sent_bytes;
        band.money_a_month += share.money_a_month;
        let (service, pattern) = (part.service.clone(), part.pattern.clone());
        patterns.push(Share { service, pattern, template: part.template.clone(), ..share });
    }
    let largest = |shares: &mut Vec<Share>| {
        shares.sort_by(|a, b| {
            let name = |share: &Share| (share.service.clone(), share.pattern.clone(), share.severity.clone());
            b.sent_bytes.total_cmp(&a.sent_bytes).then_with(|| name(a).cmp(&name(b)))
        });
    };
    let mut severities: Vec<Share> = severities.into_values().collect();
    largest(&mut severities);
    largest(&mut patterns);
    patterns.truncate(top);
    (severities, patterns)
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;
