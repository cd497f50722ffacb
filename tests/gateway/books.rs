//! The books over the whole way, with everything at once: policies, several clients, bad requests, faults, a reload.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{PATIENCE, Setup, parse, policies, yaml};
use crate::support::fake_posthog::Mode;
use crate::support::otlp::{block, record, request, traced};

const MIXED: &str = "policies:
- {id: none, name: none, log: {match: [{log_field: body, contains: noise}], keep: none}}
- {id: tenth, name: tenth, log: {match: [{log_field: body, contains: sampled}], keep: 10%}}
- {id: limit, name: limit, log: {match: [{log_field: body, contains: limited}], keep: 5/s}}";

fn mixed(me: u64, i: u64) -> Vec<u8> {
    let random = |n: u64| (me * 7919 + i * 104_729 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
    let records = |what: &str| (0..20).map(|n| traced(9, &format!("{what} number {n}"), random(n))).collect();
    request(vec![
        block("noisy", records("noise")),
        block("sampled", records("sampled")),
        block("limited", records("limited")),
        block("errors", vec![record(17, "it broke"), record(9, "all is well")]),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_in_the_books_and_every_drop_in_a_summary() {
    let dir = tempfile::tempdir().unwrap();
    let sampler = policies(dir.path(), MIXED);
    let mut setup = Setup::start(&sampler, "").await;
    setup.posthog.script((0..30).map(|i| match i % 3 {
        0 => Mode::Status(503, None),
        1 => Mode::ResetBefore,
        _ => Mode::Ok,
    }));
    let url = format!("http://{}/v1/logs", setup.gateway.http_addrs()[0]);
    let mut clients = JoinSet::new();
    for me in 0..4u64 {
        let (client, url) = (super::client(), url.clone());
        clients.spawn(async move {
            let mut taken = 0u64;
            for i in 0..50 {
                let mut body = mixed(me, i);
                if i % 10 == 9 {
                    body.truncate(body.len() - 3);
                }
                let request = client.post(&url).bearer_auth("phc_t").header("content-type", "application/x-protobuf");
                let status = request.body(body).send().await.unwrap().status().as_u16();
                assert_eq!(status, if i % 10 == 9 { 400 } else { 200 });
                taken += u64::from(status == 200);
            }
            taken
        });
    }
    setup.gateway.reload(parse(&yaml(&setup.posthog, &sampler, "compression: zstd"))).await.unwrap();
    let taken: u64 = timeout(PATIENCE, clients.join_all()).await.unwrap().into_iter().sum();
    assert_eq!(taken, 4 * 45);
    let policies = Arc::clone(setup.gateway.pipeline());
    let report = timeout(PATIENCE, setup.gateway.shutdown(PATIENCE)).await.unwrap();
    assert!(report.balance(), "{report}");
    assert_eq!(report.totals.received.records, taken * 62, "{report}");
    let delivered: u64 = report.exporters.iter().map(|exporter| exporter.stats.sent).sum();
    assert_eq!(delivered, report.totals.kept.records + report.totals.summaries.records, "{report}");
    assert_eq!(report.exporters.iter().map(|exporter| exporter.stats.failed.total()).sum::<u64>(), 0, "{report}");
    let by_policy: u64 = policies.ledger.by_policy().iter().map(|(_, _, _, dropped)| dropped.records).sum();
    assert_eq!(by_policy, report.totals.dropped.records, "every drop has a policy");
    let rows = setup.posthog.rows();
    let errors = rows.iter().filter(|row| row.body == "it broke").count() as u64;
    assert_eq!(errors, taken, "every error is at PostHog");
    let reported: u64 =
        rows.iter().filter_map(|row| row.attributes.get("lip.records")).map(|n| n.parse::<u64>().unwrap()).sum();
    assert_eq!(reported, report.totals.dropped.records, "summaries say exactly what was dropped");
}
