//! What the exporter promises when the destination does not: outages, poison, quotas, noisy neighbours.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::accounts::FailReason;
use super::config::RetryConfig;
use super::outcome::Outcome;
use super::simulation::{Attempt, Simulation, shared, world};
use crate::units::Period;

const MIB: usize = 1 << 20;

fn ok() -> Outcome {
    Outcome::delivered(1)
}
fn suspect() -> Outcome {
    Outcome::Suspect { why: "500".into() }
}
fn cut() -> Outcome {
    Outcome::Cut { reason: FailReason::Rejected, why: "400".into() }
}
fn for_ever() -> RetryConfig {
    RetryConfig { max_elapsed_time: Period::secs(0), ..RetryConfig::default() }
}
fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
fn has(attempt: &Attempt, poison: &[u32]) -> bool {
    attempt.records.iter().any(|record| poison.contains(record))
}

/// Traffic of ten requests a second, ten records each.
fn steady(simulation: &mut Simulation, token: Option<&str>, seconds: u64) {
    let first = simulation.accounts.stats().accepted as u32;
    let start = simulation.elapsed();
    for i in 0..seconds as u32 * 10 {
        simulation.submit(token, first + i * 10..first + (i + 1) * 10);
        simulation.run_until(start + Duration::from_millis(100) * (i + 1));
    }
}

#[test]
fn a_minute_of_outage_loses_nothing_and_explodes_nothing() {
    let faults = [suspect(), Outcome::transient("503"), Outcome::transient("cannot reach the destination")];
    let asks = Outcome::Transient { after: Some(secs(5)), why: "429".into() };
    for (seed, fault) in (0..8).zip(faults.into_iter().chain([asks]).cycle()) {
        let down = |attempt: &Attempt| (secs(10)..secs(70)).contains(&attempt.at);
        let world = world(move |attempt| if down(attempt) { fault.clone() } else { ok() });
        let mut simulation = Simulation::new(RetryConfig::default(), 4, MIB, seed, world);
        // One large batch just as the outage begins, and traffic before, during and after.
        steady(&mut simulation, None, 10);
        simulation.submit(None, 1_000..9_000);
        steady(&mut simulation, None, 80);
        simulation.run();
        let stats = simulation.accounts.stats();
        assert_eq!((stats.sent, stats.failed.total()), (17_000, 0), "seed {seed}: {stats:?}");
        assert_eq!(simulation.delivered().len(), 17_000);
        let during = simulation.attempts.iter().filter(|(attempt, _)| down(attempt)).count();
        assert!(during < 120, "seed {seed}: {during} requests to a destination that was down");
        assert!(stats.bisections < 60, "seed {seed}: {} bisections", stats.bisections);
    }
}

#[test]
fn an_outage_of_an_hour_without_end_of_patience_loses_nothing() {
    let world = world(move |attempt| if attempt.at < secs(3_000) { suspect() } else { ok() });
    let mut simulation = Simulation::new(for_ever(), 1, MIB, 3, world);
    simulation.submit(None, 0..4_096);
    simulation.run();
    let stats = simulation.accounts.stats();
    assert_eq!((stats.sent, stats.failed.total()), (4_096, 0), "{stats:?}");
}

