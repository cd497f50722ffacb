//! `${env:NAME}` and `${file:/path}` in scalars.
//!
//! Purpose: keep secrets and deployment-specific values out of the file, in the Collector's notation.
//! Promises: works on scalars after YAML was parsed, so a value cannot add keys or lists; a scalar that is one single
//! substitution takes the type its text has in YAML, while a text setting gets the text unchanged; every missing
//! variable is reported, with its path.
//! Never: substitutes inside what was substituted, or in keys.

use std::io::Read;

use super::error::Problem;
use super::node::{Node, Substituted, Value, scalar};

/// Largest file a `${file:…}` may name.
const MAX_SUBSTITUTED_BYTES: u64 = 1 << 20;

/// Looks a variable of the environment up.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Substitutes in every scalar at and below `node`, whose paths are set.
pub fn substitute(node: &mut Node, env: Env<'_>, errors: &mut Vec<Problem>) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| substitute(item, env, errors)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| substitute(node, env, errors)),
        Value::String(written) if written.contains('$') => match expand(written, env) {
            Ok(Expanded { text, whole, any }) => {
                let written = std::mem::take(written);
                node.value = if whole { scalar(&text) } else { Value::String(text.clone()) };
                node.substituted = any.then_some(Substituted { text, written });
            }
            Err((problem, hint)) => {
                errors.push(Problem::new(&*node.path, problem, hint).at(Some(&node.place)));
            }
        },
        _ => {}
    }
}

struct Expanded {
    text: String,
    /// The scalar is one substitution and nothing else.
    whole: bool,
    /// At least one substitution happened (a `$$` is none).
    any: bool,
}

fn expand(written: &str, env: Env<'_>) -> Result<Expanded, (String, String)> {
    let mut text = String::with_capacity(written.len());
    let mut rest = written;
    let mut substitutions = 0;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some(inner) = after.strip_prefix('{') {
            let Some(end) = inner.find('}') else {
                return Err(("a ${ without its }".into(), "write $$ for a dollar sign".into()));
            };
            text.push_str(&resolve(&inner[..end], env)?);
            substitutions += 1;
            rest = &inner[end + 1..];
        } else {
            text.push('$');
            rest = after;
        }
    }
    text.push_str(rest);
    let whole = substitutions == 1 && written.starts_with("${") && written.find('}') == Some(written.len() - 1);
    Ok(Expanded { text, whole, any: substitutions > 0 })
}

