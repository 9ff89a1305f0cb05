//! Incidents: open ones first, with what happened, what was done and what comes next.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};
use unicode_width::UnicodeWidthStr as _;

use super::{Theme, put};
use crate::{
    show::{ago, fit, next, story::Story},
    top::model::Model,
};

/// Incidents that are listed although they have ended.
const ENDED_MAX: usize = 8;

/// Rows that all of them would take.
pub fn rows(model: &Model) -> u16 {
    let listed = listed(model);
    let rows: usize = listed
        .iter()
        .map(|story| if story.is_open() { 2 } else { 1 })
        .sum();
    u16::try_from(rows + 1).unwrap_or(u16::MAX)
}

/// Draws as many as there is room for.
pub fn draw(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let all = model.stories.newest_first();
    let open = all.iter().filter(|story| story.is_open()).count();
    let mut heading = " Incidents".to_owned();
    let mut style = theme.heading();
    if open > 0 {
        heading.push_str(&format!("  {open} open"));
        style = theme.bad();
    }
    put(frame, area, 0, Line::styled(heading, style));
    if all.is_empty() {
        let text = "   none in the newest entries of the ledger";
        put(frame, area, 1, Line::styled(text, theme.soft()));
        return;
    }
    let mut row = 1;
    let width = usize::from(area.width);
    for story in listed(model) {
        for line in lines(model, story, theme, width) {
            put(frame, area, row, line);
            row += 1;
        }
    }
}

/// A consequence stands below its root and not for itself.
fn listed(model: &Model) -> Vec<&Story> {
    let all = model.stories.newest_first();
    let own = all.into_iter().filter(|story| {
        let root = story.root.as_deref().and_then(|id| model.stories.get(id));
        root.is_none_or(|root| root.is_open() != story.is_open())
    });
    let mut ended = 0;
    own.filter(|story| {
        ended += usize::from(!story.is_open());
        ended <= ENDED_MAX
    })
    .collect()
}

fn lines(model: &Model, story: &Story, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let when = ago(&story.opened_at, &model.wall);
    let (mark, style) = match (story.is_open(), &story.exhausted) {
        (true, _) => ('●', theme.bad()),
        (false, Some(_)) => ('✓', theme.warn()),
        (false, None) => ('✓', theme.good()),
    };
    let name = format!("{} ", story.agent);
    let mut what = format!("{when}: {}", story.happened());
    let others: Vec<_> = model.stories.consequences(&story.id).collect();
    if !others.is_empty() {
        let names: Vec<&str> = others.iter().map(|other| other.agent.as_str()).collect();
        what.push_str(&format!("; it took down {}", names.join(", ")));
    }
    if !story.is_open() {
        what.push_str(&format!(" — {}", story.ended()));
    }
    let room = width.saturating_sub(3 + name.width());
    let first = Line::from(vec![
        Span::styled(format!(" {mark} "), style),
        Span::styled(name, theme.heading()),
        Span::raw(fit(&what, room)),
    ]);
    if !story.is_open() {
        return vec![first];
    }
    let done = match story.deeds.back() {
        Some(deed) => format!("{} {}", ago(&deed.at, &model.wall), deed.text),
        None => "nothing yet".to_owned(),
    };
    let agents = model.list.iter().flat_map(|list| &list.items);
    let agent = agents.into_iter().find(|a| a.metadata.name == story.agent);
    let next = match agent {
        Some(agent) => next::coming(agent, model.since_look_ms())
            .unwrap_or_else(|| agent.status.phase.to_string()),
        None => "it is gone from the specs".to_owned(),
    };
    let text = format!("   next: {next}; done: {done}");
    vec![first, Line::styled(fit(&text, width), theme.soft())]
}
