//! The gateway's own logs: lines on standard error.
//!
//! Purpose: a `tracing` layer that writes text or JSON, holds back lines that repeat and can be changed at a reload.
//! Promises: one event is one line, whatever its text contains: control characters are escaped and long values cut;
//! each place in the code passes `initial` lines a `tick`, and the number held back is written afterwards.
//! Never: sends anything into the pipeline, or writes to standard output.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, callsite};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

use super::config::{LogFormat, LogLevel, LogSamplingConfig, OwnLogsConfig};
use crate::clock::{Clock, UnixNanos};

/// Longest value of one field that is written, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// Lines with this target are never held back: an operator who reloads a configuration wants every error of it.
const NEVER_HELD_BACK: &str = "lipservice::config";

/// Changes the logs of a running process.
#[derive(Clone)]
pub struct OwnLogs {
    shared: Arc<Shared>,
    filter: reload::Handle<EnvFilter, Registry>,
    /// `RUST_LOG`, which wins over the configured level.
    override_filter: Option<String>,
}

struct Shared {
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    format: LogFormat,
    sampling: LogSamplingConfig,
    /// Bounded by the number of places in the code that log.
    callsites: HashMap<callsite::Identifier, Callsite>,
}

struct Callsite {
    tick_started: UnixNanos,
    passed: u32,
    held_back: u64,
    level: Level,
    target: String,
    place: String,
}

impl OwnLogs {
    /// Logs on `out`, and the subscriber to install. `override_filter` is the value of `RUST_LOG`.
    pub fn new(
        config: &OwnLogsConfig,
        override_filter: Option<String>,
        clock: Clock,
        out: Box<dyn Write + Send>,
    ) -> (OwnLogs, impl Subscriber + Send + Sync + 'static) {
        let state = State { out, format: config.format, sampling: config.sampling.clone(), callsites: HashMap::new() };
        let shared = Arc::new(Shared { clock, state: Mutex::new(state) });
        let (filter_layer, filter) = reload::Layer::new(filter(config.level, override_filter.as_deref()));
        let lines = Lines { shared: shared.clone() };
        let subscriber = Registry::default().with(filter_layer).with(lines);
        (OwnLogs { shared, filter, override_filter }, subscriber)
    }

    /// Applies a changed configuration.
    pub fn configure(&self, config: &OwnLogsConfig) {
        {
            let mut state = self.shared.state.lock();
            state.format = config.format;
            state.sampling = config.sampling.clone();
        }
        // Fails only when the subscriber is gone, and then nobody logs.
        let _ = self.filter.reload(filter(config.level, self.override_filter.as_deref()));
    }

    /// The period over which lines are counted, a second at least.
    pub fn tick(&self) -> Duration {
        self.shared.state.lock().sampling.tick.0.max(Duration::from_secs(1))
    }

    /// Writes how many lines were held back at places whose tick is over. Call about once a tick, and at the end.
    pub fn report_held_back(&self) {
        let now = self.shared.clock.now();
        let mut state = self.shared.state.lock();
        let tick_nanos = state.sampling.tick.0.as_nanos() as u64;
        let mut summaries: Vec<(Level, String, String, u64)> = Vec::new();
        for callsite in state.callsites.values_mut() {
            if callsite.held_back > 0 && now.saturating_sub(callsite.tick_started) >= tick_nanos {
                let held_back = std::mem::take(&mut callsite.held_back);
                summaries.push((callsite.level, callsite.target.clone(), callsite.place.clone(), held_back));
            }
        }
        for (level, target, place, held_back) in summaries {
            state.write_summary(now, level, &target, &place, held_back);
        }
    }
}

/// Other crates are heard from `warn` up: their lower levels are for their developers, through `RUST_LOG`.
fn filter(level: LogLevel, override_filter: Option<&str>) -> EnvFilter {
    let own = match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    let others = if level == LogLevel::Error { "error" } else { "warn" };
    let configured = format!("{others},lipservice={own}");
    match override_filter.filter(|directives| !directives.trim().is_empty()) {
        Some(directives) => EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new(configured)),
        None => EnvFilter::new(configured),
    }
}

