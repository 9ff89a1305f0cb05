//! A timeline as a page: incidents, lanes, and every entry in a table.

use std::collections::BTreeMap;

use maud::{Markup, html};
use osmoda_ledger::{
    report::incidents::{Incident, Incidents},
    timeline::{Item, Order, Timeline},
};

use super::{
    super::{
        events,
        page::{Tone, duration, figure, grouped, page},
        to_seconds,
    },
    lanes::{picture, tone},
    letter, number, object,
};

/// Most entries in the table of a page.
pub const ROWS_MAX: usize = 5000;
/// Most incidents in the table of a page.
const INCIDENTS_MAX: usize = 500;
/// Kinds of which the whole entry can be unfolded.
const UNFOLDED: [&str; 8] = [
    "FailureDetected",
    "ActionFailed",
    "RollbackFailed",
    "EscalationExhausted",
    "OperatorCommand",
    "SpecRejected",
    "LogReset",
    "OutsideAction",
];

/// The page.
pub fn html(timeline: &Timeline) -> String {
    let mut incidents = Incidents::default();
    for item in &timeline.items {
        incidents.take(item.log, item.seq, item.leaf, &item.entry);
    }
    let mut incidents = incidents.done();
    incidents.sort_by(|a, b| a.opened_at.cmp(&b.opened_at));
    let body = html! {
        h1 { "Timeline of " (nodes(timeline)) }
        p class="soft" { (period(timeline)) }
        (verdict(timeline))
        (figures(timeline, &incidents))
        h2 { "Overview" }
        (picture(timeline, &incidents))
        (lane_legend())
        (incident_table(timeline, &incidents))
        h2 { "Entries" }
        (order_legend())
        (table(timeline, &incidents))
        h2 { "Ledgers" }
        (logs(timeline))
    };
    page("Timeline of agents", body)
}

/// Id of an entry in the page.
pub fn anchor(log: usize, seq: u64) -> String {
    format!("{}{seq}", letter(log))
}

/// What became of an incident, in words.
pub fn incident_state(incident: &Incident) -> String {
    let escalated = if incident.escalated {
        ", budget spent"
    } else {
        ""
    };
    match &incident.recovery {
        None => format!("open{escalated}"),
        Some(end) => match end.time_to_verify_us {
            Some(us) => format!("healthy after {}{escalated}", duration(us)),
            None => format!("healthy again{escalated}"),
        },
    }
}

fn nodes(timeline: &Timeline) -> String {
    let mut names: Vec<_> = timeline
        .logs
        .iter()
        .filter_map(|log| log.origin.split('/').next())
        .collect();
    names.dedup();
    match names.as_slice() {
        [one] => (*one).to_owned(),
        [some @ .., last] if names.len() <= 6 => format!("{} and {last}", some.join(", ")),
        _ => format!("{} nodes", names.len()),
    }
}

fn period(timeline: &Timeline) -> String {
    let mut times = timeline
        .items
        .iter()
        .filter_map(|item| item.entry["ts"].as_str());
    match (times.next(), times.next_back()) {
        (Some(first), Some(last)) => format!("{} to {}, UTC", to_seconds(first), to_seconds(last)),
        (Some(only), None) => to_seconds(only),
        _ => "No entry with a time".to_owned(),
    }
}

fn verdict(timeline: &Timeline) -> Markup {
    let bad: Vec<_> = timeline.logs.iter().filter(|log| !log.verified).collect();
    html! {
        @if timeline.ok {
            p class="verdict good" {
                strong { "Every ledger verifies." }
                "Each entry's hash, the chain and the tree were checked when this page was written, \
                 and no ledger contradicts another."
            }
        }
        @for log in bad {
            p class="verdict bad" role="alert" {
                strong { (log.origin) " does not verify." }
                "What it says is marked and may be false. " (log.fault.as_deref().unwrap_or_default()) "."
            }
        }
        @for finding in &timeline.findings {
            p class="verdict bad" role="alert" {
                strong { "Does not fit: entry " a href={ "#" (anchor(finding.log, finding.seq)) } { (letter(finding.log)) (finding.seq) } }
                "It " (finding.message) "."
            }
        }
    }
}

