//! The model with a clock of its own: what it claims, and what it survives.

mod common;

use common::*;
use monitor_ui::command::Key;
use monitor_ui::feed::{Feed, FileEvent, Link, RunFile};
use monitor_ui::model::status::{State, status};
use monitor_ui::model::{Effect, Model, View};
use monitor_ui::source::demo::{Demo, STEPS};
use monitor_ui::theme::{Depth, Theme};
use trace_record::verdict::{Progress, Verdict, VerdictRecord};
use trace_record::{FileHeader, Payload, RecordMeta, encode_record};

fn word(model: &Model) -> String {
    status(model).state.word()
}

#[test]
fn the_status_follows_clock_and_link() {
    let mut model = empty();
    assert_eq!(word(&model), "connecting");
    feed(&mut model, Feed::Link(connecting(2)));
    assert_eq!(word(&model), "connecting, attempt 3");
    at(&mut model, 1000);
    feed(&mut model, Feed::Link(Link::Up));
    assert_eq!(word(&model), "no run yet");
    feed(&mut model, Feed::Run("demo".to_owned()));
    assert_eq!(word(&model), "reading", "its files were not read yet");
    for file in RunFile::OF_RUN {
        feed(&mut model, Feed::File(place(None, file), FileEvent::Anew));
    }
    assert_eq!(word(&model), "live");
    at(&mut model, 3500);
    assert_eq!(word(&model), "quiet 2 s");
    feed(
        &mut model,
        Feed::File(place(None, RunFile::Results), data(0, b"\n")),
    );
    assert_eq!(word(&model), "live");
    feed(&mut model, Feed::Link(connecting(1)));
    assert_eq!(word(&model), "reconnecting in 2 s");
    at(&mut model, 4400);
    assert_eq!(word(&model), "reconnecting in 1 s");
    at(&mut model, 5300);
    assert_eq!(word(&model), "reconnecting now");
    feed(&mut model, Feed::Link(Link::Failed("bad token".to_owned())));
    assert_eq!(status(&model).state, State::Failed("bad token".to_owned()));
}

#[test]
fn a_clock_that_goes_back_is_ignored() {
    let mut model = empty();
    at(&mut model, 5000);
    at(&mut model, 10);
    assert_eq!(model.now_ms, 5000);
}

#[test]
fn a_run_is_ended_when_its_run_json_says_so_and_everything_was_read() {
    let model = played(STEPS - 1);
    assert_eq!(word(&model), "live");
    let mut model = played(STEPS + 1);
    at(&mut model, 200_000);
    assert_eq!(word(&model), "ended");
    feed(&mut model, Feed::Boot("demo".to_owned(), 1));
    assert_eq!(word(&model), "reading", "a boot that was not read yet");
}

#[test]
fn pause_freezes_the_picture_and_not_the_intake() {
    let mut model = empty();
    let mut demo = Demo::default();
    for one in demo.begin() {
        feed(&mut model, one);
    }
    play(&mut model, &mut demo, 0, 20);
    press(&mut model, "2 ");
    let theme = Theme::new(Depth::None, false);
    let body = |text: String| text.lines().take(20).map(str::to_owned).collect::<Vec<_>>();
    let before = body(screen(&mut model, 80, 24, &theme));
    play(&mut model, &mut demo, 20, 20);
    assert_eq!(body(screen(&mut model, 80, 24, &theme)), before);
    let behind = status(&model).paused.unwrap();
    assert!(behind > 200, "{behind}");
    let live = model.live_run().unwrap().trace.total();
    press(&mut model, " ");
    assert_eq!(status(&model).paused, None);
    assert_eq!(model.run().unwrap().trace.total(), live);
}

#[test]
fn a_lost_connection_keeps_the_keys_alive() {
    let mut model = played(20);
    feed(&mut model, Feed::Link(connecting(7)));
    press(&mut model, "2 ");
    assert_eq!(press(&mut model, "q"), [Effect::Quit]);
    assert_eq!(key(&mut model, Key::Ctrl('c')), [Effect::Quit]);
}

#[test]
fn a_filter_is_typed_used_refused_and_dropped() {
    let mut model = played(50);
    press(&mut model, "2/class:hypercall q");
    assert_eq!(
        model.typing.as_deref(),
        Some("class:hypercall q"),
        "q is a letter here"
    );
    key(&mut model, Key::Backspace);
    key(&mut model, Key::Enter);
    let all = model.run().unwrap().trace.total() as usize;
    let shown = model.list_len();
    assert!(shown > 0 && shown < all);
    press(&mut model, "/x");
    key(&mut model, Key::Esc);
    assert_eq!(model.list_len(), shown, "Esc leaves it as it was");
    press(&mut model, "/ class:nonsense");
    key(&mut model, Key::Enter);
    assert!(model.answer.as_ref().unwrap().contains("nonsense"));
    assert!(model.typing.is_some() && model.list_len() == shown);
    assert_eq!(
        key(&mut model, Key::Ctrl('c')),
        [Effect::Quit],
        "even while typing"
    );
    key(&mut model, Key::Esc);
    key(&mut model, Key::Esc);
    assert_eq!(model.list_len(), all);
}

