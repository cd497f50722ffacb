//! A made-up day of six services, labelled: every record says which pattern and incident it belongs to.
//!
//! Purpose: one reproducible workload to judge sampling by: Zipf patterns, bursts, rare errors, incidents.
//! Promises: the same settings give the same bytes on every machine; requests are made one at a time.
//! Never: reads a clock, or resembles any real program's log.

use lipservice::data_plane::view::encode::{
    Header, RESOURCE_ATTRIBUTE, RecordBuilder, resource_logs, string_attribute,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// 2026-01-05T00:00:00Z, a Monday.
pub const START_NS: u64 = 1_767_571_200_000_000_000;
/// Attribute with a record's pattern.
pub const PATTERN_KEY: &str = "w.p";
/// Attribute of records of an incident.
pub const INCIDENT_KEY: &str = "w.i";
/// Names of the services.
pub const SERVICES: [&str; 6] = ["checkout", "catalog", "auth", "payments", "search", "shipping"];

/// How much of what.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Seed.
    pub seed: u64,
    /// Length.
    pub seconds: u64,
    /// Records per second of the steady part.
    pub rate: f64,
    /// Patterns of each service, rare errors and those of incidents not counted; 0 for the lines of [`CORPUS`] instead.
    pub patterns: usize,
}

/// Lines that a program really wrote, of one kind.
#[derive(Clone, Debug)]
pub struct Text {
    /// Number of the set it is from.
    pub set: usize,
    /// OTLP severity number.
    pub severity: u8,
    /// The lines of this kind.
    pub lines: Vec<String>,
}

/// Kinds of lines to draw from, when there are any: read at run time, never part of the repository.
pub static CORPUS: std::sync::OnceLock<Vec<Text>> = std::sync::OnceLock::new();

/// A kind of record.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Index into [`SERVICES`].
    pub service: usize,
    /// OTLP severity number.
    pub severity: u8,
    words: Vec<String>,
    /// Whole lines to choose from, instead of words.
    lines: &'static [String],
    /// Records per second while it is on.
    rate: f64,
    when: When,
}

/// When a kind is logged.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    /// For `on` of every `every` seconds.
    Bursts {
        every: u64,
        on: u64,
        phase: u64,
    },
    /// At single seconds.
    Rarely {
        seed: u64,
        one_in: u64,
    },
    /// From one second to another, and now and then outside.
    Incident {
        from: u64,
        to: u64,
    },
}

const LETTERS: [&str; 20] = [
    "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qi", "ro", "su", "ta", "ve", "wi", "xo",
    "zu",
];

/// The kinds of a workload and its requests.
pub struct Stream {
    workload: Workload,
    /// By the number that records carry.
    pub kinds: Vec<Kind>,
    rng: StdRng,
    second: u64,
    service: usize,
    trace: [[u8; 16]; SERVICES.len()],
}

/// A sentence of made-up words with two places for values: no two kinds share more than a word by chance.
fn words(rng: &mut StdRng) -> Vec<String> {
    let syllable = |rng: &mut StdRng| *LETTERS.choose(rng).unwrap_or(&"ba");
    let count = rng.random_range(4..9);
    let mut words: Vec<String> =
        (0..count).map(|_| (0..rng.random_range(2..4)).map(|_| syllable(rng)).collect()).collect();
    for mark in ["{n}", "{id}"] {
        let at = rng.random_range(1..=words.len());
        words.insert(at, mark.into());
    }
    words
}

impl Workload {
    /// Its records.
    pub fn stream(self) -> Stream {
        let mut rng = StdRng::seed_from_u64(self.seed);
        if self.patterns == 0 {
            let kinds = self.kinds_of(CORPUS.get().map_or(&[], Vec::as_slice));
            return Stream { workload: self, kinds, rng, second: 0, service: 0, trace: [[0; 16]; SERVICES.len()] };
        }
        let mut kinds = Vec::new();
        let shares = [0.35, 0.25, 0.15, 0.1, 0.1, 0.05];
        for (service, share) in shares.into_iter().enumerate() {
            let zipf: f64 = (1..=self.patterns).map(|rank| (rank as f64).powf(-1.1)).sum();
            for rank in 1..=self.patterns {
                let severity = match (rank, rng.random_range(0..100)) {
                    (_, 0..25) => 5,
                    (6.., 80..95) => 13,
                    (20.., 95..) => 17,
                    _ => 9,
                };
                let rate = self.rate * share * (rank as f64).powf(-1.1) / zipf;
                let when = match rng.random_range(0..10) {
                    0 if rank > 3 => {
                        When::Bursts { every: rng.random_range(60..400), on: 4, phase: rng.random_range(0..60) }
                    }
                    _ => When::Always,
                };
                let rate =
                    if let When::Bursts { every, on, .. } = when { rate * every as f64 / on as f64 } else { rate };
                kinds.push(Kind { service, severity, words: words(&mut rng), lines: &[], rate, when });
            }
            for _ in 0..6 {
                let when = When::Rarely { seed: rng.random(), one_in: self.seconds / rng.random_range(2..8) };
                kinds.push(Kind { service, severity: 17, words: words(&mut rng), lines: &[], rate: 1.0, when });
            }
        }
        for incident in 0..4u64 {
            // Two in each half, so that a policy learned from the first has not seen those of the second.
            let from = self.seconds * (1 + 2 * incident) / 9 + rng.random_range(0..self.seconds / 20);
            let when = When::Incident { from, to: from + (self.seconds / 60).max(20) };
            let service = rng.random_range(0..SERVICES.len());
            for severity in [17, 17, 13, 13, 9] {
                let rate = self.rate * rng.random_range(0.01..0.05);
                kinds.push(Kind { service, severity, words: words(&mut rng), lines: &[], rate, when });
            }
        }
        Stream { workload: self, kinds, rng, second: 0, service: 0, trace: [[0; 16]; SERVICES.len()] }
    }
}

