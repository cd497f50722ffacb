//! What goes into a scoring and what comes out of it.
//!
//! Purpose: the seam. A caller brings patterns with the worth that statistics give them, and gets one worth for each.
//! Promises: plain data; scores are finite and within 0 to 10 on the way out, whatever came in.
//! Never: knows how statistics arrive at a worth, or what a solver makes of it.

use serde::{Deserialize, Serialize};

use crate::data_plane::window::Band;

/// The most a pattern can be worth; the least is 0.
pub const MAX_WORTH: f64 = 10.0;

/// A pattern as the control plane knows it. Texts are hostile: they are masked, quoted and bounded before use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatternFacts {
    /// What the pattern is called between rounds; the cache goes by it.
    pub id: String,
    /// `service.name`.
    pub service: String,
    /// Masked template.
    pub template: String,
    /// A few example texts, masked or not.
    pub examples: Vec<String>,
    /// Keys of attributes seen with it.
    pub attribute_keys: Vec<String>,
    /// Highest severity seen.
    pub severity: Band,
    /// Records in the window.
    pub records: u64,
    /// Bytes in the window.
    pub bytes: u64,
    /// Not seen before this window.
    pub is_new: bool,
    /// Named by the anomaly detection.
    pub is_anomalous: bool,
    /// Worth by statistics, 0 to 10.
    pub statistical: f64,
    /// Why statistics say so, for people.
    pub statistical_reason: String,
    /// Worth in the policy now in force, if it has one.
    pub present: Option<f64>,
}

impl PatternFacts {
    /// Below this, an answer lowers the pattern: what statistics say, or what it has now if that is more.
    pub fn baseline(&self) -> f64 {
        self.present.map_or(0.0, in_range).max(self.statistical_worth())
    }

    /// Worth by statistics, made finite and brought into range.
    pub fn statistical_worth(&self) -> f64 {
        in_range(self.statistical)
    }
}

/// Brings a number into 0 to 10; what is no number is half of it.
pub fn in_range(worth: f64) -> f64 {
    if worth.is_finite() { worth.clamp(0.0, MAX_WORTH) } else { MAX_WORTH / 2.0 }
}

/// What kind of message a pattern is, for people and for summaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Something failed.
    Failure,
    /// Logins, permissions, attacks.
    Security,
    /// Who changed what; kept for the record.
    Audit,
    /// What the business is about: orders, payments.
    Business,
    /// Start, stop, deploy, configuration.
    Lifecycle,
    /// A state that changed: leader, circuit, queue.
    StateChange,
    /// Slowness, saturation, retries.
    Performance,
    /// One more request served.
    Request,
    /// Alive, polled, ticked.
    Heartbeat,
    /// For the developer of the code alone.
    Debug,
    /// None of these.
    #[default]
    Other,
}

impl Category {
    /// All, with the meaning a prompt gives them.
    pub const ALL: [(Category, &'static str, &'static str); 11] = [
        (Category::Failure, "failure", "something failed or was lost"),
        (Category::Security, "security", "logins, permissions, attacks"),
        (Category::Audit, "audit", "who changed what"),
        (Category::Business, "business", "orders, payments, what the service is for"),
        (Category::Lifecycle, "lifecycle", "start, stop, deploy, configuration"),
        (Category::StateChange, "state_change", "a leader, circuit, queue or cache changed state"),
        (Category::Performance, "performance", "slow, saturated, retried"),
        (Category::Request, "request", "one more request served as usual"),
        (Category::Heartbeat, "heartbeat", "alive, polled, ticked"),
        (Category::Debug, "debug", "of use to the developer of that code only"),
        (Category::Other, "other", "none of these"),
    ];

    /// Its name in answers and labels.
    pub fn label(self) -> &'static str {
        Self::ALL.iter().find(|(category, ..)| *category == self).map_or("other", |(_, name, _)| name)
    }

    /// The category of a name.
    pub fn named(name: &str) -> Option<Category> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(category, ..)| *category)
    }
}

/// Where a worth comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorthOrigin {
    /// Statistics, and why no model was heard.
    Statistics(WhyStatistics),
    /// A model's answer, within bounds.
    Model {
        /// Name of the provider in the configuration.
        provider: String,
        /// Model.
        model: String,
    },
}

/// Why statistics decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyStatistics {
    /// No provider is configured.
    NoModel,
    /// Its text reads like an instruction: it is not shown to a model.
    Suspicious,
    /// Not its turn yet: limits of the round.
    Waiting,
    /// Every provider failed, or refused this pattern.
    Unanswered,
    /// A lower worth was answered, but no second opinion confirmed it.
    Unconfirmed,
    /// The day's tokens or money are spent.
    Capped,
}

impl WhyStatistics {
    /// All of them.
    pub const ALL: [WhyStatistics; 6] = [
        WhyStatistics::NoModel,
        WhyStatistics::Suspicious,
        WhyStatistics::Waiting,
        WhyStatistics::Unanswered,
        WhyStatistics::Unconfirmed,
        WhyStatistics::Capped,
    ];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            WhyStatistics::NoModel => "no model is configured",
            WhyStatistics::Suspicious => "its text reads like an instruction",
            WhyStatistics::Waiting => "waits for its turn before a model",
            WhyStatistics::Unanswered => "no model answered",
            WhyStatistics::Unconfirmed => "no second opinion confirmed a lower worth",
            WhyStatistics::Capped => "the day's tokens or money are spent",
        }
    }

    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            WhyStatistics::NoModel => "no_model",
            WhyStatistics::Suspicious => "suspicious",
            WhyStatistics::Waiting => "waiting",
            WhyStatistics::Unanswered => "unanswered",
            WhyStatistics::Unconfirmed => "unconfirmed",
            WhyStatistics::Capped => "capped",
        }
    }
}

impl WorthOrigin {
    /// As written into policies.
    pub fn label(&self) -> &'static str {
        match self {
            WorthOrigin::Statistics(_) => "statistics",
            WorthOrigin::Model { .. } => "model",
        }
    }
}

/// What a pattern is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worth {
    /// The pattern.
    pub id: String,
    /// 0 to 10.
    pub score: f64,
    /// Kind of message.
    pub category: Category,
    /// One short line for people, already made harmless.
    pub reason: String,
    /// Where it comes from.
    pub origin: WorthOrigin,
}

impl Worth {
    /// What statistics say, for the reason given.
    pub fn by_statistics(facts: &PatternFacts, why: WhyStatistics) -> Worth {
        Worth {
            id: facts.id.clone(),
            score: facts.statistical_worth(),
            category: Category::Other,
            reason: facts.statistical_reason.clone(),
            origin: WorthOrigin::Statistics(why),
        }
    }

    /// Who says so, for people: a model and the category it gave, or statistics and why no model was heard.
    pub fn by(&self) -> String {
        match &self.origin {
            WorthOrigin::Model { model, .. } => format!("{model} ({})", self.category.label()),
            WorthOrigin::Statistics(WhyStatistics::NoModel) => "statistics".to_owned(),
            WorthOrigin::Statistics(why) => format!("statistics ({})", why.words()),
        }
    }
}