fn figures(timeline: &Timeline, incidents: &[Incident]) -> Markup {
    let open = incidents
        .iter()
        .filter(|one| one.recovery.is_none())
        .count();
    let by_clock = timeline
        .items
        .iter()
        .filter(|item| item.order == Order::Clock)
        .count();
    let tone = if open > 0 { Tone::Bad } else { Tone::Good };
    html! {
        dl class="figures" {
            (figure("Ledgers", timeline.logs.len(), Tone::Plain))
            (figure("Entries", grouped(timeline.items.len() as u64), Tone::Plain))
            (figure("Incidents", incidents.len(), Tone::Plain))
            (figure("of these open", open, tone))
            (figure("Placed by clock only", by_clock, Tone::Plain))
        }
    }
}

fn lane_legend() -> Markup {
    html! {
        ul class="legend" {
            li { b { "Bars" } " are incidents: solid edge, recovered (amber: after the restart budget was spent); dashed edge, open." }
            li { b { "Dots" } " are entries: large red, a failure; large green, health verified; blue, an act." }
            li { b { "Lines" } " lead from a cause on one node to its effect on another." }
        }
    }
}

fn incident_table(timeline: &Timeline, incidents: &[Incident]) -> Markup {
    html! {
        h2 { "Incidents" }
        @if incidents.is_empty() { p { "None in these entries." } }
        @else {
            div class="scroll" { table {
                thead { tr {
                    th scope="col" { "First entry" } th scope="col" { "When" } th scope="col" { "Node / agent" }
                    th scope="col" { "What" } th scope="col" class="number" { "Failures" }
                    th scope="col" { "State" }
                } }
                tbody { @for incident in incidents.iter().take(INCIDENTS_MAX) { (incident_row(timeline, incident)) } }
            } }
            @if incidents.len() > INCIDENTS_MAX {
                p class="soft" { (incidents.len() - INCIDENTS_MAX) " more are not listed." }
            }
        }
    }
}

fn incident_row(timeline: &Timeline, incident: &Incident) -> Markup {
    let id = anchor(incident.log, incident.first_seq);
    html! {
        tr class=(tone(incident).class()) {
            td { a href={ "#" (id) } { (id) } }
            td class="time" { (to_seconds(&incident.opened_at)) }
            td class="place" { (super::told_apart(timeline, incident.log, &incident.node)) @if let Some(agent) = &incident.agent { " / " (agent) } }
            td class="what" { strong { (incident.reason) } @if !incident.message.is_empty() { ": " (incident.message) } }
            td class="number" { (incident.failures) }
            td { span class={ "word " (tone(incident).class()) } { (incident_state(incident)) } }
        }
    }
}

fn order_legend() -> Markup {
    html! {
        ul class="legend" {
            li { b { "│" } " certain: follows in the same ledger" }
            li { b { "➜" } " certain: causes lead from the line above to this one" }
            li { b { "≈" } " by the clocks only: may have been before the line above" }
        }
    }
}

/// Incidents by their log and id.
type ById<'a> = BTreeMap<(usize, &'a str), &'a Incident>;

fn table(timeline: &Timeline, incidents: &[Incident]) -> Markup {
    let mut day = String::new();
    let by_id = |incident| -> ((usize, &str), &Incident) {
        let one: &Incident = incident;
        ((one.log, &one.id), one)
    };
    let incidents: ById<'_> = incidents.iter().map(by_id).collect();
    let learned = super::learned(timeline);
    html! {
        div class="scroll" { table {
            thead { tr {
                th scope="col" { "Entry" } th scope="col" { "Order" } th scope="col" { "Time (UTC)" }
                th scope="col" { "Node / agent" } th scope="col" { "What happened" } th scope="col" { "Incident" }
            } }
            tbody {
                @for (item, learned) in timeline.items.iter().zip(&learned).take(ROWS_MAX) {
                    @if let Some(new) = new_day(item, &mut day) {
                        tr class="day" { th colspan="6" scope="rowgroup" { (new) } }
                    }
                    (row(timeline, item, learned, &incidents))
                }
            }
        } }
        @let more = timeline.items.len().saturating_sub(ROWS_MAX) as u64 + timeline.left_out;
        @if more > 0 {
            p class="verdict warn" { (grouped(more)) " more entries are not on this page. Narrow it with "
                code { "--since" } ", " code { "--until" } ", " code { "--agent" } " or " code { "--incident" } "." }
        }
    }
}

