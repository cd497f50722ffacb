//! Traces of which a part is kept.
//!
//! Purpose: say how many traces a policy would leave with holes.
//! Promises: bounded: traces beyond the bound are counted as untracked, never guessed.
//! Never: looks at spans; a trace is what its log records say.

use ahash::HashMap;

/// Records of a trace, in and kept.
#[derive(Clone, Copy, Debug, Default)]
struct Records {
    seen: u32,
    kept: u32,
}

/// Traces by id, bounded.
#[derive(Debug)]
pub struct Traces {
    by_id: HashMap<[u8; 16], Records>,
    most: usize,
    untracked: u64,
}

/// How traces fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct TraceCounts {
    /// Traces with records.
    pub traces: u64,
    /// Traces of which every record is kept.
    pub whole: u64,
    /// Traces of which a part is kept.
    pub broken: u64,
    /// Traces of which nothing is kept.
    pub gone: u64,
    /// Records of traces beyond the bound.
    pub untracked_records: u64,
}

impl Traces {
    /// Tracks `most` traces.
    pub fn new(most: usize) -> Self {
        Traces { by_id: HashMap::default(), most, untracked: 0 }
    }

    /// Notes a record that came in.
    pub fn seen(&mut self, trace_id: &[u8]) {
        let Some(id) = valid(trace_id) else { return };
        if self.by_id.len() >= self.most && !self.by_id.contains_key(&id) {
            self.untracked += 1;
            return;
        }
        self.by_id.entry(id).or_default().seen += 1;
    }

    /// Notes a record that would go out.
    pub fn kept(&mut self, trace_id: &[u8]) {
        if let Some(records) = valid(trace_id).and_then(|id| self.by_id.get_mut(&id)) {
            records.kept += 1;
        }
    }

    /// How they fared.
    pub fn counts(&self) -> TraceCounts {
        let mut counts = TraceCounts { untracked_records: self.untracked, ..TraceCounts::default() };
        for records in self.by_id.values() {
            counts.traces += 1;
            match records.kept {
                0 => counts.gone += 1,
                kept if kept >= records.seen => counts.whole += 1,
                _ => counts.broken += 1,
            }
        }
        counts
    }
}

fn valid(trace_id: &[u8]) -> Option<[u8; 16]> {
    let id: [u8; 16] = trace_id.try_into().ok()?;
    (id != [0; 16]).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_whole_broken_or_gone_and_bounded() {
        let mut traces = Traces::new(3);
        let id = |n: u8| [n; 16];
        for n in [1, 1, 2, 2, 3, 4, 0] {
            traces.seen(&id(n));
        }
        for n in [1, 1, 2, 4] {
            traces.kept(&id(n));
        }
        traces.seen(b"short");
        let want = TraceCounts { traces: 3, whole: 1, broken: 1, gone: 1, untracked_records: 1 };
        assert_eq!(traces.counts(), want);
    }
}
