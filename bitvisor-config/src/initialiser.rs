//! The C initialiser in `defconfig`: designated fields are found, read, replaced and added; every other
//! byte stays.

use std::ops::Range;

/// A runtime setting's value.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize, serde::Serialize)]
#[serde(untagged)]
pub enum Setting {
    /// A number.
    Int(i64),
    /// A string.
    Text(String),
    /// Numbers in braces.
    List(Vec<i64>),
}

impl Setting {
    /// As C text.
    pub fn c_text(&self) -> String {
        match self {
            Self::Int(number) => number.to_string(),
            Self::Text(text) => {
                let mut out = String::from("\"");
                for letter in text.chars() {
                    match letter {
                        '"' => out.push_str("\\\""),
                        '\\' => out.push_str("\\\\"),
                        '\n' => out.push_str("\\n"),
                        '\t' => out.push_str("\\t"),
                        letter => out.push(letter),
                    }
                }
                out.push('"');
                out
            }
            Self::List(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
                format!("{{ {} }}", numbers.join(", "))
            }
        }
    }

    /// Reads C text: a number in any base, string literals side by side, or numbers in braces.
    pub fn from_c(text: &str) -> Option<Self> {
        let tokens = tokens(text).ok()?;
        let words: Vec<&str> = tokens
            .iter()
            .map(|token| &text[token.range.clone()])
            .collect();
        match words.as_slice() {
            [number] if !number.starts_with('"') => parse_int(number).map(Self::Int),
            ["-", number] => parse_int(number).map(|number| Self::Int(-number)),
            ["{", inner @ .., "}"] => {
                let numbers: Option<Vec<i64>> = inner
                    .iter()
                    .filter(|word| **word != ",")
                    .map(|word| parse_int(word))
                    .collect();
                numbers.map(Self::List)
            }
            literals
                if !literals.is_empty() && literals.iter().all(|word| word.starts_with('"')) =>
            {
                Some(Self::Text(
                    literals.iter().map(|literal| unescape(literal)).collect(),
                ))
            }
            _ => None,
        }
    }
}

fn parse_int(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(['u', 'U', 'l', 'L']);
    match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(digits, 8).ok(),
        None => digits.parse().ok(),
    }
}

fn unescape(literal: &str) -> String {
    let mut out = String::new();
    let inner = literal
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let mut letters = inner.unwrap_or(literal).chars();
    while let Some(letter) = letters.next() {
        match (letter, if letter == '\\' { letters.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('t')) => out.push('\t'),
            ('\\', Some(other)) => out.push(other),
            (letter, _) => out.push(letter),
        }
    }
    out
}

/// Why a text is no initialiser, or a setting has no place in it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InitialiserError {
    /// A string or comment does not end.
    #[error("line {line}: a string or comment does not end")]
    Open {
        /// Line, from 1.
        line: usize,
    },
    /// Braces do not match.
    #[error("line {line}: `{found}` where {expected} was expected")]
    Unexpected {
        /// Line, from 1.
        line: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// A part of a path is a value, not a block.
    #[error("`{path}` is a value; nothing can be set inside it")]
    NotABlock {
        /// Path so far.
        path: String,
    },
}

#[derive(Clone, Debug)]
struct Token {
    range: Range<usize>,
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at.min(text.len())].matches('\n').count() + 1
}

fn tokens(text: &str) -> Result<Vec<Token>, InitialiserError> {
    let bytes = text.as_bytes();
    let open = |at: usize| InitialiserError::Open {
        line: line_of(text, at),
    };
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at += 2 + text[at + 2..].find("*/").ok_or_else(|| open(start))? + 2;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += text[at..].find('\n').unwrap_or(text.len() - at);
                continue;
            }
            b'#' => {
                // A preprocessor line.
                at += text[at..].find('\n').unwrap_or(text.len() - at);
                continue;
            }
            quote @ (b'"' | b'\'') => {
                at += 1;
                loop {
                    match bytes.get(at) {
                        Some(b'\\') => at += 2,
                        Some(byte) if *byte == quote => break,
                        Some(b'\n') | None => return Err(open(start)),
                        Some(_) => at += 1,
                    }
                }
                at += 1;
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => {
                while bytes
                    .get(at)
                    .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
                {
                    at += 1;
                }
            }
            _ => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
        if at > bytes.len() {
            return Err(open(start));
        }
        out.push(Token { range: start..at });
    }
    Ok(out)
}