/// The layer that writes.
struct Lines {
    shared: Arc<Shared>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now = self.shared.clock.now();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let mut state = self.shared.state.lock();
        match state.admit(metadata, now) {
            Admission::HeldBack => {}
            Admission::Passes { held_back_before } => {
                if held_back_before > 0 {
                    state.write_summary(now, *metadata.level(), metadata.target(), &place(metadata), held_back_before);
                }
                state.write(now, *metadata.level(), metadata.target(), &fields);
            }
        }
    }
}

enum Admission {
    Passes { held_back_before: u64 },
    HeldBack,
}

fn place(metadata: &Metadata<'_>) -> String {
    format!("{}:{}", metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0))
}

impl State {
    fn admit(&mut self, metadata: &Metadata<'_>, now: UnixNanos) -> Admission {
        if !self.sampling.enabled || metadata.target() == NEVER_HELD_BACK {
            return Admission::Passes { held_back_before: 0 };
        }
        let callsite = self.callsites.entry(metadata.callsite()).or_insert_with(|| Callsite {
            tick_started: now,
            passed: 0,
            held_back: 0,
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            place: place(metadata),
        });
        let tick_nanos = self.sampling.tick.0.as_nanos() as u64;
        let mut held_back_before = 0;
        if now.saturating_sub(callsite.tick_started) >= tick_nanos {
            callsite.tick_started = now;
            callsite.passed = 0;
            held_back_before = std::mem::take(&mut callsite.held_back);
        }
        if callsite.passed < self.sampling.initial {
            callsite.passed += 1;
            Admission::Passes { held_back_before }
        } else {
            callsite.held_back += 1;
            Admission::HeldBack
        }
    }

    fn write_summary(&mut self, now: UnixNanos, level: Level, target: &str, place: &str, held_back: u64) {
        let fields = Fields {
            message: format!("{held_back} similar lines suppressed"),
            rest: vec![("place", Value::Text(place.to_owned()))],
        };
        self.write(now, level, target, &fields);
    }

    fn write(&mut self, now: UnixNanos, level: Level, target: &str, fields: &Fields) {
        let timestamp = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(now));
        let mut line = match self.format {
            LogFormat::Text => text_line(&timestamp, level, target, fields),
            LogFormat::Json => json_line(&timestamp, level, target, fields),
        };
        line.push('\n');
        // Nobody is left to tell when standard error is closed.
        let _ = self.out.write_all(line.as_bytes());
        let _ = self.out.flush();
    }
}

fn text_line(timestamp: &dyn fmt::Display, level: Level, target: &str, fields: &Fields) -> String {
    let mut line = format!("{timestamp} {level:>5} {target}: ");
    escape(&mut line, &fields.message);
    for (name, value) in &fields.rest {
        let _ = write!(line, " {name}=");
        match value {
            Value::Json(value) => {
                let _ = write!(line, "{value}");
            }
            Value::Text(text) => escape(&mut line, text),
        }
    }
    line
}

fn json_line(timestamp: &dyn fmt::Display, level: Level, target: &str, fields: &Fields) -> String {
    let mut object = serde_json::Map::new();
    object.insert("timestamp".into(), timestamp.to_string().into());
    object.insert("level".into(), level.as_str().to_lowercase().into());
    object.insert("target".into(), target.into());
    object.insert("message".into(), fields.message.clone().into());
    for (name, value) in &fields.rest {
        let value = match value {
            Value::Json(value) => value.clone(),
            Value::Text(text) => text.clone().into(),
        };
        // A field may not take the place of the four above.
        let key = if object.contains_key(*name) { format!("field.{name}") } else { (*name).to_owned() };
        object.insert(key, value);
    }
    serde_json::Value::Object(object).to_string()
}

/// Control characters and what turns the reading direction would let a log line pretend to be others.
fn escape(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2028}'..='\u{2029}').contains(&c) => {
                let _ = write!(line, "\\u{{{:x}}}", c as u32);
            }
            c => line.push(c),
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

enum Value {
    Json(serde_json::Value),
    Text(String),
}

