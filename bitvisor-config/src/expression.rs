//! Kconfig expressions (Linux Documentation/kbuild/kconfig-language, "Menu dependencies").

use std::fmt;

/// What is known of an option or a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truth {
    /// Off.
    No,
    /// Depends on a shell macro, which is never executed here.
    Unknown,
    /// On (`m` counts as on: BitVisor has no modules).
    Yes,
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }

    /// Both.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Unknown,
        }
    }

    /// At least one.
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::No, Self::No) => Self::No,
            _ => Self::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }
}

/// A condition or a default value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expression {
    /// A symbol, `y` and `n` included.
    Symbol(String),
    /// A quoted constant.
    Constant(String),
    /// Text with a `$(...)` macro.
    Macro(String),
    /// `!a`
    Not(Box<Expression>),
    /// `a && b`
    And(Box<Expression>, Box<Expression>),
    /// `a || b`
    Or(Box<Expression>, Box<Expression>),
    /// `a = b`, or `a != b` if the flag is false.
    Equal(Box<Expression>, Box<Expression>, bool),
}

impl Expression {
    /// Parses an expression that takes up the whole text.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut parser = Parser {
            tokens: &tokens,
            at: 0,
        };
        let expression = parser.or()?;
        match parser.tokens.get(parser.at) {
            None => Ok(expression),
            Some(token) => Err(format!("`{token}` is too much in the condition `{text}`")),
        }
    }

    /// Its truth, given that of the symbols.
    pub fn truth(&self, of: &dyn Fn(&str) -> Truth, text_of: &dyn Fn(&str) -> String) -> Truth {
        match self {
            Self::Symbol(name) => match name.as_str() {
                "y" | "m" => Truth::Yes,
                "n" => Truth::No,
                name => of(name),
            },
            Self::Constant(text) => (text == "y").into(),
            Self::Macro(_) => Truth::Unknown,
            Self::Not(inner) => inner.truth(of, text_of).not(),
            Self::And(a, b) => a.truth(of, text_of).and(b.truth(of, text_of)),
            Self::Or(a, b) => a.truth(of, text_of).or(b.truth(of, text_of)),
            Self::Equal(a, b, wanted) => {
                let side = |side: &Self| match side {
                    Self::Symbol(name) if matches!(name.as_str(), "y" | "m" | "n") => {
                        Some(name.clone())
                    }
                    Self::Symbol(name) => Some(text_of(name)),
                    Self::Constant(text) => Some(text.clone()),
                    _ => None,
                };
                match (side(a), side(b)) {
                    (Some(a), Some(b)) => ((a == b) == *wanted).into(),
                    _ => Truth::Unknown,
                }
            }
        }
    }

    /// Names in it, each once.
    pub fn symbols(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.collect(&mut names);
        names.sort_unstable();
        names.dedup();
        names
    }

    fn collect<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Self::Symbol(name) if !matches!(name.as_str(), "y" | "m" | "n") => names.push(name),
            Self::Symbol(_) | Self::Constant(_) | Self::Macro(_) => {}
            Self::Not(inner) => inner.collect(names),
            Self::And(a, b) | Self::Or(a, b) | Self::Equal(a, b, _) => {
                a.collect(names);
                b.collect(names);
            }
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symbol(text) | Self::Macro(text) => f.write_str(text),
            Self::Constant(text) => write!(f, "\"{text}\""),
            Self::Not(inner) => write!(f, "!{inner}"),
            Self::And(a, b) => write!(f, "{a} && {b}"),
            Self::Or(a, b) => write!(f, "({a} || {b})"),
            Self::Equal(a, b, true) => write!(f, "{a} = {b}"),
            Self::Equal(a, b, false) => write!(f, "{a} != {b}"),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '(' | ')' => 1,
            '!' if rest.starts_with("!=") => 2,
            '!' | '=' => 1,
            '&' | '|' => {
                if !(rest.starts_with("&&") || rest.starts_with("||")) {
                    return Err(format!(
                        "`{first}` alone is no operator in `{text}`; did you mean `{first}{first}`?"
                    ));
                }
                2
            }
            '"' | '\'' => {
                2 + rest[1..]
                    .find(first)
                    .ok_or_else(|| format!("the string in `{text}` does not end"))?
            }
            '$' => macro_len(rest).ok_or_else(|| format!("the macro in `{text}` does not end"))?,
            _ => {
                let mut len = 0;
                while let Some(next) = rest[len..].chars().next() {
                    if next.is_whitespace() || "()!=&|\"'".contains(next) {
                        break;
                    }
                    len += if next == '$' {
                        macro_len(&rest[len..]).unwrap_or(1)
                    } else {
                        next.len_utf8()
                    };
                }
                len
            }
        };
        tokens.push(rest[..len].to_owned());
        rest = rest[len..].trim_start();
    }
    Ok(tokens)
}

