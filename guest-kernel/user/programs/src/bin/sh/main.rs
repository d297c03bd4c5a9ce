//! sh: the shell.
#![no_std]
#![no_main]

extern crate alloc;

mod edit;
mod parse;
mod run;

use edit::{Editor, Event};
use run::{BUILT_IN, Shell};
use ulib::abi::file::{T_DIR, TTY_LINE, TTY_RAW};
use ulib::prelude::*;

ulib::main!(
    main,
    "sh [-c TEXT | FILE [WORD...]]\n\
     The shell: a | b, a < file > file >> file, a; b, a & b, a && b || c, ( a; b ), 'quoted',\n\
     $? status, $0 to $9 arguments, # comment; cd, exit, wait, history, . FILE.\n\
     Keys: arrows, Tab completes, ^A ^E ^K ^U ^W ^L, ^D ends."
);

const PROMPT: &str = "$ ";

fn main() -> Result<i32> {
    let operands = env::operands();
    match operands[..] {
        [] => {}
        ["-c", text] => return Ok(Shell::new(vec!["sh".to_owned()]).last_line(text)),
        ["-c", ..] => return Err(Error::Usage),
        [path, ..] => {
            let script = fs::read_to_string(path)?;
            let arguments = operands.iter().map(|&word| word.to_owned()).collect();
            return Ok(Shell::new(arguments).script(&script));
        }
    }
    let mut shell = Shell::new(vec!["sh".to_owned()]);
    let interactive = sys::fstat(io::STDIN).is_ok_and(|stat| fs::Metadata(stat).is_device());
    let mut editor = Editor::new(PROMPT);
    loop {
        let line = match interactive {
            true => edited_line(&mut editor)?,
            false => plain_line()?,
        };
        let Some(line) = line else {
            return Ok(shell.status);
        };
        if interactive {
            shell.history = editor.history().to_vec();
        }
        shell.line(&line);
    }
}

/// One line from a file or pipe; a byte at a time, since what follows belongs to the commands.
fn plain_line() -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while io::stdin().read(&mut byte)? == 1 {
        if byte[0] == b'\n' {
            return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
        }
        bytes.push(byte[0]);
    }
    match bytes.is_empty() {
        true => Ok(None),
        false => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
    }
}

/// One line from a terminal, which is raw meanwhile.
fn edited_line(editor: &mut Editor) -> Result<Option<String>> {
    print!("{PROMPT}");
    if sys::ttymode(io::STDIN, TTY_RAW).is_err() {
        return plain_line();
    }
    let line = read_keys(editor);
    sys::ttymode(io::STDIN, TTY_LINE)?;
    line
}

fn read_keys(editor: &mut Editor) -> Result<Option<String>> {
    let mut byte = [0];
    while io::stdin().read(&mut byte)? == 1 {
        let mut out = String::new();
        let event = editor.feed(byte[0], &mut out);
        if event == Event::Complete {
            let before = editor.before_cursor();
            let (stem, candidates) = candidates(&before);
            editor.complete(stem, &candidates, &mut out);
        }
        print!("{out}");
        match event {
            Event::Line(line) => return Ok(Some(line)),
            Event::End => return Ok(None),
            Event::Edited | Event::Complete => {}
        }
    }
    Ok(None)
}

/// What the last word before the cursor could become, and how many characters of it are there.
fn candidates(before: &str) -> (usize, Vec<String>) {
    let is_border = |character: char| character.is_whitespace() || ";&|()<>".contains(character);
    let word_at = before.rfind(is_border).map_or(0, |at| at + 1);
    let word = &before[word_at..];
    let head = before[..word_at].trim_end();
    let is_command =
        (head.is_empty() || head.ends_with([';', '&', '|', '('])) && !word.contains('/');
    let (folder, stem) = match word.rfind('/') {
        Some(at) => word.split_at(at + 1),
        None => ("", word),
    };
    let mut names = Vec::new();
    let folders: &[&str] = match (is_command, folder) {
        (true, _) => &["/", "/boot"],
        (false, "") => &["."],
        (false, folder) => &[folder],
    };
    for entry in folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap_or_default())
    {
        let end = if entry.kind == T_DIR { "/" } else { "" };
        names.push(format!("{}{end}", entry.name));
    }
    if is_command {
        names.extend(BUILT_IN.map(str::to_owned));
    }
    names.retain(|name| name.starts_with(stem));
    names.sort();
    names.dedup();
    (stem.chars().count(), names)
}
