//! Templates of one shape as rows of numbers.
//!
//! Purpose: a compact form for comparing thousands of templates position by position.
//! Promises: numbers follow the order of the tokens' text, so that they depend on the set of templates alone.
//! Never: keeps the same row twice.

use std::collections::BTreeMap;

use super::evidence;
use crate::data_plane::pattern::{Kind, Token, VARIABLE};

/// Number of a token within a [`Rows`].
pub type TokenId = u32;

/// Distinct templates of one length whose marks stand in the same places.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Tokens of each row.
    pub width: usize,
    ids: Vec<TokenId>,
    kinds: Vec<Kind>,
    texts: Vec<Box<str>>,
    /// The number of `<*>`.
    pub variable: TokenId,
}

impl Rows {
    /// Rows of `templates`, which all have `width` tokens.
    pub fn new(templates: &[&[Token]], width: usize) -> Self {
        let mut numbers: BTreeMap<(&str, Kind), TokenId> = BTreeMap::new();
        numbers.insert((VARIABLE, Kind::Variable), 0);
        for token in templates.iter().flat_map(|template| template.iter()) {
            numbers.insert((&token.text, token.kind), 0);
        }
        for (number, id) in numbers.values_mut().enumerate() {
            *id = number as TokenId;
        }
        let ids = templates.iter().flat_map(|template| template.iter());
        let ids = ids.map(|token| numbers[&(&*token.text, token.kind)]).collect();
        let variable = numbers[&(VARIABLE, Kind::Variable)];
        Rows {
            width,
            ids,
            kinds: numbers.keys().map(|(_, kind)| *kind).collect(),
            texts: numbers.keys().map(|(text, _)| (*text).into()).collect(),
            variable,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ids.len() / self.width.max(1)
    }

    /// The tokens of a row.
    #[inline]
    pub fn row(&self, row: usize) -> &[TokenId] {
        &self.ids[row * self.width..(row + 1) * self.width]
    }

    /// What a token is.
    #[inline]
    pub fn kind(&self, id: TokenId) -> Kind {
        self.kinds[id as usize]
    }

    /// A token's text.
    pub fn text(&self, id: TokenId) -> &str {
        &self.texts[id as usize]
    }

    /// The constant text of a row.
    pub fn text_weight(&self, row: &[TokenId]) -> u32 {
        row.iter().map(|&id| evidence::as_text(self.kind(id))).sum()
    }

    /// The same tokens with other rows.
    pub fn with_rows(&self, ids: Vec<TokenId>) -> Self {
        Rows { ids, ..self.clone() }
    }
}

/// Sets that grow together.
#[derive(Debug)]
pub struct Unions {
    parents: Vec<u32>,
}

impl Unions {
    /// `len` sets of one.
    pub fn new(len: usize) -> Self {
        Unions { parents: (0..len as u32).collect() }
    }

    /// The smallest member of the set that `i` is in.
    pub fn find(&mut self, i: u32) -> u32 {
        let mut root = i;
        while self.parents[root as usize] != root {
            self.parents[root as usize] = self.parents[self.parents[root as usize] as usize];
            root = self.parents[root as usize];
        }
        root
    }

    /// Joins the sets of both; returns whether they were two.
    pub fn join(&mut self, a: u32, b: u32) -> bool {
        let (a, b) = (self.find(a), self.find(b));
        self.parents[a.max(b) as usize] = a.min(b);
        a != b
    }
}
