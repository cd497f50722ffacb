//! Learned patterns in a running gateway: published, shown, kept over a restart.

use std::collections::BTreeSet;

use super::{PATIENCE, Setup, parse, yaml};
use crate::support::otlp::{record, request_of};

async fn ids(setup: &Setup) -> BTreeSet<String> {
    let url = format!("http://{}/patterns", setup.gateway.metrics_addr().unwrap());
    let patterns = setup.client.get(url).send().await.unwrap().bytes().await.unwrap();
    let patterns: serde_json::Value = serde_json::from_slice(&patterns).unwrap();
    let rows = patterns["patterns"].as_array().unwrap();
    rows.iter().map(|row| row["pattern"].as_str().unwrap().to_owned()).collect()
}

fn lines() -> Vec<u8> {
    let users = ["ann", "bob", "eve", "joe"];
    let mut records: Vec<_> = users.iter().map(|user| record(9, &format!("guest {user} has signed in"))).collect();
    records.push(record(9, "started in 5 ms"));
    request_of("web", records)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_changes_no_id() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("patterns.json");
    let sampler = format!("patterns: {{interval: 1h, file: '{}'}}", file.display());
    let setup = Setup::start(&sampler, "").await;
    assert_eq!(setup.post(lines()).await, 200);
    assert_eq!(ids(&setup).await.len(), 5, "at first sight, every signature");
    setup.gateway.learn_patterns();
    assert_eq!(setup.post(lines()).await, 200);
    let metrics = setup.gateway.metrics_text();
    for line in
        ["lipservice_patterns_published 1", "lipservice_mining_signatures 5", "lipservice_mining_merged_signatures 4"]
    {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let of_signatures = ids(&setup).await;
    assert_eq!(of_signatures.len(), 6);
    assert!(setup.gateway.shutdown(PATIENCE).await.balance());

    let again = Setup::start(&sampler, "").await;
    assert_eq!(again.post(lines()).await, 200);
    let from_the_first_record = ids(&again).await;
    assert_eq!(from_the_first_record.len(), 2);
    assert!(from_the_first_record.is_subset(&of_signatures), "{from_the_first_record:?} {of_signatures:?}");
    again.gateway.learn_patterns();
    assert_eq!(again.post(lines()).await, 200);
    assert_eq!(ids(&again).await, from_the_first_record);
    again.gateway.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_is_reported_and_learning_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("patterns.json");
    std::fs::write(&file, "{").unwrap();
    let sampler = format!("patterns: {{interval: 1h, file: '{}'}}", file.display());
    let mut setup = Setup::start(&sampler, "").await;
    assert!(setup.gateway.metrics_text().contains("lipservice_mining_file_failures 1"));
    setup.post(lines()).await;
    setup.gateway.learn_patterns();
    assert!(setup.gateway.metrics_text().contains("lipservice_patterns_published 1"));
    // Policies that are read again leave learned patterns in force; turning learning off does not.
    assert!(setup.gateway.reload_policies());
    assert!(setup.gateway.metrics_text().contains("lipservice_patterns_published 1"));
    let off = parse(&yaml(&setup.posthog, "patterns: {enabled: false}", ""));
    setup.gateway.reload(off).await.unwrap();
    setup.gateway.learn_patterns();
    assert!(setup.gateway.metrics_text().contains("lipservice_patterns_published 0"));
    setup.gateway.shutdown(PATIENCE).await;
}
