//! How well and how fast lines are grouped, beside two implementations of Drain, on the same lines: the table of
//! `docs/benchmarks.md`.
//!
//! `cargo run --release --example grouping`. Needs the labelled lines of `../shared/loghub`.

#[path = "../tests/patterns/evaluate.rs"]
#[expect(clippy::unwrap_used, reason = "it is code of tests")]
mod evaluate;

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use evaluate::{Labelled, evaluate, sets};
use lipservice::control_plane::analysis::mining::Miner;
use lipservice::data_plane::pattern::{Catalogue, PatternCache, PatternId};
use lipservice::data_plane::signature::{Signature, Signer};

/// Processor time for which each speed is measured.
const MEASURED: Duration = Duration::from_millis(1_500);

fn main() -> ExitCode {
    let sets = sets("examples/grouping");
    if sets.is_empty() {
        return ExitCode::FAILURE;
    }
    let lines: Vec<String> = sets.iter().flat_map(|set| set.lines.iter().cloned()).collect();
    let bytes: usize = lines.iter().map(String::len).sum();
    println!(
        "{} sets, {} lines of {} bytes on average, one thread, processor time",
        sets.len(),
        lines.len(),
        bytes / lines.len()
    );
    println!("| grouping | GA | FGA | lines/s |\n|---|---|---|---|");
    row("signature", &sets, |lines| ids_of(lines, false), speed(&lines, sign_all));
    let catalogue = learn(&lines);
    let mut cache = PatternCache::default();
    let resolved = speed(&lines, |lines| resolve_all(lines, &catalogue, &mut cache));
    row("signature, then its mined pattern", &sets, |lines| ids_of(lines, true), resolved);
    row(
        "the same, learning included",
        &sets,
        |lines| ids_of(lines, true),
        speed(&lines, |lines| {
            ids_of(lines, true);
        }),
    );
    row(
        "logdrain 0.3, defaults",
        &sets,
        logdrain,
        speed(&lines, |lines| {
            logdrain(lines);
        }),
    );
    row(
        "drain3 0.3, defaults, learning included",
        &sets,
        drain3,
        speed(&lines, |lines| {
            drain3(lines);
        }),
    );
    println!("\n10,000 lines signed, mined and resolved: {:.1?}", time(|| drop(ids_of(&lines[..10_000], true))));
    for (name, templates) in hard_sets() {
        let mut miner = Miner::new(templates.len());
        let spent = time(|| {
            for template in &templates {
                miner.insert(template);
            }
            miner.mine();
        });
        println!("mining {} signatures, {name}: {spent:.2?}", templates.len());
    }
    ExitCode::SUCCESS
}

fn row<Id: Eq + std::hash::Hash>(name: &str, sets: &[Labelled], group: impl FnMut(&[String]) -> Vec<Id>, speed: f64) {
    let mean = evaluate(sets, group).mean();
    println!("| {name} | {:.3} | {:.3} | {:.2} M |", mean.ga, mean.fga, speed / 1e6);
}

/// Time this thread spent on a processor, so that other work on the machine does not count; time passed where the
/// system does not say.
fn spent(start: Instant) -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|field| field.parse().ok());
    nanos.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    let before = spent(start);
    work();
    spent(start).saturating_sub(before)
}

/// Lines a second, after one round to warm up.
fn speed(lines: &[String], mut work: impl FnMut(&[String])) -> f64 {
    work(lines);
    let (mut total, mut rounds) = (Duration::ZERO, 0u32);
    while total < MEASURED {
        total += time(|| work(lines));
        rounds += 1;
    }
    f64::from(rounds) * lines.len() as f64 / total.as_secs_f64()
}

fn sign_all(lines: &[String]) {
    let mut signer = Signer::default();
    for line in lines {
        std::hint::black_box(signer.sign_text(line.as_bytes()));
    }
}

/// The hot path: sign, then one lookup.
fn resolve_all(lines: &[String], catalogue: &Catalogue, cache: &mut PatternCache) {
    let mut signer = Signer::default();
    cache.begin(catalogue);
    for line in lines {
        let signature = signer.sign_text(line.as_bytes());
        let pattern = cache.get(signature).unwrap_or_else(|| {
            let pattern = catalogue.resolve(signature, &String::from_utf8_lossy(signer.last_template()));
            cache.put(signature, pattern);
            pattern
        });
        std::hint::black_box(pattern);
    }
}

fn learn(lines: &[String]) -> Catalogue {
    let mut signer = Signer::default();
    let mut miner = Miner::new(100_000);
    for line in lines {
        miner.insert(&signer.template_of_text(line.as_bytes()));
    }
    miner.mine()
}

fn ids_of(lines: &[String], mined: bool) -> Vec<PatternId> {
    let mut signer = Signer::default();
    let mut templates: HashMap<Signature, String> = HashMap::new();
    let signatures: Vec<Signature> = lines
        .iter()
        .map(|line| {
            let signature = signer.sign_text(line.as_bytes());
            templates.entry(signature).or_insert_with(|| String::from_utf8_lossy(signer.last_template()).into_owned());
            signature
        })
        .collect();
    if !mined {
        return signatures.into_iter().map(PatternId::from).collect();
    }
    let mut miner = Miner::new(100_000);
    for template in templates.values() {
        miner.insert(template);
    }
    let catalogue = miner.mine();
    let patterns: HashMap<Signature, PatternId> =
        templates.iter().map(|(signature, template)| (*signature, catalogue.resolve(*signature, template))).collect();
    signatures.iter().map(|signature| patterns[signature]).collect()
}

fn logdrain(lines: &[String]) -> Vec<Option<logdrain::ClusterId>> {
    match logdrain::Miner::builder().build() {
        Ok(miner) => lines.iter().map(|line| Some(miner.add(line).cluster_id)).collect(),
        Err(_) => vec![None; lines.len()],
    }
}

fn drain3(lines: &[String]) -> Vec<Option<usize>> {
    match drain3::train(lines, drain3::Config::default()) {
        Ok(matcher) => lines.iter().map(|line| matcher.match_id(line)).collect(),
        Err(_) => vec![None; lines.len()],
    }
}

/// A number below its argument.
type Random<'a> = &'a mut dyn FnMut(u64) -> u64;

/// 50,000 templates each: all of one shape with many free words, all of one shape with few words, many shapes.
fn hard_sets() -> Vec<(&'static str, Vec<String>)> {
    let mut state = 7u64;
    let mut next = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let word = |n: u64| -> String { (0..5).map(|i| char::from(b'a' + (n / 26u64.pow(i) % 26) as u8)).collect() };
    let mut distinct = |make: &mut dyn FnMut(Random<'_>) -> String| {
        let mut templates = std::collections::BTreeSet::new();
        while templates.len() < 50_000 {
            templates.insert(make(&mut next));
        }
        templates.into_iter().collect::<Vec<_>>()
    };
    let free = distinct(&mut |next| {
        let w: Vec<String> = (0..4).map(|_| word(next(10_000_000))).collect();
        format!("request from {} to {} failed with {} after <*> tries in {}", w[0], w[1], w[2], w[3])
    });
    let few = distinct(&mut |next| (0..12).map(|_| word(next(3)) + " ").collect());
    let many = distinct(&mut |next| {
        let head: Vec<String> = (1..4).map(|i| word(next(300) * 7_919 * i)).collect();
        let tail: String = (0..next(9)).map(|_| word(next(40)) + " ").collect();
        format!("{} {tail}{}", head.join(" "), word(next(10_000_000)))
    });
    vec![("one shape, free words", free), ("one shape, few words", few), ("many shapes", many)]
}
