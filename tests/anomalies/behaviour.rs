//! What the detector does window by window: start, end, acceptance, gaps, restarts, bounds.

use std::sync::Arc;

use lipservice::control_plane::analysis::anomaly::{Anomaly, AnomalyConfig, BoostPlan, Detector, End, Event, Kind};
use lipservice::control_plane::analysis::frequency::frame::Step;
use lipservice::control_plane::analysis::frequency::{Frame, Frames, Row};
use lipservice::data_plane::pattern::PatternId;
use lipservice::data_plane::signature::Signature;
use lipservice::data_plane::window::config::WindowConfig;
use lipservice::data_plane::window::{Band, PatternKey, PatternTable, Service};
use lipservice::units::Period;

use super::random::Random;

const WINDOW_NS: u64 = 10_000_000_000;
const HOUR: u64 = 360;

/// A detector, and a service whose patterns write with given means.
struct World {
    detector: Detector,
    service: Arc<Service>,
    random: Random,
    at: u64,
    events: Vec<Event>,
}

impl World {
    fn new(config: AnomalyConfig) -> Self {
        let service = Arc::new(Service { name: "web".into(), token: None });
        let (detector, random) = (Detector::new(config), Random::new(3));
        World { detector, service, random, at: 1_767_571_200_000_000_000, events: Vec::new() }
    }

    /// So many windows in which pattern `i` writes Poisson(`means[i]`) records.
    fn run(&mut self, windows: u64, means: &[f64]) -> &mut Self {
        for _ in 0..windows {
            let counts: Vec<u64> = means.iter().map(|mean| self.random.poisson(*mean)).collect();
            self.frame(&counts, Band::Info);
        }
        self
    }

    fn frame(&mut self, counts: &[u64], band: Band) {
        self.at += WINDOW_NS;
        let row = |(i, records): (usize, &u64)| Row {
            service: &self.service,
            band,
            pattern: Some(PatternId(i as u64)),
            template: "<b>GET</b> <*>",
            records: *records,
        };
        let rows = counts.iter().enumerate().map(row).collect();
        let frame = Frame { at: self.at, windows: 1.0, window_seconds: 10.0, rows };
        self.events.extend(self.detector.observe(&frame));
    }

    fn started(&self) -> Vec<&Anomaly> {
        self.events.iter().filter(|event| matches!(event, Event::Started(_))).map(Event::anomaly).collect()
    }

    fn ended(&self) -> Vec<(Kind, End)> {
        let ended = self.events.iter().filter(|event| matches!(event, Event::Ended(_))).map(Event::anomaly);
        ended.map(|anomaly| (anomaly.kind, anomaly.end.unwrap())).collect()
    }
}

/// A service of two patterns that has been known for 13 hours.
fn known() -> World {
    let mut world = World::new(AnomalyConfig::default());
    world.run(13 * HOUR, &[20.0, 5.0]);
    assert_eq!(world.started(), Vec::<&Anomaly>::new());
    world
}

#[test]
fn a_spike_starts_goes_on_and_ends_with_evidence() {
    let mut world = known();
    let before = world.at;
    world.run(2, &[80.0, 5.0]);
    let spike = (*world.started().last().unwrap()).clone();
    assert_eq!((spike.kind, spike.pattern.as_deref()), (Kind::Spike, Some("0000000000000000")));
    assert!((15.0..25.0).contains(&spike.expected) && spike.seen > 50.0, "{spike:?}");
    assert!(spike.p_value < spike.p_threshold && spike.score > 6.0, "{spike:?}");
    assert!((25.0..35.0).contains(&spike.p99.unwrap()), "of counts around 20: {spike:?}");
    assert!(spike.since >= before && spike.noticed > spike.since, "{spike:?}");
    world.run(10, &[80.0, 5.0]);
    assert_eq!((world.started().len(), world.detector.ongoing().count()), (1, 1));
    world.run(10, &[20.0, 5.0]);
    assert_eq!(world.ended(), [(Kind::Spike, End::Subsided)]);
    assert_eq!(world.detector.ongoing().count(), 0);
    let listed = world.detector.ended().next().unwrap();
    assert_eq!((&listed.id, listed.ended.is_some()), (&spike.id, true));
    let json = serde_json::to_value(listed).unwrap();
    assert_eq!(json["kind"], "spike");
    assert_eq!(json["since_unix_nano"], spike.since.to_string());
}

#[test]
fn a_spike_of_the_pattern_that_is_nearly_all_of_a_service_is_no_load() {
    let usual = [1800.0, 20.0, 10.0, 5.0, 5.0, 5.0, 5.0];
    let mut world = World::new(AnomalyConfig::default());
    world.run(13 * HOUR, &usual);
    let mut spike = usual;
    spike[0] *= 2.5;
    world.run(2, &spike);
    let told: Vec<(Kind, Option<&str>)> = world.started().iter().map(|a| (a.kind, a.pattern.as_deref())).collect();
    assert_eq!(told, [(Kind::Spike, Some("0000000000000000"))]);
}

