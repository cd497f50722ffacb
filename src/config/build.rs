//! Sections and pipelines composed into one [`Config`].
//!
//! Purpose: read every component with its own struct, follow the references of the pipelines.
//! Promises: every component that is written is read and checked, in use or not; a reference to a component that failed
//! to read is not reported a second time; what is not in use is warned about.
//! Never: checks the meaning of a component's own settings; see `check`.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;

use super::error::{Problem, Warning, suggest};
use super::node::{Node, Value, join};
use super::service::{PipelineConfig, ServiceConfig};
use super::{Config, check, de, llm, posthog};
use crate::control_plane::analysis::anomaly::config::AnomalyConfig;
use crate::control_plane::config::{ControlConfig, Role};
use crate::control_plane::generator::llm::config::LlmConfig;
use crate::control_plane::posthog::config::ReadConfig;
use crate::data_plane::exporter::config::{ExporterConfig, OtlpHttpConfig};
use crate::data_plane::receiver::config::{BearerTokenAuthConfig, OtlpReceiverConfig};
use crate::data_plane::sampler::config::SamplerConfig;
use crate::telemetry::config::{HealthCheckConfig, MemoryLimiterConfig};

/// The sections of a file.
pub const SECTIONS: [&str; 15] = [
    "receivers",
    "processors",
    "exporters",
    "extensions",
    "anomalies",
    "llm",
    "posthog",
    "service",
    "role",
    "api",
    "store",
    "rollout",
    "cache",
    "generator",
    "control_plane",
];

/// A processor of the logs pipeline.
pub enum Processor {
    /// `memory_limiter`
    MemoryLimiter(MemoryLimiterConfig),
    /// `sampler`
    Sampler(SamplerConfig),
}

/// An extension.
pub enum Extension {
    /// `health_check`
    HealthCheck(HealthCheckConfig),
    /// `bearertokenauth`
    BearerTokenAuth(BearerTokenAuthConfig),
}

/// A component as written; `config` is empty when it could not be read, which has been reported.
pub struct Component<T> {
    /// `type` or `type/name`.
    pub id: String,
    /// YAML path.
    pub path: String,
    /// Its settings.
    pub config: Option<T>,
}

/// Every component of a file.
pub struct Components {
    /// `receivers:`
    pub receivers: Vec<Component<OtlpReceiverConfig>>,
    /// `processors:`
    pub processors: Vec<Component<Processor>>,
    /// `exporters:`
    pub exporters: Vec<Component<ExporterConfig>>,
    /// `extensions:`
    pub extensions: Vec<Component<Extension>>,
}

/// Reads one component of a type.
type Reader<T> = (&'static str, fn(&Node, &mut Vec<Problem>) -> Option<T>);

const RECEIVERS: &[Reader<OtlpReceiverConfig>] = &[("otlp", de::read)];
const PROCESSORS: &[Reader<Processor>] = &[
    ("memory_limiter", |node, errors| typed(node, errors, Processor::MemoryLimiter)),
    ("sampler", |node, errors| typed(node, errors, Processor::Sampler)),
];
const EXPORTERS: &[Reader<ExporterConfig>] = &[
    ("posthog", |node, errors| typed(node, errors, ExporterConfig::PostHog)),
    ("otlp_http", |node, errors| typed(node, errors, ExporterConfig::OtlpHttp)),
    ("otlphttp", |node, errors| typed(node, errors, ExporterConfig::OtlpHttp)),
    ("debug", |node, errors| typed(node, errors, ExporterConfig::Debug)),
    ("file", |node, errors| typed(node, errors, ExporterConfig::File)),
];
const EXTENSIONS: &[Reader<Extension>] = &[
    ("health_check", |node, errors| typed(node, errors, Extension::HealthCheck)),
    ("bearertokenauth", |node, errors| typed(node, errors, Extension::BearerTokenAuth)),
];

fn typed<C: DeserializeOwned, T>(node: &Node, errors: &mut Vec<Problem>, wrap: fn(C) -> T) -> Option<T> {
    de::read(node, errors).map(wrap)
}

/// What a configuration is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To run a gateway, or a control plane.
    Run,
    /// For some of its sections: where no component is declared, no pipeline has to be there.
    Sections,
}

