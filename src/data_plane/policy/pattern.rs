//! Regular expressions of policies.
//!
//! Purpose: compile RE2 syntax with bounds on the size of the result.
//! Promises: linear-time matching; a pattern that is invalid in RE2 or too large is an error; where the regex crate reads
//! the same pattern differently, RE2's reading holds.
//! Never: matches by backtracking.
//!
//! What differs and is rewritten here: `\d \s \w \b` are ASCII in RE2, `[` inside a class is itself, `&&`, `--` and `~~`
//! are no set operations, `\Q…\E` and octal escapes exist, `\<` is `<`, `{` that begins no repetition is itself, and the
//! flags x, u and R do not exist. Source: RE2's documented syntax.

use std::iter::Peekable;
use std::str::Chars;

use regex::bytes::{Regex, RegexBuilder};

/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 16 << 10;
/// Largest compiled pattern, in bytes.
const MAX_COMPILED_BYTES: usize = 1 << 20;

const CLASS_NAMES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Why a pattern does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatternError {
    Invalid,
    TooLarge,
}

/// Compiles a pattern in RE2 syntax.
pub(super) fn compile(source: &str, fold: bool) -> Result<Regex, PatternError> {
    if source.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLarge);
    }
    let rewritten = Rewriter { rest: source.chars().peekable(), out: String::with_capacity(source.len() + 16) };
    build(&rewritten.run().ok_or(PatternError::Invalid)?, fold)
}

/// Compiles a pattern in the syntax of the regex crate.
pub(super) fn build(pattern: &str, fold: bool) -> Result<Regex, PatternError> {
    let mut builder = RegexBuilder::new(pattern);
    builder.case_insensitive(fold).size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_COMPILED_BYTES);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
        _ => PatternError::Invalid,
    })
}

/// Rewrites RE2 syntax into that of the regex crate. Every step is `None` when the pattern is not RE2.
struct Rewriter<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
}

