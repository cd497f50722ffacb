//! The tables of the tidy test.

/// A part of the library and what it may name.
pub struct Group {
    /// Module path below the crate.
    pub module: &'static str,
    /// Paths of other groups it may name, and everything below them.
    pub may_name: &'static [&'static str],
}

/// An offence that is meant.
pub struct Exception {
    /// Name of the rule.
    pub rule: &'static str,
    /// The file, from the root of the tree.
    pub path: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// main → cli → gateway → control_plane → data_plane → (reread, telemetry, shutdown, clock, units). A part that is not here is an offence.
pub const GROUPS: &[Group] = &[
    Group {
        module: "cli",
        may_name: &[
            "gateway",
            "config",
            "control_plane",
            "data_plane",
            "reread",
            "telemetry",
            "shutdown",
            "clock",
            "units",
        ],
    },
    Group {
        module: "gateway",
        may_name: &["config", "control_plane", "data_plane", "telemetry", "reread", "shutdown", "clock", "units"],
    },
    // Composes the parts' own settings and knows nothing else of them.
    Group {
        module: "config",
        may_name: &[
            "data_plane::receiver::config",
            "data_plane::exporter::config",
            "data_plane::sampler::config",
            "data_plane::window::config",
            "data_plane::pattern::config",
            "control_plane::analysis::anomaly::config",
            "control_plane::generator::llm::config",
            "control_plane::posthog::config",
            "control_plane::config",
            "control_plane::insights",
            "control_plane::cache::config",
            "control_plane::store::config",
            "control_plane::generator::config",
            "control_plane::rollout::config",
            "data_plane::reservoir::config",
            "telemetry::config",
            "units",
        ],
    },
    // Serves, follows and leads over the store.
    Group {
        module: "control_plane",
        may_name: &[
            "control_plane::store",
            "control_plane::generator",
            "control_plane::insights",
            "control_plane::replay",
            "control_plane::rollout",
            "data_plane::ledger",
            "data_plane::pattern",
            "data_plane::pipeline",
            "data_plane::policy",
            "data_plane::receiver",
            "data_plane::reservoir::config",
            "data_plane::sampler",
            "data_plane::signature",
            "data_plane::view",
            "data_plane::window",
            "reread",
            "telemetry",
            "listen",
            "shutdown",
            "clock",
            "units",
        ],
    },
    // The loop: runs the generator over what it is shown, and stores the result.
    Group {
        module: "control_plane::controller",
        may_name: &[
            "control_plane",
            "data_plane::ledger",
            "data_plane::pattern",
            "data_plane::policy",
            "data_plane::reservoir",
            "telemetry",
            "shutdown",
            "clock",
            "units",
        ],
    },
    // What gateways hand over of their reservoirs, told and heard.
    Group {
        module: "control_plane::samples",
        may_name: &[
            "control_plane",
            "data_plane::ledger",
            "data_plane::pattern",
            "data_plane::policy",
            "data_plane::reservoir",
            "data_plane::window",
            "telemetry",
            "clock",
            "units",
        ],
    },
    // Knows no one who asks. Of the data plane it reads how times are written.
    Group { module: "control_plane::store", may_name: &["data_plane::policy", "clock", "units"] },
    Group {
        module: "data_plane::pipeline",
        may_name: &[
            "data_plane::receiver",
            "data_plane::exporter",
            "data_plane::sampler",
            "data_plane::policy",
            "data_plane::reservoir",
            "data_plane::window",
            "data_plane::pattern",
            "data_plane::signature",
            "data_plane::view",
            "data_plane::ledger",
            "telemetry",
            "shutdown",
            "clock",
            "units",
        ],
    },
    Group {
        module: "data_plane::receiver",
        may_name: &["data_plane::view", "reread", "telemetry", "shutdown", "clock", "units"],
    },
    Group {
        module: "data_plane::exporter",
        may_name: &["data_plane::view", "reread", "telemetry", "shutdown", "clock", "units"],
    },
    // Counts by the words of all parts, for the pipeline.
    Group {
        module: "data_plane::ledger",
        may_name: &[
            "data_plane::receiver",
            "data_plane::sampler",
            "data_plane::policy",
            "data_plane::window",
            "data_plane::pattern",
            "data_plane::signature",
            "data_plane::view",
            "telemetry",
            "clock",
            "units",
        ],
    },
    Group {
        module: "data_plane::sampler",
        may_name: &[
            "data_plane::policy",
            "data_plane::window",
            "data_plane::pattern",
            "data_plane::signature",
            "data_plane::view",
            "telemetry",
            "clock",
            "units",
        ],
    },
    Group {
        module: "data_plane::policy",
        may_name: &[
            "data_plane::pattern",
            "data_plane::signature",
            "data_plane::view",
            "telemetry",
            "shutdown",
            "clock",
            "units",
        ],
    },
    Group {
        module: "data_plane::window",
        may_name: &["data_plane::pattern", "data_plane::signature", "data_plane::view", "telemetry", "clock", "units"],
    },
    // Records by pattern, as counted by the windows.
    Group {
        module: "data_plane::reservoir",
        may_name: &["data_plane::window", "data_plane::pattern", "telemetry", "clock", "units"],
    },
    Group {
        module: "control_plane::analysis::anomaly",
        may_name: &["control_plane::analysis::frequency", "data_plane::window", "clock", "units"],
    },
    Group {
        module: "control_plane::analysis::frequency",
        may_name: &["data_plane::window", "data_plane::pattern", "clock", "units"],
    },
    Group {
        module: "control_plane::analysis::report",
        may_name: &[
            "control_plane::insights",
            "control_plane::analysis::anomaly",
            "control_plane::analysis::frequency",
            "control_plane::analysis::mining",
            "data_plane::window",
            "data_plane::pattern",
            "data_plane::signature",
            "clock",
            "units",
        ],
    },
    Group { module: "control_plane::analysis::mining", may_name: &["data_plane::pattern"] },
    Group { module: "control_plane::analysis", may_name: &[] },
    // Runs the data plane over recorded traffic; knows prices only to print money.
    Group {
        module: "control_plane::replay",
        may_name: &[
            "control_plane::insights",
            "control_plane::analysis::anomaly",
            "control_plane::analysis::frequency",
            "data_plane::pipeline",
            "data_plane::exporter",
            "data_plane::receiver",
            "data_plane::ledger",
            "data_plane::sampler",
            "data_plane::policy",
            "data_plane::reservoir",
            "data_plane::window",
            "data_plane::pattern",
            "data_plane::signature",
            "data_plane::view",
            "clock",
            "units",
        ],
    },
    Group {
        module: "control_plane::generator",
        may_name: &[
            "control_plane::generator::llm",
            "control_plane::replay",
            "control_plane::insights",
            "control_plane::analysis",
            "data_plane::policy",
            "data_plane::reservoir",
            "data_plane::sampler",
            "data_plane::window",
            "data_plane::pattern",
            "data_plane::signature",
            "data_plane::ledger",
            "clock",
            "units",
        ],
    },
    // Decides about versions by counts; of the data plane it knows what a trial and a document are.
    Group {
        module: "control_plane::rollout",
        may_name: &[
            "control_plane::store",
            "control_plane::replay",
            "data_plane::pipeline",
            "data_plane::policy",
            "data_plane::sampler",
            "telemetry",
            "clock",
            "units",
        ],
    },
    Group { module: "control_plane::insights", may_name: &["clock", "units"] },
    // Knows PostHog and OTLP. Of the data plane it reads how requests are written and times are read.
    Group {
        module: "control_plane::posthog",
        may_name: &["control_plane::insights", "data_plane::policy", "data_plane::view", "reread", "clock", "units"],
    },
    // Knows no store, no solver and no window but the names of severities: patterns come in as plain data.
    Group {
        module: "control_plane::generator::llm",
        may_name: &["data_plane::signature", "data_plane::window", "telemetry", "clock", "units"],
    },
    Group { module: "data_plane::pattern", may_name: &["data_plane::signature", "units"] },
    Group { module: "data_plane::signature", may_name: &["data_plane::view"] },
    Group { module: "data_plane::view", may_name: &[] },
    Group { module: "reread", may_name: &["telemetry", "clock"] },
    Group { module: "telemetry", may_name: &["listen", "shutdown", "clock", "units"] },
    Group { module: "listen", may_name: &["shutdown"] },
    Group { module: "shutdown", may_name: &[] },
    Group { module: "clock", may_name: &[] },
    Group { module: "units", may_name: &[] },
    // Its mod.rs only, which names the parts.
    Group { module: "data_plane", may_name: &[] },
];

/// Every exception there is.
pub const EXCEPTIONS: &[Exception] = &[];
