//! What a rollout is to do, and where it stands.
//!
//! Promises: a plan never changes once it is begun, whatever the configuration says later; a state says everything that
//! the next step needs, so that a rollout survives its process.
//! Never: acts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::config::RolloutConfig;
use super::prediction::Prediction;
use crate::control_plane::store::Timestamp;
use crate::units::Period;

/// How a version is put in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Only counted: it never decides, and is not in force at the end.
    Shadow,
    /// Counted, then deciding about growing shares of the traffic, then in force.
    #[default]
    Canary,
    /// In force at once, and watched.
    Live,
}

/// What a stage does with the version.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Its decisions are counted.
    Shadow,
    /// It decides about this percentage of the traffic.
    Canary(f64),
    /// It is in force.
    Live,
}

/// One stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stage {
    /// What it does.
    pub kind: Kind,
    /// How long it lasts at least, in milliseconds.
    pub duration_ms: u64,
    /// Records of the version that it needs.
    pub min_records: u64,
}

/// What was agreed on at the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// How far it goes.
    pub mode: Mode,
    /// Whether it waits for a person at first.
    pub manual: bool,
    /// The version.
    pub candidate: i64,
    /// The version that was in force before, and is again when anything goes wrong; null for none.
    pub parent: Option<i64>,
    /// From when on the version is no longer in force anyway.
    pub expires_at: Option<Timestamp>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// How long a stage may take, in milliseconds.
    pub max_wait_ms: u64,
    /// How long all may take, in milliseconds.
    pub ttl_ms: u64,
    /// What is expected.
    pub prediction: Prediction,
}

impl Plan {
    /// The stages of `mode`.
    pub fn stages_of(mode: Mode, config: &RolloutConfig) -> Vec<Stage> {
        let stage = |kind, duration: Period, min_records| Stage { kind, duration_ms: millis(duration), min_records };
        let shadow = stage(Kind::Shadow, config.shadow.duration, config.shadow.min_records);
        let live = stage(Kind::Live, config.live.duration, config.live.min_records);
        let canary = &config.canary;
        let shares = canary.percentages.iter();
        let shares = shares.map(|share| stage(Kind::Canary(*share), canary.duration, canary.min_records));
        match mode {
            Mode::Shadow => vec![shadow],
            Mode::Canary => std::iter::once(shadow).chain(shares).chain([live]).collect(),
            Mode::Live => vec![live],
        }
    }
}

/// A period as plans hold it.
pub(super) fn millis(period: Period) -> u64 {
    u64::try_from(period.0.as_millis()).unwrap_or(u64::MAX)
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// For a person to approve.
    Waiting,
    /// Counted.
    Shadow,
    /// Deciding about a share.
    Canary,
    /// In force and watched.
    Live,
    /// Over: all stages have passed.
    Succeeded,
    /// Over: the parent is in force.
    RolledBack,
    /// Over: someone put another version in force meanwhile, and that stays.
    Superseded,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 7] = [
        Phase::Waiting,
        Phase::Shadow,
        Phase::Canary,
        Phase::Live,
        Phase::Succeeded,
        Phase::RolledBack,
        Phase::Superseded,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::Shadow => "shadow",
            Phase::Canary => "canary",
            Phase::Live => "live",
            Phase::Succeeded => "succeeded",
            Phase::RolledBack => "rolled_back",
            Phase::Superseded => "superseded",
        }
    }

    /// Whether nothing more happens.
    pub fn is_over(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::RolledBack | Phase::Superseded)
    }
}

/// Why a rollout ended early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Why {
    /// The share of the bytes that is kept left the prediction.
    KeptBytes {
        /// Of this service; null for all together.
        service: Option<String>,
        /// Share seen.
        seen: f64,
        /// Predicted, at least.
        low: f64,
        /// Predicted, at most.
        high: f64,
    },
    /// Records of ERROR and above were lost.
    ErrorsLost {
        /// How many.
        records: u64,
    },
    /// Less of what is anomalous is kept than before.
    Anomalous {
        /// Share of the records seen.
        seen: f64,
        /// The least that was expected.
        low: f64,
    },
    /// Too few records came in time.
    NoData {
        /// Records that came.
        records: u64,
        /// Records that were needed.
        needed: u64,
    },
    /// It took longer than a rollout may.
    TimeOut,
    /// The version is past its time.
    Expired,
    /// Someone stopped it.
    Aborted {
        /// Who.
        by: String,
    },
    /// Another version was put in force meanwhile.
    Superseded {
        /// Which; null for none.
        active: Option<i64>,
    },
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::KeptBytes { service, seen, low, high } => {
                let of = service.as_deref().map(|service| format!(" of {service}")).unwrap_or_default();
                let percent = |share: &f64| 100.0 * share;
                let (seen, low, high) = (percent(seen), percent(low), percent(high));
                write!(f, "{seen:.1} % of the bytes{of} are kept, predicted were {low:.1} to {high:.1} %")
            }
            Why::ErrorsLost { records } => write!(f, "{records} records of ERROR or above were lost"),
            Why::Anomalous { seen, low } => write!(
                f,
                "{:.1} % of the anomalous records are kept, at least {:.1} % were expected",
                100.0 * seen,
                100.0 * low
            ),
            Why::NoData { records, needed } => write!(f, "{records} records came in time, {needed} are needed"),
            Why::TimeOut => f.write_str("it took longer than a rollout may"),
            Why::Expired => f.write_str("the version is past its time"),
            Why::Aborted { by } => write!(f, "stopped by {by}"),
            Why::Superseded { active: Some(number) } => write!(f, "version {number} was put in force meanwhile"),
            Why::Superseded { active: None } => f.write_str("the policies were taken out of force meanwhile"),
        }
    }
}

/// Where a rollout stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct State {
    /// How far it is.
    pub phase: Phase,
    /// The stage, from 0; also after the end, the last one.
    pub stage: u32,
    /// When the stage began.
    pub entered_at: Timestamp,
    /// When it was looked at last.
    pub seen_at: Timestamp,
    /// Milliseconds spent in the stage, as far as they were watched.
    pub elapsed_ms: u64,
    /// Milliseconds spent in all, as far as they were watched.
    pub total_elapsed_ms: u64,
    /// When the rollout ends whatever happens.
    pub deadline: Timestamp,
    /// Why it ended early.
    pub why: Option<Why>,
}