/// A field and where it stands.
#[derive(Clone, Debug)]
struct Field {
    /// Designator without the leading dot, `keys_conf[1]` for an indexed one.
    name: String,
    /// The whole value.
    value: Range<usize>,
    /// Fields inside, if the value is a block of designated ones.
    block: Option<Block>,
}

#[derive(Clone, Debug)]
struct Block {
    /// Offset of the `{`.
    open: usize,
    /// Offset of the `}`.
    close: usize,
    /// End of the last field's value.
    last_end: Option<usize>,
    /// Whether a comma follows the last field.
    comma: bool,
    fields: Vec<Field>,
}

/// A parsed `defconfig`.
#[derive(Clone, Debug)]
pub struct Initialiser {
    text: String,
    root: Block,
}

struct Reader<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
}

/// Deepest nesting of braces.
const DEPTH_MAX: usize = 64;

impl Reader<'_> {
    fn peek(&self) -> Option<&str> {
        self.tokens
            .get(self.at)
            .map(|token| &self.text[token.range.clone()])
    }

    fn expected(&self, expected: &'static str) -> InitialiserError {
        let place = self
            .tokens
            .get(self.at)
            .map_or(self.text.len(), |token| token.range.start);
        let found = self.peek().unwrap_or("the end").to_owned();
        InitialiserError::Unexpected {
            line: line_of(self.text, place),
            found,
            expected,
        }
    }

    fn take(
        &mut self,
        wanted: &str,
        expected: &'static str,
    ) -> Result<Range<usize>, InitialiserError> {
        if self.peek() != Some(wanted) {
            return Err(self.expected(expected));
        }
        self.at += 1;
        Ok(self.tokens[self.at - 1].range.clone())
    }

    fn block(&mut self, depth: usize) -> Result<Block, InitialiserError> {
        if depth > DEPTH_MAX {
            return Err(self.expected("fewer braces inside each other"));
        }
        let open = self.take("{", "`{`")?.start;
        let (mut fields, mut last_end, mut comma) = (Vec::new(), None, true);
        loop {
            match self.peek() {
                Some("}") => {
                    let close = self.tokens[self.at].range.start;
                    self.at += 1;
                    return Ok(Block {
                        open,
                        close,
                        last_end,
                        comma,
                        fields,
                    });
                }
                Some(_) if comma => {}
                _ => return Err(self.expected("`,` or `}`")),
            }
            let name = self.designator()?;
            let (value, block) = self.value(depth)?;
            last_end = Some(value.end);
            if let Some(name) = name {
                fields.push(Field { name, value, block });
            }
            comma = self.peek() == Some(",");
            self.at += usize::from(comma);
        }
    }

    fn designator(&mut self) -> Result<Option<String>, InitialiserError> {
        let mut name = String::new();
        while matches!(self.peek(), Some("." | "[")) {
            if self.take(".", "`.`").is_ok() {
                let part = self
                    .peek()
                    .ok_or_else(|| self.expected("a name"))?
                    .to_owned();
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(&part);
                self.at += 1;
            } else {
                self.take("[", "`[`")?;
                let index = self
                    .peek()
                    .ok_or_else(|| self.expected("a number"))?
                    .to_owned();
                self.at += 1;
                self.take("]", "`]`")?;
                name.push_str(&format!("[{index}]"));
            }
        }
        if name.is_empty() {
            return Ok(None);
        }
        self.take("=", "`=`")?;
        Ok(Some(name))
    }

    fn value(&mut self, depth: usize) -> Result<(Range<usize>, Option<Block>), InitialiserError> {
        if self.peek() == Some("{") {
            let block = self.block(depth + 1)?;
            return Ok((block.open..block.close + 1, Some(block)));
        }
        let start = self
            .tokens
            .get(self.at)
            .ok_or_else(|| self.expected("a value"))?
            .range
            .start;
        let (mut end, mut parentheses) = (start, 0usize);
        loop {
            match self.peek() {
                Some("(") => parentheses += 1,
                Some(")") => parentheses = parentheses.saturating_sub(1),
                Some("," | "}") if parentheses == 0 => break,
                Some(";" | "{" | "=") | None => return Err(self.expected("`,` or `}`")),
                Some(_) => {}
            }
            end = self.tokens[self.at].range.end;
            self.at += 1;
        }
        if end == start {
            return Err(self.expected("a value"));
        }
        Ok((start..end, None))
    }
}

