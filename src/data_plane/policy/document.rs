//! Policy documents as text: YAML or JSON, one or several documents.
//!
//! Purpose: turn bytes into a tree that `read` can look at, and remember where it came from.
//! Promises: size, depth and aliases are bounded before anything is built; what is wrong is said with line and column.
//! Never: knows what a policy is, reads files.

use serde_json::Value;

/// Largest document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 16 << 20;

/// Nodes of one file: as many policies as a set can hold have less than two million.
const MAX_NODES: usize = 4_000_000;

/// One document: a set of policies, a list of them, or a single one.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Where it came from, for messages: a path, a URL, a version id.
    pub source: String,
    pub(super) tree: Value,
}

/// Why a text is not a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Over [`MAX_DOCUMENT_BYTES`].
    #[error("the document has {len} bytes, more than the limit of {MAX_DOCUMENT_BYTES}; split it into several files")]
    TooLarge {
        /// Its size.
        len: usize,
    },
    /// Not UTF-8.
    #[error("the document is not UTF-8 text (at byte {at})")]
    NotText {
        /// The first byte that is wrong.
        at: usize,
    },
    /// Not JSON.
    #[error("not valid JSON: {0}")]
    Json(String),
    /// Not YAML.
    #[error("not valid YAML: {0}")]
    Yaml(String),
}

impl Document {
    /// Reads all documents of a text. A text that begins with `{` or `[` is tried as JSON first; everything else is YAML,
    /// where `---` separates documents. Empty documents are left out.
    ///
    /// # Errors
    /// When the text is too large, not UTF-8, or neither YAML nor JSON.
    pub fn parse(source: &str, text: &[u8]) -> Result<Vec<Document>, DocumentError> {
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(DocumentError::TooLarge { len: text.len() });
        }
        let text = std::str::from_utf8(text).map_err(|error| DocumentError::NotText { at: error.valid_up_to() })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let is_json = source.ends_with(".json") || text.trim_start().starts_with(['{', '[']);
        let trees = match is_json.then(|| serde_json::from_str::<Value>(text)) {
            Some(Ok(tree)) => vec![tree],
            Some(Err(error)) if source.ends_with(".json") => return Err(DocumentError::Json(error.to_string())),
            _ => yaml(text)?,
        };
        let documents = trees.into_iter().filter(|tree| !tree.is_null());
        Ok(documents.map(|tree| Document { source: source.to_owned(), tree }).collect())
    }

    /// What it says, as a tree.
    pub fn tree(&self) -> &Value {
        &self.tree
    }

    /// A document from a tree that is already parsed.
    pub fn from_value(source: &str, tree: Value) -> Document {
        Document { source: source.to_owned(), tree }
    }
}

fn yaml(text: &str) -> Result<Vec<Value>, DocumentError> {
    let options = serde_saphyr::options! {
        // YAML 1.2: only true and false are booleans, so that `equals: off` is a string.
        strict_booleans: true,
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_events: 2 * MAX_NODES },
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| DocumentError::Yaml(error.to_string()))
}
