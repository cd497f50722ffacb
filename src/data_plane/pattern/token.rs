//! A template as a sequence of tokens (`spec/patterns.md`).
//!
//! Purpose: cut a template into the pieces that mining compares and the trie matches, and write them as text again.
//! Promises: a pure function of the text; canonical, so that lists, repetitions and adjacent variables of any length are
//! one token sequence; `tokens(text_of(t))` gives `t` back for every `t` that [`reads_back`] accepts.
//! Never: knows words of any program or language.

/// A variable in a template.
pub const VARIABLE: &str = "<*>";
/// Tokens of one template at most; what follows is not looked at.
pub const MAX_TOKENS: usize = 256;
/// Longest text between quotes that is one token, in bytes.
const MAX_QUOTED_BYTES: usize = 200;
/// Longest period of a repetition, in tokens.
const MAX_PERIOD: usize = 4;

/// What a token is, by its look alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `<*>`.
    Variable,
    /// Text with a variable in it: `blk_<*>`.
    Mixed,
    /// What stands between two quotes.
    Quoted,
    /// A name with separators or digits inside: `java.lang.String`, `node-b`, `x86`.
    Name,
    /// Three or more items with commas between.
    List,
    /// Two items with a comma between.
    Pair,
    /// A plain word.
    Word,
    /// Neither letter nor digit.
    Mark,
}

/// One token of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its text, without the quotes of a quoted one.
    pub text: Box<str>,
    /// Whether a space stands before it.
    pub space: bool,
}

impl Token {
    /// A variable.
    pub fn variable(space: bool) -> Self {
        Token { kind: Kind::Variable, text: VARIABLE.into(), space }
    }

    fn new(text: &str, space: bool) -> Self {
        Token { kind: kind_of(text), text: text.into(), space }
    }

    /// Whether both stand for the same text, spaces before them aside.
    pub fn is_same(&self, other: &Token) -> bool {
        self.kind == other.kind && self.text == other.text
    }

    fn holds_variable(&self) -> bool {
        self.text.contains(VARIABLE)
    }
}

/// The canonical tokens of a template.
pub fn tokens(template: &str) -> Vec<Token> {
    let mut tokens = plain_tokens(template);
    collapse(&mut tokens);
    tokens
}

/// The tokens of a template with repetitions as they stand: how a published form is read.
pub fn plain_tokens(template: &str) -> Vec<Token> {
    let mut tokens = lists(scan(template));
    tokens.truncate(MAX_TOKENS);
    tokens
}

/// Tokens as text.
pub fn text_of(tokens: &[Token]) -> String {
    let mut text = String::with_capacity(tokens.len() * 8);
    for token in tokens {
        if token.space && !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&token.text);
    }
    text
}

/// Whether the text of `tokens` reads as the same tokens again.
pub fn reads_back(tokens: &[Token]) -> bool {
    let again = plain_tokens(&text_of(tokens));
    again.len() == tokens.len() && std::iter::zip(&again, tokens).all(|(a, b)| a.is_same(b))
}

fn is_space(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

fn is_delimiter(byte: u8) -> bool {
    matches!(
        byte,
        b',' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'"' | b'\'' | b'=' | b'|' | b'<' | b'>' | b':'
    )
}

/// Cuts text into tokens, one after the other.
struct Scanner<'a> {
    text: &'a str,
    out: Vec<Token>,
    /// Where the token being read began.
    start: usize,
    /// Whether a space came since the last token.
    space: bool,
}

fn scan(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut scanner = Scanner { text, out: Vec::new(), start: 0, space: false };
    let mut i = 0;
    while i < bytes.len() {
        i = scanner.step(i);
    }
    scanner.flush(i);
    scanner.out
}

impl Scanner<'_> {
    fn is_inside(&self, at: usize) -> bool {
        self.start < at
    }

    fn push(&mut self, text: &str) {
        self.out.push(Token::new(text, self.space));
        self.space = false;
    }

    /// Ends the token being read at `at`; full stops and the like at its end are a token of their own.
    fn flush(&mut self, at: usize) {
        let text = self.text;
        let piece = &text[self.start..at];
        let core = piece.trim_end_matches(['.', '!', '?']);
        if !core.is_empty() && core.len() < piece.len() {
            self.push(core);
            self.push(&piece[core.len()..]);
        } else if !piece.is_empty() {
            self.push(piece);
        }
        self.start = at;
    }

    /// Reads from `at` and returns where to go on.
    fn step(&mut self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let rest = &bytes[at..];
        let byte = rest[0];
        if rest.starts_with(VARIABLE.as_bytes()) {
            return at + VARIABLE.len();
        }
        if is_space(byte) {
            self.flush(at);
            self.space = true;
            self.start = at + 1;
            return at + 1;
        }
        if rest.starts_with(b"..") {
            return self.dots(at);
        }
        if matches!(byte, b'"' | b'\'')
            && !self.is_inside(at)
            && let Some(end) = closing_quote(bytes, at)
        {
            return self.quoted(at, end);
        }
        if !is_delimiter(byte) {
            return at + 1;
        }
        if byte == b'\'' && self.is_inside(at) && rest.get(1).is_some_and(|&next| is_word_byte(next)) {
            return at + 1;
        }
        self.delimiter(at)
    }

    fn dots(&mut self, at: usize) -> usize {
        let text = self.text;
        let end = at + text.as_bytes()[at..].iter().take_while(|&&byte| byte == b'.').count();
        let core = &text[self.start..at];
        if !core.is_empty() {
            self.push(core);
        }
        self.push(&text[at..end]);
        self.start = end;
        end
    }

    fn quoted(&mut self, at: usize, end: usize) -> usize {
        let text = self.text;
        self.push(&text[at..=at]);
        let inner = &text[at + 1..end];
        match inner {
            VARIABLE => self.push(inner),
            _ => self.out.push(Token { kind: Kind::Quoted, text: inner.into(), space: false }),
        }
        self.push(&text[end..=end]);
        self.start = end + 1;
        end + 1
    }

    /// A delimiter; empty brackets that no name stands before hold a variable that is empty here.
    fn delimiter(&mut self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let closing = match bytes[at] {
            b'(' => b')',
            b'[' => b']',
            b'{' => b'}',
            _ => 0,
        };
        let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
        let is_call = is_word_byte(before) || matches!(before, b'_' | b'>');
        self.flush(at);
        let text = self.text;
        self.push(&text[at..=at]);
        self.start = at + 1;
        if closing != 0 && !is_call && bytes.get(at + 1) == Some(&closing) {
            self.out.push(Token::variable(false));
        }
        at + 1
    }
}

