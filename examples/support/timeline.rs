//! A day in the life of the shop, in seconds: which records come when.
//!
//! Purpose: the demo's story. Promises: a run of `seconds` holds Zipf-distributed routine messages, health checks, debug
//! noise, bursts, one incident, and every rare message at least once; equal seeds tell equal stories.
//! Never: reads the clock or sends anything.

use super::templates::TEMPLATES;
use super::traffic::{Event, Kind, Random, weighted};

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Records per second outside bursts and the incident.
    pub records_per_second: u64,
    /// Length of the run.
    pub seconds: u64,
}

/// A source of traffic.
pub struct Traffic {
    random: Random,
    plan: Plan,
    /// Template indices by kind, with cumulative Zipf weights.
    kinds: Vec<(Kind, Vec<(usize, f64)>)>,
    /// (second, template) of every rare message.
    rare: Vec<(u64, usize)>,
}

/// Shares of the steady traffic in percent.
const STEADY: [(Kind, u64); 4] = [(Kind::Health, 22), (Kind::Debug, 33), (Kind::Routine, 42), (Kind::Warning, 3)];

impl Traffic {
    /// The traffic of `plan` for a seed.
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut random = Random::new(seed);
        let mut kinds: Vec<(Kind, Vec<(usize, f64)>)> = Vec::new();
        let mut rare = Vec::new();
        for (index, template) in TEMPLATES.iter().enumerate() {
            if matches!(template.kind, Kind::RareError | Kind::RareNews) {
                for _ in 0..=random.below(2) {
                    rare.push((random.below(plan.seconds.max(1)), index));
                }
                continue;
            }
            let position = kinds.iter().position(|(kind, _)| *kind == template.kind).unwrap_or(kinds.len());
            if position == kinds.len() {
                kinds.push((template.kind, Vec::new()));
            }
            let members = &mut kinds[position].1;
            let below = members.last().map_or(0.0, |(_, weight)| *weight);
            members.push((index, below + 1.0 / (members.len() + 1) as f64));
        }
        Traffic { random, plan, kinds, rare }
    }

    /// Whether the incident is on in a second of the run: the part between 45 % and 65 % of it.
    pub fn incident(&self, second: u64) -> bool {
        let percent = second * 100 / self.plan.seconds.max(1);
        (45..65).contains(&percent)
    }

    /// The records of one second, in order. Call it with 0, 1, 2, …
    pub fn second(&mut self, second: u64) -> Vec<Event> {
        let rate = self.plan.records_per_second;
        let mut events = Vec::new();
        for (kind, percent) in STEADY {
            self.add(kind, rate * percent / 100, &mut events);
        }
        if second % 8 >= 6 {
            self.add(Kind::Burst, rate, &mut events);
        }
        if self.incident(second) {
            self.add(Kind::Incident, (rate / 12).max(8), &mut events);
        }
        let due = |at: &u64| *at == second;
        let rare: Vec<usize> = self.rare.iter().filter(|(at, _)| due(at)).map(|(_, template)| *template).collect();
        for template in rare {
            let at = self.random.below(events.len() as u64 + 1) as usize;
            let event = Event::of(template, &mut self.random);
            events.insert(at, event);
        }
        // Mixed as services run side by side.
        for last in (1..events.len()).rev() {
            let other = self.random.below(last as u64 + 1) as usize;
            events.swap(last, other);
        }
        events
    }

    fn add(&mut self, kind: Kind, count: u64, events: &mut Vec<Event>) {
        let members = self.kinds.iter().find(|(of, _)| *of == kind).map(|(_, members)| members.clone());
        let members = members.unwrap_or_default();
        for _ in 0..count {
            let template = weighted(&members, self.random.unit());
            let event = Event::of(template, &mut self.random);
            events.push(event);
        }
    }
}
