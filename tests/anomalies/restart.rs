//! A restart changes no verdict: what the detector knows goes through a file and back.

use std::sync::Arc;

use lipservice::control_plane::analysis::anomaly::{AnomalyConfig, Detector, End, Event, StateError};
use lipservice::control_plane::analysis::frequency::{Frame, Row};
use lipservice::data_plane::pattern::PatternId;
use lipservice::data_plane::window::{Band, Service};
use proptest::prelude::*;

use super::simulator::{Count, DAY, Plan, Simulation};

const START: u64 = 1_767_571_200_000_000_000;
const WINDOW_NS: u64 = 10_000_000_000;
const PLAN: Plan =
    Plan { seed: 5, services: 2, patterns: 15, days: 1.2, quiet_days: 0.6, bursts: true, factor: 4.0, crowded: true };

fn services() -> Vec<Arc<Service>> {
    let service = |n: usize| Service { name: format!("s{n}").into(), token: (n == 1).then(|| "phc_secret".into()) };
    (0..PLAN.services).map(|n| Arc::new(service(n))).collect()
}

fn observe(detector: &mut Detector, services: &[Arc<Service>], counts: &[Count], window: u64) -> Vec<String> {
    let row = |count: &Count| Row {
        service: &services[count.service],
        band: Band::of(count.severity, b""),
        pattern: Some(PatternId(count.pattern)),
        template: "GET <*>",
        records: count.records,
    };
    let rows = counts.iter().map(row).collect();
    let frame = Frame { at: START + (window + 1) * WINDOW_NS, windows: 1.0, window_seconds: 10.0, rows };
    // In which order services and patterns are looked at is by chance, so the last digits of sums are, too.
    let told = |event: &Event| {
        let (anomaly, is_over) = (event.anomaly(), matches!(event, Event::Ended(_)));
        format!(
            "{is_over} {} {:?} {:.6} {:.6} {}",
            anomaly.id, anomaly.end, anomaly.score, anomaly.seen, anomaly.windows
        )
    };
    let mut events: Vec<String> = detector.observe(&frame).iter().map(told).collect();
    events.sort();
    events
}

fn restarted(detector: &Detector) -> Detector {
    let bytes = detector.save(10.0).unwrap();
    assert!(!bytes.windows(10).any(|part| part == b"phc_secret"), "a token is in the file");
    Detector::restore(AnomalyConfig::default(), 10.0, &bytes).unwrap()
}

#[test]
fn a_restart_changes_no_detection() {
    let mut simulation = Simulation::new(PLAN);
    let services = services();
    let mut steady = Detector::new(AnomalyConfig::default());
    let mut cut = Detector::new(AnomalyConfig::default());
    let (mut events, mut restarts, mut with_open) = (0, 0, 0);
    while let Some(counts) = simulation.next() {
        let window = simulation.window();
        let expected = observe(&mut steady, &services, &counts, window);
        assert_eq!(observe(&mut cut, &services, &counts, window), expected, "window {window}");
        events += expected.len();
        // At odd moments, and right after something began.
        if window % 997 == 500 || (window > DAY / 2 && !expected.is_empty() && window.is_multiple_of(3)) {
            cut = restarted(&cut);
            restarts += 1;
            with_open += usize::from(cut.ongoing().next().is_some());
        }
    }
    assert_eq!((cut.watched(), cut.losses()), (steady.watched(), steady.losses()));
    assert!(
        events > 40 && restarts > 10 && with_open > 3,
        "{events} events, {restarts} restarts, {with_open} amid one"
    );
    let listed = |detector: &Detector| detector.ended().map(|anomaly| anomaly.id.clone()).collect::<Vec<_>>().len();
    assert_eq!(listed(&cut), listed(&steady));
}

/// A detector with some history, as bytes.
fn known(hours: u64) -> Vec<u8> {
    let mut simulation = Simulation::new(Plan { patterns: 6, services: 2, ..PLAN });
    let (services, mut detector) = (services(), Detector::new(AnomalyConfig::default()));
    for _ in 0..hours * 360 {
        let counts = simulation.next().unwrap();
        observe(&mut detector, &services, &counts, simulation.window());
    }
    detector.save(10.0).unwrap()
}

#[test]
fn what_cannot_be_used_is_refused_as_a_whole() {
    let bytes = known(3);
    let restore = |bytes: &[u8]| Detector::restore(AnomalyConfig::default(), 10.0, bytes);
    assert!(restore(&bytes).is_ok());
    for cut in [0, 5, 8, 11, 19, 20, bytes.len() / 2, bytes.len() - 1] {
        assert!(matches!(restore(&bytes[..cut]), Err(StateError::Damaged(_))), "{cut}");
    }
    let mut other = bytes.clone();
    other[8] = 9;
    assert!(matches!(restore(&other), Err(StateError::OtherForm { found: 9 })));
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(restore(&flipped), Err(StateError::Damaged(_))));
    let windows = Detector::restore(AnomalyConfig::default(), 60.0, &bytes).err().unwrap();
    assert!(windows.to_string().contains("windows of 10 s, they have 60 s now"), "{windows}");
    // Smaller bounds than the writer had: what fits is taken, what went on of the rest is lost.
    let config = AnomalyConfig { max_patterns: 3, max_services: 1, max_ended: 2, ..AnomalyConfig::default() };
    let small = Detector::restore(config, 10.0, &bytes).unwrap();
    assert_eq!(small.watched(), (3, 1));
    assert!(small.ended().count() <= 2 && small.ended().all(|anomaly| anomaly.end != Some(End::Grouped)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Any bytes behind a checksum that fits: refused, or a detector that goes on without a panic.
    #[test]
    fn hostile_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        static KNOWN: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut bytes = KNOWN.get_or_init(|| known(2)).clone();
        let body = bytes.len() - 20;
        for (index, value) in changes {
            bytes[20 + index.index(body)] = value;
        }
        let sum = twox_hash::XxHash64::oneshot(0, &bytes[20..]);
        bytes[12..20].copy_from_slice(&sum.to_le_bytes());
        if let Ok(mut detector) = Detector::restore(AnomalyConfig::default(), 10.0, &bytes) {
            let mut simulation = Simulation::new(Plan { patterns: 6, ..PLAN });
            for _ in 0..70 {
                let counts = simulation.next().unwrap();
                observe(&mut detector, &services(), &counts, 2 * 360 + simulation.window());
            }
            prop_assert!(detector.save(10.0).is_ok());
        }
    }
}