#[test]
fn the_chosen_record_stays_chosen_while_others_come() {
    let mut model = empty();
    let mut demo = Demo::default();
    for one in demo.begin() {
        feed(&mut model, one);
    }
    play(&mut model, &mut demo, 0, 20);
    press(&mut model, "2");
    assert_eq!(model.chosen_index(), model.list_len() - 1, "the tail");
    press(&mut model, "kkk");
    let chosen = model.cursor().unwrap();
    play(&mut model, &mut demo, 20, 20);
    assert_eq!(model.cursor(), Some(chosen));
    assert_eq!(model.chosen_index() as u64, chosen);
    press(&mut model, "G");
    play(&mut model, &mut demo, 40, 5);
    assert_eq!(model.chosen_index(), model.list_len() - 1, "the tail again");
    press(&mut model, "g");
    assert_eq!(model.chosen_index(), 0);
}

#[test]
fn a_newer_run_takes_the_screen_unless_one_was_chosen() {
    let mut model = empty();
    for id in ["20261123-100000", "20261123-120000"] {
        feed(&mut model, Feed::Run(id.to_owned()));
    }
    assert_eq!(model.run().unwrap().id, "20261123-120000");
    press(&mut model, "[");
    assert_eq!(model.run().unwrap().id, "20261123-100000");
    feed(&mut model, Feed::Run("20261123-130000".to_owned()));
    assert_eq!(model.run().unwrap().id, "20261123-100000");
    press(&mut model, "]]");
    feed(&mut model, Feed::Run("20261123-140000".to_owned()));
    assert_eq!(model.run().unwrap().id, "20261123-140000");
    press(&mut model, "]");
    assert!(
        model.answer.is_some(),
        "there is none behind it, and that is said"
    );
}

fn trace(sequences: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    FileHeader {
        tsc_hz: 1_000_000_000,
        ..FileHeader::default()
    }
    .encode(&mut bytes);
    for sequence in sequences {
        let meta = RecordMeta {
            sequence: *sequence,
            ..RecordMeta::default()
        };
        encode_record(&meta, &Payload::Interrupt { vector: 32 }, &mut bytes);
    }
    bytes
}

#[test]
fn every_sort_of_loss_is_counted() {
    let mut model = empty();
    let mut bytes = trace(&[0, 1, 5]);
    let meta = RecordMeta {
        sequence: 6,
        ..RecordMeta::default()
    };
    encode_record(&meta, &Payload::Dropped { count: 7 }, &mut bytes);
    let mut damaged = Vec::new();
    encode_record(&meta, &Payload::Interrupt { vector: 1 }, &mut damaged);
    damaged[24] ^= 1;
    bytes.extend(damaged);
    // In pieces of every size, as a network brings them.
    for (index, piece) in bytes.chunks(11).enumerate() {
        feed(
            &mut model,
            Feed::File(
                place(Some(0), RunFile::Trace),
                data(index as u64 * 11, piece),
            ),
        );
    }
    let loss = model.run().unwrap().loss;
    assert_eq!((loss.dropped, loss.gaps, loss.damaged), (7, 3, 1));
    assert_eq!(status(&model).lost, 11);
    assert_eq!(model.run().unwrap().trace.total(), 4);
}

#[test]
fn a_file_that_begins_anew_is_read_anew_and_nothing_is_shown_twice() {
    let mut model = empty();
    let file = place(Some(0), RunFile::Trace);
    let begun = || Feed::File(file.clone(), FileEvent::Anew);
    // Before there is a file, and twice when it has lost its end.
    feed(&mut model, begun());
    assert!(model.run().unwrap().complaints.is_empty());
    for content in [&[0, 1, 2][..], &[0, 1], &[0, 1, 2, 3]] {
        feed(
            &mut model,
            Feed::File(file.clone(), data(0, &trace(content))),
        );
        feed(&mut model, begun());
    }
    let run = model.run().unwrap();
    assert_eq!((run.trace.total(), run.loss.total()), (4, 0));
    let complaint = &run.complaints[0];
    assert!(complaint.contains("trace.hvt: shorter than"), "{complaint}");
    // Another boot's trace has the same numbers.
    let another = FileHeader {
        first_tsc: 99,
        ..FileHeader::default()
    };
    let mut bytes = Vec::new();
    another.encode(&mut bytes);
    let records = trace(&[0, 1]);
    let (_, head) = FileHeader::decode(&records).unwrap();
    bytes.extend_from_slice(&records[head..]);
    feed(&mut model, Feed::File(file, data(0, &bytes)));
    assert_eq!(model.run().unwrap().trace.total(), 6);
}

