//! Log text on a terminal or a page.
//!
//! Purpose: log text is hostile; what a person reads must not steer the terminal or reorder the line.
//! Promises: one place says which characters show.
//! Never: escapes for a format, such as HTML; that is the writer's.

/// The character as it is shown: a space for tab and line ends, none for control characters, marks that reorder text, and
/// characters that show nothing.
pub fn visible(c: char) -> Option<char> {
    let is_hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    match c {
        '\t' | '\n' | '\r' => Some(' '),
        c if c.is_control() || is_hidden => None,
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_or_hides_is_left_out() {
        let shown: String =
            "a\tb\r\nc\u{1b}[31m\u{202e}d\u{200b}\u{feff}\u{e0041}é日".chars().filter_map(visible).collect();
        assert_eq!(shown, "a b  c[31mdé日");
    }
}
