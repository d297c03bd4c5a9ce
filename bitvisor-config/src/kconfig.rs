//! Kconfig files: menus, choices, options with prompts, conditions, defaults, select and imply.
//!
//! Shell macros `$(...)` are kept as text and never executed; what depends on them is unknown.

use crate::expression::Expression;

/// Type of an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `y` or `n`.
    Bool,
    /// `y`, `m` or `n`.
    Tristate,
    /// Text.
    Text,
    /// Decimal number.
    Int,
    /// Hexadecimal number.
    Hex,
    /// None was given.
    Unknown,
}

/// A value with the condition under which it counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conditional<T> {
    /// What.
    pub value: T,
    /// When; `None`: always.
    pub condition: Option<Expression>,
}

/// An option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Symbol {
    /// Name without `CONFIG_`.
    pub name: String,
    /// Type.
    pub kind: Kind,
    /// What `make config` shows; without one a user cannot set it.
    pub prompt: Option<String>,
    /// All of these must hold, enclosing menus and ifs included.
    pub depends: Vec<Expression>,
    /// The first whose condition holds counts.
    pub defaults: Vec<Conditional<Expression>>,
    /// Options it switches on.
    pub selects: Vec<Conditional<String>>,
    /// Options it proposes.
    pub implies: Vec<Conditional<String>>,
    /// Help text.
    pub help: String,
    /// Menus around it, outermost first.
    pub menu: Vec<String>,
    /// Index into [`Kconfig::choices`], if it is one of several.
    pub choice: Option<usize>,
    /// Line of its definition.
    pub line: usize,
}

/// A group of which one member is on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    /// What `make config` shows.
    pub prompt: Option<String>,
    /// Member that is on unless somebody says otherwise; may hold a macro.
    pub default: Option<String>,
    /// Names of the members.
    pub members: Vec<String>,
}

/// A whole Kconfig.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kconfig {
    /// Title.
    pub title: String,
    /// Options in their order.
    pub symbols: Vec<Symbol>,
    /// Choices in their order.
    pub choices: Vec<Choice>,
}

/// Where and why a Kconfig cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct ParseError {
    /// File, as named in `source`, or `Kconfig`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Deepest nesting of `source`.
const SOURCE_DEPTH: usize = 16;

enum Block {
    Menu { depends: usize },
    If,
    Choice,
}

enum Open {
    Nothing,
    Symbol,
    Choice,
    Menu,
}

struct Parser<'a> {
    out: Kconfig,
    blocks: Vec<(Block, usize)>,
    menus: Vec<String>,
    conditions: Vec<Expression>,
    choice: Option<usize>,
    open: Open,
    source: &'a dyn Fn(&str) -> Option<String>,
}

impl Kconfig {
    /// Parses a file's text; `source` gives the text of files it includes.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(text: &str, source: &dyn Fn(&str) -> Option<String>) -> Result<Self, ParseError> {
        let mut parser = Parser {
            out: Self::default(),
            blocks: Vec::new(),
            menus: Vec::new(),
            conditions: Vec::new(),
            choice: None,
            open: Open::Nothing,
            source,
        };
        parser.file("Kconfig", text, 0)?;
        match parser.blocks.last() {
            None => Ok(parser.out),
            Some((_, line)) => Err(ParseError {
                file: "Kconfig".to_owned(),
                line: *line,
                message: "this block does not end".to_owned(),
            }),
        }
    }

    /// The option with this name.
    pub fn symbol(&self, name: &str) -> Option<&Symbol> {
        self.symbols.iter().find(|symbol| symbol.name == name)
    }
}

fn indent(line: &str) -> usize {
    line.chars()
        .take_while(|letter| letter.is_whitespace())
        .map(|letter| if letter == '\t' { 8 } else { 1 })
        .sum()
}

fn unquote(text: &str) -> &str {
    let text = text.trim();
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

/// Splits `VALUE if CONDITION`; an ` if ` inside quotes or a macro is part of the value.
fn split_condition(text: &str) -> Result<(&str, Option<Expression>), String> {
    let (mut depth, mut quote) = (0i32, None);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) if depth == 0 && text[at..].starts_with(" if ") => {
                return Ok((text[..at].trim(), Some(Expression::parse(&text[at + 4..])?)));
            }
            _ => {}
        }
    }
    Ok((text.trim(), None))
}