/// Reads and checks everything. The configuration is `None` only when `errors` got at least one entry.
pub fn build(root: &Node, wanted: Use, errors: &mut Vec<Problem>) -> (Option<Config>, Vec<Warning>) {
    let substituted = errors.len();
    for (key, node) in root.entries() {
        if !SECTIONS.contains(&key.as_str()) {
            errors.push(Problem::new(key, "unknown section", suggest(key, SECTIONS)).at(Some(&node.place)));
        }
    }
    let components = Components {
        receivers: read_components(root, "receivers", RECEIVERS, errors),
        processors: read_components(root, "processors", PROCESSORS, errors),
        exporters: read_components(root, "exporters", EXPORTERS, errors),
        extensions: read_components(root, "extensions", EXTENSIONS, errors),
    };
    let scoring: LlmConfig = root.get("llm").and_then(|node| de::read(node, errors)).unwrap_or_default();
    let reading: ReadConfig = root.get("posthog").and_then(|node| de::read(node, errors)).unwrap_or_default();
    drop_echoes(errors, substituted);
    let read = errors.len();
    check::components(&components, errors);
    llm::check(&scoring, root, errors);
    posthog::check(&reading, root, errors);
    drop_echoes(errors, read);
    // Components without a pipeline are a mistake whatever the file is for: their settings would go unheard.
    let is_part = wanted == Use::Sections
        && ["receivers", "processors", "exporters"].iter().all(|section| root.get(section).is_none());
    let service: Option<ServiceConfig> = match root.get("service") {
        Some(node) => de::read(node, errors),
        None if root.get("role").is_some() || is_part => Some(ServiceConfig::default()),
        None => {
            errors.push(Problem::new("service", "the section is missing", "add service.pipelines.logs"));
            None
        }
    };
    let control = control(root, errors);
    let Some(service) = service else { return (None, Vec::new()) };
    let read = errors.len();
    let anomalies: AnomalyConfig = root.get("anomalies").and_then(|node| de::read(node, errors)).unwrap_or_default();
    check::anomalies(&anomalies, errors);
    drop_echoes(errors, read);
    let needs_logs = !is_part && control.role != Role::ControlPlane;
    let used = BTreeSet::new();
    let mut linker =
        Linker { components: &components, errors, control, needs_logs, anomalies, llm: scoring, reading, used };
    let config = linker.link(&service);
    let used = linker.used;
    let mut warnings = unused(&components, &used);
    if let Some(config) = &config {
        check::whole(config, errors, &mut warnings);
        warnings.extend(check::literal_secrets(config, root));
        llm::advise(&config.llm, &mut warnings);
    }
    (config, warnings)
}

/// The sections of the control plane. What could not be read has been reported, and is as if left out.
fn control(root: &Node, errors: &mut Vec<Problem>) -> ControlConfig {
    fn section<T: DeserializeOwned>(root: &Node, name: &str, errors: &mut Vec<Problem>) -> Option<T> {
        root.get(name).and_then(|node| de::read(node, errors))
    }
    let control = ControlConfig {
        role: section(root, "role", errors).unwrap_or_default(),
        api: section(root, "api", errors),
        store: section(root, "store", errors).unwrap_or_default(),
        rollout: section(root, "rollout", errors).unwrap_or_default(),
        cache: section(root, "cache", errors).unwrap_or_default(),
        generator: section(root, "generator", errors),
        follow: section(root, "control_plane", errors).unwrap_or_default(),
    };
    check::control(&control, errors);
    control
}

/// Removes the errors from `stage` on that are about a path that an earlier stage has reported: they speak about the
/// default that took the place of the value.
fn drop_echoes(errors: &mut Vec<Problem>, stage: usize) {
    let reported: BTreeSet<String> = errors[..stage].iter().map(|problem| problem.path.clone()).collect();
    let mut index = 0;
    errors.retain(|problem| {
        index += 1;
        index <= stage || !reported.contains(&problem.path)
    });
}

fn read_components<T>(
    root: &Node,
    section: &str,
    readers: &[Reader<T>],
    errors: &mut Vec<Problem>,
) -> Vec<Component<T>> {
    let Some(node) = root.get(section) else { return Vec::new() };
    if !matches!(node.value, Value::Map(_) | Value::Null) {
        errors.push(Problem::new(section, "not a map", "write one key for each component"));
    }
    let mut components = Vec::new();
    for (id, node) in node.entries() {
        let (kind, name) = id.split_once('/').map_or((id.as_str(), None), |(kind, name)| (kind, Some(name)));
        if name.is_some_and(|name| name.trim().is_empty()) {
            errors.push(Problem::new(&*node.path, "nothing after the /", format!("write {kind} or {kind}/name")));
        }
        let config = match readers.iter().find(|(known, _)| *known == kind) {
            Some((_, read)) => read(node, errors),
            None => {
                let known = readers.iter().map(|(known, _)| *known);
                let singular = section.trim_end_matches('s');
                errors.push(Problem::new(
                    &*node.path,
                    format!("no {singular} is called {kind:?}"),
                    suggest(kind, known),
                ));
                None
            }
        };
        components.push(Component { id: id.clone(), path: join(section, id), config });
    }
    components
}

