//! A report as a page that prints well.

use maud::{Markup, html};
use osmoda_ledger::report::{AuditReport, Edge, Times, criteria::Criterion, incidents::Incident};

use super::{
    super::{
        page::{Tone, duration, figure, grouped, page},
        timeline::html::incident_state,
        to_seconds,
    },
    basis, completeness,
};

/// Most incidents in the table of a page.
const INCIDENTS_MAX: usize = 1000;

/// The page.
pub fn html(report: &AuditReport) -> String {
    let origin = report.verification.origin.as_deref().unwrap_or("unknown");
    let node = origin.split('/').next().unwrap_or(origin);
    let body = html! {
        h1 { "Audit report of " (node) }
        p class="soft" { "Log " code { (origin) } @if let Some(period) = period(report) { ", " (period) } }
        (verdict(report))
        @if report.verification.ok {
            (figures(report))
            (population(report))
            (incidents(report))
            (kinds(report))
            (people(report))
            (anchoring(report))
            (criteria(&report.criteria))
            (method(report))
        }
    };
    page(&format!("Audit report of {node}"), body)
}

fn period(report: &AuditReport) -> Option<String> {
    let first = to_seconds(report.population.first_at.as_deref()?);
    let last = to_seconds(report.population.last_at.as_deref()?);
    Some(format!("{first} to {last}, UTC"))
}

fn verdict(report: &AuditReport) -> Markup {
    html! {
        @if report.ok {
            p class="verdict good" {
                strong { "The population is complete: " (completeness(report)) "." }
                "Every hash of the file was checked: each entry against its leaf, the chain from the \
                 first entry on, and the tree over all of them. Held against " (basis(report)) "."
            }
        } @else {
            @for fault in &report.faults {
                p class="verdict bad" role="alert" { strong { "This report does not hold." } (fault) "." }
            }
        }
    }
}

fn figures(report: &AuditReport) -> Markup {
    let incidents = &report.incident_figures;
    let open = if incidents.open > 0 {
        Tone::Bad
    } else {
        Tone::Good
    };
    let spent = if incidents.escalated > 0 {
        Tone::Warn
    } else {
        Tone::Plain
    };
    let tail = &report.anchoring;
    html! {
        dl class="figures" {
            (figure("Entries", grouped(report.population.entries), Tone::Plain))
            (figure("Incidents", incidents.total, Tone::Plain))
            (figure("of these open", incidents.open, open))
            (figure("spent their budget", incidents.escalated, spent))
            (figure("Median to verified health", median(incidents.time_to_verify), Tone::Plain))
            @if tail.unknown {
                (figure("Not anchored", "unknown", Tone::Warn))
            } @else {
                (figure("Not anchored", grouped(tail.unanchored), if tail.unanchored > 0 { Tone::Warn } else { Tone::Good }))
            }
        }
    }
}

fn median(times: Times) -> String {
    times.median_us.map_or_else(|| "–".to_owned(), duration)
}

fn population(report: &AuditReport) -> Markup {
    let all = &report.population;
    let pair =
        |name: &str, value: Markup| html! { tr { th scope="row" { (name) } td { (value) } } };
    let range = match (all.first_seq, all.last_seq) {
        (Some(first), Some(last)) => format!("{first} to {last}, without a gap"),
        _ => "none".to_owned(),
    };
    html! {
        h2 { "Population" }
        table { tbody {
            (pair("Begins", edge(&report.from)))
            (pair("Ends", edge(&report.to)))
            (pair("Entry numbers", html! { (range) }))
            (pair("Expected / found", html! { (grouped(all.entries)) " / " (grouped(all.present)) }))
            (pair("Bodies dropped", html! { (all.without_body) " (a later entry says so for each; their hashes are there)" }))
            (pair("Recorded late", html! { (all.late) ", and " (all.dropped) " lost while the disk took nothing, as the node recorded" }))
            (pair("Clock set back", html! {
                @match all.clock_regressions.as_slice() {
                    [] => "never",
                    some => { (some.len()) " times, first at entry " (some[0]) }
                }
            }))
        } }
    }
}

