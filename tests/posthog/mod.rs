//! PostHog read back, against the stand-in of `tests/support/fake_posthog`.

#[path = "../../examples/support/bill.rs"]
mod bill;
mod command;
mod faults;
mod fetch;
#[path = "../../examples/support/history.rs"]
#[expect(dead_code, reason = "the machine's time is taken from here")]
mod history;
mod large;
#[path = "../../examples/support/sink.rs"]
mod sink;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lipservice::control_plane::posthog::{
    Client, Fetch, FetchError, History, ReadApi, ReadConfig, SpoolReader, SystemTimer, Timer,
};
use lipservice::units::{Period, Secret};

use crate::support::fake_posthog::{self, FakePostHog, PROJECT, READER, Row};
use crate::tools::traffic::{encode, templates, timeline, traffic};

const SECOND: u64 = 1_000_000_000;

/// Now, in whole seconds.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() * SECOND
}

/// A row of a shop: this many nanoseconds ago.
pub fn row(ago: u64, service: &str, body: &str) -> Row {
    let time = now() - ago;
    Row {
        id: Row::new_id(),
        time_unix_nano: time,
        observed_time_unix_nano: time + SECOND,
        body: body.to_owned(),
        level: "info".into(),
        severity_number: 9,
        trace_id: "0".repeat(32),
        span_id: "0".repeat(16),
        service_name: service.to_owned(),
        resource_attributes: Arc::new(BTreeMap::from([("service.name".to_owned(), service.to_owned())])),
        ..Row::default()
    }
}

/// `count` rows over the last day, busier by the hour; every body is another number.
pub fn day(count: u64) -> Vec<Row> {
    day_before(now(), count)
}

/// The same in the day before `end`.
pub fn day_before(end: u64, count: u64) -> Vec<Row> {
    let service = |i: u64| ["cart", "search", "pay"][(i % 3) as usize];
    let resources: Vec<_> =
        (0..3).map(|i| Arc::new(BTreeMap::from([("service.name".to_owned(), service(i).to_owned())]))).collect();
    let at = |i: u64| {
        // Density grows towards the end, and the last tenth of the rows lie in one minute.
        let share = (i as f64 / count as f64).sqrt();
        match i * 10 / count {
            9 => end - 3_600 * SECOND + (i % 1_000) * 60_000_000,
            _ => end - 86_000 * SECOND + (share * 80_000.0 * SECOND as f64) as u64,
        }
    };
    (0..count)
        .map(|i| Row {
            time_unix_nano: at(i),
            observed_time_unix_nano: at(i) + SECOND,
            resource_attributes: Arc::clone(&resources[(i % 3) as usize]),
            ..row(0, service(i), &format!("order {i} took {} ms", i % 97))
        })
        .collect()
}

/// Settings for a stand-in: no waiting to speak of.
pub fn config(posthog: &FakePostHog) -> ReadConfig {
    ReadConfig {
        host: posthog.url(),
        project: Some(PROJECT),
        api_key: Some(Secret::new(READER)),
        requests_per_minute: 100_000,
        requests_per_hour: 100_000,
        initial_interval: Period::millis(1),
        max_interval: Period::millis(2),
        ..ReadConfig::default()
    }
}

/// A stand-in that holds these rows and does not count requests.
pub async fn posthog(rows: Vec<Row>) -> FakePostHog {
    let posthog = FakePostHog::start().await.unwrap();
    posthog.read_side(|read| read.limits = (100_000, 100_000));
    posthog.add_rows(rows);
    posthog
}

/// A fetch of a day into `directory`.
pub fn wanted(directory: &std::path::Path, api: ReadApi) -> Fetch {
    Fetch {
        directory: directory.to_owned(),
        api,
        since: Duration::from_secs(86_400),
        until: None,
        services: Vec::new(),
        max_rows: 10_000_000,
        is_sample: false,
        overlap: Duration::from_secs(300),
    }
}

/// Runs a fetch.
pub async fn fetch(config: &ReadConfig, wanted: &Fetch) -> Result<History, FetchError> {
    let client = Client::new(config, Arc::new(SystemTimer))?;
    wanted.run(&client, &mut |_| {}).await
}

/// The machine's time, but nobody waits.
pub struct Quick;

impl Timer for Quick {
    fn now(&self) -> u64 {
        SystemTimer.now()
    }
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
    fn random(&self) -> f64 {
        0.5
    }
}

/// Ids in a history, sorted.
pub fn ids(history: &History) -> Vec<String> {
    let (mut reader, mut all) = (SpoolReader::open(&history.spool, history.spool_bytes).unwrap(), Vec::new());
    while let Some(ids) = reader.next_page().unwrap() {
        all.extend(ids.iter().map(|(id, _)| id.clone()));
    }
    all.sort_unstable();
    all
}

/// Ids in a stand-in, sorted.
pub fn stored(posthog: &FakePostHog) -> Vec<String> {
    let mut all: Vec<String> = posthog.rows().iter().map(Row::uuid).collect();
    all.sort_unstable();
    all
}
