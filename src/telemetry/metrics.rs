//! The Prometheus text of one scrape.
//!
//! Purpose: ask every [`MetricSource`] for its numbers and write them in the text exposition format 0.0.4.
//! Promises: names are written as given, without suffixes; label values and help are escaped so that any text
//! survives; families and series are sorted, so two scrapes compare; a series given twice is summed (counter) or
//! replaced (gauge), never written twice; a series that is no longer reported is gone at the next scrape.
//! Never: keeps a number between two scrapes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::RwLock;

use super::{AnomalySource, MetricSink, MetricSource, PatternSource, process};

/// Everything that can be asked for numbers. Cheap to clone; all clones see a replacement.
#[derive(Clone, Default)]
pub struct Sources {
    inner: Arc<RwLock<Inner>>,
}

#[derive(Default)]
struct Inner {
    metrics: Vec<Arc<dyn MetricSource>>,
    patterns: Option<Arc<dyn PatternSource>>,
    anomalies: Option<Arc<dyn AnomalySource>>,
}

impl Sources {
    /// No sources yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces all sources, at the start and at a reload.
    pub fn replace(&self, metrics: Vec<Arc<dyn MetricSource>>, patterns: Option<Arc<dyn PatternSource>>) {
        let mut inner = self.inner.write();
        (inner.metrics, inner.patterns) = (metrics, patterns);
    }

    /// Says who knows the anomalies.
    pub fn set_anomalies(&self, anomalies: Arc<dyn AnomalySource>) {
        self.inner.write().anomalies = Some(anomalies);
    }

    /// Adds one source.
    pub fn add(&self, source: Arc<dyn MetricSource>) {
        self.inner.write().metrics.push(source);
    }

    /// The text of one scrape: every source, the process, the build.
    pub fn render(&self) -> String {
        let metrics = self.inner.read().metrics.clone();
        let mut families = Families::default();
        metrics.iter().for_each(|source| source.collect(&mut families));
        process::collect(&mut families);
        families.render()
    }

    /// Patterns by volume as JSON, if anything knows them.
    pub fn patterns_json(&self, limit: usize) -> Option<String> {
        let patterns = self.inner.read().patterns.clone();
        patterns.map(|patterns| patterns.patterns_json(limit))
    }

    /// Anomalies as JSON, if anything knows them.
    pub fn anomalies_json(&self, limit: usize) -> Option<String> {
        let anomalies = self.inner.read().anomalies.clone();
        anomalies.map(|anomalies| anomalies.anomalies_json(limit))
    }
}

/// The numbers of one scrape.
#[derive(Default)]
pub struct Families {
    families: BTreeMap<&'static str, Family>,
}

struct Family {
    counter: bool,
    help: &'static str,
    /// By rendered labels: `{a="b"}` or nothing.
    series: BTreeMap<String, Number>,
}

enum Number {
    Whole(u64),
    Real(f64),
}

impl Families {
    /// A counter that is not whole, such as seconds.
    pub fn real_counter(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.family(name, help, true).series.insert(String::new(), Number::Real(value));
    }

    /// A name has one type: that of its first use.
    fn family(&mut self, name: &'static str, help: &'static str, counter: bool) -> &mut Family {
        debug_assert!(is_name(name), "{name:?} is no metric name");
        let family = self.families.entry(name).or_insert_with(|| Family { counter, help, series: BTreeMap::new() });
        debug_assert!(family.counter == counter, "{name} is used as a counter and as a gauge");
        family
    }

    /// The exposition text.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 << 10);
        for (name, family) in &self.families {
            let kind = if family.counter { "counter" } else { "gauge" };
            text.push_str("# HELP ");
            text.push_str(name);
            text.push(' ');
            escape(&mut text, family.help, false);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n# TYPE {name} {kind}");
            for (labels, number) in &family.series {
                let _ = match number {
                    Number::Whole(value) => writeln!(text, "{name}{labels} {value}"),
                    Number::Real(value) if value.is_infinite() => {
                        writeln!(text, "{name}{labels} {}Inf", if *value > 0.0 { '+' } else { '-' })
                    }
                    Number::Real(value) => writeln!(text, "{name}{labels} {value}"),
                };
            }
        }
        text
    }
}

impl MetricSink for Families {
    fn counter(&mut self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)], value: u64) {
        let number = self.family(name, help, true).series.entry(render_labels(labels)).or_insert(Number::Whole(0));
        match number {
            Number::Whole(sum) => *sum = sum.saturating_add(value),
            Number::Real(sum) => *sum += value as f64,
        }
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)], value: f64) {
        self.family(name, help, false).series.insert(render_labels(labels), Number::Real(value));
    }
}

fn render_labels(labels: &[(&'static str, &str)]) -> String {
    let mut text = String::new();
    for (index, (name, value)) in labels.iter().enumerate() {
        debug_assert!(is_name(name) && !name.contains(':'), "{name:?} is no label name");
        text.push(if index == 0 { '{' } else { ',' });
        text.push_str(name);
        text.push_str("=\"");
        escape(&mut text, value, true);
        text.push('"');
    }
    if !labels.is_empty() {
        text.push('}');
    }
    text
}

/// The format's escapes: backslash and line feed everywhere, the double quote in label values.
fn escape(text: &mut String, value: &str, quotes: bool) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            c => text.push(c),
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Part(u64);

    impl MetricSource for Part {
        fn collect(&self, out: &mut dyn MetricSink) {
            out.counter("b_records", "Records.", &[("reason", "policy"), ("service", "a\\b\"c\nd")], self.0);
            out.counter("b_records", "Records.", &[], 1);
            out.gauge("a_ratio", "A ratio\nof \\ things.", &[], 0.5);
            out.gauge("a_ratio", "A ratio\nof \\ things.", &[("of", "all")], f64::INFINITY);
        }
    }

    #[test]
    fn the_text_of_a_scrape() {
        let mut families = Families::default();
        Part(3).collect(&mut families);
        let expected = "# HELP a_ratio A ratio\\nof \\\\ things.\n# TYPE a_ratio gauge\na_ratio 0.5\n\
            a_ratio{of=\"all\"} +Inf\n# HELP b_records Records.\n# TYPE b_records counter\nb_records 1\n\
            b_records{reason=\"policy\",service=\"a\\\\b\\\"c\\nd\"} 3\n";
        assert_eq!(families.render(), expected);
    }

    #[test]
    fn a_series_given_twice_is_written_once() {
        let sources = Sources::new();
        sources.replace(vec![Arc::new(Part(3)), Arc::new(Part(4))], None);
        let text = sources.render();
        assert_eq!(text.matches("\nb_records 2\n").count(), 1, "{text}");
        assert!(text.contains("d\"} 7\n"), "{text}");
        // Replaced sources leave nothing behind.
        sources.replace(Vec::new(), None);
        assert!(!sources.render().contains("b_records"));
        assert!(sources.render().contains("lipservice_build_info{version="));
    }

    #[test]
    fn counters_do_not_lose_precision() {
        let mut families = Families::default();
        families.counter("c", "h", &[], (1 << 53) + 1);
        assert!(families.render().ends_with("c 9007199254740993\n"));
    }
}
