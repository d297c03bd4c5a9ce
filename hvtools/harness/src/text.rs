//! Text that a guest, a hypervisor or a script wrote, made fit for a person's terminal.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// `text` with every control character but newline and tab written out, so that it cannot steer the terminal.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => out.push(character),
            '\r' => {}
            c if c.is_control() || is_format(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Characters that change the direction of text or show nothing: good for hiding what a line says.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The last `count` lines of `text`, escaped.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    escaped(&lines[lines.len().saturating_sub(count)..].join("\n"))
}

/// QEMU separates the parts of an argument by commas and reads two commas as one.
pub(crate) fn escape_commas(path: &Path) -> OsString {
    let mut bytes = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_lose_their_power() {
        assert_eq!(
            escaped("a\x1b[2Jb\r\n\tc\u{202e}d\u{9b}"),
            "a\\u{1b}[2Jb\n\tc\\u{202e}d\\u{9b}"
        );
    }

    #[test]
    fn last_lines_are_the_last() {
        assert_eq!(last_lines("1\n2\n3\n", 2), "2\n3");
        assert_eq!(last_lines("", 5), "");
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        assert_eq!(escape_commas(Path::new("a,b")), "a,,b");
    }
}
