//! `/anomalies` and the metrics of a gateway that just started.

use crate::gateway::Setup;

#[tokio::test]
async fn a_gateway_lists_anomalies_and_counts_them() {
    let setup = Setup::start("", "").await;
    let url = format!("http://{}/anomalies?limit=5", setup.gateway.metrics_addr().unwrap());
    let answer: serde_json::Value =
        serde_json::from_slice(&setup.client.get(url).send().await.unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!(answer["enabled"], true);
    assert_eq!(answer["watched"]["patterns"], 0);
    assert_eq!(answer["ongoing"], serde_json::json!([]));
    assert_eq!(answer["ended"], serde_json::json!([]));
    let text = setup.gateway.metrics_text();
    for kind in ["new_pattern", "deploy", "spike", "silence", "severity_shift"] {
        assert!(text.contains(&format!("lipservice_anomalies_started{{kind=\"{kind}\"}} 0")), "{kind}");
    }
    setup.gateway.shutdown(crate::gateway::PATIENCE).await;
}
