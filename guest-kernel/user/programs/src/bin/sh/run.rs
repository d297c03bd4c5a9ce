//! Running a tree: forks, pipes, redirections, `$?`, and the commands that the shell is itself.

use crate::parse::{Direction, Node, Piece, Redirection, Word, parse};
use ulib::abi::OpenFlags;
use ulib::io::{AsFd, OwnedFd};
use ulib::prelude::*;

/// Status of a line that could not be parsed.
const STATUS_SYNTAX: i32 = 2;

/// Names of the commands that the shell is itself.
pub const BUILT_IN: [&str; 5] = [".", "cd", "exit", "history", "wait"];

/// What a running script knows.
pub struct Shell {
    /// `$?`.
    pub status: i32,
    /// `$0` to `$9`.
    pub arguments: Vec<String>,
    /// Lines typed so far.
    pub history: Vec<String>,
}

impl Shell {
    pub fn new(arguments: Vec<String>) -> Self {
        Self {
            status: 0,
            arguments,
            history: Vec::new(),
        }
    }

    /// Runs one line.
    pub fn line(&mut self, line: &str) {
        match parse(line) {
            Ok(node) => self.status = self.run(&node),
            Err(text) => {
                eprintln!("sh: {text}");
                self.status = STATUS_SYNTAX;
            }
        }
    }

    /// Runs the lines of a script; the status of the last command.
    pub fn script(&mut self, text: &str) -> i32 {
        text.lines().for_each(|line| self.line(line));
        self.status
    }

    /// Runs one line as the last thing this process does: a single command needs no fork.
    pub fn last_line(&mut self, line: &str) -> i32 {
        match parse(line) {
            Ok(node) => self.run_and_end(&node),
            Err(text) => {
                eprintln!("sh: {text}");
                STATUS_SYNTAX
            }
        }
    }

    fn run(&mut self, node: &Node) -> i32 {
        match node {
            Node::Sequence(nodes) => {
                for node in nodes {
                    self.status = self.run(node);
                }
                self.status
            }
            Node::And(first, second) | Node::Or(first, second) => {
                self.status = self.run(first);
                let wants_success = matches!(node, Node::And(..));
                match (self.status == 0) == wants_success {
                    true => self.run(second),
                    false => self.status,
                }
            }
            Node::Background(body) => {
                let child = process::fork(|| self.run_and_end(body));
                child.map_or_else(|error| report("fork", &error), |_| 0)
            }
            Node::Pipe(left, right) => self
                .pipe(left, right)
                .unwrap_or_else(|error| report("pipe", &error)),
            Node::Simple(words, redirections) if self.is_built_in(words) => {
                let words: Vec<String> = words.iter().map(|word| self.expand(word)).collect();
                self.built_in(&words, redirections)
                    .unwrap_or_else(|error| report(&words[0], &error))
            }
            Node::Simple(..) | Node::Subshell(..) => {
                let child = process::fork(|| self.run_and_end(node));
                let status = child.and_then(process::Child::wait);
                status.unwrap_or_else(|error| report("fork", &error))
            }
        }
    }

    /// Runs a node in a process that is there for it; a simple command replaces the process.
    fn run_and_end(&mut self, node: &Node) -> i32 {
        match node {
            Node::Simple(words, redirections) if !self.is_built_in(words) => {
                let words: Vec<String> = words.iter().map(|word| self.expand(word)).collect();
                match self.redirect(redirections) {
                    Ok(()) => self.execute(&words),
                    Err(error) => report(&words[0], &error),
                }
            }
            Node::Subshell(body, redirections) => match self.redirect(redirections) {
                Ok(()) => self.run_and_end(body),
                Err(error) => report("(", &error),
            },
            _ => self.run(node),
        }
    }

    fn execute(&mut self, words: &[String]) -> i32 {
        let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        match process::exec(arguments[0], &arguments) {
            Errno::ENOEXEC => {
                let places = process::places(arguments[0]);
                match places
                    .iter()
                    .find_map(|place| fs::read_to_string(place).ok())
                {
                    Some(script) if !script.contains('\0') => {
                        Shell::new(words.to_vec()).script(&script)
                    }
                    _ => report("", &Error::new(arguments[0], Errno::ENOEXEC)),
                }
            }
            errno => {
                report("", &Error::new(arguments[0], errno));
                process::EXIT_NO_PROGRAM
            }
        }
    }