/// The date, where it is another one than before.
fn new_day(item: &Item, day: &mut String) -> Option<String> {
    let date = item.entry["ts"].as_str()?.get(..10)?;
    (day != date).then(|| {
        date.clone_into(day);
        date.to_owned()
    })
}

fn row(timeline: &Timeline, item: &Item, learned: &[(usize, u64)], incidents: &ById<'_>) -> Markup {
    let entry = &item.entry;
    let id = entry["incident"].as_str();
    let incident = id.and_then(|id| incidents.get(&(item.log, id)).copied());
    let class = incident.map_or("", |incident| tone(incident).class());
    let time = entry["ts"]
        .as_str()
        .and_then(|ts| ts.get(11..23))
        .unwrap_or("–");
    let kind = entry["kind"].as_str().unwrap_or_default();
    html! {
        tr id=(anchor(item.log, item.seq)) class=(class) {
            td class="place" { (number(item)) }
            (order(item.order))
            td class="time" { (time) }
            td class="place" { (super::told_apart(timeline, item.log, entry["node"].as_str().unwrap_or("–"))) @if let Some(agent) = entry["agent"].as_str() { " / " (agent) } }
            td class="what" {
                (events::what(&object(item)))
                @for (log, seq) in learned {
                    " " span class="soft" { "Certainly after " a href={ "#" (anchor(*log, *seq)) } { (anchor(*log, *seq)) } "." }
                }
                @if !timeline.logs[item.log].verified { " " span class="word bad" { "not verified" } }
                @if UNFOLDED.contains(&kind) {
                    details { summary class="soft" { "the whole entry" }
                        pre { code { (serde_json::to_string_pretty(&entry["body"]).unwrap_or_default()) } }
                        span class="hash soft" { "leaf " (item.leaf) } }
                }
            }
            td { @if let Some(incident) = incident {
                a class={ "word " (class) } href={ "#" (anchor(incident.log, incident.first_seq)) } { (incident.reason) }
            } }
        }
    }
}

fn order(order: Order) -> Markup {
    let (class, sign, words) = match order {
        Order::First => ("order", "┬", "first"),
        Order::Sequence => ("order", "│", "certain, same ledger"),
        Order::Cause => ("order cause", "➜", "certain, by cause"),
        Order::Clock => ("order clock", "≈", "by clock only"),
    };
    html! {
        td class=(class) title=(words) {
            span aria-hidden="true" { (sign) } span class="hidden" { (words) }
        }
    }
}

fn logs(timeline: &Timeline) -> Markup {
    html! {
        div class="scroll" { table {
            thead { tr { th scope="col" { "" } th scope="col" { "Log" } th scope="col" { "File" }
                th scope="col" class="number" { "Entries" } th scope="col" { "State" } } }
            tbody { @for (index, log) in timeline.logs.iter().enumerate() {
                tr {
                    th scope="row" { (letter(index)) }
                    td { code { (log.origin) } }
                    td { code { (log.file.display().to_string()) } }
                    td class="number" { (grouped(log.size)) }
                    td { @if log.verified { span class="word good" { "verified" } }
                        @else { span class="word bad" { "not verified" } } }
                }
            } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::sample, *};

    #[test]
    fn the_page_tells_order_doubt_and_incidents_in_words() {
        let page = html(&sample());
        for part in [
            "Timeline of alpha and beta",
            "certain, by cause",
            "by clock only",
            "beta/osmoda/1 does not verify.",
            "healthy after 104.0 ms",
            "not verified",
            "id=\"A1\"",
            "&lt;b&gt;signal 11",
        ] {
            assert!(page.contains(part), "{part} is missing:\n{page}");
        }
        assert!(!page.contains("<b>signal"), "what an agent wrote is text");
    }

    #[test]
    fn a_timeline_without_entries_is_a_page_all_the_same() {
        let mut empty = sample();
        empty.items.clear();
        empty.findings.clear();
        assert!(html(&empty).contains("No entry with a time"));
    }

    #[test]
    fn rows_beyond_the_bound_are_counted_and_not_dropped_in_silence() {
        let mut long = sample();
        let item = long.items[1].clone();
        long.items = vec![item; ROWS_MAX + 7];
        let page = html(&long);
        assert!(page.contains("7 more entries are not on this page"));
    }
}
