//! Templates that differ in one position only.
//!
//! Purpose: find the positions that take many values across otherwise equal templates, in one pass a position.
//! Promises: time n log n in the number of templates, whatever they hold; the result depends on the set alone.
//! Never: joins two templates over a mark.

use super::evidence;
use super::rows::{Rows, Unions};
use crate::data_plane::pattern::Kind;

/// Joins rows that differ in one position which the evidence calls variable. Returns whether any were.
pub fn join(rows: &Rows, unions: &mut Unions) -> bool {
    let mut joined = false;
    let hashes: Vec<u64> = (0..rows.len()).map(|row| hash_of(rows.row(row))).collect();
    let mut keyed: Vec<(u64, u32)> = Vec::with_capacity(rows.len());
    for column in 0..rows.width {
        keyed.clear();
        keyed.extend(hashes.iter().enumerate().filter_map(|(row, hash)| {
            let id = rows.row(row)[column];
            (rows.kind(id) != Kind::Mark).then(|| (hash.wrapping_sub(term(column, id)), row as u32))
        }));
        keyed.sort_unstable();
        for alike in keyed.chunk_by(|a, b| a.0 == b.0) {
            joined |= alike.len() > 1 && join_alike(rows, column, alike, unions);
        }
    }
    joined
}

fn join_alike(rows: &Rows, column: usize, alike: &[(u64, u32)], unions: &mut Unions) -> bool {
    let first = rows.row(alike[0].1 as usize);
    let is_alike = |row: &[u32]| row[..column] == first[..column] && row[column + 1..] == first[column + 1..];
    // Equal sums with other tokens are chance; such rows stay out.
    let alike: Vec<u32> = alike.iter().map(|(_, row)| *row).filter(|row| is_alike(rows.row(*row as usize))).collect();
    let value = |row: &u32| rows.kind(rows.row(*row as usize)[column]);
    let text = rows.text_weight(first) - evidence::as_text(rows.kind(first[column]));
    if alike.len() < 2 || !evidence::is_variable(alike.iter().map(value), text) {
        return false;
    }
    let mut joined = false;
    for row in &alike[1..] {
        joined |= unions.join(alike[0], *row);
    }
    joined
}

/// A sum over positions, so that one position can be taken out again.
fn hash_of(row: &[u32]) -> u64 {
    row.iter().enumerate().map(|(column, &id)| term(column, id)).fold(0, u64::wrapping_add)
}

/// One position's share: the finaliser of splitmix64 over position and token.
fn term(column: usize, id: u32) -> u64 {
    let mut x = ((column as u64) << 32 | u64::from(id)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
