//! Regular expressions of policies.
//!
//! Purpose: compile RE2 syntax with bounds on the size of the result.
//! Promises: linear-time matching; a pattern that is invalid or too large is an error.
//! Never: matches by backtracking.

use regex::bytes::{Regex, RegexBuilder};

/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 16 << 10;
/// Largest compiled pattern, in bytes.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// Why a pattern does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatternError {
    Invalid,
    TooLarge,
}

/// Compiles a pattern in RE2 syntax.
pub(super) fn compile(source: &str, fold: bool) -> Result<Regex, PatternError> {
    build(source, fold)
}

/// Compiles a pattern in the syntax of the regex crate.
pub(super) fn build(pattern: &str, fold: bool) -> Result<Regex, PatternError> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLarge);
    }
    let mut builder = RegexBuilder::new(pattern);
    builder.case_insensitive(fold).size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_COMPILED_BYTES);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
        _ => PatternError::Invalid,
    })
}
