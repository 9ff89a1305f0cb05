//! `osmoda status`: a table of agents and a line about the node.

use osmoda_core::observed::Generation;
use osmoda_node::{
    anchors::AnchorStatus,
    api::types::{AgentSummary, LedgerStatus, NodeStatus, StatusSummary, SystemStatus},
};

use super::{age, next, one_line, or_dash, table};

const HEADER: [&str; 8] = [
    "NAME",
    "READY",
    "PHASE",
    "RESTARTS",
    "GENERATION",
    "PID",
    "AGE",
    "MESSAGE",
];

/// Agents and node.
pub fn status(list: &StatusSummary) -> String {
    let mut text = match list.items.is_empty() {
        true => "no agents: the specs declare none\n".to_owned(),
        false => table(&HEADER, list.items.iter().map(row).collect()),
    };
    text.push('\n');
    text.push_str(&node(&list.node));
    text.push_str(&notes(list));
    text
}

/// One agent, in the same table.
pub fn agent(agent: &AgentSummary) -> String {
    table(&HEADER, vec![row(agent)])
}

fn row(agent: &AgentSummary) -> Vec<String> {
    let message = next::cell(agent.next_action.as_ref(), &agent.message, 0);
    vec![
        agent.name.clone(),
        if agent.ready { "yes" } else { "no" }.to_owned(),
        agent.phase.to_string(),
        agent.restarts.to_string(),
        or_dash(agent.generation),
        or_dash(agent.pid),
        or_dash(agent.uptime_ms.map(age)),
        message,
    ]
}

/// What the machine runs, what is known of it, and what disagrees.
fn system(system: &SystemStatus) -> String {
    let named = |generation: &Generation| match generation.number {
        0 => generation.store_path.to_string(),
        number => format!("generation {number}"),
    };
    let running = system.current.as_ref().map_or("none".to_owned(), named);
    let verdict = match (system.verdict, &system.reason) {
        (Some(verdict), Some(why)) => format!(" ({verdict:?}: {why})"),
        (Some(verdict), None) => format!(" ({verdict:?})"),
        (None, _) => String::new(),
    };
    let good = system
        .last_known_good
        .as_ref()
        .map_or("none".to_owned(), named);
    let mut line = format!("system {running}{verdict}, last known good {good}");
    if let Some(to) = &system.switching_to {
        line.push_str(&format!("; being switched to {}", named(to)));
    }
    for disagreement in &system.disagreements {
        line.push_str(&format!("; {disagreement}"));
    }
    line.push('\n');
    line
}

fn node(node: &NodeStatus) -> String {
    let mut text = format!(
        "node {}: osmoda {}, pid {}, up {}, {} runtime, specs {}, ledger {} entries{}\n",
        node.name,
        node.version,
        node.pid,
        age(node.uptime_ms),
        node.runtime,
        node.specs,
        node.ledger.size,
        ignored_notifications(node)
    );
    if node.reading_specs {
        text.push_str("the specs are still being read; the last valid ones are in force\n");
    }
    if let Some(reason) = &node.paused {
        let why = if reason.is_empty() {
            "no reason given"
        } else {
            reason
        };
        text.push_str(&format!("all agents are paused: {}\n", one_line(why)));
    }
    if let Some(line) = node.system.as_ref().map(system) {
        text.push_str(&line);
    }
    text.push_str(&anchors(&node.ledger));
    text.push_str(&super::alerts::not_getting_through(&node.alerts));
    if let Some(why) = &node.ledger.degraded {
        let sentence = "entries cannot be written at the moment and wait in memory";
        text.push_str(&format!(
            "recording is degraded, {sentence}: {}\n",
            one_line(why)
        ));
    }
    text
}

/// What nobody took in of what came to the notify socket; nothing, if there was nothing.
fn ignored_notifications(node: &NodeStatus) -> String {
    let total: u64 = node.ignored_notifications.values().sum();
    if total == 0 {
        return String::new();
    }
    let reasons = node.ignored_notifications.iter();
    let reasons: Vec<_> = reasons
        .map(|(why, count)| format!("{why} {count}"))
        .collect();
    format!(", {total} notifications ignored ({})", reasons.join(", "))
}

/// How far each anchor has come; nothing on a node that has none.
fn anchors(ledger: &LedgerStatus) -> String {
    let line = |anchor: &AnchorStatus| {
        let reached = match anchor.size {
            Some(size) => format!("{size} entries"),
            None => "nothing yet".to_owned(),
        };
        let state = match (&anchor.reason, anchor.fork) {
            (None, _) => String::new(),
            (Some(reason), true) => format!("; IT HOLDS ANOTHER HISTORY: {}", one_line(reason)),
            (Some(reason), false) => format!("; failing: {}", one_line(reason)),
        };
        format!("anchor {}: {reached}{state}\n", one_line(&anchor.name))
    };
    let lines: String = ledger.anchors.iter().map(line).collect();
    match (lines.is_empty(), ledger.unanchored) {
        (true, _) | (false, 0) => lines,
        (false, tail) => format!("{lines}not anchored yet: the last {tail} entries\n"),
    }
}

