//! The grammar: text to a tree.
//!
//! ```text
//! line     = list
//! list     = chain { (";" | "&") chain }          "&" runs what is before it in the background
//! chain    = pipeline { ("&&" | "||") pipeline }
//! pipeline = command { "|" command }
//! command  = ("(" list ")" | word ...) with "<" file, ">" file, ">>" file among the words
//! ```
//! A word is made of bare text, 'text', "text with $?", \c and $x; # begins a comment. Expansion of
//! `$` waits until the command runs, since `$?` changes along a list.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Deepest nesting of parentheses.
const DEPTH_MAX: u32 = 20;

/// A part of a word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    Text(String),
    /// The character after `$`.
    Variable(char),
}

pub type Word = Vec<Piece>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    From,
    To,
    AppendTo,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirection {
    pub direction: Direction,
    pub file: Word,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    Simple(Vec<Word>, Vec<Redirection>),
    Subshell(Box<Node>, Vec<Redirection>),
    Pipe(Box<Node>, Box<Node>),
    /// The second runs if the first succeeded.
    And(Box<Node>, Box<Node>),
    /// The second runs if the first failed.
    Or(Box<Node>, Box<Node>),
    Sequence(Vec<Node>),
    Background(Box<Node>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Word(Word),
    Symbol(&'static str),
}

/// Longest first: `&&` is no `&`.
const SYMBOLS: [&str; 9] = ["&&", "||", ">>", ";", "&", "|", "(", ")", "<"];

/// Parses one line; an empty one is an empty sequence.
pub fn parse(line: &str) -> Result<Node, String> {
    let mut parser = Parser {
        tokens: tokens(line)?,
        at: 0,
        depth: 0,
    };
    let node = parser.list()?;
    match parser.tokens.get(parser.at) {
        None => Ok(node),
        Some(token) => Err(unexpected(Some(token))),
    }
}

fn unexpected(token: Option<&Token>) -> String {
    match token {
        None => String::from("syntax error at the end of the line"),
        Some(Token::Symbol(symbol)) => format!("syntax error at `{symbol}`"),
        Some(Token::Word(_)) => String::from("syntax error at a word"),
    }
}

fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with('#') {
            return Ok(tokens);
        }
        let symbols = SYMBOLS.iter().chain(&[">"]);
        if let Some(symbol) = symbols.copied().find(|&symbol| rest.starts_with(symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let (word, after) = word(rest)?;
            tokens.push(Token::Word(word));
            rest = after;
        }
    }
}

fn word(text: &str) -> Result<(Word, &str), String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None | Some('"'), '\\') => match characters.next() {
                Some((_, escaped)) => plain.push(escaped),
                None => return Err(String::from("nothing after \\")),
            },
            (None | Some('"'), '$') => match characters.next() {
                Some((_, name)) => {
                    pieces.push(Piece::Text(core::mem::take(&mut plain)));
                    pieces.push(Piece::Variable(name));
                }
                None => return Err(String::from("nothing after $")),
            },
            (None, _) if character.is_whitespace() || ";&|()<>".contains(character) => {
                pieces.push(Piece::Text(plain));
                return Ok((pieces, &text[at..]));
            }
            _ => plain.push(character),
        }
    }
    if let Some(open) = quote {
        return Err(format!("no closing {open}"));
    }
    pieces.push(Piece::Text(plain));
    Ok((pieces, ""))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
}

impl Parser {
    fn accept(&mut self, symbol: &'static str) -> bool {
        let found = self.tokens.get(self.at) == Some(&Token::Symbol(symbol));
        self.at += usize::from(found);
        found
    }

    fn at_the_end_of_a_list(&self) -> bool {
        matches!(self.tokens.get(self.at), None | Some(Token::Symbol(")")))
    }

    fn list(&mut self) -> Result<Node, String> {
        let mut nodes = Vec::new();
        while !self.at_the_end_of_a_list() {
            let node = self.chain()?;
            if self.accept("&") {
                nodes.push(Node::Background(Box::new(node)));
            } else {
                nodes.push(node);
                if !self.accept(";") {
                    break;
                }
            }
        }
        Ok(match nodes.len() {
            1 => nodes.remove(0),
            _ => Node::Sequence(nodes),
        })
    }

    fn chain(&mut self) -> Result<Node, String> {
        let mut node = self.pipeline()?;
        loop {
            if self.accept("&&") {
                node = Node::And(Box::new(node), Box::new(self.pipeline()?));
            } else if self.accept("||") {
                node = Node::Or(Box::new(node), Box::new(self.pipeline()?));
            } else {
                return Ok(node);
            }
        }
    }

    fn pipeline(&mut self) -> Result<Node, String> {
        let mut node = self.command()?;
        while self.accept("|") {
            node = Node::Pipe(Box::new(node), Box::new(self.command()?));
        }
        Ok(node)
    }

    fn command(&mut self) -> Result<Node, String> {
        let mut redirections = self.redirections()?;
        if self.accept("(") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(String::from("too many parentheses"));
            }
            let body = self.list()?;
            if !self.accept(")") {
                return Err(unexpected(self.tokens.get(self.at)));
            }
            self.depth -= 1;
            redirections.extend(self.redirections()?);
            return Ok(Node::Subshell(Box::new(body), redirections));
        }
        let mut words = Vec::new();
        while let Some(Token::Word(word)) = self.tokens.get(self.at) {
            words.push(word.clone());
            self.at += 1;
            redirections.extend(self.redirections()?);
        }
        if words.is_empty() {
            return Err(unexpected(self.tokens.get(self.at)));
        }
        Ok(Node::Simple(words, redirections))
    }

    fn redirections(&mut self) -> Result<Vec<Redirection>, String> {
        let mut found = Vec::new();
        loop {
            let direction = if self.accept("<") {
                Direction::From
            } else if self.accept(">>") {
                Direction::AppendTo
            } else if self.accept(">") {
                Direction::To
            } else {
                return Ok(found);
            };
            match self.tokens.get(self.at) {
                Some(Token::Word(file)) => found.push(Redirection {
                    direction,
                    file: file.clone(),
                }),
                other => return Err(unexpected(other)),
            }
            self.at += 1;
        }
    }
}