/// Where the quote at `at` is closed again, if something stands between and it is no apostrophe.
fn closing_quote(bytes: &[u8], at: usize) -> Option<usize> {
    let within = &bytes[at + 1..bytes.len().min(at + 1 + MAX_QUOTED_BYTES)];
    let length = within.iter().position(|byte| *byte == bytes[at])?;
    let end = at + 1 + length;
    let is_apostrophe = bytes[at] == b'\'' && bytes.get(end + 1).is_some_and(|&next| is_word_byte(next));
    (length > 0 && !is_apostrophe).then_some(end)
}

fn kind_of(text: &str) -> Kind {
    if text == VARIABLE {
        return Kind::Variable;
    }
    if text.contains(VARIABLE) {
        return Kind::Mixed;
    }
    let bytes = text.as_bytes();
    let Some(first) = bytes.iter().position(|&byte| is_word_byte(byte)) else { return Kind::Mark };
    let last = bytes.iter().rposition(|&byte| is_word_byte(byte)).unwrap_or(first);
    let is_name = bytes.iter().any(u8::is_ascii_digit)
        || bytes[first..last].iter().any(|&byte| !is_word_byte(byte) && byte != b'\'');
    if is_name { Kind::Name } else { Kind::Word }
}

fn is_mark(token: Option<&Token>, text: &str) -> bool {
    token.is_some_and(|token| &*token.text == text && token.kind == Kind::Mark)
}

fn is_item(token: &Token) -> bool {
    matches!(token.kind, Kind::Variable | Kind::Mixed | Kind::Name | Kind::Word)
}

/// Joins `a, b, c` to one token, `<*>` if every item holds a variable.
fn lists(tokens: Vec<Token>) -> Vec<Token> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        let mut end = i;
        // An item with `=`, `:` or `(` behind it begins something of its own.
        while is_item(&tokens[i])
            && is_mark(tokens.get(end + 1), ",")
            && tokens.get(end + 2).is_some_and(is_item)
            && !["=", ":", "("].iter().any(|mark| is_mark(tokens.get(end + 3), mark))
        {
            end += 2;
        }
        // Words with commas between are a list only where it stands alone: in prose a comma parts clauses.
        let is_edge = |token: Option<&Token>| token.is_none_or(|token| token.kind == Kind::Mark);
        let before = i.checked_sub(1).and_then(|before| tokens.get(before));
        let stands_alone = is_edge(before) && is_edge(tokens.get(end + 1));
        let holds_variables = tokens[i..=end].iter().step_by(2).all(Token::holds_variable);
        if end == i || !(stands_alone || holds_variables) {
            end = i;
            out.push(tokens[i].clone());
        } else {
            out.push(list(&tokens[i..=end]));
        }
        i = end + 1;
    }
    out
}

fn list(tokens: &[Token]) -> Token {
    let items = || tokens.iter().step_by(2);
    let space = tokens[0].space;
    if items().all(Token::holds_variable) {
        return Token::variable(space);
    }
    let kind = if items().count() > 2 { Kind::List } else { Kind::Pair };
    let text = items().map(|item| &*item.text).collect::<Vec<_>>().join(", ");
    Token { kind, text: text.into(), space }
}

/// Writes repetitions that hold a variable, adjacent variables, and variables with a comma between once. Without the end
/// of it, the sequence would depend on how many there are.
pub fn collapse(tokens: &mut Vec<Token>) {
    loop {
        let before = tokens.len();
        adjacent(tokens);
        for period in 1..=MAX_PERIOD {
            repeated(tokens, period);
        }
        if tokens.len() == before {
            return;
        }
    }
}

fn adjacent(tokens: &mut Vec<Token>) {
    let is_variable = |token: &Token| token.kind == Kind::Variable;
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens.drain(..) {
        if is_variable(&token) {
            if out.last().is_some_and(is_variable) {
                continue;
            }
            if is_mark(out.last(), ",") && out.len() > 1 && is_variable(&out[out.len() - 2]) {
                out.pop();
                continue;
            }
        }
        out.push(token);
    }
    *tokens = out;
}

fn repeated(tokens: &mut Vec<Token>, period: usize) {
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        let next = tokens.get(i..i + period).unwrap_or_default();
        let last = &out[out.len().saturating_sub(period)..];
        let is_repeated = next.len() == period
            && last.len() == period
            && std::iter::zip(next, last).all(|(a, b)| a.is_same(b))
            && last.iter().any(Token::holds_variable);
        if is_repeated {
            i += period;
        } else {
            out.push(tokens[i].clone());
            i += 1;
        }
    }
    *tokens = out;
}