fn edge(edge: &Edge) -> Markup {
    html! {
        "after " (grouped(edge.size)) " entries"
        @if let Some(time) = &edge.asked_time { ", at " (to_seconds(time)) }
        @match edge.matches_checkpoint {
            Some(true) => {
                ". " span class="word good" { "matches the checkpoint" }
                @if edge.signed_by.is_empty() { " (its signature was not checked)" }
                @else { ", signed by " (edge.signed_by.join(", ")) }
            }
            Some(false) => { ". " span class="word bad" { "does not match the checkpoint" } }
            None => { ". No checkpoint was given for it." }
        }
        br; span class="hash soft" { "root " (edge.root) }
    }
}

fn incidents(report: &AuditReport) -> Markup {
    let figures = &report.incident_figures;
    let row = |name: &str, times: Times| {
        let cell = |us: Option<u64>| us.map_or_else(|| "–".to_owned(), duration);
        html! { tr {
            th scope="row" { (name) }
            td class="number" { (times.count) } td class="number" { (cell(times.median_us)) }
            td class="number" { (cell(times.p95_us)) } td class="number" { (cell(times.max_us)) }
        } }
    };
    html! {
        h2 { "Incidents" }
        p { (figures.total) " began, went on or ended in the period; " (figures.recovered)
            " ended in verified health, " (figures.open) " had not by its end." }
        table {
            caption { "Times that the node measured on its monotonic clock, over incidents that ended." }
            thead { tr { th scope="col" { "From the failure to" } th scope="col" class="number" { "Measured" }
                th scope="col" class="number" { "Median" } th scope="col" class="number" { "95 % within" }
                th scope="col" class="number" { "Longest" } } }
            tbody {
                (row("its detection", figures.time_to_detect))
                (row("the start of what proved healthy", figures.time_to_restart))
                (row("verified health", figures.time_to_verify))
            }
        }
        @if !report.incidents.is_empty() {
            h3 { "Each of them" }
            div class="scroll" { table {
                thead { tr { th scope="col" class="number" { "Entry" } th scope="col" { "When (UTC)" }
                    th scope="col" { "Agent" } th scope="col" { "What" } th scope="col" class="number" { "Failures" }
                    th scope="col" { "State" } } }
                tbody { @for incident in report.incidents.iter().take(INCIDENTS_MAX) { (incident_row(incident)) } }
            } }
        }
        @let more = report.incidents.len().saturating_sub(INCIDENTS_MAX) as u64 + figures.left_out;
        @if more > 0 { p class="soft" { (grouped(more)) " more are counted above and not listed." } }
    }
}

fn incident_row(incident: &Incident) -> Markup {
    let tone = match (&incident.recovery, incident.escalated) {
        (None, _) => Tone::Bad,
        (Some(_), true) => Tone::Warn,
        (Some(_), false) => Tone::Good,
    };
    html! {
        tr class=(tone.class()) {
            td class="number" { (incident.first_seq) }
            td class="time" { (to_seconds(&incident.opened_at)) }
            td class="place" { (incident.agent.as_deref().unwrap_or("the node")) }
            td class="what" { strong { (incident.reason) } @if !incident.message.is_empty() { ": " (incident.message) } }
            td class="number" { (incident.failures) }
            td { span class={ "word " (tone.class()) } { (incident_state(incident)) } }
        }
    }
}

fn kinds(report: &AuditReport) -> Markup {
    html! {
        h2 { "Entries by kind" }
        table class="narrow" {
            thead { tr { th scope="col" { "Kind" } th scope="col" class="number" { "Entries" } } }
            tbody { @for (kind, count) in &report.kinds {
                tr { th scope="row" { (kind) } td class="number" { (grouped(*count)) } }
            } }
        }
    }
}