/// What should not go unnoticed: refused specs, and fields that do nothing.
fn notes(list: &StatusSummary) -> String {
    let mut text = String::new();
    for refused in &list.node.spec_errors {
        let more = refused.errors.len().saturating_sub(1);
        let first = refused.errors.first().map_or("refused", String::as_str);
        let others = if more == 0 {
            String::new()
        } else {
            format!(" (and {more} more)")
        };
        text.push_str(&format!(
            "invalid spec {}: {}{others}; the last valid one stays in force\n",
            refused.file,
            one_line(first)
        ));
    }
    for agent in &list.items {
        let fields = &agent.not_enforced;
        if !fields.is_empty() {
            let (name, fields) = (&agent.name, fields.join(", "));
            text.push_str(&format!("not enforced, {name}: {fields}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::describe::tests::sample;

    fn list() -> StatusSummary {
        let mut failing = sample("summarizer");
        failing.status.ready = false;
        failing.status.phase = osmoda_core::status::Phase::Backoff;
        (failing.status.pid, failing.status.uptime_ms) = (None, None);
        failing.status.restarts = 3;
        failing.status.message = "Exited: exit code 1".to_owned();
        failing.status.not_enforced = Vec::new();
        let mut healthy = sample("researcher");
        healthy.status.next_action = None;
        let node = serde_json::from_value(serde_json::json!({
            "name": "alpha", "version": "0.1.0", "pid": 7, "runtime": "native",
            "specs": "/etc/osmoda/agents", "uptimeMs": 3_600_000,
            "ledger": {"origin": "o", "size": 42, "root": "r", "chain": "c"},
            "specErrors": [{"file": "specs/bad.nix", "errors": ["3:1: unknown field", "4:1: x"]}]
        }));
        StatusSummary {
            api_version: "osmoda/v1".to_owned(),
            kind: "StatusSummary".to_owned(),
            node: node.unwrap(),
            items: vec![healthy.into(), failing.into()],
        }
    }

    #[test]
    fn the_table_shows_who_works_and_what_comes_next() {
        let expected = "\
NAME        READY  PHASE    RESTARTS  GENERATION  PID   AGE    MESSAGE
researcher  yes    Running  1         2           4242  5m10s
summarizer  no     Backoff  3         2           -     -      starts in 4s; Exited: exit code 1

node alpha: osmoda 0.1.0, pid 7, up 1h, native runtime, specs /etc/osmoda/agents, ledger 42 entries
invalid spec specs/bad.nix: 3:1: unknown field (and 1 more); the last valid one stays in force
not enforced, researcher: heartbeat, probes.liveness
";
        assert_eq!(status(&list()), expected);
    }

    #[test]
    fn anchors_say_how_far_they_are_and_what_is_wrong() {
        let anchor = |name: &str, size, reason: Option<&str>, fork| AnchorStatus {
            name: name.to_owned(),
            size,
            at: None,
            failing_since: None,
            reason: reason.map(str::to_owned),
            fork,
            failures: 0,
        };
        let mut list = list();
        let ledger = &mut list.node.ledger;
        ledger.unanchored = 2;
        ledger.anchors = vec![
            anchor("directory /mnt/a", Some(40), None, false),
            anchor("witness w at http://w", None, Some("no answer"), false),
            anchor("webhook /run/url", Some(7), Some("it was cut"), true),
        ];
        let expected = "\
anchor directory /mnt/a: 40 entries
anchor witness w at http://w: nothing yet; failing: no answer
anchor webhook /run/url: 7 entries; IT HOLDS ANOTHER HISTORY: it was cut
not anchored yet: the last 2 entries
";
        assert_eq!(anchors(&list.node.ledger), expected);
    }

    #[test]
    fn a_node_without_agents_says_so() {
        let mut list = list();
        list.items.clear();
        list.node.spec_errors.clear();
        list.node.paused = Some("upgrade".to_owned());
        list.node.ignored_notifications =
            [("Barrier".to_owned(), 1), ("Stranger".to_owned(), 2)].into();
        list.node.ledger.degraded = Some("the disk is full".to_owned());
        let expected = "\
no agents: the specs declare none

node alpha: osmoda 0.1.0, pid 7, up 1h, native runtime, specs /etc/osmoda/agents, ledger 42 entries, 3 notifications ignored (Barrier 1, Stranger 2)
all agents are paused: upgrade
recording is degraded, entries cannot be written at the moment and wait in memory: the disk is full
";
        assert_eq!(status(&list), expected);
    }
}
