//! What lies over the screen: help, a question, an answer.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::{Block, BorderType, Clear, Widget as _},
};
use unicode_width::UnicodeWidthStr as _;

use super::{Theme, put};
use crate::show::fit;
use crate::top::model::{Act, Dialog, Model};

/// Widest dialog, in columns.
const WIDTH_MAX: u16 = 72;

const HELP: &[(&str, &str)] = &[
    ("↑ ↓ j k", "select an agent; PgUp PgDn Home End too"),
    (
        "Enter d",
        "describe it: what happened, why, and what comes next",
    ),
    ("l", "its output"),
    ("r", "restart it (asks first)"),
    ("p", "pause it, or resume it (asks first)"),
    ("b", "roll it back to its last good generation (asks first)"),
    ("/", "show only what has this in its name, phase or labels"),
    ("s", "sort: trouble, name, memory, CPU, restarts"),
    ("q Esc", "back, or quit"),
    ("Ctrl-Z", "to the background; Ctrl-L draws everything anew"),
    ("", ""),
    (
        "GEN 3?",
        "generation 3 is on probation; 3! it was found bad",
    ),
    ("RST", "restarts since the generation changed"),
];

/// Draws the dialog, if there is one.
pub fn draw(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = area.width.min(WIDTH_MAX);
    let room = usize::from(width.saturating_sub(4));
    let (title, lines) = match &model.dialog {
        None | Some(Dialog::Filter) => return,
        Some(Dialog::Help) => (" Keys ", help(theme, room)),
        Some(Dialog::Confirm(act)) => (" Sure? ", question(model, act, theme, room)),
        Some(Dialog::Waiting(_)) => (" Asked ", vec![Line::raw("waiting for the answer…")]),
        Some(Dialog::Answer { done, text }) => answer(*done, text, theme, room),
    };
    let height = u16::try_from(lines.len() + 2)
        .unwrap_or(u16::MAX)
        .min(area.height);
    let place = Rect::new(
        area.x + (area.width - width) / 2,
        area.y + (area.height - height) / 2,
        width,
        height,
    );
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .title(Span::styled(title, theme.title()));
    let inner = block.inner(place);
    Clear.render(place, frame.buffer_mut());
    block.render(place, frame.buffer_mut());
    for (row, line) in (0..).zip(lines) {
        let mut spans = vec![Span::raw(" ")];
        spans.extend(line.spans);
        put(frame, inner, row, Line::from(spans).style(line.style));
    }
}

fn help(theme: Theme, room: usize) -> Vec<Line<'static>> {
    let line = |(key, does): &(&str, &str)| {
        Line::from(vec![
            Span::styled(format!("{key:<9}"), theme.key()),
            Span::raw(fit(does, room.saturating_sub(9))),
        ])
    };
    HELP.iter().map(line).collect()
}

fn question(model: &Model, act: &Act, theme: Theme, room: usize) -> Vec<Line<'static>> {
    let (asks, means) = match act {
        Act::Restart(name) => (
            format!("Restart {name}?"),
            "It is stopped, then started anew. No failure is counted.".to_owned(),
        ),
        Act::Pause(name) => (
            format!("Pause {name}?"),
            "It is left as it is: nothing heals it until it is resumed.".to_owned(),
        ),
        Act::Resume(name) => (
            format!("Resume {name}?"),
            "osmoda acts on it again, at once where something is wrong.".to_owned(),
        ),
        Act::Rollback(name) => (format!("Roll {name} back?"), way_back(model)),
    };
    let recorded = "The ledger records that you asked for it.";
    let mut lines: Vec<Line<'static>> = wrap(&asks, room)
        .into_iter()
        .map(|line| Line::styled(line, theme.heading()))
        .collect();
    for text in [means.as_str(), recorded] {
        lines.extend(wrap(text, room).into_iter().map(Line::raw));
    }
    lines.push(Line::from(vec![
        Span::styled("y", theme.key()),
        Span::raw(" yes   "),
        Span::styled("any other key", theme.key()),
        Span::raw(" no"),
    ]));
    lines
}

fn way_back(model: &Model) -> String {
    let generation = model.chosen().map(|agent| &agent.status.generation);
    let good = generation.and_then(|generation| generation.last_known_good.as_ref());
    let active = generation.and_then(|generation| generation.active.as_ref());
    match good.filter(|good| Some(*good) != active) {
        Some(good) => format!(
            "Generation {} becomes active, and stays so until its spec changes.",
            good.number
        ),
        None => "The newest good generation other than the active one becomes active, \
                 if there is one, and stays so until its spec changes."
            .to_owned(),
    }
}

fn answer(done: bool, text: &str, theme: Theme, room: usize) -> (&'static str, Vec<Line<'static>>) {
    let (title, style) = match done {
        true => (" Done ", theme.good()),
        false => (" Not done ", theme.bad()),
    };
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let style = if index == 0 { style } else { theme.plain() };
        lines.extend(wrap(line, room).into_iter().map(|l| Line::styled(l, style)));
    }
    lines.push(Line::styled("any key closes this", theme.soft()));
    (title, lines)
}

/// Lines of whole words.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in crate::show::one_line(text).split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(&fit(word, room));
        } else if line.width() + 1 + word.width() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(fit(word, room));
        }
    }
    lines
}