impl Parser<'_> {
    fn file(&mut self, name: &str, text: &str, depth: usize) -> Result<(), ParseError> {
        let at = |line: usize, message: String| ParseError {
            file: name.to_owned(),
            line,
            message,
        };
        if depth > SOURCE_DEPTH {
            return Err(at(1, "files include each other too deeply".to_owned()));
        }
        let lines: Vec<&str> = text.lines().collect();
        let mut index = 0;
        while index < lines.len() {
            let number = index + 1;
            let mut line = lines[index].to_owned();
            index += 1;
            while line.ends_with('\\') && index < lines.len() {
                line.pop();
                line.push_str(lines[index]);
                index += 1;
            }
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let (word, rest) = trimmed
                .split_once(char::is_whitespace)
                .unwrap_or((trimmed, ""));
            match word {
                "help" | "---help---" => {
                    let help = take_help(&lines, &mut index);
                    if let (Open::Symbol, Some(symbol)) = (&self.open, self.out.symbols.last_mut())
                    {
                        symbol.help = help;
                    }
                }
                "source" | "rsource" | "osource" => {
                    self.open = Open::Nothing;
                    let path = unquote(rest);
                    let text = (self.source)(path).ok_or_else(|| {
                        at(number, format!("cannot read the included file {path}"))
                    })?;
                    self.file(path, &text, depth + 1)?;
                }
                _ => self
                    .line(word, rest.trim(), number)
                    .map_err(|message| at(number, message))?,
            }
        }
        Ok(())
    }

    fn line(&mut self, word: &str, rest: &str, line: usize) -> Result<(), String> {
        match word {
            "mainmenu" => self.out.title = unquote(rest).to_owned(),
            "config" | "menuconfig" => self.config(rest, line)?,
            "menu" => {
                self.menus.push(unquote(rest).to_owned());
                self.blocks.push((
                    Block::Menu {
                        depends: self.conditions.len(),
                    },
                    line,
                ));
                self.open = Open::Menu;
            }
            "if" => {
                self.conditions.push(Expression::parse(rest)?);
                self.blocks.push((Block::If, line));
                self.open = Open::Nothing;
            }
            "choice" => {
                if self.choice.is_some() {
                    return Err("a choice inside a choice".to_owned());
                }
                self.choice = Some(self.out.choices.len());
                self.out.choices.push(Choice::default());
                self.blocks.push((Block::Choice, line));
                self.open = Open::Choice;
            }
            "endmenu" | "endif" | "endchoice" => self.end(word)?,
            "comment" => self.open = Open::Nothing,
            _ => self.attribute(word, rest)?,
        }
        Ok(())
    }

    fn config(&mut self, name: &str, line: usize) -> Result<(), String> {
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err("an option needs one name".to_owned());
        }
        if let Some(choice) = self.choice {
            self.out.choices[choice].members.push(name.to_owned());
        }
        self.out.symbols.push(Symbol {
            name: name.to_owned(),
            kind: if self.choice.is_some() {
                Kind::Bool
            } else {
                Kind::Unknown
            },
            prompt: None,
            depends: self.conditions.clone(),
            defaults: Vec::new(),
            selects: Vec::new(),
            implies: Vec::new(),
            help: String::new(),
            menu: self.menus.clone(),
            choice: self.choice,
            line,
        });
        self.open = Open::Symbol;
        Ok(())
    }

    fn end(&mut self, word: &str) -> Result<(), String> {
        self.open = Open::Nothing;
        match (self.blocks.pop(), word) {
            (Some((Block::Menu { depends }, _)), "endmenu") => {
                self.conditions.truncate(depends);
                self.menus.pop();
            }
            (Some((Block::If, _)), "endif") => {
                self.conditions.pop();
            }
            (Some((Block::Choice, _)), "endchoice") => self.choice = None,
            (Some((_, line)), _) => {
                return Err(format!("`{word}` does not end the block of line {line}"));
            }
            (None, _) => return Err(format!("`{word}` without a beginning")),
        }
        Ok(())
    }

    fn attribute(&mut self, word: &str, rest: &str) -> Result<(), String> {
        match self.open {
            Open::Symbol => self.symbol_attribute(word, rest),
            Open::Choice => {
                let choice = self.out.choices.last_mut().ok_or("no choice is open")?;
                match word {
                    "prompt" => choice.prompt = Some(unquote(rest).to_owned()),
                    "default" => choice.default = Some(split_condition(rest)?.0.to_owned()),
                    "bool" | "tristate" if !rest.is_empty() => {
                        choice.prompt = Some(unquote(rest).to_owned())
                    }
                    "bool" | "tristate" | "optional" | "depends" => {}
                    _ => return Err(format!("`{word}` is nothing a choice has")),
                }
                Ok(())
            }
            Open::Menu => match word {
                "depends" => {
                    let condition = rest.strip_prefix("on").ok_or("`depends` without `on`")?;
                    self.conditions.push(Expression::parse(condition)?);
                    Ok(())
                }
                "visible" => Ok(()),
                _ => Err(format!("`{word}` is nothing a menu has")),
            },
            Open::Nothing => Err(format!("`{word}` belongs to no option")),
        }
    }

    fn symbol_attribute(&mut self, word: &str, rest: &str) -> Result<(), String> {
        let symbol = self.out.symbols.last_mut().ok_or("no option is open")?;
        let kind = match word {
            "bool" | "boolean" | "def_bool" => Some(Kind::Bool),
            "tristate" | "def_tristate" => Some(Kind::Tristate),
            "string" => Some(Kind::Text),
            "int" => Some(Kind::Int),
            "hex" => Some(Kind::Hex),
            _ => None,
        };
        if let Some(kind) = kind {
            symbol.kind = kind;
            let (value, condition) = split_condition(rest)?;
            if word.starts_with("def_") {
                let value = Expression::parse(value)?;
                symbol.defaults.push(Conditional { value, condition });
            } else if !value.is_empty() {
                symbol.prompt = Some(unquote(value).to_owned());
            }
            return Ok(());
        }
        match word {
            "prompt" => symbol.prompt = Some(unquote(split_condition(rest)?.0).to_owned()),
            "default" => {
                let (value, condition) = split_condition(rest)?;
                let value = if value.contains("$(") {
                    Expression::Macro(value.to_owned())
                } else {
                    Expression::parse(value)?
                };
                symbol.defaults.push(Conditional { value, condition });
            }
            "depends" => {
                let condition = rest.strip_prefix("on").ok_or("`depends` without `on`")?;
                symbol.depends.push(Expression::parse(condition)?);
            }
            "select" | "imply" => {
                let (name, condition) = split_condition(rest)?;
                let target = Conditional {
                    value: name.to_owned(),
                    condition,
                };
                if word == "select" {
                    symbol.selects.push(target)
                } else {
                    symbol.implies.push(target)
                }
            }
            "range" | "option" | "modules" => {}
            _ => return Err(format!("`{word}` is nothing an option has")),
        }
        Ok(())
    }
}

