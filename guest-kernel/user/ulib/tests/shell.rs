//! The shell's grammar and line editor, on the host.
#![allow(dead_code, reason = "the tests use a part of the modules")]

extern crate alloc;

#[path = "../../programs/src/bin/sh/edit.rs"]
mod edit;
#[path = "../../programs/src/bin/sh/parse.rs"]
mod parse;

use edit::{Editor, Event};
use parse::{Direction, Node, Piece, Redirection, Word, parse};

fn text(node: &Node) -> String {
    let join = |nodes: &[Node], by: &str| nodes.iter().map(text).collect::<Vec<_>>().join(by);
    let word = |word: &Word| -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable(name) => format!("${name}"),
        };
        word.iter().map(piece).collect()
    };
    let files = |redirections: &[Redirection]| -> String {
        let file = |redirection: &Redirection| {
            let sign = match redirection.direction {
                Direction::From => "<",
                Direction::To => ">",
                Direction::AppendTo => ">>",
            };
            format!(" {sign}{}", word(&redirection.file))
        };
        redirections.iter().map(file).collect()
    };
    match node {
        Node::Simple(words, redirections) => {
            let words: Vec<String> = words.iter().map(word).collect();
            format!("[{}{}]", words.join(","), files(redirections))
        }
        Node::Subshell(body, redirections) => format!("({}{})", text(body), files(redirections)),
        Node::Pipe(left, right) => format!("{}|{}", text(left), text(right)),
        Node::And(left, right) => format!("{{{}&&{}}}", text(left), text(right)),
        Node::Or(left, right) => format!("{{{}||{}}}", text(left), text(right)),
        Node::Sequence(nodes) => join(nodes, ";"),
        Node::Background(body) => format!("{}&", text(body)),
    }
}

#[test]
fn the_grammar_of_xv6() {
    let lines = [
        ("", ""),
        ("   # nothing", ""),
        ("echo a  b", "[echo,a,b]"),
        ("a|b|c", "[a]|[b]|[c]"),
        ("a;b ; c;", "[a];[b];[c]"),
        ("a&b", "[a]&;[b]"),
        ("a & b &", "[a]&;[b]&"),
        ("<in a >out b >>more", "[a,b <in >out >>more]"),
        ("(a;b)>x|c", "([a];[b] >x)|[c]"),
        ("((a))", "(([a]))"),
        ("a && b || c", "{{[a]&&[b]}||[c]}"),
        ("echo hi>f", "[echo,hi >f]"),
        ("echo a#b #c", "[echo,a#b]"),
    ];
    for (line, tree) in lines {
        assert_eq!(
            parse(line).as_ref().map(text),
            Ok(String::from(tree)),
            "{line}"
        );
    }
}

#[test]
fn quotes_and_variables() {
    let lines = [
        ("echo 'a | b'", "[echo,a | b]"),
        (r#"echo "it's $?""#, "[echo,it's $?]"),
        ("echo '$?'", "[echo,$?]"),
        (r"echo a\ b \;", "[echo,a b,;]"),
        ("echo ''", "[echo,]"),
        ("echo a'b'c", "[echo,abc]"),
    ];
    for (line, tree) in lines {
        assert_eq!(
            parse(line).as_ref().map(text),
            Ok(String::from(tree)),
            "{line}"
        );
    }
    let Ok(Node::Simple(words, _)) = parse("echo '$?' $?") else {
        panic!("not a simple command");
    };
    assert_eq!(words[1], [Piece::Text("$?".into())]);
    assert_eq!(words[2][1], Piece::Variable('?'));
}

#[test]
fn what_is_no_sentence_is_refused() {
    let deep = "(".repeat(5000);
    for line in [
        "|", "a|", "a | | b", "(a", "a)", ">", "a >", "a > | b", "&", ";", "a;;b", "a &&", "'a",
        "\"a", "a\\", "a (b)", "echo $", &deep,
    ] {
        let result = parse(line);
        assert!(result.is_err(), "{line}: {result:?}");
    }
}

/// Feeds bytes; the last event and everything sent to the terminal.
fn feed(editor: &mut Editor, keys: &str) -> (Event, String) {
    let mut out = String::new();
    let mut event = Event::Edited;
    for byte in keys.bytes() {
        event = editor.feed(byte, &mut out);
    }
    (event, out)
}

fn line_of(keys: &str) -> String {
    let mut editor = Editor::new("$ ");
    match feed(&mut editor, keys).0 {
        Event::Line(line) => line,
        event => panic!("{keys:?} gave {event:?}"),
    }
}

#[test]
fn what_is_typed_is_echoed_as_it_is() {
    let mut editor = Editor::new("$ ");
    let (event, out) = feed(&mut editor, "echo hi\r");
    assert_eq!(event, Event::Line("echo hi".into()));
    assert_eq!(out, "echo hi\n");
}

#[test]
fn keys_edit_the_line() {
    let keys = [
        ("ab\x7fc\n", "ac"),
        ("bc\x01a\n", "abc"),
        ("ac\x1b[Db\n", "abc"),
        ("abc\x01\x04\n", "bc"),
        ("abc\x1b[D\x1b[D\x0b\n", "a"),
        ("abc def\x17x\n", "abc x"),
        ("abc\x15x\n", "x"),
        ("ac\x1b[1~\x1b[C\x1b[3~b\n", "ab"),
        ("x\x03y\n", "y"),
        ("gr\u{fc}n\x7f\x7f\n", "gr"),
        ("\x1b[99;5Zok\n", "ok"),
    ];
    for (typed, line) in keys {
        assert_eq!(line_of(typed), line, "{typed:?}");
    }
}

#[test]
fn history_goes_up_and_comes_back_to_the_new_line() {
    let mut editor = Editor::new("$ ");
    feed(&mut editor, "one\ntwo\ntwo\n");
    assert_eq!(editor.history(), ["one", "two"]);
    let up = "\x1b[A";
    let down = "\x1b[B";
    let (event, _) = feed(
        &mut editor,
        &format!("new{up}{up}{up}{down}{down}{down}!\n"),
    );
    assert_eq!(event, Event::Line("new!".into()));
    let (event, _) = feed(&mut editor, &format!("{up}{up}{up}\n"));
    assert_eq!(event, Event::Line("one".into()));
}

#[test]
fn control_d_ends_only_an_empty_line() {
    let mut editor = Editor::new("$ ");
    assert_eq!(feed(&mut editor, "a\x04").0, Event::Edited);
    assert_eq!(feed(&mut editor, "\x7f\x04").0, Event::End);
}

#[test]
fn completion_inserts_what_is_common_and_lists_the_rest() {
    let mut editor = Editor::new("$ ");
    assert_eq!(feed(&mut editor, "us\t").0, Event::Complete);
    let names = ["usertests".to_string(), "userland".to_string()];
    let mut out = String::new();
    editor.complete(2, &names, &mut out);
    assert_eq!(
        (editor.before_cursor().as_str(), out.as_str()),
        ("user", "er")
    );
    out.clear();
    editor.complete(4, &names, &mut out);
    assert!(out.contains("usertests  userland"), "{out:?}");
    editor.complete(4, &names[..1], &mut out);
    assert_eq!(editor.before_cursor(), "usertests ");
}

#[test]
fn any_bytes_are_survived() {
    let mut state = 1u64;
    let mut editor = Editor::new("$ ");
    let mut out = String::new();
    for _ in 0..200_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let byte = (state >> 56) as u8;
        if editor.feed(byte, &mut out) == Event::Complete {
            editor.complete(0, &["x".into()], &mut out);
        }
        out.clear();
    }
}
