//! The overview of a timeline: a lane for each node and each of its agents, along the clock.
//!
//! Drawn as SVG in the page. Everything that it shows is in the table below it as well, so a
//! reader that does not see it misses nothing.

use std::collections::BTreeMap;

use maud::{Markup, html};
use osmoda_ledger::{
    report::incidents::Incident,
    timeline::{Item, Timeline},
};

use super::{super::page::Tone, number};

/// Most lanes that are drawn.
const LANES_MAX: usize = 60;
/// Most dots that are drawn; beyond it a picture shows nothing.
const DOTS_MAX: usize = 5000;
/// Width of the picture, and of the names at its left, in units of its own.
const WIDTH: f64 = 1180.0;
const NAMES: f64 = 190.0;
/// Height of a lane.
const LANE: f64 = 26.0;
/// Height of the scale on top.
const SCALE: f64 = 26.0;
/// Marks on the scale.
const TICKS: i64 = 6;

/// Which lane an entry belongs to: its log and its agent, or no agent for the node itself.
type LaneOf = (usize, Option<String>);

/// Microseconds since 1970 of an RFC 3339 time.
pub fn micros(time: &str) -> Option<i64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(time.as_microsecond())
}

fn ts(item: &Item) -> Option<i64> {
    micros(item.entry["ts"].as_str()?)
}

fn lane_of(item: &Item) -> LaneOf {
    (item.log, item.entry["agent"].as_str().map(str::to_owned))
}

/// How an incident is shown.
pub fn tone(incident: &Incident) -> Tone {
    match (&incident.recovery, incident.escalated) {
        (None, _) => Tone::Bad,
        (Some(_), true) => Tone::Warn,
        (Some(_), false) => Tone::Good,
    }
}

/// The picture; nothing if there is nothing to place on a clock.
pub fn picture(timeline: &Timeline, incidents: &[Incident]) -> Markup {
    let times: Vec<i64> = timeline.items.iter().filter_map(ts).collect();
    let (Some(&first), Some(&last)) = (times.iter().min(), times.iter().max()) else {
        return html! {};
    };
    let axis = Axis {
        first,
        span: (last - first).max(1),
    };
    let mut lanes: BTreeMap<LaneOf, usize> = BTreeMap::new();
    for item in timeline.items.iter().filter(|item| item.entry.is_object()) {
        lanes.insert(lane_of(item), 0);
    }
    for (row, place) in lanes.values_mut().enumerate() {
        *place = row;
    }
    let hidden = lanes.len().saturating_sub(LANES_MAX);
    let shown = lanes.len() - hidden;
    let height = SCALE + LANE * shown as f64 + 6.0;
    let placed = placed(timeline, &lanes);
    html! {
        div class="scroll" {
            svg class="lanes" viewBox={ "0 0 " (WIDTH) " " (height) } role="group"
                aria-label="Overview: one lane for each node and agent, along the clock" {
                @for (lane, row) in lanes.iter().filter(|(_, row)| **row < LANES_MAX) {
                    (lane_band(timeline, lane, *row))
                }
                (scale(&axis, height))
                @for incident in incidents {
                    @let lane = (incident.log, incident.agent.clone());
                    @if let Some(row) = lanes.get(&lane).filter(|row| **row < LANES_MAX) {
                        (bar(&axis, incident, *row))
                    }
                }
                @for (from, to) in causes(timeline, &placed) { (arrow(&axis, from, to)) }
                // What matters is drawn last, so that nothing covers it.
                @for matters in [false, true] {
                    @for (item, spot) in timeline.items.iter().zip(&placed) {
                        @if let (Some(spot), true) = (spot, look(item).2 == matters) { (dot(&axis, item, *spot)) }
                    }
                }
            }
        }
        @if hidden > 0 { p class="soft" { (hidden) " more lanes are not drawn; the table has them." } }
        @if timeline.items.len() > DOTS_MAX {
            p class="soft" { "Only the first " (DOTS_MAX) " entries are drawn." }
        }
    }
}

struct Axis {
    first: i64,
    span: i64,
}

impl Axis {
    fn x(&self, at: i64) -> f64 {
        let part = (at - self.first) as f64 / self.span as f64;
        let x = NAMES + 14.0 + part.clamp(0.0, 1.0) * (WIDTH - NAMES - 32.0);
        (x * 10.0).round() / 10.0
    }
}

fn middle(row: usize) -> f64 {
    SCALE + LANE * row as f64 + LANE / 2.0
}

fn lane_band(timeline: &Timeline, (log, agent): &LaneOf, row: usize) -> Markup {
    let y = SCALE + LANE * row as f64;
    let origin = &timeline.logs[*log].origin;
    let node = origin.split('/').next().unwrap_or_default();
    let node = super::told_apart(timeline, *log, node);
    let (name, class, x) = match agent {
        None => (&*node, "name node", 4.0),
        Some(agent) => (agent.as_str(), "name", 20.0),
    };
    html! {
        @if row.is_multiple_of(2) {
            rect class="band" x="0" y=(y) width=(WIDTH) height=(LANE) {}
        }
        text class=(class) x=(x) y=(y + LANE / 2.0 + 4.0) {
            title { (node) @if let Some(agent) = agent { " / " (agent) } }
            (short(name))
        }
    }
}

