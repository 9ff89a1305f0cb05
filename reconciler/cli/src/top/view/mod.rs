//! How the model looks: a header, agents, incidents, the ledger, the keys.
//!
//! Pure but for [`Model::page_rows`], which tells keys how far a page goes. Where to start:
//! [`draw`]. What does not fit is left out from the bottom up: first the incidents, then the
//! columns that are of least use; the agents stay to the last.

mod agents;
mod dialog;
mod incidents;
mod page;
mod theme;

use osmoda_core::status::Phase;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Span},
};
use unicode_width::UnicodeWidthStr as _;

pub use self::theme::Theme;
use super::model::{Dialog, Link, Model};
use crate::show::{age, fit, page::grouped};

/// Digits of the ledger's root that are shown: enough to compare it by eye.
const ROOT_DIGITS: usize = 12;
/// Height from which incidents have a place of their own, in rows.
const ROWS_FOR_INCIDENTS: u16 = 14;
/// Least and greatest height of the incidents, with their heading.
const INCIDENTS_MIN: u16 = 4;
const INCIDENTS_MAX: u16 = 14;

/// Draws everything.
pub fn draw(model: &mut Model, theme: Theme, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.height < 3 || area.width < 12 {
        put(frame, area, 0, Line::raw("too small"));
        return;
    }
    let [top, middle, ledger, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(u16::from(area.height >= 6)),
        Constraint::Length(u16::from(area.height >= 5)),
    ])
    .areas(area);
    put(frame, top, 0, header(model, theme, top.width));
    if model.page.is_some() {
        page::draw(model, theme, frame, middle);
    } else {
        overview(model, theme, frame, middle);
    }
    put(frame, ledger, 0, ledger_line(model, theme, ledger.width));
    put(frame, keys, 0, keys_line(model, theme));
    dialog::draw(model, theme, frame, area);
}

fn overview(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    if area.height + 3 < ROWS_FOR_INCIDENTS {
        agents::draw(model, theme, frame, area);
        return;
    }
    // Their heading and the line about the selected one need a row each; a row stays free.
    let agents = u16::try_from(model.shown().len()).unwrap_or(u16::MAX);
    let agents = agents.saturating_add(3).max(4);
    let wanted = incidents::rows(model).clamp(INCIDENTS_MIN, INCIDENTS_MAX);
    let left = area.height.saturating_sub(agents).max(area.height / 2);
    let given = wanted.max(area.height.saturating_sub(agents)).min(left);
    let [above, below] =
        Layout::vertical([Constraint::Min(3), Constraint::Length(given)]).areas(area);
    agents::draw(model, theme, frame, above);
    incidents::draw(model, theme, frame, below);
}

fn header(model: &Model, theme: Theme, width: u16) -> Line<'static> {
    let mut spans = vec![Span::styled(" osmoda ", theme.title())];
    match &model.link {
        Link::New => spans.push(Span::raw(" asking the daemon…")),
        Link::Lost { why, since } => {
            let ms = model.now.saturating_sub(*since).as_millis();
            let ago = age(u64::try_from(ms).unwrap_or(u64::MAX));
            let text = format!(" DAEMON AWAY for {ago}, asking again: {why}");
            let room = usize::from(width).saturating_sub(8);
            spans.push(Span::styled(fit(&text, room), theme.bad()));
            return Line::from(spans);
        }
        Link::Up => {}
    }
    let Some(list) = &model.list else {
        return Line::from(spans);
    };
    let node = &list.node;
    let ready = list.items.iter().filter(|agent| agent.status.ready).count();
    let done =
        |agent: &&osmoda_node::api::types::AgentObject| agent.status.phase == Phase::Succeeded;
    let done = list.items.iter().filter(done).count();
    let mut counts = format!(" {ready} of {} ready", list.items.len() - done);
    if done > 0 {
        counts.push_str(&format!(", {done} done"));
    }
    let style = match ready + done == list.items.len() {
        true => theme.good(),
        false => theme.warn(),
    };
    spans.push(Span::styled(counts, style));
    if node.paused.is_some() {
        spans.push(Span::styled(", ALL PAUSED", theme.warn()));
    }
    if !node.spec_errors.is_empty() {
        let text = match node.spec_errors.len() {
            1 => ", 1 invalid spec file".to_owned(),
            count => format!(", {count} invalid spec files"),
        };
        spans.push(Span::styled(text, theme.bad()));
    }
    let place = format!(
        "  node {}, up {}, {} runtime",
        node.name,
        age(node.uptime_ms.saturating_add(model.since_look_ms())),
        node.runtime
    );
    spans.push(Span::styled(place, theme.soft()));
    let clock = crate::show::to_seconds(&model.wall);
    let clock = clock.get(11..).unwrap_or_default().to_owned();
    let line = Line::from(spans);
    let gap = usize::from(width).saturating_sub(line.width() + clock.width() + 1);
    if gap == 0 {
        return line;
    }
    let mut spans = line.spans;
    spans.push(Span::raw(" ".repeat(gap)));
    spans.push(Span::styled(clock, theme.soft()));
    Line::from(spans)
}

