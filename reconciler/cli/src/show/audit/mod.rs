//! `osmoda ledger report`: what a stretch of the ledger holds, as text or as a page.

pub mod html;

use osmoda_ledger::report::{AuditReport, Edge, Times};

use super::{one_line, page::duration, to_seconds};

/// Most incidents that are listed as text.
const LISTED: usize = 20;

/// As text, the verdict first.
pub fn text(report: &AuditReport) -> String {
    let mut text = match report.ok {
        true => format!("ok: {}\n", completeness(report)),
        false => {
            let faults = report.faults.iter().map(|fault| one_line(fault));
            let faults: Vec<_> = faults.collect();
            format!("FAILED: {}\n", faults.join("; "))
        }
    };
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<16} {value}\n"));
    let population = &report.population;
    line(
        "ledger",
        super::or_dash(report.verification.origin.as_ref()),
    );
    line("from", edge(&report.from));
    line("to", edge(&report.to));
    if !report.verification.ok {
        return text;
    }
    line("checked against", basis(report).to_owned());
    line("entries", span(report));
    if population.without_body > 0 {
        line("bodies dropped", population.without_body.to_string());
    }
    if population.late > 0 || population.dropped > 0 {
        let (late, dropped) = (population.late, population.dropped);
        line(
            "recorded late",
            format!("{late}, and {dropped} lost, as the node says"),
        );
    }
    if !population.clock_regressions.is_empty() {
        line(
            "clock set back",
            format!("{} times", population.clock_regressions.len()),
        );
    }
    let figures = &report.incident_figures;
    line(
        "incidents",
        format!(
            "{}: {} recovered, {} open, {} spent their budget",
            figures.total, figures.recovered, figures.open, figures.escalated
        ),
    );
    line("to detect", times(figures.time_to_detect));
    line("to restart", times(figures.time_to_restart));
    line("to verify", times(figures.time_to_verify));
    line("anchored", anchored(report));
    for (kind, count) in &report.kinds {
        text.push_str(&format!("  {kind:<24} {count:>8}\n"));
    }
    for incident in report.incidents.iter().take(LISTED) {
        let whom = incident.agent.as_deref().unwrap_or(&incident.node);
        let state = super::timeline::html::incident_state(incident);
        let when = to_seconds(&incident.opened_at);
        let told = format!("{when} {whom} {}: {state}", incident.reason);
        text.push_str(&format!(
            "  entry {:<10} {}\n",
            incident.first_seq,
            one_line(&told)
        ));
    }
    let more = report.incidents.len().saturating_sub(LISTED) as u64 + figures.left_out;
    if more > 0 {
        text.push_str(&format!("  and {more} more incidents; -o json has them\n"));
    }
    text
}

/// Whether all entries of the period are there.
fn completeness(report: &AuditReport) -> String {
    let population = &report.population;
    match (population.entries, population.complete) {
        (0, _) => "the period has no entries".to_owned(),
        (entries, true) => {
            format!("all {entries} entries of the period are there, in sequence")
        }
        (entries, false) => format!("{} of {entries} entries are there", population.present),
    }
}

/// What the file was held against.
fn basis(report: &AuditReport) -> &'static str {
    let given = |edge: &Edge| edge.matches_checkpoint == Some(true);
    match (given(&report.from), given(&report.to)) {
        (false, false) => "itself alone; give a checkpoint that was kept elsewhere with --to",
        (true, false) => "the checkpoint at its beginning, and itself after that",
        (_, true) => "a checkpoint that covers all of it",
    }
}

fn span(report: &AuditReport) -> String {
    let population = &report.population;
    match (population.first_seq, population.last_seq) {
        (Some(first), Some(last)) => format!("{}, number {first} to {last}", population.entries),
        _ => "none".to_owned(),
    }
}

/// One end of the period, and what shows that it is the right one.
fn edge(edge: &Edge) -> String {
    let size = edge.size;
    let signed = match edge.signed_by.is_empty() {
        true => "its signature was not checked".to_owned(),
        false => format!("signed by {}", edge.signed_by.join(", ")),
    };
    match (edge.chosen_by, edge.matches_checkpoint, &edge.asked_time) {
        ("Start", ..) => "the beginning".to_owned(),
        ("End", ..) => format!("the end, after {size} entries"),
        (_, Some(true), _) => format!("after {size} entries, as the checkpoint says; {signed}"),
        (_, Some(false), _) => format!("after {size} entries, which the checkpoint does NOT say"),
        (_, None, Some(time)) => format!("after {size} entries, at {}", to_seconds(time)),
        (_, None, None) => format!("after {size} entries"),
    }
}