/// Length of the `$(...)` at the start of the text, inner parentheses and quotes included.
fn macro_len(text: &str) -> Option<usize> {
    if !text.starts_with("$(") {
        return Some(1);
    }
    let (mut depth, mut quote) = (0usize, None);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Deepest nesting of parentheses and `!`.
const DEPTH_MAX: usize = 64;

struct Parser<'a> {
    tokens: &'a [String],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn accept(&mut self, token: &str) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Result<Expression, String> {
        self.or_at(0)
    }

    fn or_at(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.and(depth)?;
        while self.accept("||") {
            left = Expression::Or(Box::new(left), Box::new(self.and(depth)?));
        }
        Ok(left)
    }

    fn and(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.equal(depth)?;
        while self.accept("&&") {
            left = Expression::And(Box::new(left), Box::new(self.equal(depth)?));
        }
        Ok(left)
    }

    fn equal(&mut self, depth: usize) -> Result<Expression, String> {
        let left = self.atom(depth)?;
        for (operator, wanted) in [("=", true), ("!=", false)] {
            if self.accept(operator) {
                let right = self.atom(depth)?;
                return Ok(Expression::Equal(Box::new(left), Box::new(right), wanted));
            }
        }
        Ok(left)
    }

    fn atom(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > DEPTH_MAX {
            return Err("a condition is nested too deeply".to_owned());
        }
        if self.accept("!") {
            return Ok(Expression::Not(Box::new(self.atom(depth + 1)?)));
        }
        if self.accept("(") {
            let inner = self.or_at(depth + 1)?;
            return if self.accept(")") {
                Ok(inner)
            } else {
                Err("a `)` is missing".to_owned())
            };
        }
        let token = self.peek().ok_or("a condition ends too early")?.to_owned();
        if matches!(token.as_str(), ")" | "=" | "!=" | "&&" | "||") {
            return Err(format!("`{token}` where a name was expected"));
        }
        self.at += 1;
        Ok(match token.chars().next() {
            Some('"' | '\'') => Expression::Constant(token[1..token.len() - 1].to_owned()),
            _ if token.contains('$') => Expression::Macro(token),
            _ => Expression::Symbol(token),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(text: &str) -> Truth {
        let of = |name: &str| match name {
            "ON" => Truth::Yes,
            "MAYBE" => Truth::Unknown,
            _ => Truth::No,
        };
        let text_of = |name: &str| {
            if name == "ON" {
                "y".to_owned()
            } else {
                "n".to_owned()
            }
        };
        Expression::parse(text).expect(text).truth(&of, &text_of)
    }

    #[test]
    fn operators_bind_as_kconfig_says() {
        for (text, expected) in [
            ("ON", Truth::Yes),
            ("!ON", Truth::No),
            ("ON || OFF && OFF", Truth::Yes),
            ("(ON || OFF) && OFF", Truth::No),
            ("ON=y", Truth::Yes),
            ("OFF != y && !OFF", Truth::Yes),
            ("MAYBE && OFF", Truth::No),
            ("MAYBE || OFF", Truth::Unknown),
            ("$(shell, a && (b) ')')", Truth::Unknown),
        ] {
            assert_eq!(truth(text), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for text in [
            "",
            "A &&",
            "A & B",
            "(A",
            "A B",
            "\"x",
            "&& A",
            "$(shell, x",
        ] {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
        assert!(Expression::parse(&"!".repeat(10_000)).is_err());
    }

    #[test]
    fn names_are_found_once() {
        let expression = Expression::parse("A && (B || !A) && y && C = n").expect("sound");
        assert_eq!(expression.symbols(), ["A", "B", "C"]);
    }
}