fn ledger_line(model: &Model, theme: Theme, width: u16) -> Line<'static> {
    let Some(list) = &model.list else {
        return Line::default();
    };
    let ledger = &list.node.ledger;
    let mut spans = vec![
        Span::styled(" ledger ", theme.heading()),
        Span::raw(format!("{} entries", grouped(ledger.size))),
    ];
    if let Some(why) = &ledger.degraded {
        let text = format!(", NOT RECORDING: {why}");
        spans.push(Span::styled(text, theme.bad()));
        return Line::from(spans);
    }
    let anchored = match (ledger.anchors.is_empty(), ledger.unanchored) {
        (_, 0) => ", all anchored".to_owned(),
        (true, _) => ", no anchors".to_owned(),
        (false, tail) => format!(", {} unanchored", grouped(tail)),
    };
    spans.push(Span::styled(anchored, theme.soft()));
    let checkpoint = model
        .head
        .as_ref()
        .and_then(|head| head.checkpoint.as_ref());
    let checkpoint = match checkpoint {
        None => ", no checkpoint yet".to_owned(),
        Some(signed) => format!(
            ", signed up to {} {}",
            grouped(signed.size),
            crate::show::ago(&signed.signed_at, &model.wall)
        ),
    };
    spans.push(Span::styled(checkpoint, theme.soft()));
    let failing = ledger.anchors.iter().find(|anchor| anchor.reason.is_some());
    if let Some(anchor) = failing {
        let text = format!(", anchor {} fails", anchor.name);
        spans.push(Span::styled(text, theme.bad()));
    }
    let line = Line::from(spans);
    let root = ledger.root.get(..ROOT_DIGITS).unwrap_or(&ledger.root);
    let root = Span::styled(format!(", root {root}…"), theme.soft());
    let room = usize::from(width).saturating_sub(line.width());
    let mut spans = line.spans;
    if root.width() <= room {
        spans.push(root);
    }
    Line::from(spans)
}

fn keys_line(model: &Model, theme: Theme) -> Line<'static> {
    if model.dialog == Some(Dialog::Filter) {
        return Line::from(vec![
            Span::styled(" filter: ", theme.heading()),
            Span::raw(format!("{}▏", model.filter)),
            Span::styled("  Enter keeps it, Esc clears it", theme.soft()),
        ]);
    }
    let keys: &[(&str, &str)] = match &model.page {
        Some(_) => &[
            ("q", "back"),
            ("↑↓", "scroll"),
            ("d", "describe"),
            ("l", "logs"),
            ("r", "restart"),
            ("?", "help"),
        ],
        // On a narrow terminal the last ones are cut off, and help still tells of them.
        None => &[
            ("?", "help"),
            ("q", "quit"),
            ("d", "describe"),
            ("l", "logs"),
            ("r", "restart"),
            ("p", "pause"),
            ("b", "roll back"),
            ("/", "filter"),
            ("s", "sort"),
        ],
    };
    let each = keys.iter().flat_map(|(key, does)| {
        [
            Span::styled(format!(" {key}"), theme.key()),
            Span::styled(format!(" {does} "), theme.soft()),
        ]
    });
    Line::from(each.collect::<Vec<_>>())
}

/// Puts a line into a row of an area, cut at its edge.
fn put(frame: &mut Frame<'_>, area: Rect, row: u16, line: Line<'_>) {
    if row < area.height {
        let buffer = frame.buffer_mut();
        buffer.set_line(area.x, area.y + row, &line, area.width);
    }
}

/// Fills a row of an area with a style.
fn paint(frame: &mut Frame<'_>, area: Rect, row: u16, style: Style) {
    if row < area.height {
        let row = Rect::new(area.x, area.y + row, area.width, 1);
        frame.buffer_mut().set_style(row, style);
    }
}

/// A text in exactly `width` columns.
fn column(text: &str, width: usize) -> String {
    let mut text = fit(text, width);
    let gap = width.saturating_sub(text.width());
    text.push_str(&" ".repeat(gap));
    text
}
