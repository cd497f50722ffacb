//! YAML as typed → one validated [`Config`].
//!
//! Purpose: read the Collector's notation (files, `--set`, `${env:…}`), compose the parts' own settings, check them.
//! Promises: all errors are reported together, each with its YAML path, the problem and a hint; an unknown key or a
//! duplicate one is an error; a configuration that loads is one that can be started, but for the outside world.
//! Never: opens sockets, starts anything, or shows a secret. Reading is in `node`, `merge`, `substitute` and `de`;
//! composing in `build`; meaning in `check`.

mod build;
mod check;
mod control;
mod de;
mod error;
mod llm;
mod merge;
mod node;
mod posthog;
mod render;
mod service;
mod substitute;
mod whole;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use check::check_files;
pub use error::{ConfigErrors, Place, Problem, Warning};
pub use posthog::compared;
pub use render::render;
pub use service::{PipelineConfig, ServiceConfig};
pub use substitute::Env;

use crate::control_plane::analysis::anomaly::config::AnomalyConfig;
use crate::control_plane::config::ControlConfig;
use crate::control_plane::generator::llm::config::LlmConfig;
use crate::control_plane::posthog::config::ReadConfig;
use crate::data_plane::exporter::config::{ExporterConfig, OtlpHttpConfig};
use crate::data_plane::receiver::config::{BearerTokenAuthConfig, OtlpReceiverConfig};
use crate::data_plane::sampler::config::SamplerConfig;
use crate::telemetry::config::{HealthCheckConfig, MemoryLimiterConfig, TelemetryConfig};
use crate::units::Period;
use build::Use;
use node::{MAX_FILE_BYTES, Node, Value};

/// A substituted text of at least this length is hidden in the messages about other settings too; a shorter one (`eu`)
/// is part of too many words.
const MIN_SCRUBBED_BYTES: usize = 8;

/// Everything the gateway runs by. Only what the pipelines use is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Receivers by component id (`otlp`, `otlp/internal`), in the order of the pipeline. All take all three signals.
    pub receivers: Vec<(String, OtlpReceiverConfig)>,
    /// Authenticators that receivers may name, by component id.
    pub authenticators: BTreeMap<String, BearerTokenAuthConfig>,
    /// `memory_limiter`, if the logs pipeline has one.
    pub memory_limiter: Option<MemoryLimiterConfig>,
    /// `sampler`, if the logs pipeline has one. Without it nothing is dropped; records are counted all the same.
    pub sampler: Option<SamplerConfig>,
    /// Where logs go: at least one destination.
    pub logs_exporters: Vec<(String, ExporterConfig)>,
    /// Where traces go; refused without it.
    pub traces: Option<(String, OtlpHttpConfig)>,
    /// Where metrics go; refused without it.
    pub metrics: Option<(String, OtlpHttpConfig)>,
    /// `health_check`, if `service.extensions` lists it.
    pub health: Option<HealthCheckConfig>,
    /// `anomalies:`
    pub anomalies: AnomalyConfig,
    /// Who scores what patterns are worth: nobody but statistics, unless `llm:` says otherwise.
    pub llm: LlmConfig,
    /// `posthog:`, reading back.
    pub posthog: ReadConfig,
    /// `role`, `api`, `store`, `cache`, `rollout`, `control_plane`.
    pub control: ControlConfig,
    /// Own logs and metrics.
    pub telemetry: TelemetryConfig,
    /// `service.shutdown_timeout`: how long draining may take.
    pub shutdown_timeout: Period,
}

/// A configuration that can be used, and what is worth changing in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Not errors.
    pub warnings: Vec<Warning>,
}

/// Reads files in order (maps merge, later wins), then `sets`, substitutes `${env:…}` by `env`, checks everything.
///
/// # Errors
/// Every problem found. A file that is not YAML hides what else is wrong in it.
pub fn load(files: &[PathBuf], sets: &[String], env: Env<'_>) -> Result<Loaded, ConfigErrors> {
    load_for(Use::Run, files, sets, env)
}

