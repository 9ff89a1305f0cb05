//! `osmoda describe`: everything about one agent, readable at 3 am.

use osmoda_node::api::types::{AgentObject, EntryObject};
use serde_json::Value;

use super::{age, events, one_line, or_dash, to_seconds};

/// Everything about one agent. `failure` is the newest FailureDetected entry among its
/// `entries`, which are shown oldest first.
pub fn describe(agent: &AgentObject, entries: &[EntryObject]) -> String {
    let mut page = Page::default();
    observed(&mut page, agent);
    conditions(&mut page, agent);
    let failure = entries
        .iter()
        .rev()
        .find(|entry| entry.entry["kind"] == "FailureDetected");
    if let Some(entry) = failure {
        last_failure(&mut page, entry);
    }
    desired(&mut page, agent);
    page.heading("Last events");
    for entry in entries {
        page.text(&events::sentence(entry));
    }
    if entries.is_empty() {
        page.text("none");
    }
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn heading(&mut self, title: &str) {
        self.text.push_str(&format!("\n{title}:\n"));
    }

    fn line(&mut self, name: &str, value: &str) {
        self.text
            .push_str(&format!("  {name:<18} {}\n", one_line(value)));
    }

    fn text(&mut self, line: &str) {
        self.text.push_str(&format!("  {}\n", one_line(line)));
    }
}

fn observed(page: &mut Page, agent: &AgentObject) {
    let status = &agent.status;
    let ready = if status.ready { "ready" } else { "not ready" };
    page.text.push_str(&format!(
        "{}: {}, {ready}\n",
        agent.metadata.name, status.phase
    ));
    if !status.message.is_empty() {
        page.text(&status.message);
    }
    page.heading("What it is");
    let since = match (&status.started_at, status.uptime_ms) {
        (Some(at), Some(ms)) => format!(" since {} ({})", to_seconds(at), age(ms)),
        _ => String::new(),
    };
    page.line(
        "Process",
        &format!(
            "{}{since}",
            or_dash(status.pid.map(|pid| format!("pid {pid}")))
        ),
    );
    page.line("Restarts", &status.restarts.to_string());
    let generation = |found: &Option<osmoda_core::observed::Generation>| {
        or_dash(
            found
                .as_ref()
                .map(|g| format!("{} ({})", g.number, g.store_path)),
        )
    };
    let verdict = match status.generation.verdict {
        Some(verdict) => format!(", {verdict:?}"),
        None => String::new(),
    };
    let active = generation(&status.generation.active);
    page.line("Generation", &format!("{active}{verdict}"));
    let good = &status.generation.last_known_good;
    if good.is_some() && *good != status.generation.active {
        page.line("Last known good", &generation(good));
    }
    if status.generation.active != status.generation.desired {
        page.line("Desired", &generation(&status.generation.desired));
    }
    if let Some(exit) = &status.last_exit {
        let how = match (exit.code, exit.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => osmoda_core::spec::Signal(signal).to_string(),
            (None, None) => "unknown exit".to_owned(),
        };
        page.line(
            "Last exit",
            &format!("{}: {how}, {}", exit.reason, to_seconds(&exit.at)),
        );
    }
    if let Some(use_) = &status.resources {
        let memory = or_dash(
            use_.memory_bytes
                .map(|bytes| format!("{} KiB", bytes / 1024)),
        );
        let cpu = or_dash(use_.cpu_percent.map(|percent| format!("{percent}%")));
        page.line("Uses", &format!("memory {memory}, CPU {cpu}"));
    }
    if let Some(next) = &status.next_action {
        page.line(
            "Next",
            &format!(
                "{} in {} ({})",
                next.what,
                age(next.in_ms),
                to_seconds(&next.at)
            ),
        );
    }
    if let Some(incident) = &status.incident {
        page.line("Incident", incident);
    }
}