fn people(report: &AuditReport) -> Markup {
    html! {
        h2 { "Agents and operators" }
        table class="narrow" {
            thead { tr { th scope="col" { "Agent" } th scope="col" class="number" { "Entries" }
                th scope="col" class="number" { "Failures" } th scope="col" class="number" { "Recoveries" } } }
            tbody { @for (agent, figures) in &report.agents {
                tr {
                    th scope="row" { (if agent.is_empty() { "the node itself" } else { agent }) }
                    td class="number" { (grouped(figures.entries)) } td class="number" { (figures.failures) }
                    td class="number" { (figures.recoveries) }
                }
            } }
        }
        @if report.operators.is_empty() { p { "No operator gave a command in the period." } }
        @else {
            table class="narrow" {
                thead { tr { th scope="col" { "User id" } th scope="col" { "Command" }
                    th scope="col" class="number" { "Carried out" } th scope="col" class="number" { "Refused" } } }
                tbody { @for one in &report.operators {
                    tr { th scope="row" { (one.uid) } td { (one.verb) }
                        td class="number" { (one.accepted) } td class="number" { (one.refused) } }
                } }
            }
        }
    }
}

fn anchoring(report: &AuditReport) -> Markup {
    let anchoring = &report.anchoring;
    html! {
        h2 { "Anchors" }
        @if anchoring.unknown {
            p { "The file names no anchor. Whoever holds the node's key could have written the log \
                 anew; only a checkpoint that was kept elsewhere rules that out." }
        } @else {
            p { "The node noted that " (grouped(anchoring.anchored)) " entries were taken by an anchor. The last "
                (grouped(anchoring.unanchored)) " are vouched for by the node alone. This note is not part of the \
                 log: ask each anchor for its own copy and give that to this report." }
            table {
                thead { tr { th scope="col" { "Anchor" } th scope="col" class="number" { "Entries" }
                    th scope="col" { "Taken at" } th scope="col" { "State" } } }
                tbody { @for anchor in &anchoring.anchors {
                    tr {
                        th scope="row" { (anchor.name) }
                        td class="number" { @match &anchor.last { Some(last) => (grouped(last.size)), None => "–" } }
                        td class="time" { @match &anchor.last { Some(last) => (to_seconds(&last.at)), None => "never" } }
                        td { @match &anchor.failing {
                            Some(failing) => { span class="word bad" { "failing since " (to_seconds(&failing.since)) } " " (failing.reason) }
                            None => { span class="word good" { "works" } }
                        } }
                    }
                } }
            }
        }
    }
}

fn criteria(criteria: &[Criterion]) -> Markup {
    html! {
        h2 { "Evidence by criterion" }
        p { "An index for an examination against the Trust Services Criteria (SOC 2). It names the entries \
             that bear on a criterion. It does not claim that a control is designed well or that a \
             criterion is met: that is the auditor's judgement. The headings are paraphrased." }
        @for criterion in criteria {
            section class="criterion" {
                h3 { (criterion.id) " – " (criterion.asks) }
                p { (criterion.shows) }
                p class="soft" { b { "Not shown here: " } (criterion.does_not_show) }
                ul class="legend" {
                    @for (kind, count) in &criterion.entries { li { (kind) " " b { (grouped(*count)) } } }
                }
            }
        }
    }
}

fn method(report: &AuditReport) -> Markup {
    html! {
        h2 { "How to check this report" }
        p { "Entries are numbered from 0 without gaps, and each is hashed (RFC 6962). The root over the first N \
             entries is in every signed checkpoint. Take two checkpoints that were kept outside the node, and \
             the ledger file, and run:" }
        pre { code { "osmoda ledger verify FILE --key VKEY --checkpoint NOTE\nosmoda ledger report --ledger FILE --from NOTE --to NOTE --key VKEY" } }
        p { "The file that this report was made from has " (grouped(report.verification.size)) " entries." }
        @if let Some(root) = report.verification.root { p class="hash soft" { "root " (root) } }
        @if let Some(chain) = report.verification.chain { p class="hash soft" { "chain " (chain) } }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::sample, *};

    #[test]
    fn the_page_says_what_is_complete_and_what_is_not_shown() {
        let page = html(&sample(true));
        for part in [
            "The population is complete",
            "matches the checkpoint",
            "0 to 1, without a gap",
            "CC7.1",
            "CC8.1",
            "Not shown here",
            "&lt;b&gt;signal 11",
        ] {
            assert!(page.contains(part), "{part} is missing:\n{page}");
        }
    }

    #[test]
    fn a_report_that_does_not_hold_says_so_at_the_top() {
        let page = html(&sample(false));
        assert!(page.contains("This report does not hold."));
        assert!(!page.contains("The population is complete"));
    }
}
