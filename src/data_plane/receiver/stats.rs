//! What the receiver counts about itself.
//!
//! Purpose: requests by transport, signal and code; bytes; connections; authentication failures.
//! Promises: counting is an atomic addition; label values are fixed, so hostile input cannot add series.
//! Never: counts records, which the pipeline does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::buffer::{InFlight, Slots};
use super::status::{Outcome, TABLE};
use super::{Signal, Transport};
use crate::telemetry::{MetricSink, MetricSource};

const TRANSPORTS: [(Transport, &str); 2] = [(Transport::Grpc, "grpc"), (Transport::Http, "http")];
/// The last stands for requests to unknown paths.
const SIGNALS: [&str; 4] = ["logs", "traces", "metrics", "none"];

/// Counts of one transport.
#[derive(Debug, Default)]
pub(super) struct PortStats {
    requests: [[AtomicU64; TABLE.len()]; SIGNALS.len()],
    /// Bytes read from and written to sockets.
    pub(super) wire_in: AtomicU64,
    pub(super) wire_out: AtomicU64,
    /// Bytes of bodies as received, and after decompression.
    pub(super) body_bytes: AtomicU64,
    pub(super) inflated_bytes: AtomicU64,
    pub(super) connections: AtomicUsize,
    pub(super) connections_total: AtomicU64,
    pub(super) connections_refused: AtomicU64,
    /// HTTP connections that did not stay on the short way.
    pub(super) connections_general: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    pub(super) auth_failures: AtomicU64,
    /// Connections that the end of a drain cut.
    pub(super) connections_cut: AtomicU64,
}

impl PortStats {
    /// Counts a finished request.
    pub(super) fn request(&self, signal: Option<Signal>, outcome: Outcome) {
        let signal = signal.map_or(SIGNALS.len() - 1, |signal| signal as usize);
        add(&self.requests[signal][outcome as usize], 1);
        if outcome == Outcome::Unauthenticated {
            add(&self.auth_failures, 1);
        }
    }
}

/// Adds to a counter that nothing else is ordered by.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// The receiver's counts; a [`MetricSource`].
#[derive(Debug)]
pub struct ReceiverStats {
    name: String,
    ports: [Arc<PortStats>; 2],
    in_flight: Arc<InFlight>,
    slots: Mutex<Vec<(Transport, Arc<Slots>)>>,
}

impl ReceiverStats {
    pub(super) fn new(name: &str, in_flight: &Arc<InFlight>) -> Self {
        ReceiverStats {
            name: name.to_owned(),
            ports: Default::default(),
            in_flight: Arc::clone(in_flight),
            slots: Mutex::default(),
        }
    }

    pub(super) fn port(&self, transport: Transport) -> &Arc<PortStats> {
        &self.ports[transport as usize]
    }

    pub(super) fn watch_slots(&self, transport: Transport, slots: &Arc<Slots>) {
        self.slots.lock().push((transport, Arc::clone(slots)));
    }

    /// Bytes of requests held now.
    pub fn in_flight_bytes(&self) -> u64 {
        self.in_flight.held_bytes()
    }

    /// Connections open now, over both transports.
    pub fn connections(&self) -> usize {
        self.ports.iter().map(|port| port.connections.load(Ordering::Relaxed)).sum()
    }
}

impl MetricSource for ReceiverStats {
    fn collect(&self, out: &mut dyn MetricSink) {
        out.gauge(
            "lipservice_receiver_in_flight_bytes",
            "Bytes of requests being received or processed",
            &[("receiver", &self.name)],
            self.in_flight.held_bytes() as f64,
        );
        for (transport, slots) in self.slots.lock().iter() {
            let labels = [("receiver", self.name.as_str()), ("transport", TRANSPORTS[*transport as usize].1)];
            let help = "Requests being served";
            out.gauge("lipservice_receiver_in_flight_requests", help, &labels, slots.taken() as f64);
        }
        for (transport, label) in TRANSPORTS {
            self.collect_port(self.port(transport), label, out);
        }
    }
}

impl ReceiverStats {
    fn collect_port(&self, port: &PortStats, transport: &str, out: &mut dyn MetricSink) {
        let labels = [("receiver", self.name.as_str()), ("transport", transport)];
        for (signal, counts) in SIGNALS.iter().zip(&port.requests) {
            for (row, count) in TABLE.iter().zip(counts) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let http = row.1.to_string();
                    let code = if transport == "grpc" { row.3 } else { http.as_str() };
                    let reason = row.0.label();
                    let labels = [labels[0], labels[1], ("signal", signal), ("code", code), ("reason", reason)];
                    out.counter("lipservice_receiver_requests", "Requests answered", &labels, count);
                }
            }
        }
        let counters = [
            ("lipservice_receiver_wire_bytes_in", "Bytes read from sockets", &port.wire_in),
            ("lipservice_receiver_wire_bytes_out", "Bytes written to sockets", &port.wire_out),
            ("lipservice_receiver_body_bytes", "Bytes of request bodies as received", &port.body_bytes),
            ("lipservice_receiver_inflated_bytes", "Bytes of requests decompressed", &port.inflated_bytes),
            ("lipservice_receiver_connections_accepted", "Connections accepted", &port.connections_total),
            (
                "lipservice_receiver_connections_refused",
                "Connections closed because `max_connections` were open",
                &port.connections_refused,
            ),
            (
                "lipservice_receiver_connections_general",
                "HTTP connections that came to more than plain posts of logs (HTTP/2, chunked bodies, refusals), served at a little more cost",
                &port.connections_general,
            ),
            ("lipservice_receiver_tls_failures", "TLS handshakes that failed", &port.handshakes_failed),
            ("lipservice_receiver_auth_failures", "Requests refused for their token", &port.auth_failures),
            (
                "lipservice_receiver_connections_cut",
                "Connections cut because they did not end within the drain time",
                &port.connections_cut,
            ),
        ];
        for (name, help, counter) in counters {
            out.counter(name, help, &labels, counter.load(Ordering::Relaxed));
        }
        let open = port.connections.load(Ordering::Relaxed) as f64;
        out.gauge("lipservice_receiver_connections", "Connections open", &labels, open);
    }
}
