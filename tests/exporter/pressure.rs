//! A full queue, a slow, broken or absent destination, and the end.

use lipservice::data_plane::exporter::{FailReason, REQUEST_OVERHEAD_BYTES};
use lipservice::units::ByteSize;

use super::*;

async fn until(fake: &FakePostHog, condition: impl Fn(&FakePostHog) -> bool) {
    tokio::time::timeout(PATIENCE, fake.wait_until(condition)).await.expect("in time");
}

#[tokio::test]
async fn a_full_queue_pushes_back_and_recovers() {
    let fake = fake().await;
    fake.set_mode(Mode::Hold);
    let body = request("shop", ["x".repeat(1_000)]);
    let charge = body.len() + REQUEST_OVERHEAD_BYTES;
    let mut config = posthog(&fake);
    config.sending_queue.max_size = ByteSize(4 * charge as u64);
    let exporter = start(config);
    for _ in 0..4 {
        submit_body(&exporter, body.clone(), 1, None);
    }
    assert!(exporter.try_reserve(body.len()).is_none(), "full");
    // Requests in flight still count: nothing was answered yet.
    until(&fake, |fake| fake.held() > 0).await;
    assert!(exporter.try_reserve(body.len()).is_none(), "still full");
    let stats = exporter.stats();
    assert_eq!((stats.waiting, stats.queue_bytes, stats.refused_reservations), (4, 4 * charge, 2));
    fake.set_mode(Mode::Ok);
    fake.release();
    until(&fake, |fake| fake.row_count() == 4).await;
    // The books follow the answers.
    let room = async {
        while exporter.stats().waiting > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, room).await.unwrap();
    submit_body(&exporter, body.clone(), 1, None);
    assert_eq!(drained(&exporter).await.sent, 5);
}

#[tokio::test]
async fn what_is_reserved_and_not_used_is_given_back() {
    let fake = fake().await;
    let mut config = posthog(&fake);
    config.sending_queue.max_size = ByteSize(10_000);
    let exporter = start(config);
    let larger_than_the_queue = exporter.try_reserve(1_000_000).expect("the queue is empty");
    assert!(exporter.try_reserve(1).is_none());
    drop(larger_than_the_queue);
    let reservation = exporter.try_reserve(9_000).unwrap();
    assert!(exporter.try_reserve(5_000).is_none());
    reservation.submit(Outgoing { body: request("shop", ["a".into()]), records: 1, token: None });
    assert!(exporter.try_reserve(5_000).is_some());
    assert_eq!(drained(&exporter).await.sent, 1);
    assert!(exporter.try_reserve(1).is_none(), "drained");
}

#[tokio::test]
async fn a_destination_that_goes_and_comes_back_gets_everything() {
    let fake = fake().await;
    let exporter = start(posthog(&fake));
    submit(&exporter, 0..100, None);
    until(&fake, |fake| fake.row_count() == 100).await;
    fake.go_down().await;
    (1..10).for_each(|i| submit(&exporter, i * 100..(i + 1) * 100, None));
    let failing = async {
        while exporter.stats().requests_transient < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, failing).await.unwrap();
    fake.come_up().await.unwrap();
    let stats = drained(&exporter).await;
    assert_eq!((stats.sent, stats.failed.total()), (1_000, 0));
    assert_eq!(stored(&fake), expected(0..1_000));
}

#[tokio::test]
async fn a_connection_broken_after_the_fact_repeats_but_loses_nothing() {
    let fake = fake().await;
    fake.script([Mode::ResetAfter]);
    let exporter = start(posthog(&fake));
    submit(&exporter, 0..10, None);
    let stats = drained(&exporter).await;
    // At least once: PostHog has no key to recognise a repetition by.
    assert_eq!(fake.row_count(), 20);
    assert_eq!((stats.sent, stats.requests_transient), (10, 1));
}

#[tokio::test]
async fn an_acknowledgement_is_believed_though_its_body_breaks_off() {
    let fake = fake().await;
    fake.script([Mode::ResetInAnswer]);
    let exporter = start(posthog(&fake));
    submit(&exporter, 0..10, None);
    let stats = drained(&exporter).await;
    assert_eq!((stats.sent, stats.requests_ok, fake.row_count()), (10, 1, 10));
}