#[test]
fn poison_is_found_exactly_and_others_do_not_wait_for_it() {
    let poison = [0, 1_500, 1_501, 3_999];
    for (answer, reason) in [(suspect(), FailReason::Destination500), (cut(), FailReason::Rejected)] {
        let bad = answer.clone();
        let mut simulation = Simulation::new(
            RetryConfig::default(),
            4,
            MIB,
            5,
            world(move |attempt| if has(attempt, &poison) { bad.clone() } else { ok() }),
        );
        simulation.submit(None, 0..4_000);
        steady(&mut simulation, None, 60);
        let late =
            simulation.attempts.iter().filter(|(attempt, _)| attempt.records.iter().all(|record| *record >= 4_000));
        assert!(late.count() > 200, "other batches went out meanwhile");
        simulation.run();
        let stats = simulation.accounts.stats();
        assert_eq!((stats.failed.count(reason), stats.failed.total()), (4, 4), "{stats:?}");
        let delivered: HashSet<u32> = simulation.delivered().into_iter().collect();
        assert_eq!(delivered.len() as u64, stats.sent);
        assert!((0..10_000).filter(|record| !poison.contains(record)).all(|record| delivered.contains(&record)));
        let spent = simulation.attempts.iter().filter(|(attempt, _)| has(attempt, &poison)).count();
        assert!(spent <= 4 * (13 + 3), "{spent} requests for 4 poisonous records");
    }
}

#[test]
fn poison_on_a_quiet_line_is_given_up_before_patience_ends() {
    let mut simulation = Simulation::new(
        RetryConfig::default(),
        2,
        MIB,
        5,
        world(|attempt| if has(attempt, &[7]) { suspect() } else { ok() }),
    );
    simulation.submit(None, 0..100);
    simulation.run();
    let stats = simulation.accounts.stats();
    assert_eq!((stats.sent, stats.failed.count(FailReason::Destination500)), (99, 1), "{stats:?}");
    assert!(simulation.elapsed() < secs(250), "{:?}, before max_elapsed_time", simulation.elapsed());
    let lonely = simulation.attempts.iter().filter(|(attempt, _)| attempt.records == [7]).count();
    assert_eq!(lonely, 8);
}

#[test]
fn a_record_without_any_evidence_against_it_is_not_condemned() {
    // Alone in its batch on a quiet line, it may as well be an outage: only patience ends it.
    let mut simulation = Simulation::new(RetryConfig::default(), 2, MIB, 5, world(|_| suspect()));
    simulation.submit(None, 0..1);
    simulation.run();
    assert!(simulation.elapsed() >= secs(300), "{:?}", simulation.elapsed());
    assert_eq!(simulation.accounts.stats().failed.count(FailReason::Destination500), 1);
}

#[test]
fn a_destination_that_refuses_everything_is_not_asked_for_every_record() {
    let mut simulation = Simulation::new(RetryConfig::default(), 1, MIB, 5, world(|_| cut()));
    simulation.submit(None, 0..8_192);
    simulation.run();
    assert_eq!(simulation.accounts.stats().failed.count(FailReason::Rejected), 8_192);
    assert!(simulation.attempts.len() < 80, "{} requests", simulation.attempts.len());
}

#[test]
fn bad_records_in_front_do_not_take_the_good_ones_behind() {
    let poison: Vec<u32> = (0..64).collect();
    let answer = world(move |attempt| if has(attempt, &poison) { cut() } else { ok() });
    let mut simulation = Simulation::new(RetryConfig::default(), 1, MIB, 5, answer);
    simulation.submit(None, 0..4_096);
    simulation.run();
    let stats = simulation.accounts.stats();
    assert_eq!((stats.sent, stats.failed.total()), (4_096 - 64, 64));
}

#[test]
fn retry_after_is_obeyed_by_everything_of_that_token() {
    let busy = |attempt: &Attempt| attempt.token.as_deref() == Some("busy") && attempt.at < secs(41);
    let answer = world(move |attempt| match busy(attempt) {
        true => Outcome::Transient { after: Some(secs(40)), why: "429".into() },
        false => ok(),
    });
    let mut simulation = Simulation::new(RetryConfig::default(), 1, MIB, 9, answer);
    for second in 0..30 {
        simulation.submit(Some("busy"), second * 20..second * 20 + 10);
        simulation.submit(Some("free"), second * 20 + 10..second * 20 + 20);
        simulation.run_until(secs(u64::from(second) + 1));
    }
    simulation.run();
    assert_eq!(simulation.accounts.stats().sent, 600);
    let of = |token: &str| {
        let attempts = simulation.attempts.iter().filter(|(attempt, _)| attempt.token.as_deref() == Some(token));
        attempts.map(|(attempt, _)| attempt.at).collect::<Vec<_>>()
    };
    let busy = of("busy");
    assert!(busy[0] < secs(1));
    assert!(busy[1..].iter().all(|at| *at >= busy[0] + secs(40)), "{busy:?}");
    assert!(of("free").len() >= 30 && of("free")[..30].iter().all(|at| *at < secs(31)), "the other token went on");
}

