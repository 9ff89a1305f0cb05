//! What keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::{
    failure::{Failure, REFUSED, UNREACHABLE},
    top::model::{Act, Ask, Dialog, Link, Sort, Wish},
};

fn press(model: &mut Model, keys: &str) -> Option<Wish> {
    let mut wish = None;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '<' => KeyCode::Backspace,
            other => KeyCode::Char(other),
        };
        wish = model.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    wish
}

fn names(model: &Model) -> Vec<String> {
    let shown = model.shown();
    shown.iter().map(|a| a.metadata.name.clone()).collect()
}

#[test]
fn what_needs_a_look_is_on_top_and_selected() {
    let model = looked(1);
    assert_eq!(names(&model)[0], "summarizer");
    assert_eq!(model.selected.as_deref(), Some("summarizer"));
}

#[test]
fn the_selection_stays_with_its_agent_when_the_order_changes() {
    let mut model = looked(1);
    press(&mut model, "jj");
    let selected = model.selected.clone();
    let row = model.row();
    press(&mut model, "s");
    assert_eq!((model.sort, &model.selected), (Sort::Name, &selected));
    assert_ne!(model.row(), row);
    press(&mut model, "gk");
    assert_eq!(model.row(), 0);
    press(&mut model, "Gj");
    assert_eq!(model.row(), 3);
}

#[test]
fn the_filter_keeps_what_has_it_in_name_phase_or_label() {
    let mut model = looked(1);
    press(&mut model, "/BACK\n");
    assert_eq!(names(&model), ["summarizer"]);
    press(&mut model, "\u{1b}");
    assert_eq!(names(&model).len(), 4);
    press(&mut model, "/craxx<<\n");
    assert_eq!(
        (model.filter.as_str(), model.selected.as_deref()),
        ("cra", Some("crawler"))
    );
    press(&mut model, "/nothing\n");
    assert_eq!(model.selected, None);
    assert_eq!(
        press(&mut model, "rdl"),
        None,
        "keys about nobody do nothing"
    );
    assert_eq!(model.dialog, None);
}

#[test]
fn nothing_is_done_without_a_yes() {
    for (key, act) in [
        ('r', Act::Restart("summarizer".to_owned())),
        ('p', Act::Pause("summarizer".to_owned())),
        ('b', Act::Rollback("summarizer".to_owned())),
    ] {
        let mut model = looked(1);
        assert_eq!(press(&mut model, &key.to_string()), None);
        assert_eq!(model.dialog, Some(Dialog::Confirm(act.clone())));
        assert_eq!(press(&mut model, "n"), None);
        assert_eq!(model.dialog, None);
        assert_eq!(press(&mut model, &format!("{key}y")), Some(Wish::Act(act)));
        assert_eq!(press(&mut model, "y"), None, "asked once");
    }
}

#[test]
fn who_is_paused_is_resumed_by_the_same_key() {
    let mut model = looked(1);
    model.list.as_mut().unwrap().items[3].status.phase = Phase::Paused;
    let wish = press(&mut model, "py");
    assert_eq!(wish, Some(Wish::Act(Act::Resume("summarizer".to_owned()))));
}

#[test]
fn the_answer_is_shown_and_a_refusal_says_who_may() {
    let mut model = looked(1);
    press(&mut model, "ry");
    let refusal = Failure::new(REFUSED, "uid 1000 may not restart").hint("ask an operator");
    model.take(News::Answered(Err(refusal)));
    let text = "uid 1000 may not restart\nask an operator".to_owned();
    assert_eq!(model.dialog, Some(Dialog::Answer { done: false, text }));
    press(&mut model, " ");
    assert_eq!(model.dialog, None);
}

#[test]
fn a_page_is_asked_for_scrolls_and_closes() {
    let mut model = looked(1);
    model.page_rows = 10;
    let logs = Ask::Logs("summarizer".to_owned());
    assert_eq!(press(&mut model, "l"), Some(Wish::Ask(logs.clone())));
    let lines = |count: usize| Ok((0..count).map(|line| line.to_string()).collect());
    model.take(News::Read(logs.clone(), lines(30)));
    let top = |model: &Model| model.page.as_ref().unwrap().top;
    assert_eq!(top(&model), 20, "output is followed");
    press(&mut model, "k");
    model.take(News::Read(logs.clone(), lines(40)));
    assert_eq!(top(&model), 19, "who reads is not moved");
    press(&mut model, "G");
    model.take(News::Read(logs, lines(50)));
    assert_eq!(top(&model), 40);
    let stale = Ask::Describe("summarizer".to_owned());
    model.take(News::Read(stale, lines(1)));
    assert_eq!(
        top(&model),
        40,
        "an answer that comes too late is passed over"
    );
    assert_eq!(press(&mut model, "q"), None);
    assert_eq!(model.page, None);
    assert_eq!(press(&mut model, "q"), Some(Wish::Quit));
}

#[test]
fn a_daemon_that_is_away_is_said_to_be_so_since_when_and_comes_back() {
    let mut model = looked(2);
    let lost = || News::Lost(Failure::new(UNREACHABLE, "cannot connect"));
    model.take(lost());
    model.tick(Duration::from_secs(9), NOW.to_owned());
    model.take(lost());
    let since = Duration::from_secs(1);
    let why = "cannot connect".to_owned();
    assert_eq!(model.link, Link::Lost { why, since });
    assert_eq!(names(&model).len(), 4, "what was known stays to be seen");
    model.take(News::Looked {
        list: Box::new(list()),
        head: None,
        entries: Vec::new(),
    });
    assert_eq!(model.link, Link::Up);
}

#[test]
fn control_keys_work_everywhere() {
    let mut model = looked(1);
    for before in ["", "?", "/", "r", "d"] {
        press(&mut model, before);
        for (key, wish) in [('c', Wish::Quit), ('z', Wish::Suspend), ('l', Wish::Redraw)] {
            let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL);
            assert_eq!(model.key(key), Some(wish));
        }
    }
}
