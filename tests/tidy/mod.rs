//! The rules of the code that no compiler checks: who may name whom, how long things grow, what is not written.
//!
//! Each test lists every offence. Exceptions stand in one table, with their reasons, in `rules.rs`.

mod rules;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rules::{EXCEPTIONS, GROUPS, Group};
use source::{Source, root, sources, tree_files};

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
/// Shorter files may have a shorter header.
const SHORT_FILE_LINES: usize = 30;
/// Larger files are data, and data sets do not belong in the tree.
const MAX_TREE_FILE_BYTES: u64 = 2 << 20;
/// Words that say nothing about what a thing does.
const EMPTY_WORDS: [&str; 4] = ["Manager", "Helper", "Util", "Common"];

/// Something against a rule.
struct Offence {
    rule: &'static str,
    path: String,
    line: usize,
    detail: String,
}

impl Offence {
    fn new(rule: &'static str, path: &str, line: usize, detail: impl Into<String>) -> Self {
        Offence { rule, path: path.to_owned(), line, detail: detail.into() }
    }

    fn is_excepted(&self) -> bool {
        EXCEPTIONS.iter().any(|exception| exception.rule == self.rule && exception.path == self.path)
    }
}

/// Fails with all offences that have no exception, and with exceptions of these rules that nothing needs.
fn report(rules: &[&str], offences: &[Offence]) {
    let mut lines: Vec<String> = offences
        .iter()
        .filter(|offence| !offence.is_excepted())
        .map(|offence| format!("{}:{}: {}: {}", offence.path, offence.line, offence.rule, offence.detail))
        .collect();
    for exception in EXCEPTIONS.iter().filter(|exception| rules.contains(&exception.rule)) {
        assert!(!exception.reason.is_empty());
        if !offences.iter().any(|offence| offence.rule == exception.rule && offence.path == exception.path) {
            lines.push(format!("{}: the exception from {} is not needed", exception.path, exception.rule));
        }
    }
    assert!(lines.is_empty(), "{} offences:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn files_and_functions_stay_short() {
    let mut offences = Vec::new();
    for source in sources(&["src", "tests", "benches", "examples", "fuzz"]) {
        let lines = source.text.lines().count();
        if lines > MAX_FILE_LINES {
            offences.push(Offence::new("file length", &source.path, 1, format!("{lines} lines, not {MAX_FILE_LINES}")));
        }
        for function in source.functions() {
            if function.lines > MAX_FUNCTION_LINES {
                let detail = format!("{} has {} lines, not {MAX_FUNCTION_LINES}", function.name, function.lines);
                offences.push(Offence::new("function length", &source.path, function.line, detail));
            }
        }
    }
    report(&["file length", "function length"], &offences);
}

#[test]
fn every_module_says_what_it_is() {
    let mut offences = Vec::new();
    for source in sources(&["src", "tests", "benches", "examples"]) {
        let header = source.text.lines().take_while(|line| line.starts_with("//!"));
        let header = header.filter(|line| line.trim() != "//!").count();
        let is_short = source.text.lines().count() < SHORT_FILE_LINES;
        let least = if is_short || source.is_test_file { 1 } else { 3 };
        if !(least..=12).contains(&header) {
            let detail = format!("{header} lines of //!, not {least} to 12");
            offences.push(Offence::new("header", &source.path, 1, detail));
        }
    }
    report(&["header"], &offences);
}

#[test]
fn names_point_one_way() {
    let mut offences = Vec::new();
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in sources(&["src"]) {
        if ["src/main.rs", "src/lib.rs"].contains(&source.path.as_str()) {
            continue;
        }
        let module = source.module_path();
        let Some(group) = group_of(&module) else {
            offences.push(Offence::new("direction", &source.path, 1, "no place in the table of tests/tidy/rules.rs"));
            continue;
        };
        for (line, target) in source.references() {
            let Some(to) = group_of(&target) else {
                // A macro or the crate's root has no direction.
                continue;
            };
            if to.module == group.module {
                continue;
            }
            edges.entry(group.module).or_default().insert(to.module);
            let path = target.join("::");
            let allowed = group.may_name.iter().any(|prefix| is_below(&path, prefix));
            if !allowed {
                let detail = format!("{} may not name {path}", group.module);
                offences.push(Offence::new("direction", &source.path, line, detail));
            }
        }
    }
    if let Some(cycle) = find_cycle(&edges) {
        offences.push(Offence::new("direction", "src", 0, format!("a cycle: {}", cycle.join(" -> "))));
    }
    report(&["direction"], &offences);
}

fn is_below(path: &str, prefix: &str) -> bool {
    path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("::"))
}

