//! How well ids group lines: the measures of the log-parsing literature, and the labelled lines to take them on.
//!
//! Purpose: score any function from lines to ids, be they signatures or mined patterns.
//! Promises: GA and FGA exactly as `evaluate.py` beside the data computes them (a test compares); the sets are read from
//! `../shared/loghub`, which is no part of the repository; without it a caller gets no sets and says so loudly.
//! Never: shows or keeps a line of the sets.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::path::{Path, PathBuf};

/// Lines with the name of the template that each was printed by.
pub struct Labelled {
    /// Name of the set.
    pub name: String,
    /// The messages.
    pub lines: Vec<String>,
    /// For each line, its template. Lines without one do not count.
    pub truth: Vec<String>,
}

/// Grouping measured on one set or, as a mean, on several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Grouping accuracy: the share of lines whose group holds exactly the lines of their template.
    pub ga: f64,
    /// F1 over templates of being grouped exactly.
    pub fga: f64,
}

/// Scores of several sets.
pub struct Report {
    /// By set.
    pub rows: Vec<(String, Score)>,
}

impl Report {
    /// The mean over the sets.
    pub fn mean(&self) -> Score {
        let n = self.rows.len() as f64;
        let sum = |of: fn(&Score) -> f64| self.rows.iter().map(|(_, score)| of(score)).sum::<f64>() / n;
        Score { ga: sum(|score| score.ga), fga: sum(|score| score.fga) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, score) in &self.rows {
            writeln!(f, "{name:10} GA {:.4}  FGA {:.4}", score.ga, score.fga)?;
        }
        write!(f, "{:10} GA {:.4}  FGA {:.4}", "mean", self.mean().ga, self.mean().fga)
    }
}

/// Scores what `assign` makes of each set: one id for each line, equal for lines it holds to be of one kind.
pub fn evaluate<Id: Eq + Hash>(sets: &[Labelled], mut assign: impl FnMut(&[String]) -> Vec<Id>) -> Report {
    let rows = sets.iter().map(|set| (set.name.clone(), score(&set.truth, &assign(&set.lines))));
    Report { rows: rows.collect() }
}

/// Scores `ids` against the templates `truth`. Lines whose template is empty are left out.
pub fn score<Id: Eq + Hash>(truth: &[String], ids: &[Id]) -> Score {
    assert_eq!(truth.len(), ids.len(), "one id for each line");
    let mut templates: HashMap<&str, usize> = HashMap::new();
    let mut groups: HashMap<&Id, usize> = HashMap::new();
    let mut both: HashMap<(&str, &Id), usize> = HashMap::new();
    let counted: Vec<_> = truth.iter().map(String::as_str).zip(ids).filter(|(truth, _)| !truth.is_empty()).collect();
    for &(template, id) in &counted {
        *templates.entry(template).or_default() += 1;
        *groups.entry(id).or_default() += 1;
        *both.entry((template, id)).or_default() += 1;
    }
    let exact = both.iter().filter(|&(&(template, id), &n)| n == templates[template] && n == groups[id]);
    let (mut count, mut lines) = (0, 0);
    for (_, n) in exact {
        count += 1;
        lines += n;
    }
    if count == 0 {
        return Score::default();
    }
    let (precision, recall) = (f64::from(count) / groups.len() as f64, f64::from(count) / templates.len() as f64);
    Score { ga: lines as f64 / counted.len() as f64, fga: 2.0 * precision * recall / (precision + recall) }
}

/// Where the sets are, if they are at hand.
pub fn directory() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/loghub");
    path.is_dir().then_some(path)
}

/// The files of the sets, by name.
pub fn files() -> Vec<PathBuf> {
    let Some(directory) = directory() else { return Vec::new() };
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    files.sort();
    files
}

/// The labelled sets, or none where the data is not at hand; `test` is told on standard error what was left out.
pub fn sets(test: &str) -> Vec<Labelled> {
    let files = files();
    if files.is_empty() {
        eprintln!("SKIPPED {test}: no labelled lines in ../shared/loghub");
    }
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Labelled {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let mut rows = rows(&text).into_iter();
    let head = rows.next().unwrap();
    let column = |name: &str| head.iter().position(|field| field == name).unwrap();
    let (content, template) = (column("Content"), column("EventTemplate"));
    let name = path.file_name().unwrap().to_string_lossy().split('.').next().unwrap().to_owned();
    let (lines, truth) = rows.map(|row| (row[content].clone(), row[template].clone())).unzip();
    Labelled { name, lines, truth }
}

/// The rows of a CSV text: fields between commas, quoted where they hold one, a quote doubled within quotes.
pub fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut is_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(std::mem::take(&mut field)),
            '\r' if !is_quoted => {}
            '\n' if !is_quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            _ => field.push(c),
        }
    }
    if !row.is_empty() || !field.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows
}
