//! The table of agents, and a line about the one that is selected.

use osmoda_core::{rollout::Verdict, status::Phase};
use osmoda_node::api::types::AgentObject;
use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};
use unicode_width::UnicodeWidthStr as _;

use super::{Theme, column, paint, put};
use crate::{
    show::{bytes, fit, next},
    top::model::Model,
};

/// Widest column of names.
const NAME_MAX: usize = 28;
/// Rows from which the selected agent has a line of its own.
const ROWS_FOR_DETAIL: u16 = 6;

/// Draws them into `area`.
pub fn draw(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let shown = model.shown();
    let columns = Columns::of(&shown, usize::from(area.width));
    put(frame, area, 0, columns.header(model, theme));
    let detail = u16::from(area.height >= ROWS_FOR_DETAIL);
    let rows = usize::from(area.height.saturating_sub(1 + detail));
    if shown.is_empty() {
        let why = match (&model.list, model.filter.is_empty()) {
            (None, _) => " nothing is known yet",
            (Some(_), true) => " no agents: the specs declare none",
            (Some(_), false) => " no agent matches the filter; Esc clears it",
        };
        put(frame, area, 1, Line::styled(why, theme.soft()));
        return;
    }
    // The selected one is always in sight.
    let first = (model.row() + 1).saturating_sub(rows);
    for (place, agent) in shown.iter().skip(first).take(rows).enumerate() {
        let row = u16::try_from(place + 1).unwrap_or(u16::MAX);
        put(frame, area, row, columns.row(model, agent, theme));
        if model.row() == first + place {
            paint(frame, area, row, theme.selected());
        }
    }
    if detail == 1
        && let Some(agent) = model.chosen()
    {
        let last = u16::try_from(shown.len().min(rows) + 1).unwrap_or(u16::MAX);
        let hidden = shown.len().saturating_sub(rows);
        put(
            frame,
            area,
            last,
            selected(model, agent, hidden, theme, area.width),
        );
    }
}

/// Widths of the columns; 0: it is left out.
struct Columns {
    name: usize,
    restarts: usize,
    generation: usize,
    memory: usize,
    memory_line: usize,
    cpu: usize,
    cpu_line: usize,
    rest: usize,
}

impl Columns {
    fn of(agents: &[&AgentObject], width: usize) -> Self {
        let longest = agents.iter().map(|agent| agent.metadata.name.width()).max();
        let name = longest
            .unwrap_or(4)
            .clamp(4, NAME_MAX.min(width / 4).max(4));
        let mut columns = Self {
            name,
            restarts: if width >= 50 { 3 } else { 0 },
            generation: if width >= 60 { 3 } else { 0 },
            memory: if width >= 64 { 8 } else { 0 },
            cpu: if width >= 64 { 5 } else { 0 },
            memory_line: 0,
            cpu_line: 0,
            rest: 0,
        };
        columns.memory_line = match width {
            0..76 => 0,
            76..100 => 5,
            100..140 => 10,
            _ => 20,
        };
        columns.cpu_line = columns.memory_line;
        columns.rest = width.saturating_sub(columns.used());
        columns
    }

    fn used(&self) -> usize {
        let parts = [
            self.restarts,
            self.generation,
            self.memory,
            self.memory_line,
            self.cpu,
            self.cpu_line,
        ];
        // The mark, the name and the phase are always there, each with a gap after it.
        let gaps = parts.iter().filter(|width| **width > 0).count();
        2 + self.name + 1 + PHASE + 1 + parts.iter().sum::<usize>() + gaps
    }