/// What an escape means inside and outside of classes.
enum Escape {
    Char(char),
    /// The inside of a class, and whether it is negated.
    Class(&'static str, bool),
    /// As it is for the regex crate.
    Verbatim(String),
}

impl Rewriter<'_> {
    fn run(mut self) -> Option<String> {
        while let Some(c) = self.rest.next() {
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '{' => self.brace(),
                c => self.out.push(c),
            }
        }
        Some(self.out)
    }

    fn starts_with(&self, text: &str) -> bool {
        let mut ahead = self.rest.clone();
        text.chars().all(|c| ahead.next() == Some(c))
    }

    /// A literal, in or out of a class.
    fn literal(&mut self, c: char) {
        if c.is_ascii_alphanumeric() || !c.is_ascii() {
            self.out.push(c);
        } else {
            self.out.push_str(&format!("\\x{{{:02x}}}", u32::from(c)));
        }
    }

    /// Behind a backslash, outside of classes.
    fn escape(&mut self) -> Option<()> {
        match self.rest.peek()? {
            'Q' => {
                self.rest.next();
                while !self.starts_with("\\E") {
                    // An open quotation reaches to the end.
                    let Some(c) = self.rest.next() else { return Some(()) };
                    self.literal(c);
                }
                self.rest.nth(1);
            }
            'A' | 'z' => {
                self.out.push('\\');
                self.out.extend(self.rest.next());
            }
            'b' | 'B' => {
                self.out.push_str("(?-u:\\");
                self.out.extend(self.rest.next());
                self.out.push(')');
            }
            _ => match self.escape_of_char_or_class()? {
                Escape::Char(c) => self.literal(c),
                Escape::Class(inside, negated) => {
                    self.out.push_str(if negated { "[^" } else { "[" });
                    self.out.push_str(inside);
                    self.out.push(']');
                }
                Escape::Verbatim(text) => self.out.push_str(&text),
            },
        }
        Some(())
    }

    /// Behind a backslash, where a character or a class of them may stand.
    fn escape_of_char_or_class(&mut self) -> Option<Escape> {
        const DIGIT: &str = "0-9";
        const SPACE: &str = r"\t\n\f\r ";
        const WORD: &str = "0-9A-Za-z_";
        Some(match self.rest.next()? {
            'd' => Escape::Class(DIGIT, false),
            'D' => Escape::Class(DIGIT, true),
            's' => Escape::Class(SPACE, false),
            'S' => Escape::Class(SPACE, true),
            'w' => Escape::Class(WORD, false),
            'W' => Escape::Class(WORD, true),
            'a' => Escape::Char('\x07'),
            'f' => Escape::Char('\x0c'),
            't' => Escape::Char('\t'),
            'n' => Escape::Char('\n'),
            'r' => Escape::Char('\r'),
            'v' => Escape::Char('\x0b'),
            'x' => Escape::Char(self.hexadecimal()?),
            c @ '0'..='7' => Escape::Char(self.octal(c)?),
            c @ ('p' | 'P') => Escape::Verbatim(self.property(c)?),
            c if c.is_ascii_punctuation() || c.is_ascii_control() || c == ' ' => Escape::Char(c),
            _ => return None,
        })
    }

    fn hexadecimal(&mut self) -> Option<char> {
        let digits: String = if self.rest.next_if_eq(&'{').is_some() {
            let digits = std::iter::from_fn(|| self.rest.next_if(char::is_ascii_hexdigit)).take(8).collect();
            self.rest.next_if_eq(&'}')?;
            digits
        } else {
            [self.rest.next()?, self.rest.next()?].iter().collect()
        };
        char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
    }

    /// `\0` to `\077`, or two or three digits: a single digit from 1 on would be a back-reference, which RE2 lacks.
    fn octal(&mut self, first: char) -> Option<char> {
        let mut value = first.to_digit(8)?;
        let mut digits = 1;
        while digits < 3
            && let Some(digit) = self.rest.next_if(|c| c.is_digit(8))
        {
            value = value * 8 + digit.to_digit(8)?;
            digits += 1;
        }
        if first != '0' && digits == 1 { None } else { char::from_u32(value) }
    }

    /// `\pN`, `\p{Name}` and `\p{^Name}`.
    fn property(&mut self, which: char) -> Option<String> {
        let c = self.rest.next()?;
        if c != '{' {
            return Some(format!("\\{which}{c}"));
        }
        let is_inverse = self.rest.next_if_eq(&'^').is_some();
        let name: String =
            std::iter::from_fn(|| self.rest.next_if(|&c| c.is_ascii_alphanumeric() || c == '_')).collect();
        self.rest.next_if_eq(&'}')?;
        let negated = is_inverse != (which == 'P');
        Some(format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' }))
    }

    /// Behind a `(`: of the extensions, only names and the flags i, m, s and U exist.
    fn group(&mut self) -> Option<()> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Some(());
        }
        self.out.push('?');
        if self.starts_with("P<") || self.starts_with("<") {
            return Some(());
        }
        for c in self.rest.by_ref() {
            self.out.push(c);
            match c {
                ')' | ':' => return Some(()),
                'i' | 'm' | 's' | 'U' | '-' => {}
                _ => return None,
            }
        }
        None
    }

    /// Behind a `{`: a repetition, or itself.
    fn brace(&mut self) {
        let ahead: String = self.rest.clone().take(10).collect();
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let is_repetition = ahead.split_once('}').is_some_and(|(inside, _)| match inside.split_once(',') {
            None => is_number(inside),
            Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
        });
        self.out.push_str(if is_repetition { "{" } else { "\\{" });
    }

    /// Behind a `[`.
    fn class(&mut self) -> Option<()> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            let c = self.rest.next()?;
            if c == ']' && !is_first {
                self.out.push(']');
                return Some(());
            }
            is_first = false;
            if c == '[' && self.rest.peek() == Some(&':') && self.named_class()? {
                continue;
            }
            if let Some(low) = self.class_item(c)? {
                self.range(low)?;
            }
        }
    }

    /// Behind a `[` inside a class, in front of a colon: `[:alpha:]`, if it is one.
    fn named_class(&mut self) -> Option<bool> {
        let ahead: String = self.rest.clone().skip(1).take(12).collect();
        let Some((name, _)) = ahead.split_once(":]") else { return Some(false) };
        if !CLASS_NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return None;
        }
        self.out.push_str(&format!("[:{name}:]"));
        self.rest.nth(name.chars().count() + 2);
        Some(true)
    }

    /// One item of a class that begins with `c`: a character is returned, anything else is written.
    fn class_item(&mut self, c: char) -> Option<Option<char>> {
        if c != '\\' {
            return Some(Some(c));
        }
        match self.escape_of_char_or_class()? {
            Escape::Char(c) => return Some(Some(c)),
            Escape::Class(inside, false) => self.out.push_str(inside),
            Escape::Class(inside, true) => self.out.push_str(&format!("[^{inside}]")),
            Escape::Verbatim(text) => self.out.push_str(&text),
        }
        Some(None)
    }

    /// A character of a class, and the end of the range it may begin.
    fn range(&mut self, low: char) -> Option<()> {
        self.literal(low);
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || matches!(ahead.next(), None | Some(']')) {
            return Some(());
        }
        self.rest.next();
        self.out.push('-');
        let c = self.rest.next()?;
        // A class is no end of a range.
        let high = self.class_item(c)??;
        self.literal(high);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_read_as_re2_does() {
        for (pattern, matching, other) in [
            (r"^\d+$", "123", "١٢٣"),
            (r"^\w+$", "a_9", "é"),
            (r"^\W$", "é", "e"),
            (r"a\sb", "a\tb", "a\u{a0}b"),
            (r"\bx\b", "éx", "yx"),
            (r"a\Bb", "ab", "a b"),
            (r"^[[]$", "[", "x"),
            (r"^[a&&b]$", "&", "x"),
            (r"^[]a]$", "]", "b"),
            (r"^[^]a]$", "b", "]"),
            (r"^[a-]$", "-", "b"),
            (r"^[-a]$", "-", "b"),
            (r"^[\d-x]$", "-", "w"),
            (r"^[\w.]+$", "a.b", "a b"),
            (r"^[^\s]$", "x", " "),
            (r"^[\S]$", "x", " "),
            (r"^[[:alpha:]_]+$", "a_B", "1"),
            (r"^[[:^digit:]]$", "a", "1"),
            (r"^[+--]$", ",", "."),
            (r"^\Qa.b\E+$", "a.bb", "axb"),
            (r"^\Q[x", "[x", "x"),
            (r"^\101\x42\x{43}$", "ABC", "abc"),
            (r"^a{,2}$", "a{,2}", "aa"),
            (r"^a{2}$", "aa", "a{2}"),
            (r"^{$", "{", "x"),
            (r"^\<a\>$", "<a>", "a"),
            (r"^\p{Greek}\PL$", "α1", "a1"),
            (r"^\p{^Greek}$", "a", "α"),
            (r"(?i)^abc$", "ABC", "abd"),
            (r"^(?i:a)b$", "Ab", "AB"),
            (r"^(?P<n>a)(?<m>b)$", "ab", "ba"),
            (r"^a.c$", "aéc", "a\nc"),
            (r"(?s)^a.c$", "a\nc", "ac"),
            (r"^a$", "a", "a\n"),
        ] {
            let regex = compile(pattern, false).unwrap_or_else(|error| panic!("{pattern}: {error:?}"));
            assert!(regex.is_match(matching.as_bytes()), "{pattern} must match {matching}");
            assert!(!regex.is_match(other.as_bytes()), "{pattern} must not match {other}");
        }
    }

    #[test]
    fn what_is_not_re2_is_refused() {
        for pattern in [
            r"(",
            r")",
            r"[a",
            r"*",
            r"\",
            r"\1",
            r"(?x)a",
            r"(?u)a",
            r"(?=a)",
            r"(?!a)",
            r"(?<=a)",
            r"\C",
            r"\Z",
            r"\k",
            r"\u0041",
            r"[z-a]",
            r"[a-\d]",
            r"\x{110000}",
            r"\xg",
            r"\8",
            r"[[:nope:]]",
            r"\p{Nope}",
            r"a{1001}{1001}",
        ] {
            assert!(compile(pattern, false).is_err(), "{pattern}");
        }
        assert_eq!(compile(&"a".repeat(MAX_PATTERN_BYTES + 1), false).err(), Some(PatternError::TooLarge));
        assert_eq!(compile(r"(\pL{100}){100}", false).err(), Some(PatternError::TooLarge));
    }
}
