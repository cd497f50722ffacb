//! The words around the patterns: two MiniJinja templates.
//!
//! Purpose: `config/prompts/system.j2` and `patterns.j2`, built in, or the same two files in a directory of one's own.
//! Promises: a template that does not render is found at the start; rendering is bounded (fuel) and strict (an unknown
//! variable is an error); the version is a hash of both texts, so that an answer names what it was asked.
//! Never: passes a text of a log that is not yet quoted: `lines` are finished JSON.

use std::path::Path;

use minijinja::{Environment, UndefinedBehavior, context};
use sha2::{Digest, Sha256};

use super::config::AnswerDetail;
use super::facts::Category;

const SYSTEM: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/prompts/system.j2"));
const PATTERNS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/prompts/patterns.j2"));
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Instructions one rendering may take; the built-in prompts take some hundreds.
const FUEL: u64 = 100_000;

/// Why prompts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A file cannot be read.
    #[error("cannot read the prompt {path}: {why}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        why: String,
    },
    /// A template does not render.
    #[error("the prompt {name} does not render: {why}")]
    Template {
        /// `system.j2` or `patterns.j2`.
        name: &'static str,
        /// MiniJinja's words.
        why: String,
    },
}

/// Both prompts.
#[derive(Clone, Debug)]
pub struct Prompts {
    system: String,
    patterns: String,
    version: String,
}

impl Default for Prompts {
    fn default() -> Self {
        Prompts::new(SYSTEM.to_owned(), PATTERNS.to_owned())
    }
}

impl Prompts {
    fn new(system: String, patterns: String) -> Self {
        let mut hash = Sha256::new();
        hash.update((system.len() as u64).to_le_bytes());
        hash.update(&system);
        hash.update(&patterns);
        let version = hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        Prompts { system, patterns, version }
    }

    /// Reads the prompts of a directory; the built-in ones without.
    ///
    /// # Errors
    /// A file that is missing or too large, a template that does not render.
    pub fn load(directory: Option<&str>) -> Result<Prompts, PromptError> {
        let prompts = match directory {
            None => Prompts::default(),
            Some(directory) => {
                let directory = Path::new(directory);
                Prompts::new(read(&directory.join("system.j2"))?, read(&directory.join("patterns.j2"))?)
            }
        };
        for detail in [AnswerDetail::Full, AnswerDetail::ScoreOnly] {
            prompts.system(detail)?;
            prompts.patterns(&["{}".to_owned()], detail)?;
        }
        Ok(prompts)
    }

    /// A hash of both texts.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What the model is told once.
    ///
    /// # Errors
    /// A template that does not render.
    pub fn system(&self, detail: AnswerDetail) -> Result<String, PromptError> {
        let categories: Vec<_> =
            Category::ALL.iter().map(|(_, name, meaning)| context! { name => *name, meaning => *meaning }).collect();
        let context = context! { categories => categories, score_only => detail == AnswerDetail::ScoreOnly };
        render("system.j2", &self.system, context)
    }

    /// The patterns of one request, each a line of JSON.
    ///
    /// # Errors
    /// A template that does not render.
    pub fn patterns(&self, lines: &[String], detail: AnswerDetail) -> Result<String, PromptError> {
        let context = context! { lines => lines.to_vec(), score_only => detail == AnswerDetail::ScoreOnly };
        render("patterns.j2", &self.patterns, context)
    }
}

fn render(name: &'static str, source: &str, context: minijinja::Value) -> Result<String, PromptError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.render_str(source, context).map_err(|error| PromptError::Template { name, why: error.to_string() })
}

fn read(path: &Path) -> Result<String, PromptError> {
    use std::io::Read as _;
    let fault = |why: String| PromptError::File { path: path.display().to_string(), why };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| fault(error.to_string()))?;
    let bytes = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| fault(error.to_string()))?;
    match bytes as u64 > MAX_FILE_BYTES {
        true => Err(fault(format!("larger than {MAX_FILE_BYTES} bytes"))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_prompts_render() {
        let prompts = Prompts::load(None).unwrap();
        let system = prompts.system(AnswerDetail::Full).unwrap();
        assert!(system.contains("heartbeat") && system.contains("never"), "{system}");
        let lines = ["{\"n\":1}".to_owned(), "{\"n\":2,\"t\":\"{{ x }} ' & <\"}".to_owned()];
        let user = prompts.patterns(&lines, AnswerDetail::ScoreOnly).unwrap();
        assert!(user.contains(&lines[0]) && user.contains(&lines[1]), "as they are, not as templates: {user}");
        assert!(user.contains('2'));
    }

    #[test]
    fn own_prompts_are_checked_at_the_start_and_versioned() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let load = || Prompts::load(directory.path().to_str());
        assert!(matches!(load(), Err(PromptError::File { .. })));
        write("system.j2", "rate {{ categories | length }}");
        write("patterns.j2", "{% for line in lines %}{{ line }}\n{% endfor %}");
        let first = load().unwrap();
        assert_ne!(first.version(), Prompts::default().version());
        assert_eq!(first.system(AnswerDetail::Full).unwrap(), "rate 11");
        for bad in
            ["{{ no_such }}", "{% for", "{% for i in range(9999999) %}x{% endfor %}", "{% include '/etc/passwd' %}"]
        {
            write("patterns.j2", bad);
            assert!(matches!(load(), Err(PromptError::Template { name: "patterns.j2", .. })), "{bad}");
        }
        write("patterns.j2", &"x".repeat(MAX_FILE_BYTES as usize + 1));
        assert!(matches!(load(), Err(PromptError::File { .. })));
    }
}