/// Follows the names in `service:`.
struct Linker<'a> {
    components: &'a Components,
    errors: &'a mut Vec<Problem>,
    control: ControlConfig,
    /// Whether there has to be a pipeline for logs.
    needs_logs: bool,
    anomalies: AnomalyConfig,
    llm: LlmConfig,
    reading: ReadConfig,
    /// Paths of the components in use.
    used: BTreeSet<String>,
}

impl Linker<'_> {
    fn link(&mut self, service: &ServiceConfig) -> Option<Config> {
        let components = self.components;
        let extensions = self.references("service.extensions", &service.extensions, &components.extensions);
        let (logs, traces, metrics) = self.pipelines(service);
        let Some((logs_path, logs)) = logs else {
            return (!self.needs_logs).then(|| self.without_records(service, extensions));
        };

        let receivers = self.references(&join(&logs_path, "receivers"), &logs.receivers, &components.receivers);
        self.not_empty(&logs_path, "receivers", &logs.receivers);
        let exporters = self.references(&join(&logs_path, "exporters"), &logs.exporters, &components.exporters);
        self.not_empty(&logs_path, "exporters", &logs.exporters);
        let (memory_limiter, sampler) = self.processors(&logs_path, logs);
        let traces = traces.and_then(|(path, pipeline)| self.forwarded(&path, pipeline, &logs_path, logs));
        let metrics = metrics.and_then(|(path, pipeline)| self.forwarded(&path, pipeline, &logs_path, logs));

        let empty = self.without_records(service, extensions);
        Some(Config {
            receivers: owned(receivers),
            memory_limiter,
            sampler,
            logs_exporters: owned(exporters),
            traces,
            metrics,
            ..empty
        })
    }

    /// A configuration with extensions and the control plane alone.
    fn without_records(&mut self, service: &ServiceConfig, extensions: Vec<(&str, &Extension)>) -> Config {
        let mut health = None;
        let mut authenticators = BTreeMap::new();
        for (id, extension) in extensions {
            match extension {
                Extension::HealthCheck(config) if health.is_none() => health = Some(config.clone()),
                Extension::HealthCheck(_) => self.error(
                    "service.extensions",
                    format!("{id} is a second health_check"),
                    "list one health_check only",
                ),
                Extension::BearerTokenAuth(config) => {
                    authenticators.insert(id.to_owned(), config.clone());
                }
            }
        }
        Config {
            receivers: Vec::new(),
            authenticators,
            memory_limiter: None,
            sampler: None,
            logs_exporters: Vec::new(),
            traces: None,
            metrics: None,
            health,
            anomalies: self.anomalies.clone(),
            llm: self.llm.clone(),
            posthog: self.reading.clone(),
            control: self.control.clone(),
            telemetry: service.telemetry.clone(),
            shutdown_timeout: service.shutdown_timeout,
        }
    }

    fn error(&mut self, path: &str, problem: impl Into<String>, hint: impl Into<String>) {
        self.errors.push(Problem::new(path, problem, hint));
    }

    fn not_empty(&mut self, pipeline: &str, key: &str, list: &[String]) {
        if list.is_empty() {
            self.error(&join(pipeline, key), "empty", format!("name at least one of {key}:"));
        }
    }

    /// One pipeline for each signal.
    #[expect(clippy::type_complexity, reason = "three optional pipelines, used once")]
    fn pipelines<'s>(
        &mut self,
        service: &'s ServiceConfig,
    ) -> (
        Option<(String, &'s PipelineConfig)>,
        Option<(String, &'s PipelineConfig)>,
        Option<(String, &'s PipelineConfig)>,
    ) {
        let signals = ["logs", "traces", "metrics"];
        let mut found: [Option<(String, &PipelineConfig)>; 3] = [None, None, None];
        for (id, pipeline) in &service.pipelines {
            let path = format!("service.pipelines.{id}");
            let signal = id.split('/').next().unwrap_or(id);
            match signals.iter().position(|known| *known == signal) {
                None => self.error(&path, "no such signal", suggest(signal, signals)),
                Some(index) if found[index].is_some() => {
                    self.error(
                        &path,
                        format!("a second {signal} pipeline"),
                        format!("one {signal} pipeline is supported"),
                    );
                }
                Some(index) => found[index] = Some((path, pipeline)),
            }
        }
        let [logs, traces, metrics] = found;
        if logs.is_none() && self.needs_logs {
            let hint = "add logs: {receivers: [otlp], exporters: [posthog]}";
            self.error("service.pipelines.logs", "there is no logs pipeline", hint);
        }
        (logs, traces, metrics)
    }

    /// The components a list names, in its order; unknown and repeated names are reported.
    fn references<'c, T>(&mut self, path: &str, names: &[String], known: &'c [Component<T>]) -> Vec<(&'c str, &'c T)> {
        let section = path.rsplit('.').next().unwrap_or(path);
        let mut found = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if names[..index].contains(name) {
                self.error(&path, format!("{name:?} is listed twice"), "remove one");
                continue;
            }
            match known.iter().find(|component| component.id == *name) {
                Some(component) => {
                    self.used.insert(component.path.clone());
                    found.extend(component.config.as_ref().map(|config| (component.id.as_str(), config)));
                }
                None => {
                    let hint = suggest(name, known.iter().map(|component| component.id.as_str()));
                    self.error(&path, format!("{name:?} is not defined under {section}:"), hint);
                }
            }
        }
        found
    }

    fn processors(
        &mut self,
        logs_path: &str,
        logs: &PipelineConfig,
    ) -> (Option<MemoryLimiterConfig>, Option<SamplerConfig>) {
        let path = join(logs_path, "processors");
        let components = self.components;
        let (mut memory_limiter, mut sampler) = (None, None);
        for (id, processor) in self.references(&path, &logs.processors, &components.processors) {
            let second = match processor {
                Processor::MemoryLimiter(config) => {
                    if sampler.is_some() {
                        self.error(&path, format!("{id} stands behind a sampler"), "list memory_limiter first");
                    }
                    memory_limiter.replace(config.clone()).is_some()
                }
                Processor::Sampler(config) => sampler.replace(config.clone()).is_some(),
            };
            if second {
                self.error(&path, format!("{id} is a second processor of its type"), "list one of each type only");
            }
        }
        (memory_limiter, sampler)
    }

    /// A traces or metrics pipeline: receivers of the logs pipeline, one `otlp_http` exporter.
    fn forwarded(
        &mut self,
        path: &str,
        pipeline: &PipelineConfig,
        logs_path: &str,
        logs: &PipelineConfig,
    ) -> Option<(String, OtlpHttpConfig)> {
        let components = self.components;
        self.references(&join(path, "receivers"), &pipeline.receivers, &components.receivers);
        let names = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
        if names(&pipeline.receivers) != names(&logs.receivers) {
            let hint = format!("list the receivers of {logs_path}: the signals share their ports");
            self.error(&join(path, "receivers"), "not the receivers of the logs pipeline", hint);
        }
        if !pipeline.processors.is_empty() {
            let hint = "remove them: this signal is forwarded untouched";
            self.error(&join(path, "processors"), "processors work on logs only", hint);
        }
        let exporters_path = join(path, "exporters");
        if pipeline.exporters.len() != 1 {
            self.error(
                &exporters_path,
                format!("{} exporters", pipeline.exporters.len()),
                "list exactly one otlp_http",
            );
        }
        let mut target = None;
        for (id, exporter) in self.references(&exporters_path, &pipeline.exporters, &components.exporters) {
            match exporter {
                ExporterConfig::OtlpHttp(config) => target = Some((id.to_owned(), config.clone())),
                _ => self.error(
                    &exporters_path,
                    format!("{id} cannot forward this signal"),
                    "only otlp_http forwards traces and metrics",
                ),
            }
        }
        target
    }
}

fn owned<T: Clone>(list: Vec<(&str, &T)>) -> Vec<(String, T)> {
    list.into_iter().map(|(id, config)| (id.to_owned(), config.clone())).collect()
}

fn unused(components: &Components, used: &BTreeSet<String>) -> Vec<Warning> {
    fn paths<T>(components: &[Component<T>]) -> impl Iterator<Item = &String> {
        components.iter().map(|component| &component.path)
    }
    let in_pipelines = paths(&components.receivers)
        .chain(paths(&components.processors))
        .chain(paths(&components.exporters))
        .map(|path| (path, "list it in a pipeline or remove it"));
    let in_service = paths(&components.extensions).map(|path| (path, "list it in service.extensions or remove it"));
    in_pipelines
        .chain(in_service)
        .filter(|(path, _)| !used.contains(*path))
        .map(|(path, hint)| Problem::new(path, "defined but not used", hint))
        .collect()
}
