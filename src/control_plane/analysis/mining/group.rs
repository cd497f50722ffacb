//! Mining of one candidate group.
//!
//! Purpose: join the templates of one shape until nothing more joins.
//! Promises: a pure function of the set of templates; bounded rounds; each joined template matches all of its members.
//! Never: looks at counts, so that how lines are split over processes does not matter.

use std::collections::BTreeMap;

use super::rows::{Rows, TokenId, Unions};
use super::{columns, families};
use crate::data_plane::pattern::{Kind, Token};

/// Rounds at most. Each joins what the one before made alike; four are usual.
const MAX_ROUNDS: usize = 40;

/// Templates that were joined, or one that stays alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// What they have in common, `<*>` where they differ.
    pub template: Vec<Token>,
    /// Positions of the members in the group.
    pub members: Vec<u32>,
}

/// What makes templates comparable: their length and where which marks stand.
pub fn shape_of(tokens: &[Token]) -> String {
    let mut shape = String::with_capacity(tokens.len() * 2);
    for token in tokens {
        shape.push(' ');
        if token.kind == Kind::Mark {
            shape.push_str(&token.text);
        }
    }
    shape
}

/// Mines `group`: templates of one shape, sorted and distinct but for spaces.
pub fn mine(group: &[&[Token]]) -> Vec<Cluster> {
    let width = group.first().map_or(0, |template| template.len());
    let mut rows = Rows::new(group, width);
    // Row of each template.
    let mut row_of: Vec<u32> = (0..group.len() as u32).collect();
    for _ in 0..MAX_ROUNDS {
        let mut unions = Unions::new(rows.len());
        if !columns::join(&rows, &mut unions) && !families::join(&rows, &mut unions) {
            break;
        }
        let (merged, new_row_of) = merge(&rows, &mut unions);
        for row in &mut row_of {
            *row = new_row_of[*row as usize];
        }
        rows = merged;
    }
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); rows.len()];
    for (template, row) in row_of.iter().enumerate() {
        members[*row as usize].push(template as u32);
    }
    let clusters = members.into_iter().enumerate();
    clusters.map(|(row, members)| Cluster { template: template_of(&rows, row, group, &members), members }).collect()
}

/// One row for each set, sorted and distinct, and where each old row went.
fn merge(rows: &Rows, unions: &mut Unions) -> (Rows, Vec<u32>) {
    let mut merged: BTreeMap<u32, Vec<TokenId>> = BTreeMap::new();
    for row in 0..rows.len() as u32 {
        let common = merged.entry(unions.find(row)).or_insert_with(|| rows.row(row as usize).to_vec());
        for (common, id) in std::iter::zip(common.iter_mut(), rows.row(row as usize)) {
            if common != id {
                *common = rows.variable;
            }
        }
    }
    let mut distinct: Vec<&Vec<TokenId>> = merged.values().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let row_of = |root: u32| distinct.binary_search(&&merged[&root]).unwrap_or_default() as u32;
    let new_row_of = (0..rows.len() as u32).map(|row| row_of(unions.find(row))).collect();
    (rows.with_rows(distinct.into_iter().flatten().copied().collect()), new_row_of)
}

/// The row as tokens; a space stands where any member has one.
fn template_of(rows: &Rows, row: usize, group: &[&[Token]], members: &[u32]) -> Vec<Token> {
    let ids = rows.row(row).iter().enumerate();
    ids.map(|(column, &id)| {
        let space = members.iter().any(|member| group[*member as usize][column].space);
        Token { kind: rows.kind(id), text: rows.text(id).into(), space }
    })
    .collect()
}