#[test]
fn bytes_that_never_came_are_told() {
    let mut model = empty();
    feed(
        &mut model,
        Feed::File(place(Some(0), RunFile::Console), data(0, b"one\n")),
    );
    feed(
        &mut model,
        Feed::File(place(Some(0), RunFile::Console), data(10, b"two\n")),
    );
    let complaints = &model.run().unwrap().complaints;
    assert!(complaints[0].contains("bytes 4 to 10"), "{complaints:?}");
}

#[test]
fn hostile_text_never_reaches_the_terminal() {
    const HOSTILE: &str = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\u{202e}<script>\r\n\tx";
    let mut model = empty();
    let mut bytes = Vec::new();
    let header = FileHeader {
        hypervisor: HOSTILE.to_owned(),
        kernel: HOSTILE.to_owned(),
        machine_name: HOSTILE.to_owned(),
        ..FileHeader::default()
    };
    header.encode(&mut bytes);
    let text = || HOSTILE.as_bytes().into();
    let payloads = [
        Payload::Panic { text: text() },
        Payload::Event { text: text() },
        Payload::VmmLog { text: text() },
        Payload::VirtioReset { text: text() },
        Payload::RemoteRequest {
            operation: 200,
            text: text(),
        },
    ];
    for (sequence, payload) in payloads.iter().enumerate() {
        let meta = RecordMeta {
            sequence: sequence as u32,
            ..RecordMeta::default()
        };
        encode_record(&meta, payload, &mut bytes);
    }
    let mut verdict = Vec::new();
    let progress = Progress::Finished {
        verdict: Verdict::Fail,
        reason: HOSTILE.to_owned(),
        detail: HOSTILE.to_owned(),
        measurements: vec![Default::default()],
    };
    VerdictRecord {
        sequence: 0,
        experiment: HOSTILE.to_owned(),
        progress,
    }
    .encode(&mut verdict);
    let info = serde_json::json!({"hypervisor": HOSTILE, "hypervisor_detail": HOSTILE}).to_string();
    let result =
        serde_json::json!({"id": HOSTILE, "title": HOSTILE, "verdict": HOSTILE}).to_string();
    feed(&mut model, Feed::Link(Link::Up));
    for (machine, file, bytes) in [
        (Some(0), RunFile::Trace, bytes.as_slice()),
        (Some(0), RunFile::Verdicts, &verdict),
        (Some(0), RunFile::VmmLog, HOSTILE.as_bytes()),
        (Some(0), RunFile::Console, HOSTILE.as_bytes()),
        (None, RunFile::Info, info.as_bytes()),
        (None, RunFile::Results, (result + "\n").as_bytes()),
    ] {
        feed(&mut model, Feed::File(place(machine, file), data(0, bytes)));
    }
    feed(&mut model, Feed::Run(HOSTILE.to_owned()));
    let mut counts = counts();
    counts.counts[0].name = HOSTILE.as_bytes().to_vec();
    feed(&mut model, Feed::Server(counts));
    monitor_ui::model::update(&mut model, monitor_ui::model::Msg::Note(HOSTILE.to_owned()));
    let theme = Theme::new(Depth::None, false);
    for link in [Link::Up, Link::Failed(HOSTILE.to_owned())] {
        feed(&mut model, Feed::Link(link));
        for run in ["]]", "[["] {
            press(&mut model, run);
            for view in 1..=View::ALL.len() {
                press(&mut model, &view.to_string());
                key(&mut model, Key::Enter);
                let text = screen(&mut model, 120, 40, &theme);
                let bad = |c: char| {
                    (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c)
                };
                assert!(!text.contains(bad), "{text:?}");
            }
        }
    }
    let mut out = Vec::new();
    let mut printer =
        monitor_ui::report::Printer::new(monitor_ui::report::Form::Text, &mut out).unwrap();
    printer.print(&model).unwrap();
    drop(printer);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("FAIL"));
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n'),
        "{text:?}"
    );
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = 0x1234_5678_9abc_def1_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let good = trace(&[0, 1, 2, 3, 4, 5, 6, 7]);
    let theme = Theme::new(Depth::None, false);
    for round in 0..300 {
        let mut model = empty();
        feed(&mut model, Feed::Link(Link::Up));
        for file in RunFile::OF_RUN.into_iter().chain(RunFile::OF_BOOT) {
            let mut bytes: Vec<u8> = match round % 2 {
                0 => good.clone(),
                _ => (0..200).map(|_| next() as u8).collect(),
            };
            for _ in 0..4 {
                let at = next() as usize % bytes.len();
                bytes[at] = next() as u8;
            }
            let machine = (!RunFile::OF_RUN.contains(&file)).then_some(0);
            feed(
                &mut model,
                Feed::File(place(machine, file), data(next() % 3, &bytes)),
            );
        }
        for view in 1..=View::ALL.len() {
            press(&mut model, &view.to_string());
            screen(&mut model, 40, 12, &theme);
        }
    }
}
