//! How the model looks, as text, at several sizes.

use ratatui::{Terminal, backend::TestBackend, style::Color};

use super::*;
use crate::{
    failure::{Failure, UNREACHABLE},
    top::{
        model::{Act, Ask, Dialog, Page},
        view::{Theme, draw},
    },
};

fn terminal(model: &mut Model, width: u16, height: u16, coloured: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let theme = Theme::new(coloured);
    terminal.draw(|frame| draw(model, theme, frame)).unwrap();
    terminal
}

fn picture(model: &mut Model, width: u16, height: u16) -> String {
    terminal(model, width, height, true).backend().to_string()
}

#[test]
fn everything_has_its_place_at_80x24() {
    insta::assert_snapshot!(picture(&mut looked(6), 80, 24));
}

#[test]
fn a_wide_terminal_shows_more_history() {
    insta::assert_snapshot!(picture(&mut looked(16), 140, 20));
}

#[test]
fn a_small_terminal_keeps_the_agents() {
    insta::assert_snapshot!(picture(&mut looked(3), 44, 9));
}

#[test]
fn no_size_breaks_the_view_and_no_line_is_too_long() {
    for width in 0..90 {
        for height in [0, 1, 2, 3, 5, 7, 13, 24] {
            for dialog in [None, Some(Dialog::Help), Some(Dialog::Filter)] {
                let mut model = looked(2);
                model.dialog = dialog;
                let drawn = terminal(&mut model, width, height, true);
                let area = drawn.backend().buffer().area;
                assert_eq!((area.width, area.height), (width, height));
            }
        }
    }
}

#[test]
fn a_question_says_what_will_be_done() {
    let mut model = looked(2);
    model.dialog = Some(Dialog::Confirm(Act::Restart("summarizer".to_owned())));
    insta::assert_snapshot!(picture(&mut model, 80, 16));
}

#[test]
fn help_explains_every_key() {
    let mut model = looked(2);
    model.dialog = Some(Dialog::Help);
    insta::assert_snapshot!(picture(&mut model, 80, 20));
}

#[test]
fn a_page_wraps_what_is_too_long_and_disarms_control_characters() {
    let mut model = looked(1);
    let lines = vec![
        "short".to_owned(),
        format!("  | \u{1b}[2J{}", "word ".repeat(20)),
    ];
    model.page = Some(Page {
        of: Ask::Describe("summarizer".to_owned()),
        lines: Some(lines),
        top: 0,
        follows: false,
    });
    insta::assert_snapshot!(picture(&mut model, 60, 10));
}

#[test]
fn a_daemon_that_is_away_is_seen_at_once() {
    let mut model = looked(1);
    let why = "cannot connect to /run/osmoda/osmoda.sock: No such file";
    model.take(News::Lost(Failure::new(UNREACHABLE, why)));
    model.tick(Duration::from_secs(5), NOW.to_owned());
    let picture = picture(&mut model, 80, 10);
    let first = picture.lines().next().unwrap().to_owned();
    assert!(
        first.contains("DAEMON AWAY for 5s, asking again: cannot connect"),
        "{picture}"
    );
}

#[test]
fn without_colours_there_are_none() {
    let drawn = |coloured| {
        let terminal = terminal(&mut looked(3), 100, 30, coloured);
        let cells = terminal.backend().buffer().content();
        cells
            .iter()
            .any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(drawn(true));
    assert!(!drawn(false));
}
