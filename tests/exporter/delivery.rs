//! Batches, compression, tokens, transient and permanent failures, bisection.

use lipservice::data_plane::exporter::FailReason;
use lipservice::data_plane::exporter::config::Compression;
use lipservice::units::ByteSize;

use super::*;

#[tokio::test]
async fn records_arrive_once_in_any_compression() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let fake = fake().await;
        let exporter = start(PostHogConfig { compression, ..posthog(&fake) });
        (0..10).for_each(|i| submit(&exporter, i * 10..(i + 1) * 10, None));
        let stats = drained(&exporter).await;
        assert_eq!(stored(&fake), expected(0..100));
        assert_eq!((stats.accepted, stats.sent), (100, 100));
        assert_eq!(stats.sent_bytes, fake.billed_bytes());
        let requests = fake.requests();
        assert_eq!(stats.sent_wire_bytes, requests.iter().map(|seen| seen.wire_bytes as u64).sum::<u64>());
        assert!(requests.iter().all(|seen| seen.path == "/i/v1/logs" && seen.token == "phc_test"));
        assert!(requests.iter().all(|seen| seen.user_agent == concat!("lipservice/", env!("CARGO_PKG_VERSION"))));
    }
}

#[tokio::test]
async fn transient_failures_are_retried_until_they_pass() {
    for mode in [
        Mode::Status(429, Some("0".into())),
        Mode::Status(503, None),
        Mode::Status(502, None),
        Mode::Status(500, None),
        Mode::ResetBefore,
    ] {
        let fake = fake().await;
        fake.script(vec![mode.clone(); 5]);
        let exporter = start(posthog(&fake));
        submit(&exporter, 0..50, None);
        let stats = drained(&exporter).await;
        assert_eq!(stored(&fake), expected(0..50), "{mode:?}");
        assert_eq!((stats.sent, stats.requests_transient), (50, 5), "{mode:?}");
    }
}

#[tokio::test]
async fn one_poisonous_record_takes_no_other_with_it() {
    for (mode, reason) in [
        (Mode::Fail400On("record 37".into()), FailReason::Rejected),
        (Mode::Fail500On("record 37".into()), FailReason::Destination500),
    ] {
        let fake = fake().await;
        fake.set_mode(mode);
        let mut config = posthog(&fake);
        config.retry_on_failure.max_elapsed_time = Period::millis(300);
        let exporter = start(config);
        submit(&exporter, 0..100, None);
        let stats = drained(&exporter).await;
        let mut expected = expected(0..100);
        expected.retain(|body| body != "record 37");
        assert_eq!(stored(&fake), expected, "{reason:?}");
        assert_eq!((stats.sent, stats.failed.count(reason), stats.failed.total()), (99, 1, 1), "{stats:?}");
    }
}

#[tokio::test]
async fn a_body_too_large_is_cut_until_it_fits() {
    let fake = fake().await;
    let mut config = posthog(&fake);
    config.batch.max_size = ByteSize::mib(64);
    let exporter = start(config);
    let big = |i: u32| format!("record {i} {}", "x".repeat(100_000));
    submit_body(&exporter, request("shop", (0..60).map(big)), 60, None);
    submit_body(&exporter, request("shop", ["y".repeat(3 << 20)]), 1, None);
    let stats = drained(&exporter).await;
    assert_eq!(fake.row_count(), 60);
    assert_eq!((stats.sent, stats.failed.count(FailReason::TooLarge)), (60, 1));
}

#[tokio::test]
async fn refusals_fail_the_batch_and_nothing_else() {
    for (status, reason) in [
        (401, FailReason::Unauthorized),
        (403, FailReason::Unauthorized),
        (402, FailReason::Quota),
        (404, FailReason::Rejected),
    ] {
        let fake = fake().await;
        fake.script([Mode::Status(status, None)]);
        let exporter = start(posthog(&fake));
        submit(&exporter, 0..10, None);
        tokio::time::timeout(PATIENCE, fake.wait_until(|fake| !fake.requests().is_empty())).await.unwrap();
        submit(&exporter, 10..20, None);
        let stats = drained(&exporter).await;
        assert_eq!((stats.sent, stats.failed.count(reason)), (10, 10), "{status}");
        assert_eq!(stored(&fake), expected(10..20));
    }
}

#[tokio::test]
async fn tokens_are_never_mixed_and_a_bad_one_hurts_only_itself() {
    let fake = fake().await;
    let exporter = start(PostHogConfig { token: None, ..posthog(&fake) });
    for i in 0..30 {
        submit(&exporter, i..i + 1, Some(["phc_a", "phc_b", "phx_bad"][i as usize % 3]));
    }
    submit(&exporter, 30..31, None);
    let stats = drained(&exporter).await;
    for row in fake.rows() {
        let number: usize = row.body["record ".len()..].parse().unwrap();
        assert_eq!(row.token, ["phc_a", "phc_b"][number % 3]);
    }
    assert_eq!((stats.sent, stats.failed.count(FailReason::Unauthorized)), (20, 11));
}

#[tokio::test]
async fn what_is_coalesced_shares_its_blocks_and_costs_less() {
    let fake = fake().await;
    fake.set_mode(Mode::Hold);
    let mut config = posthog(&fake);
    config.sending_queue.num_consumers = 1;
    let exporter = start(config);
    submit(&exporter, 0..1, None);
    tokio::time::timeout(PATIENCE, fake.wait_until(|fake| fake.held() > 0)).await.unwrap();
    (1..101).for_each(|i| submit(&exporter, i..i + 1, None));
    fake.set_mode(Mode::Ok);
    fake.release();
    drained(&exporter).await;
    let requests = fake.requests();
    assert_eq!((requests.len(), requests[1].records), (2, 100));
    assert_eq!(stored(&fake), expected(0..101));
    let whole = request("shop", (1..101).map(|i| format!("record {i}")));
    assert_eq!(requests[1].bytes, whole.len(), "one resource and one scope block for all");
}