#[tokio::test]
async fn a_time_limit_ends_an_attempt_that_hangs() {
    let fake = fake().await;
    fake.script([Mode::Hold]);
    let exporter = start(PostHogConfig { timeout: Period::millis(50), ..posthog(&fake) });
    submit(&exporter, 0..10, None);
    let stats = drained(&exporter).await;
    assert_eq!((stats.sent, stats.requests_transient), (10, 1));
}

#[tokio::test]
async fn partial_success_is_counted_and_never_sent_again() {
    let fake = fake().await;
    fake.script([Mode::RejectSome(3)]);
    let exporter = start_otlp(otlp(&fake));
    submit(&exporter, 0..10, None);
    let stats = drained(&exporter).await;
    assert_eq!((stats.sent, stats.failed.count(FailReason::PartialRejection)), (7, 3));
    assert_eq!((fake.row_count(), fake.requests().len()), (7, 1));
    assert_eq!(fake.requests()[0].path, "/v1/logs");
}

#[tokio::test]
async fn what_posthog_drops_later_still_counts_as_sent() {
    let fake = fake().await;
    fake.set_mode(Mode::AcceptAndDrop);
    let exporter = start(posthog(&fake));
    submit(&exporter, 0..10, None);
    let stats = drained(&exporter).await;
    assert_eq!((stats.sent, fake.row_count()), (10, 0), "nothing tells us, so nothing else can be claimed");
    assert!(fake.billed_bytes() > 0);
}

#[tokio::test]
async fn a_drain_ends_in_time_and_counts_what_it_leaves() {
    let fake = fake().await;
    fake.set_mode(Mode::Hold);
    let mut config = posthog(&fake);
    config.sending_queue.num_consumers = 1;
    config.batch.max_size = ByteSize(1);
    let exporter = start(config);
    (0..5).for_each(|i| submit(&exporter, i * 10..(i + 1) * 10, None));
    until(&fake, |fake| fake.held() > 0).await;
    let late = exporter.try_reserve(1_000).unwrap();
    assert_eq!(exporter.drain(Duration::from_millis(50)).await, 50);
    late.submit(Outgoing { body: request("shop", ["late".into()]), records: 1, token: None });
    let stats = exporter.stats();
    assert_eq!((stats.accepted, stats.failed.count(FailReason::Shutdown)), (51, 51));
    assert_eq!((stats.waiting, stats.queue_bytes, stats.invariant_violations), (0, 0, 0));
}

#[tokio::test]
async fn a_drain_waits_for_what_is_about_to_be_submitted() {
    let fake = fake().await;
    let exporter = start(posthog(&fake));
    let reservation = exporter.try_reserve(1_000).unwrap();
    let draining = tokio::spawn({
        let exporter = exporter.clone();
        async move { exporter.drain(PATIENCE).await }
    });
    let closed = async {
        while exporter.try_reserve(0).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
    reservation.submit(Outgoing { body: request("shop", ["record 0".into()]), records: 1, token: None });
    assert_eq!(tokio::time::timeout(PATIENCE, draining).await.unwrap().unwrap(), 0);
    assert_eq!(stored(&fake), expected(0..1));
}

#[tokio::test]
async fn connections_are_kept() {
    let fake = fake().await;
    let exporter = start(posthog(&fake));
    for i in 0..20 {
        submit(&exporter, i..i + 1, None);
        until(&fake, |fake| fake.row_count() == i as usize + 1).await;
    }
    assert_eq!(drained(&exporter).await.sent, 20);
    assert!(fake.connections() <= 4, "{}", fake.connections());
}

#[tokio::test]
async fn an_empty_request_is_never_sent() {
    let fake = fake().await;
    let exporter = start(posthog(&fake));
    submit_body(&exporter, request("shop", []), 0, None);
    let stats = drained(&exporter).await;
    assert_eq!((stats.accepted, fake.requests().len()), (0, 0));
}