#[test]
fn a_service_is_only_learned_from_while_it_warms_up() {
    // (how long a service is only learned from, in windows, whether its spike after half an hour is told)
    for (warm_up, is_told) in [(60, true), (HOUR, false)] {
        let mut world = World::new(AnomalyConfig { warm_up: Period::secs(10 * warm_up), ..AnomalyConfig::default() });
        world.run(HOUR / 2, &[20.0; 6]).run(12, &[80.0, 20.0, 20.0, 20.0, 20.0, 20.0]);
        let kinds: Vec<Kind> = world.started().iter().map(|anomaly| anomaly.kind).collect();
        assert_eq!(kinds, [Kind::Spike][..usize::from(is_told)], "{warm_up}");
    }
}

#[test]
fn a_lasting_change_is_accepted_after_the_time_it_says() {
    let mut world = known();
    world.run(HOUR / 2 - 5, &[80.0, 5.0]);
    assert_eq!((world.started().len(), world.ended().len()), (1, 0), "an incident is not learned at once");
    world.run(10, &[80.0, 5.0]);
    assert_eq!(world.ended(), [(Kind::Spike, End::Accepted)]);
    world.run(HOUR, &[80.0, 5.0]);
    assert_eq!(world.started().len(), 1, "{:#?}", world.started());
}

#[test]
fn silence_starts_after_what_was_expected_and_ends_with_records() {
    let mut world = known();
    world.run(6, &[0.0, 5.0]);
    let silence = (*world.started().last().unwrap()).clone();
    assert_eq!((silence.kind, silence.seen), (Kind::Silence, 0.0));
    world.run(3, &[20.0, 5.0]);
    assert_eq!(world.ended(), [(Kind::Silence, End::Subsided)]);
}

#[test]
fn a_new_pattern_is_news_and_many_at_once_are_one_deploy() {
    let mut world = known();
    world.run(6, &[20.0, 5.0, 30.0]);
    assert_eq!(world.started().iter().map(|anomaly| anomaly.kind).collect::<Vec<_>>(), [Kind::NewPattern]);
    world.run(HOUR, &[20.0, 5.0, 30.0]);
    let means: Vec<f64> = [20.0, 5.0, 30.0].into_iter().chain([10.0; 12]).collect();
    world.run(2, &means);
    let deploys: Vec<usize> = world.started()[1..].iter().map(|anomaly| anomaly.patterns).collect();
    assert_eq!(deploys, [12], "{:#?}", world.started());
    world.run(HOUR, &means);
    assert_eq!(world.started().len(), 2, "{:#?}", world.started());
    assert_eq!(world.detector.ongoing().count(), 0);
}

#[test]
fn a_severity_that_grows_is_noticed() {
    let mut world = known();
    for _ in 0..3 {
        world.at -= WINDOW_NS;
        world.frame(&[14, 4], Band::Info);
        world.at -= WINDOW_NS;
        world.frame(&[6, 1], Band::Error);
    }
    for _ in 0..6 {
        world.frame(&[20, 5], Band::Error);
    }
    let kinds: Vec<Kind> = world.started().iter().map(|anomaly| anomaly.kind).collect();
    assert!(kinds.contains(&Kind::SeverityShift), "{kinds:?}");
}

#[test]
fn tables_are_bounded_and_what_is_turned_away_is_counted() {
    let config = AnomalyConfig { max_patterns: 10, max_ended: 1, ..AnomalyConfig::default() };
    let mut world = World::new(config);
    world.run(5, &[10.0; 30]);
    assert_eq!(world.detector.watched(), (10, 1));
    assert!(world.detector.losses().unwatched_records > 500, "{:?}", world.detector.losses());
    // Patterns that pause make room, in a crowded table already after an hour.
    world.run(HOUR + 60, &[]);
    assert_eq!(world.detector.watched(), (0, 0));
    assert_eq!(world.detector.losses().evicted_patterns, 10);
    let started: u64 = Kind::ALL.iter().map(|kind| world.detector.started(*kind)).sum();
    assert_eq!(started, (world.ended().len() + world.detector.ongoing().count()) as u64);
    assert!(world.detector.ended().count() <= 1);
}

