//! Benchmarks of the hot path, each beside what prost needs for the same.
//!
//! One record is one item: the ns per record are 1,000 / (million items per second). Run with `cargo bench`; the figures
//! of record are in docs/benchmarks.md. The requests are generated, the same in every run.

#![expect(clippy::unwrap_used, reason = "the requests are our own")]

#[path = "hot_path/pipeline.rs"]
mod pipeline;
#[path = "hot_path/request.rs"]
mod request;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lipservice::data_plane::signature::Signer;
use lipservice::data_plane::view::{Action, LogIndex, SplicePlan, encode, halves, regroup};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records in a request.
const SIZES: [usize; 2] = [8192, 512];

fn main() {
    divan::main();
}

/// One record of five is kept, as a hash would choose them.
fn is_kept(i: usize) -> bool {
    (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & 0xff < 51
}

/// Plans to keep one record of five, each with one attribute more.
fn plan_fifth(plan: &mut SplicePlan, records: usize) {
    plan.clear();
    let start = plan.scratch.len();
    encode::string_attribute(&mut plan.scratch, encode::RECORD_ATTRIBUTE, "sampling.threshold", b"ccc");
    let append = lipservice::data_plane::view::Span::new(start, plan.scratch.len());
    let without = Default::default();
    let action = |i| if is_kept(i) { Action::Annotate { append, without } } else { Action::Drop };
    plan.actions.extend((0..records).map(action));
}

/// The least that forwarding costs.
#[divan::bench(args = SIZES)]
fn copy(bencher: Bencher<'_, '_>, records: usize) {
    let request = request::generate(records);
    let mut out = Vec::with_capacity(request.len());
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        out.clear();
        out.extend_from_slice(black_box(&request));
        black_box(out.len())
    });
}

mod view {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn walk(bencher: Bencher<'_, '_>, records: usize) {
        let request = request::generate(records);
        let mut index = LogIndex::default();
        bencher.counter(ItemsCount::new(records)).bench_local(|| {
            index.read(black_box(&request)).unwrap();
            black_box(index.records.len())
        });
    }

    #[divan::bench(args = SIZES)]
    fn splice_fifth(bencher: Bencher<'_, '_>, records: usize) {
        let request = request::generate(records);
        let mut index = LogIndex::default();
        index.read(&request).unwrap();
        let mut plan = SplicePlan::default();
        let mut out = Vec::new();
        bencher.counter(ItemsCount::new(records)).bench_local(|| {
            plan_fifth(&mut plan, records);
            out.clear();
            plan.write(black_box(&request), &index, &mut out);
            black_box(out.len())
        });
    }

    /// Sixteen requests joined into one.
    #[divan::bench(args = SIZES)]
    fn regroup_16(bencher: Bencher<'_, '_>, records: usize) {
        let request = request::generate(records / 16);
        let requests = vec![&request[..]; 16];
        bencher.counter(ItemsCount::new(records)).bench_local(|| {
            regroup(black_box(&requests), usize::MAX, |out, _| drop(black_box(out)));
        });
    }

    #[divan::bench(args = SIZES)]
    fn cut_in_halves(bencher: Bencher<'_, '_>, records: usize) {
        let request = request::generate(records);
        bencher.counter(ItemsCount::new(records)).bench_local(|| halves(black_box(&request)).unwrap());
    }
}

mod signature {
    use super::*;

    /// Bodies alone, without the walk.
    #[divan::bench]
    fn generated_bodies(bencher: Bencher<'_, '_>) {
        sign(bencher, &request::bodies(8192));
    }

    /// Real lines, where the data is at hand (it is not part of the repository).
    #[divan::bench]
    fn loghub_lines(bencher: Bencher<'_, '_>) {
        let lines = request::loghub_lines();
        if lines.is_empty() {
            eprintln!("SKIPPED signature::loghub_lines: no ../shared/loghub");
        }
        sign(bencher, &lines);
    }

    fn sign(bencher: Bencher<'_, '_>, texts: &[String]) {
        let mut signer = Signer::default();
        bencher
            .counter(ItemsCount::new(texts.len()))
            .bench_local(|| texts.iter().fold(0, |sum, text| sum ^ signer.sign_text(black_box(text.as_bytes())).0));
    }

    #[divan::bench(args = SIZES)]
    fn walk_and_sign(bencher: Bencher<'_, '_>, records: usize) {
        let request = request::generate(records);
        let mut index = LogIndex::default();
        let mut signer = Signer::default();
        let mut signatures = Vec::new();
        bencher.counter(ItemsCount::new(records)).bench_local(|| {
            signatures.clear();
            index.parse(black_box(&request), |record| signatures.push(signer.sign(record))).unwrap();
            black_box(signatures.len())
        });
    }
}

mod whole {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn walk_sign_splice_fifth(bencher: Bencher<'_, '_>, records: usize) {
        let request = request::generate(records);
        let (mut index, mut plan) = (LogIndex::default(), SplicePlan::default());
        let mut signer = Signer::default();
        let (mut signatures, mut out) = (Vec::new(), Vec::new());
        bencher.counter(ItemsCount::new(records)).bench_local(|| {
            signatures.clear();
            index.parse(black_box(&request), |record| signatures.push(signer.sign(record))).unwrap();
            plan_fifth(&mut plan, records);
            out.clear();
            plan.write(&request, &index, &mut out);
            black_box(out.len())
        });
    }
}

mod prost_baseline {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn decode(bencher: Bencher<'_, '_>, records: usize) {
        let request = request::generate(records);
        bencher
            .counter(ItemsCount::new(records))
            .bench_local(|| ExportLogsServiceRequest::decode(black_box(&request[..])).unwrap());
    }

    #[divan::bench(args = SIZES)]
    fn decode_filter_fifth_encode(bencher: Bencher<'_, '_>, records: usize) {
        let request = request::generate(records);
        let threshold = request::string_attribute("sampling.threshold", "ccc");
        bencher.counter(ItemsCount::new(records)).bench_local(|| {
            let mut decoded = ExportLogsServiceRequest::decode(black_box(&request[..])).unwrap();
            let mut i = 0;
            for scope in decoded.resource_logs.iter_mut().flat_map(|resource| &mut resource.scope_logs) {
                scope.log_records.retain_mut(|record| {
                    i += 1;
                    if is_kept(i - 1) {
                        record.attributes.push(threshold.clone());
                    }
                    is_kept(i - 1)
                });
            }
            decoded.encode_to_vec()
        });
    }
}
