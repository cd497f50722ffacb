//! A steady mix of one service's records: what a load generator sends.
//!
//! Purpose: batches as an SDK makes them. Promises: one record in a hundred or so is an error; equal seeds, equal batches.
//! Never: varies over time; see `timeline.rs` for that.

use super::templates::TEMPLATES;
use super::traffic::{Event, Kind, Random, weighted};

/// `count` records of one service.
pub fn of_service(service: usize, count: usize, random: &mut Random) -> Vec<Event> {
    let mut own: Vec<(usize, f64)> = Vec::new();
    for (index, template) in TEMPLATES.iter().enumerate().filter(|(_, template)| template.service == service) {
        let share = match template.kind {
            Kind::Health => 20.0,
            Kind::Debug | Kind::Routine => 10.0,
            Kind::Warning | Kind::Burst => 1.0,
            Kind::Incident | Kind::RareError => 0.3,
            Kind::RareNews => 0.1,
        };
        own.push((index, own.last().map_or(0.0, |(_, weight)| *weight) + share));
    }
    let one = |_| Event::of(weighted(&own, random.unit()), random);
    (0..count).map(one).collect()
}