/// A name that fits its column.
fn short(name: &str) -> String {
    const FITS: usize = 24;
    match name.char_indices().nth(FITS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

fn scale(axis: &Axis, height: f64) -> Markup {
    let long = axis.span > 86_400_000_000;
    let tick = |n: i64| {
        let at = axis.first + axis.span / TICKS * n;
        let shown = osmoda_core::time::Wall(at).to_string();
        let shown = match (long, axis.span > 120_000_000) {
            (true, _) => format!("{} {}", &shown[5..10], &shown[11..16]),
            (false, true) => shown[11..19].to_owned(),
            (false, false) => shown[11..23].to_owned(),
        };
        let anchor = match n {
            0 => "start",
            TICKS => "end",
            _ => "middle",
        };
        (axis.x(at), shown, anchor)
    };
    html! {
        @for (x, shown, anchor) in (0..=TICKS).map(tick) {
            line class="rule" x1=(x) x2=(x) y1=(SCALE - 6.0) y2=(height) {}
            text class="tick" x=(x) y="14" text-anchor=(anchor) { (shown) }
        }
    }
}

fn bar(axis: &Axis, incident: &Incident, row: usize) -> Markup {
    let Some(begin) = micros(&incident.opened_at) else {
        return html! {};
    };
    let end = incident.recovery.as_ref().and_then(|end| micros(&end.at));
    let begin_x = axis.x(begin) - 6.0;
    let end_x = axis.x(end.unwrap_or(axis.first + axis.span)) + 6.0;
    let words = super::html::incident_state(incident);
    let whom = incident.agent.as_deref().unwrap_or(&incident.node);
    html! {
        a href={ "#" (super::html::anchor(incident.log, incident.first_seq)) } {
            rect class={ "bar " (tone(incident).class()) } x=(begin_x) y=(middle(row) - 9.0)
                width=((end_x - begin_x).max(4.0)) height="18" rx="9" {
                title { (whom) ": " (incident.reason) ", " (words) }
            }
        }
    }
}

/// Time and row of a dot.
type Spot = (i64, usize);

/// Where each entry is drawn, if it is.
fn placed(timeline: &Timeline, lanes: &BTreeMap<LaneOf, usize>) -> Vec<Option<Spot>> {
    let spot = |item: &Item| {
        let row = lanes.get(&lane_of(item)).filter(|row| **row < LANES_MAX)?;
        Some((ts(item)?, *row))
    };
    timeline.items.iter().take(DOTS_MAX).map(spot).collect()
}

/// Pairs of cause and effect in different logs.
fn causes(timeline: &Timeline, placed: &[Option<Spot>]) -> Vec<(Spot, Spot)> {
    let items = timeline.items.iter().zip(placed);
    let spots: BTreeMap<_, _> = items
        .filter_map(|(item, spot)| Some(((item.log, item.seq), (*spot)?)))
        .collect();
    let learned = super::learned(timeline);
    let effects = placed.iter().zip(&learned);
    let pairs = effects.flat_map(|(effect, learned)| {
        let causes = learned.iter().filter_map(|cause| spots.get(cause));
        causes.filter_map(|cause| Some((*cause, (*effect)?)))
    });
    pairs.collect()
}

fn arrow(axis: &Axis, from: Spot, to: Spot) -> Markup {
    html! {
        line class="cause" x1=(axis.x(from.0)) y1=(middle(from.1)) x2=(axis.x(to.0)) y2=(middle(to.1)) {}
    }
}

/// Class and radius of an entry's dot, and whether it matters more than others.
fn look(item: &Item) -> (&'static str, f64, bool) {
    match item.entry["kind"].as_str().unwrap_or_default() {
        "FailureDetected"
        | "ActionFailed"
        | "RollbackFailed"
        | "EscalationExhausted"
        | "GenerationBad"
        | "LogReset"
        | "AnchorFailed" => ("dot fail", 4.5, true),
        "HealthVerified" | "GenerationGood" | "RollbackSucceeded" => ("dot ok", 4.5, true),
        "ActionIntended" | "ActionSucceeded" | "RollbackIntended" | "OperatorCommand" => {
            ("dot act", 3.0, false)
        }
        _ => ("dot", 3.0, false),
    }
}

fn dot(axis: &Axis, item: &Item, (at, row): Spot) -> Markup {
    let (class, radius, _) = look(item);
    let kind = item.entry["kind"].as_str().unwrap_or_default();
    html! {
        circle class=(class) cx=(axis.x(at)) cy=(middle(row)) r=(radius) {
            title { (number(item)) " " (kind) }
        }
    }
}
