//! Clients that leave in the middle of a request: nothing of it is taken, and it is counted.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use super::raw::{Socket, call, http2};
use super::*;

/// A body that stops in the middle and never ends.
struct Half(Option<Bytes>);

impl Body for Half {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Poll::Pending,
        }
    }
}

async fn is_counted(running: &Running, transport: &str, count: usize) {
    let gone = || running.metric("lipservice_receiver_requests", &[transport, "logs", "gone"]) as usize;
    until("the request is counted", || gone() == count).await;
    until("its bytes are given back", || running.stats.in_flight_bytes() == 0).await;
    until("it is refused", || running.recorder.refused.lock().len() == count).await;
    assert_eq!(gone(), count, "once");
    running.recorder.refused.lock().clear();
}

#[tokio::test]
async fn over_http() {
    let running = start();
    let half = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n half of it";
    let mut closed = Socket::connect(running.http).await;
    closed.send(half).await;
    until("it is read", || running.stats.in_flight_bytes() > 0).await;
    drop(closed);
    is_counted(&running, "http", 1).await;
    assert!(running.stop().await.logs.lock().is_empty());
}

#[tokio::test]
async fn over_grpc_by_stream_and_by_connection() {
    for by_connection in [false, true] {
        let running = start();
        let mut sender = http2::<Half>(running.grpc).await;
        // A prefix that announces 100 bytes, and three of them.
        let body = Half(Some(Bytes::from_static(&[0, 0, 0, 0, 100, 1, 2, 3])));
        let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        let mut answer = Box::pin(sender.send_request(call(running.grpc, path, &[], body)));
        let read = async {
            tokio::select! {
                answer = &mut answer => panic!("answered: {answer:?}"),
                () = until("it is read", || running.stats.in_flight_bytes() > 0) => {}
            }
        };
        read.await;
        // The first resets the stream, the second ends the connection as well.
        drop(answer);
        let kept = (!by_connection).then_some(sender);
        is_counted(&running, "grpc", 1).await;
        drop(kept);
        assert!(running.stop().await.logs.lock().is_empty());
    }
}
