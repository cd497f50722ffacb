//! Templates that differ in several positions at once.
//!
//! Purpose: where several positions vary together (`task <a> failed: <b>`), few templates differ in one position only.
//! DBSCAN finds families that lie close; each is split by its poorest column until every column that varies takes many
//! values and enough constant text remains.
//! Promises: the result depends on the set alone; a group beyond [`MAX_CLUSTERED`] is split without DBSCAN.
//! Never: joins templates that differ in a word which takes few values.

use std::collections::BTreeMap;
use std::sync::Arc;

use linfa::traits::Transformer;
use linfa_clustering::Dbscan;
use linfa_nn::LinearSearch;
use linfa_nn::distance::Distance;
use ndarray::{Array2, ArrayView, Dimension};

use super::evidence;
use super::rows::{Rows, Unions};
use crate::data_plane::pattern::Kind;

/// Templates of one group that DBSCAN looks at; its time grows with the square.
pub const MAX_CLUSTERED: usize = 400;
/// Largest cost of differences per constant text at which two templates are neighbours.
const EPSILON: f64 = 1.0;
/// Templates that make a family.
const MIN_POINTS: usize = 2;

/// Joins the families of `rows`. Returns whether any were.
pub fn join(rows: &Rows, unions: &mut Unions) -> bool {
    let all: Vec<u32> = (0..rows.len() as u32).collect();
    let mut joined = false;
    for family in if all.len() > MAX_CLUSTERED { vec![all] } else { cluster(rows) } {
        joined |= split(rows, family, unions);
    }
    joined
}

/// The distance between rows, looked up by their numbers: what differs, by how likely a value it is, over what is
/// constant in both.
#[derive(Clone)]
struct ByConstants(Arc<Rows>);

impl ByConstants {
    fn between(&self, a: usize, b: usize) -> f64 {
        let (mut cost, mut text) = (0u32, 0u32);
        for (&x, &y) in std::iter::zip(self.0.row(a), self.0.row(b)) {
            let (kind, other) = (self.0.kind(x), self.0.kind(y));
            if x == y {
                text += evidence::as_text(kind);
            } else {
                cost += match (kind, other) {
                    (Kind::Word, Kind::Word) => 100,
                    (Kind::Variable, Kind::Word) | (Kind::Word, Kind::Variable) => 50,
                    (Kind::Word, _) | (_, Kind::Word) => 100,
                    _ => 25,
                };
            }
        }
        f64::from(cost) / f64::from(text.max(1))
    }
}

impl Distance<f64> for ByConstants {
    fn distance<D: Dimension>(&self, a: ArrayView<f64, D>, b: ArrayView<f64, D>) -> f64 {
        match (a.first(), b.first()) {
            (Some(a), Some(b)) => self.between(*a as usize, *b as usize),
            _ => f64::INFINITY,
        }
    }
}

fn cluster(rows: &Rows) -> Vec<Vec<u32>> {
    let numbers = Array2::from_shape_fn((rows.len(), 1), |(row, _)| row as f64);
    let distance = ByConstants(Arc::new(rows.clone()));
    let labels = Dbscan::params_with(MIN_POINTS, distance, LinearSearch::new()).tolerance(EPSILON).transform(&numbers);
    let Ok(labels) = labels else { return Vec::new() };
    let mut families: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for (row, label) in labels.iter().enumerate() {
        if let Some(label) = label {
            families.entry(*label).or_default().push(row as u32);
        }
    }
    families.into_values().collect()
}

/// Joins a family whose columns are constant or clearly variable; splits any other by the column with the fewest
/// values and looks at the parts. Each split makes a column constant, so depth is bounded by the width.
fn split(rows: &Rows, family: Vec<u32>, unions: &mut Unions) -> bool {
    let mut joined = false;
    let mut open = vec![family];
    while let Some(family) = open.pop() {
        if family.len() < 2 {
            continue;
        }
        match poorest_column(rows, &family) {
            None => {
                for row in &family[1..] {
                    joined |= unions.join(family[0], *row);
                }
            }
            Some(column) => {
                let mut parts: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
                for row in family {
                    parts.entry(rows.row(row as usize)[column]).or_default().push(row);
                }
                open.extend(parts.into_values());
            }
        }
    }
    joined
}

/// The column to split a family by; `None` when it is one pattern.
fn poorest_column(rows: &Rows, family: &[u32]) -> Option<usize> {
    let first = rows.row(family[0] as usize);
    let (mut text, mut words) = (0, 0);
    // Columns that vary: too few values first, then by number of values.
    let mut varying: Vec<(bool, usize, usize)> = Vec::new();
    let mut values: Vec<u32> = Vec::with_capacity(family.len());
    for (column, first) in first.iter().enumerate() {
        values.clear();
        values.extend(family.iter().map(|row| rows.row(*row as usize)[column]));
        if values.iter().all(|id| id == first) {
            text += evidence::as_text(rows.kind(*first));
            continue;
        }
        values.sort_unstable();
        values.dedup();
        let weight: u32 = values.iter().map(|id| evidence::as_value(rows.kind(*id))).sum();
        words += u32::from(values.iter().any(|id| rows.kind(*id) == Kind::Word));
        varying.push((weight >= evidence::NEEDED, values.len(), column));
    }
    let is_clear = varying.iter().all(|(is_rich, ..)| *is_rich);
    if is_clear && text >= evidence::LEAST_TEXT.max(words * evidence::WORD) {
        return None;
    }
    varying.iter().min().map(|(_, _, column)| *column)
}
