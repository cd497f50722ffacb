//! Published templates as a trie of tokens.
//!
//! Purpose: find the template that a message's own template matches.
//! Promises: a literal token is preferred to `<*>` at the first place where two templates differ; `<*>` stands for exactly
//! one token that is no mark; a lookup takes at most [`MAX_STEPS`] steps, so that no message is dear.
//! Never: allocates per node.

use ahash::{HashMap, HashMapExt};

use super::token::{Kind, Token};

/// Nodes that one lookup visits at most. Only templates made to overlap need more than a few dozen.
pub const MAX_STEPS: usize = 4_096;

/// A template that is in already keeps its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Trie {
    /// Numbers of literal tokens; quoted ones and others with the same text are two.
    tokens: HashMap<Box<str>, [Option<u32>; 2]>,
    next_token: u32,
    edges: HashMap<(u32, u32), u32>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    variable: Option<u32>,
    value: Option<u32>,
}

impl Trie {
    pub(super) fn new() -> Self {
        Trie { nodes: vec![Node::default()], edges: HashMap::new(), ..Trie::default() }
    }

    /// Puts a template in; returns whether its place was free.
    pub(super) fn insert(&mut self, template: &[Token], value: u32) -> bool {
        let mut at = 0;
        for token in template {
            at = if token.kind == Kind::Variable { self.variable_of(at) } else { self.literal_of(at, token) };
        }
        let Some(node) = self.nodes.get_mut(at as usize) else { return false };
        let is_free = node.value.is_none();
        node.value.get_or_insert(value);
        is_free
    }

    fn add_node(&mut self) -> u32 {
        self.nodes.push(Node::default());
        self.nodes.len() as u32 - 1
    }

    fn variable_of(&mut self, at: u32) -> u32 {
        if let Some(next) = self.nodes[at as usize].variable {
            return next;
        }
        let next = self.add_node();
        self.nodes[at as usize].variable = Some(next);
        next
    }

    fn literal_of(&mut self, at: u32, token: &Token) -> u32 {
        let numbers = self.tokens.entry(token.text.clone()).or_default();
        let number = *numbers[usize::from(token.kind == Kind::Quoted)].get_or_insert_with(|| {
            self.next_token += 1;
            self.next_token
        });
        if let Some(next) = self.edges.get(&(at, number)) {
            return *next;
        }
        let next = self.add_node();
        self.edges.insert((at, number), next);
        next
    }

    fn number_of(&self, token: &Token) -> Option<u32> {
        self.tokens.get(&token.text)?[usize::from(token.kind == Kind::Quoted)]
    }

    /// The value of the template that `tokens` match best.
    pub(super) fn find(&self, tokens: &[Token]) -> Option<u32> {
        let numbers: Vec<Option<u32>> = tokens.iter().map(|token| self.number_of(token)).collect();
        // What is still to be tried: node and depth. Literals are pushed last, so that they are tried first.
        let mut open: Vec<(u32, u32)> = vec![(0, 0)];
        for _ in 0..MAX_STEPS {
            let (at, depth) = open.pop()?;
            let node = self.nodes.get(at as usize)?;
            let Some(token) = tokens.get(depth as usize) else {
                if node.value.is_some() {
                    return node.value;
                }
                continue;
            };
            if let Some(next) = node.variable.filter(|_| token.kind != Kind::Mark) {
                open.push((next, depth + 1));
            }
            if let Some(next) = numbers[depth as usize].and_then(|number| self.edges.get(&(at, number))) {
                open.push((*next, depth + 1));
            }
        }
        None
    }
}
