//! Text, CSV and JSON of the demo.

mod common;

use common::*;
use monitor_ui::feed::{Feed, Link};
use monitor_ui::model::Model;
use monitor_ui::report::{CSV_COLUMNS, Form, Printer};
use monitor_ui::source::demo::{Demo, STEPS};

/// Everything the form prints, with a print after every feed.
fn printed(form: Form) -> String {
    let mut out = Vec::new();
    let mut printer = Printer::new(form, &mut out).unwrap();
    let mut model = empty();
    let mut demo = Demo::default();
    let mut feeds = demo.begin();
    while !feeds.is_empty() {
        for one in feeds {
            feed(&mut model, one);
            printer.print(&model).unwrap();
        }
        feeds = demo.step();
    }
    drop(printer);
    String::from_utf8(out).unwrap()
}

fn records(model: &Model) -> usize {
    model.run().unwrap().trace.total() as usize
}

#[test]
fn text_tells_everything_once() {
    let text = printed(Form::Text);
    let model = played(STEPS + 1);
    let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
    assert_eq!(count(" request ring0 "), 4 * STEPS as usize);
    assert_eq!(count("-- ended"), 1);
    assert_eq!(count("experiment virtio-ring: CRASH"), 1);
    assert_eq!(count("experiment virtio-ring: running"), 1);
    assert_eq!(count("lost: "), 6);
    assert_eq!(
        count(" log: net: packet"),
        model
            .run()
            .unwrap()
            .logs
            .of(&[monitor_ui::model::logs::Origin::VmmTraced])
            .count()
    );
}

#[test]
fn csv_has_its_columns_in_every_line() {
    let text = printed(Form::Csv);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(CSV_COLUMNS));
    let columns = CSV_COLUMNS.split(',').count();
    let rows: Vec<&str> = lines.collect();
    assert_eq!(rows.len(), records(&played(STEPS + 1)));
    for row in rows {
        // The last column is text in quotes; no demo text holds a comma or a quote.
        assert_eq!(row.split(',').count(), columns, "{row}");
    }
}

#[test]
fn json_is_an_object_a_line() {
    let text = printed(Form::Json);
    let mut types = std::collections::BTreeMap::<String, usize>::new();
    for line in text.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        *types
            .entry(object["type"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(types["record"], records(&played(STEPS + 1)));
    assert_eq!(types["experiment"], 9 * 3);
    assert_eq!(types["lost"], 6);
    assert!(types["state"] >= 3 && types["log"] > 10, "{types:?}");
}

#[test]
fn the_state_is_told_when_it_changes_and_not_when_seconds_pass() {
    let mut out = Vec::new();
    let mut printer = Printer::new(Form::Text, &mut out).unwrap();
    let mut model = empty();
    feed(&mut model, Feed::Link(Link::Up));
    feed(&mut model, Feed::Run("demo".to_owned()));
    for file in monitor_ui::feed::RunFile::OF_RUN {
        feed(
            &mut model,
            Feed::File(place(None, file), monitor_ui::feed::FileEvent::End),
        );
    }
    for second in 0..10 {
        at(&mut model, second * 1000);
        printer.print(&model).unwrap();
    }
    feed(&mut model, Feed::Link(connecting(1)));
    printer.print(&model).unwrap();
    at(&mut model, 10_500);
    printer.print(&model).unwrap();
    drop(printer);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "-- live\n-- quiet\n-- reconnecting\n"
    );
}