impl Fields {
    fn text(&mut self, field: &Field, mut text: String) {
        if text.len() > MAX_VALUE_BYTES {
            let end = (0..=MAX_VALUE_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        match field.name() {
            "message" => self.message = text,
            name => self.rest.push((name, Value::Text(text))),
        }
    }

    fn json(&mut self, field: &Field, value: serde_json::Value) {
        self.rest.push((field.name(), Value::Json(value)));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, value.to_string());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.json(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.json(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.json(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.json(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Period;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        fn take(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock());
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
        }
    }

    fn setup(
        config: &OwnLogsConfig,
        rust_log: Option<&str>,
    ) -> (OwnLogs, Captured, Clock, tracing::subscriber::DefaultGuard) {
        let captured = Captured::default();
        let clock = Clock::manual(1_700_000_000_000_000_000);
        let (logs, subscriber) =
            OwnLogs::new(config, rust_log.map(str::to_owned), clock.clone(), Box::new(captured.clone()));
        (logs, captured, clock, tracing::subscriber::set_default(subscriber))
    }

    #[test]
    fn one_event_is_one_line_whatever_it_contains() {
        let (_logs, captured, _, _guard) = setup(&OwnLogsConfig::default(), None);
        tracing::warn!(count = 3, on = true, body = "a\nb\u{1b}[31m\u{202e}", "hello\r\nFAKE line");
        let lines = captured.take();
        let expected = "2023-11-14T22:13:20.000Z  WARN lipservice::telemetry::own_logs::tests: hello\\r\\nFAKE line count=3 \
            on=true body=a\\nb\\u{1b}[31m\\u{202e}";
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn json_lines() {
        let config = OwnLogsConfig { format: LogFormat::Json, ..OwnLogsConfig::default() };
        let (_logs, captured, _, _guard) = setup(&config, None);
        tracing::error!(count = 3, level = "x", text = ?"a\nb", "hello\n");
        let lines = captured.take();
        let expected = r#"{"timestamp":"2023-11-14T22:13:20.000Z","level":"error","target":"lipservice::telemetry::own_logs::tests","message":"hello\n","count":3,"field.level":"x","text":"\"a\\nb\""}"#;
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn repeating_lines_are_held_back_and_counted() {
        let (logs, captured, clock, _guard) = setup(&OwnLogsConfig::default(), None);
        let repeat = |times: u32| (0..times).for_each(|n| tracing::info!(n, "again"));
        repeat(25);
        tracing::info!("another place is not held back");
        (0..30).for_each(|n| tracing::info!(target: "lipservice::config", n, "nor are errors of the configuration"));
        assert_eq!(captured.take().len(), 41);
        logs.report_held_back();
        assert_eq!(captured.take(), [""; 0], "the tick is not over");

        clock.advance(Duration::from_secs(10));
        repeat(1);
        let lines = captured.take();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("15 similar lines suppressed place=src/telemetry/own_logs.rs:"), "{lines:?}");

        repeat(12);
        clock.advance(Duration::from_secs(10));
        captured.take();
        logs.report_held_back();
        logs.report_held_back();
        let lines = captured.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(": 3 similar lines suppressed"), "{lines:?}");
    }

    #[test]
    fn level_format_and_sampling_can_be_changed() {
        let (logs, captured, _, _guard) = setup(&OwnLogsConfig::default(), None);
        let say = || {
            tracing::debug!("quiet");
            tracing::debug!(target: "hyper", "other");
        };
        say();
        assert_eq!(captured.take().len(), 0);
        let sampling = LogSamplingConfig { enabled: true, initial: 1, tick: Period::secs(1) };
        logs.configure(&OwnLogsConfig { level: LogLevel::Debug, format: LogFormat::Json, sampling });
        say();
        say();
        let lines = captured.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with('{'));
    }

    #[test]
    fn rust_log_wins() {
        let (logs, captured, _, _guard) = setup(&OwnLogsConfig::default(), Some("lipservice=error"));
        tracing::warn!("quiet");
        logs.configure(&OwnLogsConfig { level: LogLevel::Trace, ..OwnLogsConfig::default() });
        tracing::warn!("still quiet");
        tracing::error!("loud");
        assert_eq!(captured.take().len(), 1);
    }

    #[test]
    fn long_values_are_cut() {
        let (_logs, captured, _, _guard) = setup(&OwnLogsConfig::default(), None);
        tracing::info!(body = "é".repeat(1 << 20), "long");
        assert!(captured.take()[0].len() < MAX_VALUE_BYTES + 200);
    }
}