impl Initialiser {
    /// Parses `... = { ... };`.
    ///
    /// # Errors
    /// [`InitialiserError`].
    pub fn parse(text: &str) -> Result<Self, InitialiserError> {
        let tokens = tokens(text)?;
        let equals = tokens
            .iter()
            .position(|token| &text[token.range.clone()] == "=");
        let mut reader = Reader {
            text,
            tokens,
            at: 0,
        };
        reader.at = equals.map_or(reader.tokens.len(), |at| at + 1);
        let root = reader.block(0)?;
        reader.take(";", "`;`")?;
        Ok(Self {
            text: text.to_owned(),
            root,
        })
    }

    /// The text as it is now.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The C text of a setting, by its path (`vmm.driver.pci`).
    pub fn get(&self, path: &str) -> Option<&str> {
        let mut block = &self.root;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            let field = block.fields.iter().rev().find(|field| field.name == part)?;
            if parts.peek().is_none() {
                return Some(&self.text[field.value.clone()]);
            }
            block = field.block.as_ref()?;
        }
        None
    }

    /// Sets a setting; blocks on the way are made. Returns whether the text changed.
    ///
    /// # Errors
    /// [`InitialiserError::NotABlock`].
    pub fn set(&mut self, path: &str, setting: &Setting) -> Result<bool, InitialiserError> {
        let parts: Vec<&str> = path.split('.').collect();
        let mut block = &self.root;
        for (depth, part) in parts.iter().enumerate() {
            let Some(field) = block.fields.iter().rev().find(|field| field.name == *part) else {
                let text = self.with_new_field(block, depth, &parts[depth..], setting);
                return self.replace(text).map(|()| true);
            };
            if depth + 1 == parts.len() {
                let old = &self.text[field.value.clone()];
                if old == setting.c_text() || Setting::from_c(old).as_ref() == Some(setting) {
                    return Ok(false);
                }
                let mut text = self.text.clone();
                text.replace_range(field.value.clone(), &setting.c_text());
                return self.replace(text).map(|()| true);
            }
            block = field
                .block
                .as_ref()
                .ok_or_else(|| InitialiserError::NotABlock {
                    path: parts[..=depth].join("."),
                })?;
        }
        Ok(false)
    }

    fn replace(&mut self, text: String) -> Result<(), InitialiserError> {
        *self = Self::parse(&text)?;
        Ok(())
    }

    /// The text with a field, and blocks around it, at the end of `block`.
    fn with_new_field(
        &self,
        block: &Block,
        depth: usize,
        parts: &[&str],
        setting: &Setting,
    ) -> String {
        let mut text = self.text.clone();
        let tabs = |count: usize| "\t".repeat(count);
        let mut field = String::new();
        for (level, part) in parts.iter().enumerate() {
            field.push_str(&format!("{}.{part} = ", tabs(depth + 1 + level)));
            if level + 1 == parts.len() {
                field.push_str(&format!("{},\n", setting.c_text()));
            } else {
                field.push_str("{\n");
            }
        }
        for level in (0..parts.len() - 1).rev() {
            field.push_str(&format!("{}}},\n", tabs(depth + 1 + level)));
        }
        // In front of the line of the closing brace, or right before the brace.
        let line_start = text[..block.close].rfind('\n').map_or(0, |at| at + 1);
        let own_line = line_start > block.open && text[line_start..block.close].trim().is_empty();
        if own_line {
            text.insert_str(line_start, &field);
        } else {
            text.insert_str(block.close, &format!("\n{field}{}", tabs(depth)));
        }
        if let (Some(end), false) = (block.last_end, block.comma) {
            text.insert(end, ',');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLE: &str = include_str!("../tests/samples/defconfig");

    #[test]
    fn settings_are_read() {
        let file = Initialiser::parse(SAMPLE).expect("sound");
        assert_eq!(file.get("vmm.shell"), Some("1"));
        assert_eq!(file.get("vmm.driver.pci"), Some("\"\""));
        assert_eq!(file.get("vmm.keys[1].bits"), Some("256"));
        assert_eq!(
            file.get("vmm.mac").and_then(Setting::from_c),
            Some(Setting::List(vec![255, 255, 0]))
        );
        assert_eq!(
            file.get("name").and_then(Setting::from_c),
            Some(Setting::Text("one, two }".to_owned()))
        );
        assert_eq!(file.get("vmm.hidden"), None, "a comment is no field");
        assert_eq!(file.get("vmm.shell.x"), None);
    }

    #[test]
    fn a_value_is_replaced_and_nothing_else() {
        let mut file = Initialiser::parse(SAMPLE).expect("sound");
        assert_eq!(
            file.set(
                "vmm.driver.pci",
                &Setting::Text("driver=a, b=\"1\"".to_owned())
            ),
            Ok(true)
        );
        assert_eq!(
            file.text(),
            SAMPLE.replace(".pci = \"\"", ".pci = \"driver=a, b=\\\"1\\\"\"")
        );
        assert_eq!(
            file.set(
                "vmm.driver.pci",
                &Setting::Text("driver=a, b=\"1\"".to_owned())
            ),
            Ok(false),
            "twice is once"
        );
        assert_eq!(
            file.set("vmm.base", &Setting::Int(16)),
            Ok(false),
            "0x10 is 16"
        );
    }

    #[test]
    fn missing_fields_and_blocks_are_made() {
        let mut file = Initialiser::parse(SAMPLE).expect("sound");
        file.set("vmm.status", &Setting::Int(1)).expect("fits");
        file.set("vmm.driver.extra.deep", &Setting::List(vec![1, 2]))
            .expect("fits");
        file.set("ip.on", &Setting::Int(1)).expect("fits");
        let again = Initialiser::parse(file.text()).expect("still sound");
        assert_eq!(again.get("vmm.status"), Some("1"));
        assert_eq!(again.get("vmm.driver.extra.deep"), Some("{ 1, 2 }"));
        assert_eq!(again.get("ip.on"), Some("1"));
        let kept = SAMPLE
            .lines()
            .filter(|line| !line.contains(".ip = { }") && !file.text().contains(line))
            .count();
        assert_eq!(kept, 0, "every old line is still there:\n{}", file.text());
    }

    #[test]
    fn a_missing_comma_is_added() {
        let mut file = Initialiser::parse("struct c x = { .a = 1 };\n").expect("sound");
        file.set("b", &Setting::Int(2)).expect("fits");
        assert_eq!(
            Initialiser::parse(file.text()).expect("sound").get("b"),
            Some("2"),
            "{}",
            file.text()
        );
    }

    #[test]
    fn mistakes_have_a_line() {
        for (text, line) in [
            ("x = {\n.a = 1\n.b = 2 };", 3),
            ("x = { .a = \"open\n };", 1),
            ("x = {\n .a = 1, ", 2),
            ("x = { /* ", 1),
            ("nothing", 1),
        ] {
            let error = Initialiser::parse(text).expect_err(text);
            assert!(
                error.to_string().starts_with(&format!("line {line}")),
                "{text}: {error}"
            );
        }
        let mut file = Initialiser::parse("x = { .a = 1 };").expect("sound");
        assert!(matches!(
            file.set("a.b", &Setting::Int(1)),
            Err(InitialiserError::NotABlock { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[{}=.,;\"a1\\[\\]/* \n]{0,80}") {
            if let Ok(mut file) = Initialiser::parse(&text) {
                let _ = file.set("a.b", &Setting::Int(1));
            }
        }

        #[test]
        fn strings_survive(value in "[ -~]{0,40}") {
            let mut file = Initialiser::parse(SAMPLE).expect("sound");
            let setting = Setting::Text(value);
            file.set("vmm.driver.pci", &setting).expect("fits");
            prop_assert_eq!(file.get("vmm.driver.pci").and_then(Setting::from_c), Some(setting));
        }
    }
}