fn times(times: Times) -> String {
    match (times.median_us, times.p95_us, times.max_us) {
        (Some(median), Some(p95), Some(max)) => format!(
            "median {}, 95 % within {}, longest {} ({} measured)",
            duration(median),
            duration(p95),
            duration(max),
            times.count
        ),
        _ => "nothing measured".to_owned(),
    }
}

fn anchored(report: &AuditReport) -> String {
    let anchoring = &report.anchoring;
    match anchoring.unknown {
        true => "unknown: the file names no anchor".to_owned(),
        false => format!(
            "{} entries; {} at the end are not",
            anchoring.anchored, anchoring.unanchored
        ),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use osmoda_core::{digest::Digest, event::EventKind, name::AgentName};
    use osmoda_ledger::{
        Commit, Draft, IncidentRef, OpenOptions, Store,
        report::{Bound, CheckpointGiven, report},
    };
    use serde_json::{Value, json};

    use super::*;

    struct StillClock;

    impl osmoda_core::time::Clock for StillClock {
        fn mono(&self) -> osmoda_core::time::Mono {
            osmoda_core::time::Mono(7)
        }
        fn wall(&self) -> osmoda_core::time::Wall {
            osmoda_core::time::Wall(1_769_860_800_000_000)
        }
        fn boot_id(&self) -> &str {
            "5f0f7e6c-0000-4000-8000-000000000000"
        }
    }

    fn draft(kind: EventKind, body: Value) -> Commit {
        let draft = Draft {
            kind,
            agent: Some(AgentName::new("writer").unwrap()),
            incident: Some(IncidentRef::Known("i".to_owned())),
            causes: Vec::new(),
            actor: osmoda_core::event::Actor::Reconciler,
            body: body.as_object().unwrap().clone(),
        };
        Commit {
            entries: vec![draft],
            state: Vec::new(),
        }
    }

    /// A report on a ledger with one incident, which ends in a checkpoint; `honest`: its root.
    pub(crate) fn sample(honest: bool) -> AuditReport {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let options = OpenOptions::new("alpha", std::sync::Arc::new(StillClock));
        let mut store = Store::open(&path, options).unwrap();
        let times = json!({"reason": "Recovered", "timeToDetectUs": 900,
            "timeToRestartUs": 2400, "timeToVerifyUs": 104_000});
        let crash = json!({"reason": "Crashed", "message": "<b>signal 11</b>"});
        let commits = [
            draft(EventKind::FailureDetected, crash),
            draft(EventKind::HealthVerified, times),
        ];
        store.commit(&commits).unwrap();
        let head = store.head();
        let to = Bound::Checkpoint(CheckpointGiven {
            origin: head.origin,
            size: 2,
            root: if honest { head.root } else { Digest::of(b"") },
            signed_by: vec!["alpha".to_owned()],
        });
        report(&path, &Bound::Start, &to, |_, _| ()).unwrap()
    }

    #[test]
    fn the_verdict_comes_first_and_the_figures_follow() {
        let text = text(&sample(true));
        let first = "ok: all 2 entries of the period are there, in sequence\n";
        assert!(text.starts_with(first), "{text}");
        for line in [
            "  to               after 2 entries, as the checkpoint says; signed by alpha\n",
            "  incidents        1: 1 recovered, 0 open, 0 spent their budget\n",
            "  to restart       median 2.4 ms, 95 % within 2.4 ms, longest 2.4 ms (1 measured)\n",
            "  anchored         unknown: the file names no anchor\n",
            "  FailureDetected                 1\n",
            "  entry 0          2026-01-31T12:00:00Z writer Crashed: healthy after 104.0 ms\n",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_checkpoint_that_does_not_match_fails_loudly() {
        let text = text(&sample(false));
        let first = "FAILED: the first 2 entries are not those of the checkpoint: the ledger was rewritten\n";
        assert!(text.starts_with(first), "{text}");
    }
}
