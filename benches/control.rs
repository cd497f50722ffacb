//! Benchmarks of the control plane's heavy steps: the solver, and replays of recorded traffic.
//!
//! The solver's time is for one allocation. Of a replay one record is one item: records per second on one core is the
//! figure. Run with `cargo bench --bench control`; the figures of record are in docs/benchmarks.md.

#![expect(clippy::unwrap_used, reason = "the traffic is our own")]

#[path = "../examples/support/workload.rs"]
mod workload;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lipservice::control_plane::generator::solver::{Item, Limits, allocate};
use lipservice::control_plane::replay::{Replay, Settings};
use lipservice::data_plane::policy::{CompiledPolicy, Document};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use workload::{START_NS, Workload};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// Patterns of 200 services with Zipf counts, and limits that bind: for everything, and for every tenth service.
fn instance(patterns: usize) -> (Vec<Item>, Limits) {
    let mut rng = SmallRng::seed_from_u64(7);
    let item = |rank: usize, rng: &mut SmallRng| {
        let records = 1e7 / (rank as f64 + 1.0);
        let least = 1e-4 * rng.random::<f64>();
        let (group, cost) = (rng.random_range(0..200), records * rng.random_range(80.0..800.0));
        Item { group, cost, weight: rng.random_range(0.1..10.0) / records, least, most: 1.0 }
    };
    let items: Vec<Item> = (0..patterns).map(|rank| item(rank, &mut rng)).collect();
    let cost = |of: &dyn Fn(&Item) -> bool| items.iter().filter(|i| of(i)).map(|i| i.cost).sum::<f64>();
    let by_group = (0..200).map(|g| (g % 10 == 0).then(|| 0.05 * cost(&|item| item.group == g))).collect();
    let limits = Limits { total: Some(0.1 * cost(&|_| true)), by_group };
    (items, limits)
}

#[divan::bench(args = [1_000, 10_000, 100_000])]
fn solve(bencher: Bencher<'_, '_>, patterns: usize) {
    let (items, limits) = instance(patterns);
    assert!(!allocate(&items, &limits).binding.is_empty());
    bencher.bench_local(|| allocate(black_box(&items), black_box(&limits)));
}

/// Ten minutes of the evaluation's workload: 180,000 records of some 530 patterns.
fn traffic() -> (Vec<Bytes>, usize) {
    let workload = Workload { seed: 1, seconds: 600, rate: 300.0, patterns: 80 };
    let requests: Vec<Bytes> = workload.stream().map(Bytes::from).collect();
    let mut index = lipservice::data_plane::view::LogIndex::default();
    let count = |request: &Bytes| index.read(request).map(|()| index.records.len());
    let records = requests.iter().map(count).sum::<Result<usize, _>>().unwrap();
    (requests, records)
}

const TENTH: &str = "{id: tenth, name: a tenth, log: {match: [{log_field: body, exists: true}], keep: 10%}}";

fn run(bencher: Bencher<'_, '_>, settings: &Settings) {
    let (requests, records) = traffic();
    let documents = Document::parse("tenth.yaml", TENTH.as_bytes()).unwrap();
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        let policy = CompiledPolicy::compile(&documents, START_NS, None);
        let mut replay = Replay::new(settings, policy, CompiledPolicy::default());
        for request in &requests {
            replay.feed(request.clone()).unwrap();
        }
        replay.finish().unwrap().arrived_bytes
    });
}

/// As `lipservice simulate` does it.
#[divan::bench(sample_count = 10)]
fn replay(bencher: Bencher<'_, '_>) {
    run(bencher, &Settings { anomalies: Some(Default::default()), ..Settings::default() });
}

/// Without looking for anomalies.
#[divan::bench(sample_count = 10)]
fn replay_unwatched(bencher: Bencher<'_, '_>) {
    run(bencher, &Settings::default());
}