/// The value of what stands between `${` and `}`.
fn resolve(expression: &str, env: Env<'_>) -> Result<String, (String, String)> {
    match expression.split_once(':') {
        _ if expression.contains("${") => {
            Err(("a substitution inside a substitution".into(), "write a plain default after :-, without ${".into()))
        }
        Some(("env", inside)) => {
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            if !is_name(name) {
                return Err((
                    format!("{name:?} is not a variable name"),
                    "letters, digits and _ only, as in ${env:POSTHOG_TOKEN}".into(),
                ));
            }
            // As in a shell and the Collector, `:-` also replaces an empty value.
            match (env(name), default) {
                (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
                (Some(value), _) => Ok(value),
                (None, Some(default)) => Ok(default.to_owned()),
                (None, None) => Err((
                    format!("the environment variable {name} is not set"),
                    format!("set it, or write ${{env:{name}:-default}}"),
                )),
            }
        }
        Some(("file", path)) => read(path).map_err(|error| {
            (format!("cannot read {path}: {error}"), "the file must be readable text of at most 1 MiB".into())
        }),
        Some((scheme, _)) if is_name(scheme) => {
            Err((format!("${{{scheme}:…}} is not supported"), "use ${env:NAME} or ${file:/path}".into()))
        }
        None if is_name(expression) => {
            Err((format!("${{{expression}}} says not where to look"), format!("write ${{env:{expression}}}")))
        }
        _ => Err(("a substitution that is not understood".into(), "use ${env:NAME} or ${file:/path}".into())),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The file without its last line end, as mounted secrets often have one.
fn read(path: &str) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(MAX_SUBSTITUTED_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_SUBSTITUTED_BYTES {
        return Err(std::io::Error::other("larger than 1 MiB"));
    }
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::node::parse;

    fn env(name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("phc_x".into()),
            "NUMBER" => Some("0042".into()),
            "TEN" => Some("10".into()),
            "EMPTY" => Some(String::new()),
            "LIST" => Some("[a, b]".into()),
            "TRICK" => Some("x\ninjected: true".into()),
            "DOLLARS" => Some("${env:TOKEN}$$".into()),
            _ => None,
        }
    }

    fn run(written: &str) -> Result<(Value, Option<String>), String> {
        let quoted = serde_json::to_string(written).unwrap();
        let mut node = parse(&quoted, &Arc::from("t.yaml")).unwrap();
        node.name_paths("a.b");
        let mut errors = Vec::new();
        substitute(&mut node, &env, &mut errors);
        match errors.pop() {
            None => Ok((node.value, node.substituted.map(|substituted| substituted.text))),
            Some(problem) => Err(problem.to_string()),
        }
    }

    #[test]
    fn values() {
        for (written, text) in [
            ("plain", "plain"),
            ("${env:TOKEN}", "phc_x"),
            ("Bearer ${env:TOKEN}!", "Bearer phc_x!"),
            ("${env:TOKEN}${env:TOKEN}", "phc_xphc_x"),
            ("${env:MISSING:-us}", "us"),
            ("${env:EMPTY:-us}", "us"),
            ("${env:MISSING:-a:-b}", "a:-b"),
            ("$$ and $${env:TOKEN} and $5", "$ and ${env:TOKEN} and $5"),
            ("a$", "a$"),
            ("${env:LIST}", "[a, b]"),
            ("${env:TRICK}", "x\ninjected: true"),
            ("${env:DOLLARS}", "${env:TOKEN}$$"),
        ] {
            match run(written).unwrap().0 {
                Value::String(value) => assert_eq!(value, text, "{written}"),
                _ => panic!("{written} is no text"),
            }
        }
    }

    #[test]
    fn a_single_substitution_is_typed_and_keeps_its_text() {
        assert!(matches!(run("${env:TEN}").unwrap(), (Value::Int(10), Some(text)) if text == "10"));
        assert!(matches!(run("${env:NUMBER}").unwrap(), (Value::String(_), Some(text)) if text == "0042"));
        assert!(matches!(run("${env:EMPTY}").unwrap(), (Value::Null, Some(text)) if text.is_empty()));
        assert!(matches!(run("${env:TEN}0").unwrap(), (Value::String(text), _) if text == "100"));
    }

    #[test]
    fn errors_name_path_variable_and_hint() {
        for (written, error) in [
            (
                "${env:MISSING}",
                "a.b: the environment variable MISSING is not set (set it, or write ${env:MISSING:-default})",
            ),
            ("${MISSING}", "a.b: ${MISSING} says not where to look (write ${env:MISSING})"),
            ("${env:NO PE}", "a.b: \"NO PE\" is not a variable name (letters, digits"),
            ("${yaml:x}", "a.b: ${yaml:…} is not supported (use ${env:NAME} or ${file:/path})"),
            ("${env:A", "a.b: a ${ without its } (write $$ for a dollar sign)"),
            ("${env:A:-${env:TOKEN}}", "a.b: a substitution inside a substitution"),
            ("${file:/no/such/file}", "a.b: cannot read /no/such/file:"),
            ("${}", "a.b: a substitution that is not understood"),
        ] {
            let found = run(written).err().unwrap();
            assert!(found.starts_with(error), "{written}: {found}");
        }
    }

    #[test]
    fn files_lose_their_last_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "phc_file\n").unwrap();
        let written = format!("${{file:{}}}", path.display());
        assert!(matches!(run(&written).unwrap().0, Value::String(text) if text == "phc_file"));
    }
}