impl Workload {
    /// Each kind of line as often as it is in its set, the sets alike.
    fn kinds_of(&self, corpus: &'static [Text]) -> Vec<Kind> {
        let sets = corpus.iter().map(|text| text.set + 1).max().unwrap_or(0);
        let mut lines = vec![0; sets];
        corpus.iter().for_each(|text| lines[text.set] += text.lines.len());
        let kind = |text: &'static Text| Kind {
            service: text.set % SERVICES.len(),
            severity: text.severity,
            words: Vec::new(),
            lines: &text.lines,
            rate: self.rate / sets as f64 * text.lines.len() as f64 / lines[text.set] as f64,
            when: When::Always,
        };
        corpus.iter().map(kind).collect()
    }
}

impl Kind {
    /// Whether a record of this second belongs to an incident.
    fn is_incident_at(&self, second: u64) -> bool {
        matches!(self.when, When::Incident { from, to } if (from..to).contains(&second))
    }

    fn rate_at(&self, second: u64) -> f64 {
        match self.when {
            When::Always => self.rate,
            When::Bursts { every, on, phase } => {
                if (second + phase) % every < on {
                    self.rate
                } else {
                    0.0
                }
            }
            When::Rarely { seed, one_in } => {
                let hash = (second ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17;
                if hash.is_multiple_of(one_in.max(1)) { 1e9 } else { 0.0 }
            }
            When::Incident { from, to } if (from..to).contains(&second) => self.rate,
            When::Incident { .. } => self.rate / 2_000.0,
        }
    }
}

/// Knuth's method; the mean is split so that it does not underflow.
fn poisson(rng: &mut StdRng, mut mean: f64) -> u64 {
    let mut count = 0;
    while mean > 0.0 {
        let part = mean.min(30.0);
        mean -= part;
        let (limit, mut product) = ((-part).exp(), rng.random::<f64>());
        while product > limit {
            count += 1;
            product *= rng.random::<f64>();
        }
    }
    count
}

impl Iterator for Stream {
    /// A request: the records of one service in one second. Empty ones are left out.
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        while self.second < self.workload.seconds {
            let (second, service) = (self.second, self.service);
            self.service = (self.service + 1) % SERVICES.len();
            self.second += u64::from(self.service == 0);
            let records = self.records(second, service);
            if records.is_empty() {
                continue;
            }
            let mut resource = Vec::new();
            string_attribute(&mut resource, RESOURCE_ATTRIBUTE, "service.name", SERVICES[service].as_bytes());
            string_attribute(&mut resource, RESOURCE_ATTRIBUTE, "service.version", b"4.2.1");
            string_attribute(&mut resource, RESOURCE_ATTRIBUTE, "k8s.pod.name", b"deploy-7c9f6d5b8-x2x4z");
            string_attribute(&mut resource, RESOURCE_ATTRIBUTE, "cloud.region", b"eu-central-1");
            let mut out = Vec::new();
            let resource = Header { message: &resource, ..Header::default() };
            resource_logs(&mut out, resource, Header::default(), records.iter().map(Vec::as_slice));
            return Some(out);
        }
        None
    }
}

impl Stream {
    fn records(&mut self, second: u64, service: usize) -> Vec<Vec<u8>> {
        let mut order = Vec::new();
        for (number, kind) in self.kinds.iter().enumerate().filter(|(_, kind)| kind.service == service) {
            let rate = kind.rate_at(second);
            let count = if rate >= 1e9 { 1 } else { poisson(&mut self.rng, rate) };
            order.extend(std::iter::repeat_n(number, count as usize));
        }
        // As they come, not by kind: an exact shuffle of a second's records.
        rand::seq::SliceRandom::shuffle(order.as_mut_slice(), &mut self.rng);
        let step = 1_000_000_000 / (order.len() as u64).max(1);
        let at = |i: usize| START_NS + second * 1_000_000_000 + i as u64 * step;
        order.into_iter().enumerate().map(|(i, number)| self.record(number, at(i), service)).collect()
    }

    fn record(&mut self, number: usize, time_ns: u64, service: usize) -> Vec<u8> {
        let kind = &self.kinds[number];
        let rng = &mut self.rng;
        let mut body = String::new();
        if let Some(line) = kind.lines.choose(rng) {
            body.push_str(line);
        }
        for word in &kind.words {
            if !body.is_empty() {
                body.push(' ');
            }
            match word.as_str() {
                "{n}" => body += &rng.random_range(1..5_000u32).to_string(),
                "{id}" => body += &format!("{:016x}", rng.random::<u64>()),
                word => body += word,
            }
        }
        // About six records a trace, and some without.
        if rng.random_range(0..6) == 0 {
            self.trace[service] = rng.random();
        }
        let mut record = RecordBuilder::default();
        record.time_unix_nano(time_ns).severity_number(kind.severity).body(body.as_bytes());
        record.string("http.route", b"/api/v2/items/{item}").string("client.address", b"10.20.30.40");
        record.string("user.id", format!("u-{}", rng.random_range(0..100_000u32)).as_bytes());
        record.int(PATTERN_KEY, number as i64);
        if kind.is_incident_at((time_ns - START_NS) / 1_000_000_000) {
            record.int(INCIDENT_KEY, 1);
        }
        if rng.random_range(0..10) < 7 {
            record.trace_id(&self.trace[service]);
        }
        record.message().to_vec()
    }
}
