//! Rust sources as the tidy rules see them: comments and literals blanked, so that what is left is code.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Directories that are not part of the tree.
const NOT_OURS: [&str; 5] = ["target", ".git", "node_modules", ".venv", "corpus"];

/// The root of the tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the tree with its size, by path from the root.
pub fn tree_files() -> Vec<(String, u64)> {
    let mut files = Vec::new();
    walk(root(), &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let bytes = path.metadata().map_or(0, |metadata| metadata.len());
            (path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), bytes)
        })
        .collect()
}

/// The Rust sources below some directories.
pub fn sources(directories: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    directories.iter().for_each(|directory| walk(&root().join(directory), &mut files));
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        Source::new(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text)
    };
    let mut sources: Vec<Source> = files.iter().map(read).collect();
    let of_tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let module = source.module_path().join("::");
        source.is_test_file = !source.path.starts_with("src/")
            || of_tests.iter().any(|test| module == *test || module.starts_with(&format!("{test}::")));
    }
    sources
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_ours = !NOT_OURS.iter().any(|name| path.ends_with(name));
        if path.is_dir() && is_ours && !path.is_symlink() {
            walk(&path, files);
        } else if path.is_file() {
            files.push(path);
        }
    }
}

/// One file.
pub struct Source {
    /// From the root of the tree.
    pub path: String,
    /// As written.
    pub text: String,
    /// Not part of the product: outside `src`, or a module declared under `#[cfg(test)]`.
    pub is_test_file: bool,
    /// The same characters with comments and literals blanked; lines stay where they are.
    code: Vec<char>,
    /// Line of each character.
    lines: Vec<usize>,
    /// Lines below `#[cfg(test)]`.
    test_lines: Vec<RangeInclusive<usize>>,
}

/// A function with a body.
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where `fn` stands.
    pub line: usize,
    /// From `fn` to the closing brace.
    pub lines: usize,
}

impl Source {
    /// Reads a text.
    pub fn new(path: String, text: String) -> Self {
        let code = blank(&text);
        let mut line = 1;
        let lines = code
            .iter()
            .map(|c| {
                let at = line;
                line += usize::from(*c == '\n');
                at
            })
            .collect();
        let mut source = Source { path, text, is_test_file: false, code, lines, test_lines: Vec::new() };
        source.test_lines = source.find_test_lines();
        source
    }

    /// The code, line by line.
    pub fn code_lines(&self) -> Vec<(usize, String)> {
        let code: String = self.code.iter().collect();
        code.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect()
    }

    /// `src/a/b.rs` is `a::b`, `src/a/mod.rs` is `a`.
    pub fn module_path(&self) -> Vec<String> {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        inside.split('/').map(str::to_owned).collect()
    }