/// Lines indented deeper than the first one's left neighbour, blank lines inside included.
fn take_help(lines: &[&str], index: &mut usize) -> String {
    let Some(depth) = lines[*index..]
        .iter()
        .find(|line| !line.trim().is_empty())
        .map(|line| indent(line))
    else {
        return String::new();
    };
    let mut help: Vec<&str> = Vec::new();
    while let Some(line) = lines.get(*index) {
        if !line.trim().is_empty() && (indent(line) < depth || depth == 0) {
            break;
        }
        help.push(line.trim());
        *index += 1;
    }
    help.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../tests/samples/Kconfig");

    fn sample() -> Kconfig {
        Kconfig::parse(SAMPLE, &|_| None).expect("the sample is sound")
    }

    #[test]
    fn everything_of_the_grammar_arrives() {
        let kconfig = sample();
        assert_eq!(kconfig.title, "Sample hypervisor");
        let virtio = kconfig.symbol("NET_VIRTIO").expect("exists");
        assert_eq!(virtio.menu, ["Drivers", "Network"]);
        assert_eq!(virtio.kind, Kind::Bool);
        let depends: Vec<String> = virtio.depends.iter().map(ToString::to_string).collect();
        assert_eq!(depends, ["NET", "!TINY"]);
        let card = kconfig.symbol("NET_CARD_B").expect("exists");
        assert_eq!(card.selects[0].value, "NET_VIRTIO");
        assert_eq!(
            kconfig.symbol("SERIAL").expect("exists").implies[0].value,
            "ACPI"
        );
        assert_eq!(kconfig.choices[0].members, ["PAGING_A", "PAGING_B"]);
        assert_eq!(kconfig.choices[0].default.as_deref(), Some("PAGING_B"));
        let wide = kconfig.symbol("64").expect("a name may be a number");
        assert!(matches!(wide.defaults[0].value, Expression::Macro(_)));
        assert!(
            kconfig
                .symbol("SERIAL")
                .expect("exists")
                .help
                .contains("config of the port\n\nand a second")
        );
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, line, part) in [
            ("config A\n\tbool\n\tfrobnicate\n", 3, "frobnicate"),
            ("config A\n\tdepends A\n", 2, "without `on`"),
            ("menu \"x\"\n", 1, "does not end"),
            ("endif\n", 1, "without a beginning"),
            ("menu \"x\"\nendif\n", 2, "line 1"),
            ("config\n", 1, "one name"),
            ("source \"other\"\n", 1, "other"),
            ("config A\n\tbool\n\tdepends on B &\n", 3, "&&"),
        ] {
            let error = Kconfig::parse(text, &|_| None).expect_err(text);
            assert_eq!(error.line, line, "{text}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn included_files_are_read_and_loops_end() {
        let source = |path: &str| (path == "sub").then(|| "config B\n\tbool\n".to_owned());
        let kconfig = Kconfig::parse("source \"sub\"\n", &source).expect("sound");
        assert!(kconfig.symbol("B").is_some());
        let looping = |_: &str| Some("source \"again\"\n".to_owned());
        assert!(Kconfig::parse("source \"again\"\n", &looping).is_err());
    }
}
