//! Anomalies: the detector against a simulated world, and its behaviour window by window.

mod analyze;
mod behaviour;
mod gateway;
mod plain;
mod random;
mod score;
mod simulator;

use lipservice::control_plane::analysis::anomaly::AnomalyConfig;

use plain::{Plain, Test};
use simulator::{Incident, Plan};

/// A small world, so that the test is quick; `cargo run --release --example anomalies` runs a large one.
const PLAN: Plan =
    Plan { seed: 7, services: 2, patterns: 12, days: 1.5, quiet_days: 0.55, bursts: true, factor: 3.0, crowded: true };

#[test]
fn spikes_are_noticed_within_two_windows_at_one_false_alarm_a_day() {
    let tests = vec![Plain::new(Test::ZScore(3.0)), Plain::new(Test::Poisson(1e-7))];
    let scores = score::run(PLAN, &AnomalyConfig::default(), tests);
    let [ours, z_score, poisson] = &scores[..] else { panic!("three scores") };
    let (recall, alarms) = (ours.recall_from(10.0), ours.false_per_service_day());
    let kinds: Vec<_> = ours.false_alarms.iter().map(|alarm| alarm.kind).collect();
    let (precision, early) = (ours.precision(), ours.early_alarms);
    eprintln!("recall {recall:.2}, precision {precision:.2}, false alarms {alarms:.2} per service-day: {kinds:?}");
    eprintln!("{early} on the first day of {} services: {:?}", ours.services, ours.by_incident);
    // Two service-days: one false alarm more or less is half a one per day. The example holds many to the bar itself.
    assert!(recall >= 0.85, "{recall}: {:?}", ours.by_band);
    assert!(alarms <= 1.5, "{alarms}: {:#?}", ours.false_alarms);
    for incident in [Incident::NewPattern, Incident::Silence, Incident::SeverityShift, Incident::Deploy] {
        let found = ours.by_incident[&incident];
        assert!(found.at_all * 2 >= found.incidents, "{incident:?}: {found:?}");
    }
    for plain in [z_score, poisson] {
        assert!(plain.false_per_service_day() > 20.0 * alarms.max(1.0), "{}", plain.false_per_service_day());
    }
}