#[test]
fn a_token_that_hangs_leaves_a_slot_for_the_others() {
    let answer = Box::new(|attempt: &Attempt| match attempt.token.as_deref() {
        Some("hangs") => (Outcome::transient("timeout"), secs(30)),
        _ => (ok(), Duration::from_millis(20)),
    });
    // The exporter gives a lane all slots but one when tokens are passed through; so here.
    let mut simulation = Simulation::new(RetryConfig::default(), 4, MIB, 9, answer).with_lane_slots(3);
    for i in 0..100 {
        simulation.submit(Some("hangs"), i * 20..i * 20 + 10);
        simulation.submit(Some("well"), i * 20 + 10..i * 20 + 20);
        simulation.run_until(secs(u64::from(i) + 1));
    }
    simulation.run_until(secs(101));
    assert_eq!(simulation.delivered().len(), 1_000);
}

#[test]
fn waits_grow_and_patience_ends() {
    let mut simulation =
        Simulation::new(RetryConfig::default(), 1, MIB, 11, world(|_| Outcome::transient("connection refused")));
    simulation.submit(None, 0..10);
    simulation.run();
    let stats = simulation.accounts.stats();
    assert_eq!(stats.failed.count(FailReason::GaveUp), 10);
    let times: Vec<Duration> = simulation.attempts.iter().map(|(attempt, _)| attempt.at).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= secs(31)), "{times:?}");
    let last = *times.last().unwrap();
    assert!(last >= secs(299) && last <= secs(302), "a last try when time is up: {last:?}");
    assert!(times.len() >= 11 && times.len() < 60, "{}", times.len());
}

#[test]
fn without_retries_a_failure_is_final() {
    for (answer, reason) in [(Outcome::transient("503"), FailReason::GaveUp), (suspect(), FailReason::Destination500)] {
        let retry = RetryConfig { enabled: false, ..RetryConfig::default() };
        let mut simulation = Simulation::new(retry, 1, MIB, 1, world(move |_| answer.clone()));
        simulation.submit(None, 0..10);
        simulation.run();
        assert_eq!(simulation.attempts.len(), 1);
        assert_eq!(simulation.accounts.stats().failed.count(reason), 10);
    }
}

#[test]
fn a_flush_does_not_wait_for_company_or_for_back_off() {
    let failures = shared(1);
    let mut simulation = Simulation::new(RetryConfig::default(), 1, MIB, 1, {
        world(move |_| match std::mem::take(&mut *failures.lock()) {
            0 => ok(),
            _ => Outcome::transient("503"),
        })
    });
    simulation.submit(None, 0..10);
    simulation.run_until(Duration::from_millis(300));
    simulation.submit(None, 10..20);
    simulation.flush();
    simulation.run_until(Duration::from_millis(400));
    assert_eq!(simulation.delivered().len(), 20);
}

#[test]
fn a_size_that_is_too_large_is_learned() {
    let too_large = || Outcome::Cut { reason: FailReason::TooLarge, why: "413".into() };
    let answer = world(move |attempt| if attempt.bytes > 100_000 { too_large() } else { ok() });
    let mut simulation = Simulation::new(RetryConfig::default(), 1, MIB, 1, answer);
    for round in 0..20 {
        simulation.submit(None, round * 20_000..(round + 1) * 20_000);
        simulation.run();
    }
    assert_eq!(simulation.accounts.stats().sent, 400_000);
    let refused = simulation.attempts.iter().filter(|(attempt, _)| attempt.bytes > 100_000).count();
    assert!(refused <= 3, "{refused} bodies were refused for their size");
}