/// Reads one file for some of its sections, for a command that runs no gateway: `posthog:` or `llm:` may stand alone in it.
///
/// # Errors
/// As [`load`].
pub fn load_sections(file: &Path, env: Env<'_>) -> Result<Loaded, ConfigErrors> {
    load_for(Use::Sections, &[file.to_owned()], &[], env)
}

fn load_for(wanted: Use, files: &[PathBuf], sets: &[String], env: Env<'_>) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    let mut root = Node::new(Value::Map(Vec::new()), Place::default());
    if files.is_empty() {
        errors.push(Problem::new("", "no configuration file given", "use --config FILE"));
    }
    for file in files {
        match read_file(file) {
            Ok(node) => merge::merge(&mut root, node),
            Err(problem) => errors.push(problem),
        }
    }
    for set in sets {
        match merge::parse_set(set) {
            Ok(node) => merge::merge(&mut root, node),
            Err(problem) => errors.push(problem),
        }
    }
    if errors.is_empty() { from_tree(root, wanted, env) } else { Err(ConfigErrors(errors)) }
}

/// Checks a configuration given as one YAML text; `name` stands for the file in messages.
///
/// # Errors
/// As [`load`].
pub fn load_text(text: &str, name: &str, env: Env<'_>) -> Result<Loaded, ConfigErrors> {
    match parse_document(text, name) {
        Ok(root) => from_tree(root, Use::Run, env),
        Err(problem) => Err(ConfigErrors(vec![problem])),
    }
}

fn from_tree(mut root: Node, wanted: Use, env: Env<'_>) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    root.name_paths("");
    substitute::substitute(&mut root, env, &mut errors);
    let (config, mut warnings) = build::build(&root, wanted, &mut errors);
    let mut substitutions = Vec::new();
    root.substitutions(&mut substitutions);
    for problem in errors.iter_mut().chain(&mut warnings) {
        problem.place = problem.place.take().or_else(|| place_of(&root, &problem.path));
        for (path, substituted) in &substitutions {
            if *path == problem.path || substituted.text.len() >= MIN_SCRUBBED_BYTES {
                problem.problem = substituted.scrub(&problem.problem);
                problem.hint = substituted.scrub(&problem.hint);
            }
        }
    }
    match config {
        Some(config) if errors.is_empty() => Ok(Loaded { config, warnings }),
        _ => Err(ConfigErrors(errors)),
    }
}

/// Where the node of this path was written, or the nearest one above it.
fn place_of(root: &Node, path: &str) -> Option<Place> {
    let mut path = path;
    while !path.is_empty() {
        if let Some(node) = root.find(path) {
            return Some(node.place.clone());
        }
        path = path.rfind(['.', '[']).map_or("", |end| &path[..end]);
    }
    None
}

fn read_file(path: &Path) -> Result<Node, Problem> {
    let name = path.display().to_string();
    let fault = |problem: String, hint: &str| {
        Problem::new("", problem, hint).at(Some(&Place { file: Arc::from(name.as_str()), line: 0 }))
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| fault(format!("cannot open the file: {error}"), ""))?;
    let bytes = file
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| fault(format!("cannot read the file: {error}"), "it must be UTF-8 text"))?;
    if bytes as u64 > MAX_FILE_BYTES {
        return Err(fault(format!("larger than {MAX_FILE_BYTES} bytes"), "is this a configuration?"));
    }
    parse_document(&text, &name)
}

fn parse_document(text: &str, name: &str) -> Result<Node, Problem> {
    let file: Arc<str> = Arc::from(name);
    let node = node::parse(text, &file)?;
    match node.value {
        Value::Map(_) => Ok(node),
        Value::Null => Ok(Node::new(Value::Map(Vec::new()), node.place)),
        _ => Err(Problem::new("", "not a map", "a configuration begins with keys such as receivers: and service:")
            .at(Some(&node.place))),
    }
}