#[test]
fn patterns_that_become_one_are_no_news() {
    let mut world = World::new(AnomalyConfig::default());
    world.run(13 * HOUR, &[20.0, 5.0, 10.0]);
    // The miner finds that patterns 0 and 2 are one, number 3.
    world.detector.regroup(&|_| Some(PatternId(3)), world.at);
    assert_eq!(world.detector.watched(), (1, 1));
    world.run(HOUR, &[0.0, 0.0, 0.0, 35.0]);
    assert_eq!(world.started(), Vec::<&Anomaly>::new());
    world.run(6, &[0.0, 0.0, 0.0, 140.0]);
    assert_eq!(world.started().len(), 1, "{:#?}", world.started());
    world.run(12, &[]);
    world.detector.regroup(&|_| None, world.at);
    assert_eq!(world.detector.watched(), (1, 1));
}

#[test]
fn after_a_gap_nothing_is_judged_by_what_was_before_it() {
    let mut world = known();
    world.run(1, &[0.0, 0.0]);
    world.at += 30 * WINDOW_NS;
    world.detector.interrupt(world.at);
    world.run(4, &[20.0, 5.0]);
    assert_eq!(world.started(), Vec::<&Anomaly>::new());
    assert_eq!(world.detector.losses().gaps, 1);
}

#[test]
fn a_boost_lasts_as_long_as_the_anomaly_and_then_fades() {
    let mut world = known();
    let (mut plan, config) = (BoostPlan::new(), AnomalyConfig::default().boost);
    assert_eq!(plan.step(&world.detector, &config, 10.0, world.at), []);
    world.run(4, &[90.0, 5.0]);
    let boosts = plan.step(&world.detector, &config, 10.0, world.at);
    assert_eq!(boosts.len(), 1);
    assert_eq!((boosts[0].pattern, boosts[0].percentage), (PatternId(0), 100.0));
    world.run(6, &[20_000.0, 5.0]);
    let capped = plan.step(&world.detector, &config, 10.0, world.at)[0].percentage;
    assert!((4.0..6.0).contains(&capped), "100 of 2,000 records a second: {capped}");
    world.run(6, &[90.0, 5.0]);
    assert_eq!(plan.step(&world.detector, &config, 10.0, world.at)[0].percentage, 100.0);
    world.run(6, &[20.0, 5.0]);
    assert_eq!(world.detector.ongoing().count(), 0);
    let faded = plan.step(&world.detector, &config, 10.0, world.at)[0].percentage;
    assert!((45.0..55.0).contains(&faded), "a half-life of a minute: {faded}");
    world.run(60, &[20.0, 5.0]);
    assert_eq!(plan.step(&world.detector, &config, 10.0, world.at), []);
    let off = lipservice::control_plane::analysis::anomaly::config::BoostConfig { enabled: false, ..config };
    assert_eq!(plan.step(&world.detector, &off, 10.0, world.at), []);
}

/// Counts between snapshots of a real window table.
#[test]
fn frames_know_restarts_gaps_and_clocks_that_jump() {
    let config = WindowConfig { idle_timeout: Period::secs(60), ..WindowConfig::default() };
    let table = PatternTable::new(&config);
    let service = table.service(b"web", None);
    let key = PatternKey { service, band: Band::Info, pattern: PatternId(7) };
    let mut at = 1_767_571_200_000_000_000;
    let write = |at: u64, records: u64| {
        let cell = table.cell(key, Signature(7), || ("t".into(), "e".into()));
        for _ in 0..records {
            cell.record(table.window_at(at), at, 1, |_| (true, None, ())).unwrap();
        }
    };
    let mut frames = Frames::new();
    let step = |frames: &mut Frames, at: u64| match frames.step(&table.snapshot(at, usize::MAX)) {
        None => "too soon".to_owned(),
        Some(Step::Gap) => "gap".to_owned(),
        Some(Step::Frame(frame)) => {
            format!("{} in {:.1}", frame.rows.iter().map(|row| row.records).sum::<u64>(), frame.windows)
        }
    };
    write(at, 5);
    assert_eq!(step(&mut frames, at), "gap", "what the first snapshot holds came at an unknown time");
    // (seconds that pass, records written then, what the next snapshot is)
    for (seconds, records, expected) in [
        (10, 3, "3 in 1.0"),
        (2, 4, "too soon"),
        (10, 1, "5 in 1.2"),
        (100, 9, "gap"),
        (10, 2, "2 in 1.0"),
        (15, 0, "0 in 1.5"),
    ] {
        at += seconds * 1_000_000_000;
        write(at, records);
        assert_eq!(step(&mut frames, at), expected);
    }
    // The pattern is forgotten and comes again: its counter starts over.
    at += 20_000_000_000;
    table.evict_idle(at + 3_600_000_000_000);
    write(at, 6);
    assert_eq!(step(&mut frames, at), "6 in 2.0");
    at -= 30_000_000_000;
    assert_eq!(step(&mut frames, at), "gap", "the clock went back");
    write(at, 2);
    at += 10_000_000_000;
    assert_eq!(step(&mut frames, at), "2 in 1.0");
}