#[test]
fn requests_wait_for_company_up_to_size_or_time() {
    let mut simulation = Simulation::new(RetryConfig::default(), 4, 1_000, 1, world(|_| ok()));
    simulation.submit(None, 0..10);
    simulation.submit(None, 10..20);
    simulation.run_until(Duration::from_millis(199));
    assert!(simulation.attempts.is_empty());
    simulation.run_until(Duration::from_millis(200));
    assert_eq!(simulation.attempts.len(), 1, "one batch of both");
    (0..60).for_each(|i| simulation.submit(None, 20 + i * 10..30 + i * 10));
    simulation.run_until(Duration::from_millis(250));
    let sent = simulation.attempts.len() - 1;
    assert!((3..10).contains(&sent), "full batches leave at once: {sent}");
}

/// A world of random faults that comes to its senses.
fn faults() -> impl Strategy<Value = Vec<(u8, u8)>> {
    proptest::collection::vec((0u8..8, 1u8..30), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_record_ends_exactly_once(
        faults in faults(),
        sizes in proptest::collection::vec((1u32..300, 0u8..3), 1..30),
        poison in proptest::collection::hash_set(0u32..2_000, 0..5),
        slots in 1usize..5,
        seed in any::<u64>(),
    ) {
        let script: Vec<u8> = faults.iter().flat_map(|(kind, times)| vec![*kind; usize::from(*times)]).collect();
        let next = shared(0usize);
        let bad: Vec<u32> = poison.iter().copied().collect();
        let refused = shared(Vec::new());
        let (seen, calls) = (refused.clone(), next.clone());
        let answer = Box::new(move |attempt: &Attempt| {
            let mut i = calls.lock();
            *i += 1;
            let outcome = match script.get(*i - 1) {
                Some(0) => Outcome::transient("503"),
                Some(1) => Outcome::Transient { after: Some(secs(7)), why: "429".into() },
                Some(2 | 3) => suspect(),
                Some(4) => {
                    seen.lock().extend(attempt.records.iter().copied());
                    Outcome::Refused { reason: FailReason::Unauthorized, why: "401".into() }
                }
                _ if has(attempt, &bad) => cut(),
                _ => ok(),
            };
            (outcome, Duration::from_millis(5 + u64::from(attempt.records[0] % 50)))
        });
        let retry = RetryConfig { max_elapsed_time: Period::secs(0), ..RetryConfig::default() };
        let mut simulation = Simulation::new(retry, slots, 2_000, seed, answer);
        let mut first = 0;
        for (size, token) in sizes {
            simulation.submit(Some(["a", "b", "c"][usize::from(token)]), first..first + size);
            first += size;
            let next = simulation.elapsed() + Duration::from_millis(50);
            simulation.run_until(next);
        }
        simulation.run();
        let stats = simulation.accounts.stats();
        prop_assert_eq!(stats.accepted, u64::from(first));
        prop_assert_eq!((stats.waiting, stats.queue_bytes, stats.invariant_violations), (0, 0, 0));
        let delivered = simulation.delivered();
        prop_assert_eq!(delivered.len() as u64, stats.sent);
        let mut once = delivered.clone();
        once.dedup();
        prop_assert_eq!(&once, &delivered);
        let unauthorized = refused.lock().len() as u64;
        prop_assert_eq!(stats.failed.count(FailReason::Unauthorized), unauthorized);
        prop_assert_eq!(stats.sent + stats.failed.total(), u64::from(first));
        for (attempt, _) in &simulation.attempts {
            prop_assert!(attempt.records.windows(2).all(|pair| pair[0] < pair[1]), "order within a batch");
        }
    }
}