    /// Every function with a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (start, word) in self.words().filter(|(_, word)| word == "fn") {
            let Some(name) = self.word_at(self.skip_blank(start + word.len())) else { continue };
            if let Some(range) = self.block_after(start) {
                let line = self.lines[start];
                functions.push(Function { name, line, lines: self.lines[*range.end()] - line + 1 });
            }
        }
        functions
    }

    /// Names of structs, enums, traits and type aliases.
    pub fn type_names(&self) -> Vec<(usize, String)> {
        self.words()
            .filter(|(_, word)| ["struct", "enum", "trait", "type"].contains(&word.as_str()))
            .filter_map(|(at, word)| Some((self.lines[at], self.word_at(self.skip_blank(at + word.len()))?)))
            .collect()
    }

    /// Whether the line belongs to tests: below `#[cfg(test)]`, or in a file of tests.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.is_test_file || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Paths into this crate: `crate::…`, and `super::…` resolved, groups taken apart.
    pub fn references(&self) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        let inline_modules = self.inline_modules();
        let words: Vec<(usize, String)> = self.words().collect();
        for (index, (at, word)) in words.iter().enumerate() {
            let preceded = *at >= 2 && self.code[at - 1] == ':' && self.code[at - 2] == ':';
            let follows_super = preceded && index > 0 && words[index - 1].1 == "super";
            let base = match word.as_str() {
                "crate" if !preceded => Vec::new(),
                "super" if !follows_super => {
                    let mut module = self.module_path();
                    let inside = inline_modules.iter().filter(|(range, _)| range.contains(at));
                    module.extend(inside.map(|(_, name)| name.clone()));
                    module.pop();
                    module
                }
                _ => continue,
            };
            let mut paths = Vec::new();
            self.path_after(at + word.len(), base, &mut paths);
            found.extend(paths.into_iter().map(|path| (self.lines[*at], path)));
        }
        found
    }

    /// Collects what follows `crate` or `super`: `::a::b`, `::{a, b::c}`, `::super::a`.
    fn path_after(&self, at: usize, mut base: Vec<String>, paths: &mut Vec<Vec<String>>) {
        let at = self.skip_blank(at);
        if self.code.get(at..at + 2) != Some(&[':', ':']) {
            paths.push(base);
            return;
        }
        let at = self.skip_blank(at + 2);
        if self.code.get(at) == Some(&'{') {
            let end = self.matching(at).unwrap_or(at);
            let mut item = at + 1;
            while item < end {
                item = self.skip_blank(item);
                match self.word_at(item) {
                    Some(word) => {
                        let mut path = base.clone();
                        path.push(word.clone());
                        self.path_after(item + word.chars().count(), path, paths);
                    }
                    None => paths.push(base.clone()),
                }
                item = self.next_item(item, end);
            }
            return;
        }
        match self.word_at(at) {
            Some(word) if word == "super" => {
                base.pop();
                self.path_after(at + word.len(), base, paths);
            }
            Some(word) => {
                base.push(word.clone());
                self.path_after(at + word.chars().count(), base, paths);
            }
            None => paths.push(base),
        }
    }

    /// Behind the next comma of this group.
    fn next_item(&self, mut at: usize, end: usize) -> usize {
        while at < end {
            match self.code[at] {
                ',' => return at + 1,
                '{' => at = self.matching(at).unwrap_or(end),
                _ => {}
            }
            at += 1;
        }
        end
    }

    fn inline_modules(&self) -> Vec<(RangeInclusive<usize>, String)> {
        let mut modules = Vec::new();
        for (at, _) in self.words().filter(|(_, word)| word == "mod") {
            let name_at = self.skip_blank(at + 3);
            let Some(name) = self.word_at(name_at) else { continue };
            let open = self.skip_blank(name_at + name.chars().count());
            if self.code.get(open) == Some(&'{') {
                modules.extend(self.matching(open).map(|end| (open..=end, name)));
            }
        }
        modules
    }

    /// The next block in braces, unless a `;` outside brackets comes first.
    fn block_after(&self, at: usize) -> Option<RangeInclusive<usize>> {
        let mut depth = 0;
        for (index, c) in self.code.iter().enumerate().skip(at) {
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' => depth -= 1,
                ';' if depth <= 0 => return None,
                '{' if depth <= 0 => return Some(index..=self.matching(index)?),
                _ => {}
            }
        }
        None
    }

    /// The brace that closes the one at `open`.
    fn matching(&self, open: usize) -> Option<usize> {
        let mut depth = 0;
        for (index, c) in self.code.iter().enumerate().skip(open) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(index);
            }
        }
        None
    }

    /// Modules declared as `#[cfg(test)] mod name;`.
    fn test_modules(&self) -> Vec<String> {
        let marker: Vec<char> = "#[cfg(test)]".chars().collect();
        let starts = (0..self.code.len()).filter(|at| self.code[*at..].starts_with(&marker));
        let named = starts.filter_map(|at| {
            let mut at = self.skip_blank(at + marker.len());
            let mut words = Vec::new();
            while let Some(word) = self.word_at(at) {
                at = self.skip_blank(at + word.chars().count());
                words.push(word);
            }
            let is_file = self.code.get(at) == Some(&';') && words.iter().any(|word| word == "mod");
            words.pop().filter(|_| is_file)
        });
        named.map(|name| [self.module_path(), vec![name]].concat().join("::")).collect()
    }

    fn find_test_lines(&self) -> Vec<RangeInclusive<usize>> {
        let marker: Vec<char> = "#[cfg(test)]".chars().collect();
        let starts = (0..self.code.len()).filter(|at| self.code[*at..].starts_with(&marker));
        starts
            .filter_map(|at| {
                let block = self.block_after(at + marker.len())?;
                Some(self.lines[at]..=self.lines[*block.end()])
            })
            .collect()
    }

    fn skip_blank(&self, mut at: usize) -> usize {
        while self.code.get(at).is_some_and(|c| c.is_whitespace()) {
            at += 1;
        }
        at
    }

    fn word_at(&self, at: usize) -> Option<String> {
        let word: String = self.code.get(at..)?.iter().take_while(|c| is_word(**c)).collect();
        (!word.is_empty()).then_some(word)
    }

    fn words(&self) -> impl Iterator<Item = (usize, String)> {
        let starts =
            (0..self.code.len()).filter(|at| is_word(self.code[*at]) && (*at == 0 || !is_word(self.code[at - 1])));
        starts.filter_map(|at| Some((at, self.word_at(at)?)))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Replaces comments and the insides of string and character literals by blanks.
fn blank(text: &str) -> Vec<char> {
    let mut code: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < code.len() {
        let end = literal_end(&code, at);
        for c in &mut code[at..end] {
            if *c != '\n' {
                *c = ' ';
            }
        }
        at = end.max(at + 1);
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn literal_end(code: &[char], at: usize) -> usize {
    let peek = |offset: usize| code.get(at + offset).copied().unwrap_or('\0');
    let is_prefix = at == 0 || !is_word(code[at - 1]);
    match code[at] {
        '/' if peek(1) == '/' => at + code[at..].iter().position(|c| *c == '\n').unwrap_or(code.len() - at),
        '/' if peek(1) == '*' => block_comment_end(code, at),
        '"' => string_end(code, at + 1),
        // A lifetime has no quote behind its first letter; a literal has one there or begins with a backslash.
        '\'' if peek(1) == '\\' => at + 3 + code[at + 3..].iter().position(|c| *c == '\'').unwrap_or(0) + 1,
        '\'' if peek(2) == '\'' => at + 3,
        'r' | 'b' | 'c' if is_prefix => raw_string_end(code, at).unwrap_or(at),
        _ => at,
    }
}

fn block_comment_end(code: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < code.len() {
        match code.get(at..at + 2) {
            Some(['/', '*']) => (depth, at) = (depth + 1, at + 2),
            Some(['*', '/']) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

fn string_end(code: &[char], mut at: usize) -> usize {
    while at < code.len() {
        match code[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    code.len()
}

/// The end of `r"…"`, `r#"…"#`, `br"…"` and their like.
fn raw_string_end(code: &[char], start: usize) -> Option<usize> {
    let letters = code[start..].iter().take_while(|c| c.is_ascii_alphabetic()).count();
    let word: String = code[start..start + letters].iter().collect();
    if !["r", "br", "cr"].contains(&word.as_str()) {
        return None;
    }
    let hashes = code[start + letters..].iter().take_while(|c| **c == '#').count();
    let open = start + letters + hashes;
    if code.get(open) != Some(&'"') {
        return None;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = open + 1;
    (body..code.len()).find(|at| code[*at..].starts_with(&close)).map(|at| at + close.len())
}

#[test]
fn the_scanner_reads_rust() {
    let text = r###"//! h
use crate::{a::{self, b}, c};
fn one<'a>(x: &'a str) -> [u8; 3] { let c = '{'; let d = '\''; "}\"" /* } /* } */ */; r#"{"# }
struct Thing { x: u8 } // struct Util
mod tests { use super::super::d::E; use super::*; }
#[cfg(test)]
mod t { fn two() { x.unwrap() } }
fn three();
"###;
    let source = Source::new("src/p/q.rs".into(), text.into());
    let names: Vec<(String, usize)> = source.functions().into_iter().map(|f| (f.name, f.line)).collect();
    assert_eq!(names, [("one".to_owned(), 3), ("two".to_owned(), 7)]);
    assert_eq!(source.type_names(), [(4, "Thing".to_owned())]);
    let references: Vec<String> = source.references().into_iter().map(|(_, path)| path.join("::")).collect();
    assert_eq!(references, ["a::self", "a::b", "c", "p::d::E", "p::q"]);
    assert!(source.is_test_line(7) && !source.is_test_line(5));
    let source = Source::new("src/p/mod.rs".into(), "#[cfg(test)]\nmod a;\n#[cfg(test)]\nmod b {}\nmod c;".into());
    assert_eq!(source.test_modules(), ["p::a"]);
}
