//! Reads as much of HogQL as is asked of table `logs`; see `sql`.

use super::sql::{Expr, Select, Value};

const DEFAULT_ROWS: usize = 100;
const MOST_ROWS: usize = 50_000;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(i64),
    Sign(&'static str),
    End,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut out, mut rest) = (Vec::new(), text.chars().peekable());
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => {}
            c if c.is_alphabetic() || c == '_' => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                out.push(Token::Word(word));
            }
            c if c.is_ascii_digit() => {
                let mut number = String::from(c);
                while let Some(c) = rest.next_if(char::is_ascii_digit) {
                    number.push(c);
                }
                out.push(Token::Number(number.parse().map_err(|_| format!("number {number}"))?));
            }
            '\'' => {
                let mut text = String::new();
                loop {
                    match rest.next().ok_or("a text that does not end")? {
                        '\'' => break,
                        '\\' => text.push(match rest.next().ok_or("a text that does not end")? {
                            'n' => '\n',
                            'r' => '\r',
                            't' => '\t',
                            '0' => '\0',
                            c => c,
                        }),
                        c => text.push(c),
                    }
                }
                out.push(Token::Text(text));
            }
            c => {
                let two: String = [c, rest.peek().copied().unwrap_or(' ')].iter().collect();
                let signs = ["<=", ">=", "!=", "<>", "==", "(", ")", ",", "<", ">", "=", "[", "]", ".", "*", "%"];
                let sign = signs
                    .into_iter()
                    .find(|sign| *sign == two)
                    .or_else(|| signs.into_iter().find(|sign| sign.starts_with(c) && sign.len() == 1));
                let sign = sign.ok_or_else(|| format!("unexpected {c:?}"))?;
                if sign.len() == 2 {
                    rest.next();
                }
                out.push(Token::Sign(sign));
            }
        }
    }
    out.push(Token::End);
    Ok(out)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at]
    }
    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }
    fn is_word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Token::Word(found) if found.eq_ignore_ascii_case(word));
        if is {
            self.next();
        }
        is
    }
    fn is_sign(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Token::Sign(found) if *found == sign);
        if is {
            self.next();
        }
        is
    }
    fn word(&mut self, word: &str) -> Result<(), String> {
        if self.is_word(word) { Ok(()) } else { Err(format!("expected {word}, found {:?}", self.peek())) }
    }
    fn sign(&mut self, sign: &str) -> Result<(), String> {
        if self.is_sign(sign) { Ok(()) } else { Err(format!("expected {sign}, found {:?}", self.peek())) }
    }

    fn select(&mut self) -> Result<Select, String> {
        self.word("select")?;
        let mut columns = Vec::new();
        loop {
            let from = self.at;
            let expression = self.or()?;
            let name = match self.is_word("as") {
                true => match self.next() {
                    Token::Word(name) => name,
                    other => return Err(format!("expected a name, found {other:?}")),
                },
                false => match &expression {
                    Expr::Column(name) => name.clone(),
                    _ => format!("expression_{from}"),
                },
            };
            columns.push((expression, name));
            if !self.is_sign(",") {
                break;
            }
        }
        self.word("from")?;
        self.word("logs").map_err(|found| format!("Unknown table: {found}"))?;
        self.word("where")?;
        let filter = self.or()?;
        let mut select = Select { columns, filter, group: Vec::new(), order: Vec::new(), limit: DEFAULT_ROWS };
        if self.is_word("group") {
            self.word("by")?;
            select.group = self.list()?;
        }
        if self.is_word("order") {
            self.word("by")?;
            loop {
                let by = self.or()?;
                let down = self.is_word("desc");
                let _ = self.is_word("asc");
                select.order.push((by, down));
                if !self.is_sign(",") {
                    break;
                }
            }
        }
        if self.is_word("limit") {
            match self.next() {
                Token::Number(limit) => select.limit = (limit as usize).min(MOST_ROWS),
                other => return Err(format!("expected a number, found {other:?}")),
            }
        }
        if *self.peek() != Token::End {
            return Err(format!("unexpected {:?}", self.peek()));
        }
        Ok(select)
    }
    fn list(&mut self) -> Result<Vec<Expr>, String> {
        let mut list = vec![self.or()?];
        while self.is_sign(",") {
            list.push(self.or()?);
        }
        Ok(list)
    }
    fn or(&mut self) -> Result<Expr, String> {
        let mut left = self.and()?;
        while self.is_word("or") {
            left = Expr::Binary("or", left.into(), self.and()?.into());
        }
        Ok(left)
    }
    fn and(&mut self) -> Result<Expr, String> {
        let mut left = self.comparison()?;
        while self.is_word("and") {
            left = Expr::Binary("and", left.into(), self.comparison()?.into());
        }
        Ok(left)
    }
    fn comparison(&mut self) -> Result<Expr, String> {
        if self.is_word("not") {
            return Ok(Expr::Not(self.comparison()?.into()));
        }
        let left = self.primary()?;
        for (sign, name) in [
            ("<=", "<="),
            (">=", ">="),
            ("!=", "!="),
            ("<>", "!="),
            ("==", "="),
            ("=", "="),
            ("<", "<"),
            (">", ">"),
            ("%", "%"),
        ] {
            if self.is_sign(sign) {
                return Ok(Expr::Binary(name, left.into(), self.primary()?.into()));
            }
        }
        for name in ["in", "ilike", "like"] {
            if self.is_word(name) {
                return Ok(Expr::Binary(name, left.into(), self.primary()?.into()));
            }
        }
        Ok(left)
    }
    fn primary(&mut self) -> Result<Expr, String> {
        let mut expression = match self.next() {
            Token::Text(text) => Expr::Const(Value::Text(text)),
            Token::Number(number) => Expr::Const(Value::Int(number)),
            Token::Sign("(") => {
                let mut list = self.list()?;
                self.sign(")")?;
                if list.len() == 1 { list.remove(0) } else { Expr::List(list) }
            }
            Token::Sign("*") => Expr::Const(Value::Null),
            Token::Word(name) if self.is_sign("(") => {
                let arguments = if matches!(self.peek(), Token::Sign(")")) { Vec::new() } else { self.list()? };
                self.sign(")")?;
                Expr::Call(name, arguments)
            }
            Token::Word(name) => Expr::Column(name),
            other => return Err(format!("unexpected {other:?}")),
        };
        while self.is_sign("[") {
            match self.next() {
                Token::Text(key) => expression = Expr::Index(expression.into(), key),
                other => return Err(format!("expected a key, found {other:?}")),
            }
            self.sign("]")?;
        }
        Ok(expression)
    }
}

/// Reads a query, without asking whether its columns exist.
pub(super) fn read(text: &str) -> Result<Select, String> {
    Parser { tokens: tokens(text)?, at: 0 }.select()
}
