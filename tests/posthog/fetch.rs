//! Every row exactly once, whatever happens on the way.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lipservice::control_plane::posthog::{Client, LogsQuery, ReadApi, ReadConfig, Refresh};
use lipservice::data_plane::view::LogIndex;

use super::{Quick, config, day, fetch, ids, now, posthog, row, stored, wanted};
use crate::support::fake_posthog::{Drift, FakePostHog, ReadFaults, Row};

const APIS: [ReadApi; 2] = [ReadApi::Hogql, ReadApi::Logs];

#[tokio::test(flavor = "multi_thread")]
async fn a_day_comes_through_both_apis_row_by_row() {
    let posthog = posthog(day(3_000)).await;
    for api in APIS {
        let directory = tempfile::tempdir().unwrap();
        let history = fetch(&config(&posthog), &wanted(directory.path(), api)).await.unwrap();
        assert_eq!(ids(&history), stored(&posthog), "{api:?}");
        let (mut index, mut times) = (LogIndex::default(), Vec::new());
        for request in history.requests().unwrap() {
            let request = request.unwrap();
            index.read(&request).unwrap();
            times.extend((0..index.records.len()).map(|at| index.record(&request, at).span.time_unix_nano));
        }
        assert!(times.len() == 3_000 && times.is_sorted_by_key(|time| time / 1_000_000_000));
    }
}

pub fn faults(seed: u64) -> ReadFaults {
    ReadFaults {
        seed,
        busy: 0.1,
        retry_after: Some("0".into()),
        fail: 0.1,
        reset: 0.1,
        duplicate: 0.15,
        slow: 0.1,
        slow_by: Duration::from_millis(2),
    }
}

/// Holds these rows back; they appear while others are read.
fn hold_back(posthog: &FakePostHog, rows: Vec<Row>) {
    // The oldest appear last, behind what was read by then.
    let late = rows.into_iter().rev().enumerate();
    let late: VecDeque<(u64, Row)> = late.map(|(at, row)| (at as u64 / 50 + 3, row)).collect();
    posthog.read_side(|read| read.late = late);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_all_kinds_lose_nothing_and_double_nothing() {
    let mut kinds = BTreeSet::new();
    for (seed, api) in [(1, ReadApi::Hogql), (2, ReadApi::Logs), (3, ReadApi::Logs)] {
        let mut rows = day(20_000);
        let late = rows.iter().step_by(101).cloned().collect();
        rows = rows.into_iter().enumerate().filter(|(at, _)| at % 101 != 0).map(|(_, row)| row).collect();
        let posthog = posthog(rows).await;
        hold_back(&posthog, late);
        // As many requests as both APIs need to meet every fault.
        posthog.read_side(|read| read.faults = faults(seed));
        let directory = tempfile::tempdir().unwrap();
        let history =
            fetch(&ReadConfig { max_attempts: 50, ..config(&posthog) }, &wanted(directory.path(), api)).await.unwrap();
        assert_eq!(posthog.read_side(|read| read.late.len()), 0, "all late rows appeared");
        assert_eq!(ids(&history), stored(&posthog), "{api:?}");
        assert!(history.late > 0 && history.rows == 20_000, "{history:?}");
        kinds.extend(posthog.read_side(|read| read.injected.clone()).into_keys());
    }
    let all = ["busy", "duplicate", "fail", "late", "reset", "slow"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), all, "every fault happened");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_where_it_stopped_and_one_that_is_done_is_not_repeated() {
    for api in APIS {
        let posthog = posthog(day(25_000)).await;
        let directory = tempfile::tempdir().unwrap();
        let wanted = wanted(directory.path(), api);
        // Fails for good after a while; each start gets a little further.
        let mut starts = 0;
        let history = loop {
            starts += 1;
            posthog.read_side(|read| read.limits = (read.requests as usize + 13, 100_000));
            let config = ReadConfig { max_attempts: 1, ..config(&posthog) };
            match fetch(&config, &wanted).await {
                Ok(history) => break history,
                Err(error) => assert!(error.to_string().starts_with("PostHog is asked too often"), "{error}"),
            }
            assert!(starts < 50);
        };
        assert_eq!(ids(&history), stored(&posthog), "{api:?}");
        let requests = posthog.read_side(|read| read.requests);
        let again = fetch(&config(&posthog), &wanted).await.unwrap();
        assert_eq!((again.rows, posthog.read_side(|read| read.requests)), (25_000, requests));
        let other = super::Fetch { services: vec!["cart".into()], ..wanted };
        let error = fetch(&config(&posthog), &other).await.unwrap_err().to_string();
        assert!(error.contains("holds another history"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_slow_queries_are_cut_into_shorter_ones() {
    for api in APIS {
        let posthog = posthog(day(5_000)).await;
        let directory = tempfile::tempdir().unwrap();
        let wanted = super::Fetch { since: Duration::from_secs(7_200), ..wanted(directory.path(), api) };
        // Counting two hours is allowed, reading more than a minute in one go is not.
        posthog.read_side(|read| read.drift = Drift::TooSlowBeyond(60));
        let history = fetch(&config(&posthog), &wanted).await.unwrap();
        let from = history.since;
        let mut expected: Vec<String> =
            posthog.rows().iter().filter(|row| row.time_unix_nano >= from).map(Row::uuid).collect();
        expected.sort_unstable();
        assert_eq!(ids(&history), expected, "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_filtered_there_and_their_names_cannot_leave_the_text() {
    let name = r"it's\ 'or 1=1";
    let mut rows = day(300);
    rows.extend((1..=5).map(|i| row(i * 1_000_000_000, name, "x")));
    let posthog = posthog(rows).await;
    for api in APIS {
        let directory = tempfile::tempdir().unwrap();
        let wanted = super::Fetch { services: vec![name.into()], ..wanted(directory.path(), api) };
        assert_eq!(fetch(&config(&posthog), &wanted).await.unwrap().rows, 5, "{api:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_can_be_looked_up_and_long_queries_run_in_the_background() {
    let mut marked = row(60_000_000_000, "probe", "looking for this");
    marked.attributes.insert("probe.id".into(), "a'1".into());
    let mut rows = day(500);
    rows.push(marked);
    let posthog = posthog(rows).await;
    let client = Client::new(&config(&posthog), Arc::new(Quick)).unwrap();
    let query = LogsQuery {
        from: now() - 3_600_000_000_000,
        to: now(),
        attributes: vec![("probe.id".into(), "a'1".into())],
        limit: 10,
        ..LogsQuery::default()
    };
    let page = client.logs(&query).await.unwrap();
    assert_eq!((page.rows.len(), page.rows[0].attribute("probe.id")), (1, Some("a'1")));
    let bound = lipservice::control_plane::posthog::moment(now() - 90_000_000_000_000);
    let text = format!(
        "select count() as found from logs where timestamp >= toDateTime('{bound}', 6, 'UTC') and \
         timestamp < toDateTime('2200-01-01 00:00:00', 6, 'UTC') and attributes['probe.id'] = {}",
        lipservice::control_plane::posthog::literal("a'1")
    );
    for refresh in [Refresh::Blocking, Refresh::Async] {
        assert_eq!(client.hogql(&text, refresh).await.unwrap().number("found").unwrap(), 1, "{refresh:?}");
    }
}