    fn header(&self, model: &Model, theme: Theme) -> Line<'static> {
        let mut text = format!(
            "  {} {} ",
            column("NAME", self.name),
            column("PHASE", PHASE)
        );
        let mut add = |name: &str, width: usize, right: bool| {
            if width > 0 {
                text.push_str(&match right {
                    true => format!("{name:>width$} "),
                    false => format!("{} ", column(name, width)),
                });
            }
        };
        add("RST", self.restarts, true);
        add("GEN", self.generation, true);
        add("MEMORY", self.memory, true);
        add("", self.memory_line, false);
        add("CPU", self.cpu, true);
        add("", self.cpu_line, false);
        let mut sorted = format!("NEXT ({})", model.sort.name());
        if !model.filter.is_empty() {
            sorted.push_str(&format!(", only {:?}", model.filter));
        }
        text.push_str(&fit(&sorted, self.rest));
        Line::styled(text, theme.heading())
    }

    fn row(&self, model: &Model, agent: &AgentObject, theme: Theme) -> Line<'static> {
        let status = &agent.status;
        let (mark, style) = look(agent, theme);
        let mut spans = vec![
            Span::styled(format!("{mark} "), style),
            Span::raw(column(&agent.metadata.name, self.name) + " "),
            Span::styled(column(&phase(agent), PHASE) + " ", style),
        ];
        let mut right = |text: String, width: usize, style: Style| {
            if width > 0 {
                spans.push(Span::styled(format!("{text:>width$} "), style));
            }
        };
        let restarts = match status.restarts {
            0 => theme.soft(),
            _ => theme.plain(),
        };
        right(status.restarts.to_string(), self.restarts, restarts);
        right(generation(agent), self.generation, theme.plain());
        let used = status.resources.as_ref();
        let memory = used.and_then(|used| used.memory_bytes);
        let memory = memory.map_or_else(|| "-".to_owned(), bytes);
        right(memory, self.memory, theme.plain());
        let name = &agent.metadata.name;
        let line = |histories: &std::collections::BTreeMap<String, _>, width, scale| {
            let history: Option<&crate::top::history::History> = histories.get(name);
            history.map_or_else(|| " ".repeat(width), |h| h.sparkline(width, scale))
        };
        right(
            line(&model.memory, self.memory_line, 1024 * 1024),
            self.memory_line,
            theme.measure(),
        );
        let cpu = used.and_then(|used| used.cpu_percent);
        let cpu = cpu.map_or_else(|| "-".to_owned(), |percent| format!("{percent}%"));
        right(cpu, self.cpu, theme.plain());
        right(
            line(&model.cpu, self.cpu_line, 100),
            self.cpu_line,
            theme.measure(),
        );
        let message = next::short(agent, model.since_look_ms());
        spans.push(Span::raw(fit(&message, self.rest)));
        Line::from(spans)
    }
}

/// Widest name of a phase.
const PHASE: usize = 9;

fn phase(agent: &AgentObject) -> String {
    match (agent.status.phase, agent.status.ready) {
        (Phase::Running, true) => "Ready".to_owned(),
        (phase, _) => phase.to_string(),
    }
}

/// Its number, and a mark unless it was found good.
fn generation(agent: &AgentObject) -> String {
    let generation = &agent.status.generation;
    let Some(active) = &generation.active else {
        return "-".to_owned();
    };
    let mark = match generation.verdict {
        Some(Verdict::Good) => "",
        Some(Verdict::Bad) => "!",
        Some(Verdict::Unproven) | None => "?",
    };
    format!("{}{mark}", active.number)
}

/// A sign and a style.
fn look(agent: &AgentObject, theme: Theme) -> (char, Style) {
    let status = &agent.status;
    match status.phase {
        Phase::Failed | Phase::Backoff => ('✗', theme.bad()),
        Phase::Unknown => ('?', theme.bad()),
        Phase::Paused => ('‖', theme.warn()),
        Phase::Running if status.ready && status.incident.is_none() => ('●', theme.good()),
        Phase::Running | Phase::Starting | Phase::Pending | Phase::Stopping | Phase::Held => {
            ('○', theme.warn())
        }
        Phase::Succeeded => ('✓', theme.soft()),
    }
}

fn selected(
    model: &Model,
    agent: &AgentObject,
    hidden: usize,
    theme: Theme,
    width: u16,
) -> Line<'static> {
    let more = match hidden {
        0 => String::new(),
        count => format!("{count} more; "),
    };
    let mut text = next::sentence(agent, model.since_look_ms());
    if let Some(pid) = agent.status.pid {
        text.push_str(&format!(" (pid {pid})"));
    }
    let name = format!(" {more}{}: ", agent.metadata.name);
    let room = usize::from(width).saturating_sub(name.width());
    Line::from(vec![
        Span::styled(name, theme.heading()),
        Span::styled(fit(&text, room), theme.soft()),
    ])
}
