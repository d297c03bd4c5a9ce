//! What the screen shows: each state in three sizes, each view, ASCII.

mod common;

use common::*;
use monitor_ui::command::Key;
use monitor_ui::feed::{Feed, Link};
use monitor_ui::model::{Msg, View, update};
use monitor_ui::source::demo::{Demo, STEPS};
use monitor_ui::theme::{Depth, Theme};

#[test]
fn empty_screen() {
    let mut model = empty();
    feed(&mut model, Feed::Link(Link::Up));
    insta::assert_snapshot!("empty", screens(&mut model));
}

#[test]
fn connecting_screen() {
    let mut model = empty();
    feed(&mut model, Feed::Link(connecting(3)));
    at(&mut model, 600);
    insta::assert_snapshot!("connecting", screens(&mut model));
}

#[test]
fn live_screen() {
    let mut model = played(48);
    insta::assert_snapshot!("live", screens(&mut model));
}

#[test]
fn paused_screen() {
    let mut model = empty();
    let mut demo = Demo::default();
    for one in demo.begin() {
        feed(&mut model, one);
    }
    play(&mut model, &mut demo, 0, 30);
    press(&mut model, "2 ");
    play(&mut model, &mut demo, 30, 10);
    insta::assert_snapshot!("paused", screens(&mut model));
}

#[test]
fn lossy_screen() {
    let mut model = played(160);
    insta::assert_snapshot!("lossy", screens(&mut model));
}

#[test]
fn reconnecting_screen() {
    let mut model = played(20);
    feed(&mut model, Feed::Link(connecting(4)));
    at(&mut model, 3100);
    insta::assert_snapshot!("reconnecting", screens(&mut model));
}

#[test]
fn ended_screen() {
    let mut model = played(STEPS + 1);
    press(&mut model, "4");
    insta::assert_snapshot!("ended", screens(&mut model));
}

#[test]
fn error_screen() {
    let mut model = empty();
    let why = "the server refuses this client: permission denied: bad token";
    feed(&mut model, Feed::Link(Link::Failed(why.to_owned())));
    insta::assert_snapshot!("error", screens(&mut model));
}

#[test]
fn help_screen() {
    let mut model = played(10);
    press(&mut model, "2?");
    insta::assert_snapshot!("help", screens(&mut model));
}

#[test]
fn every_view() {
    let mut model = played(120);
    feed(&mut model, Feed::Server(counts()));
    update(&mut model, Msg::Note("machine 1 of 2 starts".to_owned()));
    for (number, view) in View::ALL.iter().enumerate() {
        press(&mut model, &(number + 1).to_string());
        insta::assert_snapshot!(format!("view_{view:?}"), screens(&mut model));
    }
}

#[test]
fn details_of_a_record_and_of_an_experiment() {
    let mut model = played(55);
    press(&mut model, "2kk");
    key(&mut model, Key::Enter);
    let theme = Theme::new(Depth::None, false);
    insta::assert_snapshot!("details_record", screen(&mut model, 80, 24, &theme));
    press(&mut model, "4");
    key(&mut model, Key::Enter);
    insta::assert_snapshot!("details_experiment", screen(&mut model, 80, 24, &theme));
}

#[test]
fn ascii_is_ascii() {
    let theme = Theme::new(Depth::None, true);
    let mut model = played(120);
    feed(&mut model, Feed::Server(counts()));
    for view in 1..=View::ALL.len() {
        press(&mut model, &view.to_string());
        for (width, height) in SIZES {
            let text = screen(&mut model, width, height, &theme);
            assert!(text.is_ascii(), "{text}");
        }
    }
}

#[test]
fn no_size_is_too_small() {
    let theme = Theme::new(Depth::Rgb, false);
    let mut model = played(120);
    feed(&mut model, Feed::Server(counts()));
    for view in 1..=View::ALL.len() {
        press(&mut model, &view.to_string());
        key(&mut model, Key::Enter);
        for width in (1..60).step_by(3) {
            for height in 1..14 {
                screen(&mut model, width, height, &theme);
                press(&mut model, "?");
                screen(&mut model, width, height, &theme);
                press(&mut model, "?");
            }
        }
    }
}