fn conditions(page: &mut Page, agent: &AgentObject) {
    page.heading("Conditions");
    for condition in &agent.status.conditions {
        let mut value = format!("{:?} ({})", condition.status, condition.reason);
        value.push_str(&format!(
            " since {}",
            to_seconds(&condition.last_transition_time)
        ));
        if !condition.message.is_empty() {
            value.push_str(&format!(": {}", condition.message));
        }
        page.line(&format!("{:?}", condition.r#type), &value);
    }
}

fn last_failure(page: &mut Page, entry: &EntryObject) {
    page.heading("Last failure");
    page.text(&events::sentence(entry));
    let output = entry.entry["body"]["lastOutput"].as_array();
    for line in output.into_iter().flatten() {
        // A line that was too long is stored as {cut, length, sha256}.
        let text = line.as_str().or(line["cut"].as_str()).unwrap_or_default();
        page.text(&format!("| {text}"));
    }
}

fn desired(page: &mut Page, agent: &AgentObject) {
    page.heading("What it should be");
    if let Some(file) = &agent.status.file {
        page.line("Spec", file);
    }
    if !agent.metadata.labels.is_empty() {
        let labels: Vec<_> = agent
            .metadata
            .labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        page.line("Labels", &labels.join(", "));
    }
    if let Value::Object(fields) = &agent.spec {
        for (name, value) in fields {
            page.line(name, &value.to_string());
        }
    }
    if !agent.status.not_enforced.is_empty() {
        page.line("Not enforced", &agent.status.not_enforced.join(", "));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// An agent for the tests of this folder.
    pub(crate) fn sample(name: &str) -> AgentObject {
        let generation = json!({"number": 2, "storePath": "/nix/store/x-bundle"});
        serde_json::from_value(json!({
            "apiVersion": "osmoda/v1", "kind": "Agent",
            "metadata": {"name": name, "labels": {"team": "research"}, "generation": 2},
            "spec": {"command": ["/bin/researcher", "--port", "8080"]},
            "status": {
                "phase": "Running", "ready": true, "message": "", "restarts": 1,
                "pid": 4242, "startedAt": "2026-01-31T12:00:00.000000Z", "uptimeMs": 310_000,
                "lastExit": {"signal": 11, "reason": "Crashed", "at": "2026-01-31T11:59:59.900000Z"},
                "generation": {"desired": generation, "active": generation},
                "observedGeneration": 2,
                "nextAction": {"what": "Start", "at": "2026-01-31T12:05:14.000000Z", "inMs": 4000},
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "Running", "message": "",
                    "lastTransitionTime": "2026-01-31T12:00:00.000000Z"
                }],
                "notEnforced": ["heartbeat", "probes.liveness"],
                "file": "/etc/osmoda/agents/researcher.nix"
            }
        }))
        .unwrap()
    }

    #[test]
    fn at_3_am_the_page_says_what_is_what_failed_and_what_should_be() {
        let failure = EntryObject {
            seq: 9,
            leaf: "00".to_owned(),
            entry: json!({
                "kind": "FailureDetected", "ts": "2026-01-31T11:59:59.900000Z",
                "agent": "researcher", "actor": {"type": "Reconciler"},
                "body": {
                    "reason": "Crashed", "message": "the main process ended: SIGSEGV",
                    "uptimeMs": 5000, "restartAfterMs": 0, "consecutive": 1,
                    "lastOutput": ["loading model", "segfault \u{1b}[31mhere"]
                }
            }),
        };
        let expected = "\
researcher: Running, ready

What it is:
  Process            pid 4242 since 2026-01-31T12:00:00Z (5m10s)
  Restarts           1
  Generation         2 (/nix/store/x-bundle)
  Last exit          Crashed: SIGSEGV, 2026-01-31T11:59:59Z
  Next               Start in 4s (2026-01-31T12:05:14Z)

Conditions:
  Ready              True (Running) since 2026-01-31T12:00:00Z

Last failure:
  2026-01-31T11:59:59Z researcher failed (Crashed): the main process ended: SIGSEGV, after 5s; restart at once
  | loading model
  | segfault  [31mhere

What it should be:
  Spec               /etc/osmoda/agents/researcher.nix
  Labels             team=research
  command            [\"/bin/researcher\",\"--port\",\"8080\"]
  Not enforced       heartbeat, probes.liveness

Last events:
  2026-01-31T11:59:59Z researcher failed (Crashed): the main process ended: SIGSEGV, after 5s; restart at once
";
        assert_eq!(describe(&sample("researcher"), &[failure]), expected);
    }
}