    fn pipe(&mut self, left: &Node, right: &Node) -> Result<i32> {
        let (reader, writer) = io::pipe()?;
        // A closure takes its end along: when the parent drops the closure, its copy is closed.
        let first = process::fork(|| {
            let _ = sys::close(reader.fd());
            self.run_piped(left, io::STDOUT, writer)
        })?;
        let second = process::fork(|| self.run_piped(right, io::STDIN, reader))?;
        let mut left_to_end = 2;
        let mut status = 0;
        while left_to_end > 0 {
            let (pid, ended_with) = sys::wait()?;
            left_to_end -= i32::from(pid == first.id() || pid == second.id());
            if pid == second.id() {
                status = ended_with;
            }
        }
        Ok(status)
    }

    fn run_piped(&mut self, node: &Node, fd: sys::Fd, end: OwnedFd) -> i32 {
        match process::replace(fd, end) {
            Ok(()) => self.run_and_end(node),
            Err(error) => report("pipe", &error),
        }
    }

    fn redirect(&self, redirections: &[Redirection]) -> Result<()> {
        for redirection in redirections {
            let path = self.expand(&redirection.file);
            let create = OpenFlags::WRONLY | OpenFlags::CREATE;
            let (fd, flags) = match redirection.direction {
                Direction::From => (io::STDIN, OpenFlags::RDONLY),
                Direction::To => (io::STDOUT, create | OpenFlags::TRUNC),
                Direction::AppendTo => (io::STDOUT, create | OpenFlags::APPEND),
            };
            let file = fs::File::with_flags(&path, flags)?;
            process::replace(fd, OwnedFd::new(file.into_raw()))?;
        }
        Ok(())
    }

    fn is_built_in(&self, words: &[Word]) -> bool {
        words
            .first()
            .is_some_and(|word| BUILT_IN.contains(&self.expand(word).as_str()))
    }

    fn built_in(&mut self, words: &[String], redirections: &[Redirection]) -> Result<i32> {
        if !redirections.is_empty() && words[0] == "history" {
            // Only its output can be redirected usefully; a child has descriptors of its own.
            let child = process::fork(|| match self.redirect(redirections) {
                Ok(()) => self.built_in(words, &[]).unwrap_or(1),
                Err(error) => report("history", &error),
            })?;
            return child.wait();
        }
        match (words[0].as_str(), &words[1..]) {
            ("cd", []) => env::set_current_dir("/").map(|()| 0),
            ("cd", [path]) => env::set_current_dir(path).map(|()| 0),
            ("exit", []) => process::exit(self.status),
            ("exit", [status]) => process::exit(status.parse().map_err(|_| Errno::EINVAL)?),
            ("history", []) => {
                for (index, line) in self.history.iter().enumerate() {
                    println!("{:4} {line}", index + 1);
                }
                Ok(0)
            }
            ("wait", []) => {
                while sys::wait().is_ok() {}
                Ok(0)
            }
            (".", [path]) => Ok(self.script(&fs::read_to_string(path)?)),
            _ => Err(Error::from("wrong arguments")),
        }
    }

    fn expand(&self, word: &Word) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable('?') => self.status.to_string(),
            Piece::Variable('$') => process::id().to_string(),
            Piece::Variable('#') => self.arguments.len().saturating_sub(1).to_string(),
            Piece::Variable(name) => {
                let index = name.to_digit(10).map(|digit| digit as usize);
                index
                    .and_then(|index| self.arguments.get(index))
                    .cloned()
                    .unwrap_or_default()
            }
        };
        word.iter().map(piece).collect()
    }
}

fn report(what: &str, error: &Error) -> i32 {
    match what {
        "" => eprintln!("sh: {error}"),
        _ => eprintln!("sh: {what}: {error}"),
    }
    ulib::start::EXIT_FAILURE
}
