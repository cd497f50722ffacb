//! Stopping: what runs is finished, what is new is turned away, and it ends in bounded time.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::grpc::traces_client;
use super::http::client;
use super::raw::Socket;
use super::{config, soon, start, start_draining};

#[tokio::test]
async fn requests_under_way_are_finished() {
    let running = start();
    let gate = Arc::new(Notify::new());
    *running.recorder.gate.lock() = Some(Arc::clone(&gate));
    let mut traces = traces_client(&running).await;
    let grpc = tokio::spawn(async move { soon(traces.export(ExportTraceServiceRequest::default())).await });
    soon(running.recorder.begun.notified()).await;
    let client = client();
    let http = tokio::spawn(client.post(running.url("/v1/traces")).send());
    soon(running.recorder.begun.notified()).await;
    let idle = Socket::connect(running.http).await;
    running.shutdown.trigger();
    // Once the listeners are gone nobody gets in any more.
    for address in [running.grpc, running.http] {
        soon(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    }
    assert!(!running.served.is_finished(), "waits for the two requests");
    gate.notify_waiters();
    soon(grpc).await.unwrap().unwrap();
    assert_eq!(soon(http).await.unwrap().unwrap().status(), 200);
    drop(idle);
    let recorder = running.stop().await;
    assert_eq!(recorder.forwarded.lock().len(), 2);
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let running = start_draining(&config(), Default::default(), Duration::from_millis(50));
    *running.recorder.gate.lock() = Some(Arc::new(Notify::new()));
    let mut traces = traces_client(&running).await;
    let held = tokio::spawn(async move { soon(traces.export(ExportTraceServiceRequest::default())).await });
    soon(running.recorder.begun.notified()).await;
    running.shutdown.trigger();
    assert!(soon(held).await.unwrap().is_err());
    let stats = Arc::clone(&running.stats);
    soon(running.served).await.unwrap();
    assert_eq!(stats.connections(), 0);
}
