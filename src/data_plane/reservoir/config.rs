//! Settings of the reservoir.
//!
//! Promises: every key has a default; unknown keys are refused.
//! Never: checks what values mean; see `config`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Period};

/// `reservoir:` Recent records, kept in memory for the replay of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReservoirConfig {
    /// Memory for records and counts. When it is short, patterns keep fewer records, then the span gets shorter.
    pub max_size: ByteSize,
    /// How far back it goes.
    pub span: Period,
    /// Records of one pattern at most.
    pub records_per_pattern: u16,
}

impl Default for ReservoirConfig {
    fn default() -> Self {
        ReservoirConfig { max_size: ByteSize(32 << 20), span: Period::secs(900), records_per_pattern: 16 }
    }
}
