//! How much it takes to call a position variable.
//!
//! Purpose: weigh the values a position takes and the constant text around it.
//! Promises: integers in hundredths, so that sums do not depend on order; looks at kinds of tokens only.
//! Never: knows words. The weights were tuned on eight labelled data sets and checked on others (docs/patterns.md).

use crate::data_plane::pattern::Kind;

/// Evidence that makes a position variable: four plain words.
pub const NEEDED: u32 = 400;
/// The same where much constant text stands around: three plain words.
pub const NEEDED_IN_RICH_TEXT: u32 = 300;
/// Constant text that counts as much: six words.
pub const RICH_TEXT: u32 = 600;
/// Constant text without which nothing is joined: two words.
pub const LEAST_TEXT: u32 = 200;
/// A plain word.
pub const WORD: u32 = 100;

/// What one value of a position says for it being variable.
pub fn as_value(kind: Kind) -> u32 {
    match kind {
        Kind::Variable => 300,
        Kind::Mixed | Kind::List => 200,
        Kind::Name | Kind::Quoted => 140,
        Kind::Word | Kind::Pair => WORD,
        Kind::Mark => 0,
    }
}

/// What one token counts as constant text.
pub fn as_text(kind: Kind) -> u32 {
    match kind {
        Kind::Word => WORD,
        Kind::Mixed | Kind::Name | Kind::Quoted | Kind::List | Kind::Pair => 50,
        Kind::Mark => 34,
        Kind::Variable => 0,
    }
}

/// Whether a position with values of these kinds is variable, `text` being the constant text around it.
pub fn is_variable(values: impl Iterator<Item = Kind>, text: u32) -> bool {
    if text < LEAST_TEXT {
        return false;
    }
    let needed = if text >= RICH_TEXT { NEEDED_IN_RICH_TEXT } else { NEEDED };
    values.map(as_value).sum::<u32>() >= needed
}