/// The most specific group of a path.
fn group_of(path: &[String]) -> Option<&'static Group> {
    let path = path.join("::");
    GROUPS.iter().filter(|group| is_below(&path, group.module)).max_by_key(|group| group.module.len())
}

fn find_cycle(edges: &BTreeMap<&str, BTreeSet<&str>>) -> Option<Vec<String>> {
    fn visit(
        at: &str,
        edges: &BTreeMap<&str, BTreeSet<&str>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(start) = way.iter().position(|module| module == at) {
            way.drain(..start);
            way.push(at.to_owned());
            return true;
        }
        if !done.insert(at.to_owned()) {
            return false;
        }
        way.push(at.to_owned());
        let found = edges.get(at).into_iter().flatten().any(|next| visit(next, edges, way, done));
        if !found {
            way.pop();
        }
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| {
        let mut way = Vec::new();
        visit(start, edges, &mut way, &mut done).then_some(way)
    })
}

#[test]
fn what_is_not_written() {
    let mut offences = Vec::new();
    for source in sources(&["src", "tests", "benches", "examples", "fuzz"]) {
        banned_tokens(&source, &mut offences);
        empty_names(&source, &mut offences);
    }
    report(&["unbounded", "todo", "allow", "unwrap", "name"], &offences);
}

fn banned_tokens(source: &Source, offences: &mut Vec<Offence>) {
    for (line, text) in source.code_lines() {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("unbounded") {
                offences.push(Offence::new("unbounded", &source.path, line, word));
            }
        }
        if text.contains("todo!") || text.contains("unimplemented!") {
            offences.push(Offence::new("todo", &source.path, line, text.trim()));
        }
        if text.contains("#[allow(") || text.contains("#![allow(") {
            offences.push(Offence::new("allow", &source.path, line, "write #[expect(…, reason = …)]"));
        }
        let unwraps = text.contains(".unwrap()") || text.contains(".expect(");
        if unwraps && !source.is_test_line(line) {
            offences.push(Offence::new("unwrap", &source.path, line, text.trim()));
        }
    }
}

fn empty_names(source: &Source, offences: &mut Vec<Offence>) {
    let stem = Path::new(&source.path).file_stem().unwrap().to_string_lossy().into_owned();
    let parts = stem.split('_').chain(source.path.split('/'));
    for part in parts {
        let singular = part.trim_end_matches('s');
        if EMPTY_WORDS.iter().any(|word| word.eq_ignore_ascii_case(singular)) {
            offences.push(Offence::new("name", &source.path, 1, format!("{part:?} says nothing about the file")));
        }
    }
    for (line, name) in source.type_names() {
        if let Some(word) = EMPTY_WORDS.iter().find(|word| name.contains(**word)) {
            offences.push(Offence::new("name", &source.path, line, format!("{name}: {word} says nothing")));
        }
    }
}

/// Log data sets have licences of their own and do not belong in the tree.
#[test]
fn no_data_sets_in_the_tree() {
    let mut offences = Vec::new();
    for (path, bytes) in tree_files() {
        let name = path.to_lowercase();
        if name.contains("loghub") || name.contains("_2k.log") || name.ends_with("_structured.csv") {
            offences.push(Offence::new("data", &path, 0, "a loghub data set"));
        } else if bytes > MAX_TREE_FILE_BYTES {
            offences.push(Offence::new("data", &path, 0, format!("{bytes} bytes, not {MAX_TREE_FILE_BYTES}")));
        }
    }
    report(&["data"], &offences);
}

/// The table itself has no way back.
#[test]
fn the_table_of_directions_is_sound() {
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for group in GROUPS {
        for prefix in group.may_name {
            let segments: Vec<String> = prefix.split("::").map(str::to_owned).collect();
            let to = group_of(&segments).unwrap_or_else(|| panic!("{prefix} has no group")).module;
            if to != group.module {
                edges.entry(group.module).or_default().insert(to);
            }
        }
    }
    assert_eq!(find_cycle(&edges), None);
    assert!(root().join("src").is_dir());
}
