//! `osmoda describe`: everything about one agent, readable at 3 am.
//!
//! First the story, in the order in which a person asks: what happened, why, what was done,
//! what happens next. Then the particulars. Where to start: [`describe`].

use osmoda_core::status::{ConditionStatus, ConditionType, Phase};
use osmoda_node::api::types::{AgentObject, EntryObject, GenerationItem, ProbeResult, ProbeStatus};
use serde_json::Value;

use super::{
    age, ago, bytes, events, generations, next, one_line, or_dash,
    story::{Stories, Story},
    to_seconds,
};

/// Entries that are listed at the end.
const EVENTS_MAX: usize = 15;
/// Generations that are listed; `osmoda generations` lists all.
const ROLLOUTS_MAX: usize = 5;
/// Deeds of an incident that are told; more are counted.
const DEEDS_TOLD: usize = 8;

/// Everything about one agent, from its `entries` and its generations (`deployed`), both oldest
/// first. `now` is RFC 3339.
pub fn describe(
    agent: &AgentObject,
    entries: &[EntryObject],
    deployed: &[GenerationItem],
    now: &str,
) -> String {
    let mut page = Page::default();
    let stories = Stories::of(entries);
    headline(&mut page, agent);
    if let Some(story) = stories.latest_of(&agent.metadata.name) {
        happened(&mut page, story, now);
        why(&mut page, story);
        done(&mut page, story, now);
    }
    page.heading("What happens next");
    page.text(&next::sentence(agent, 0));
    particulars(&mut page, agent, now);
    rollouts(&mut page, deployed, now);
    conditions(&mut page, agent, now);
    probes(&mut page, agent, now);
    desired(&mut page, agent);
    page.heading("Last events");
    let told: Vec<_> = entries.iter().filter(|e| !events::is_detail(e)).collect();
    for entry in told.iter().skip(told.len().saturating_sub(EVENTS_MAX)) {
        page.text(&events::dated(entry, now));
    }
    if told.is_empty() {
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
            .push_str(&format!("  {name:<19} {}\n", one_line(value)));
    }

    fn text(&mut self, line: &str) {
        self.text.push_str(&format!("  {}\n", one_line(line)));
    }
}

fn headline(page: &mut Page, agent: &AgentObject) {
    let status = &agent.status;
    let state = match (status.phase, status.ready) {
        (Phase::Running, true) => "Running, ready".to_owned(),
        (Phase::Succeeded, _) => "Succeeded".to_owned(),
        (phase, _) => format!("{phase}, not ready"),
    };
    page.text
        .push_str(&format!("{}: {state}\n", agent.metadata.name));
    if !status.message.is_empty() {
        page.text(&status.message);
    }
}

fn at(time: &str, now: &str) -> String {
    format!("{}, at {}", ago(time, now), to_seconds(time))
}

fn happened(page: &mut Page, story: &Story, now: &str) {
    page.heading("What happened");
    let when = story.latest.as_ref().map_or(&story.opened_at, |f| &f.at);
    page.text(&format!("{}: {}.", at(when, now), story.happened()));
    if story.failures > 1 {
        page.text(&format!("It began {}.", at(&story.opened_at, now)));
    }
}

fn why(page: &mut Page, story: &Story) {
    let Some(failing) = &story.latest else { return };
    page.heading("Why");
    let mut known = false;
    if !failing.because_of.is_empty() {
        let names = failing.because_of.join(", ");
        page.text(&format!(
            "Not its own fault: it depends on {names}, which failed first."
        ));
        known = true;
    }
    if let Some(doing) = &failing.doing {
        page.text(&format!("It said it was doing this: {doing}"));
        known = true;
    }
    if !failing.last_output.is_empty() {
        page.text("The last that it wrote before that:");
        for same in failing.last_output.chunk_by(|a, b| a == b) {
            let line = &same[0];
            page.text(&match same.len() {
                1 => format!("| {line}"),
                times => format!("| {line}   ({times} times)"),
            });
        }
        known = true;
    }
    if !known {
        page.text("It wrote nothing, and said nothing about what it was doing.");
    }
}

fn done(page: &mut Page, story: &Story, now: &str) {
    page.heading("What was done");
    let skipped = story.deeds.len().saturating_sub(DEEDS_TOLD);
    let before = story.forgotten + skipped as u64;
    if before > 0 {
        page.text(&format!(
            "{before} earlier steps, see `osmoda events {}`",
            story.agent
        ));
    }
    for deed in story.deeds.iter().skip(skipped) {
        page.text(&format!("{}: {}", at(&deed.at, now), deed.text));
    }
    match &story.end {
        Some(end) => page.text(&format!("{}: {}", at(&end.at, now), story.ended())),
        None if story.deeds.is_empty() => page.text("nothing yet"),
        None => page.text("It is not over: health has not been verified since."),
    }
}

fn particulars(page: &mut Page, agent: &AgentObject, now: &str) {
    let status = &agent.status;
    page.heading("What it is");
    let since = match (&status.started_at, status.uptime_ms) {
        (Some(at), Some(ms)) => format!(" for {}, since {}", age(ms), to_seconds(at)),
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
            &format!("{}: {how}, {}", exit.reason, at(&exit.at, now)),
        );
    }
    if let Some(use_) = &status.resources {
        let memory = or_dash(use_.memory_bytes.map(bytes));
        let cpu = or_dash(use_.cpu_percent.map(|percent| format!("{percent}%")));
        page.line("Uses", &format!("memory {memory}, CPU {cpu}"));
    }
    if let Some(incident) = &status.incident {
        page.line("Open incident", incident);
    }
}

fn rollouts(page: &mut Page, deployed: &[GenerationItem], now: &str) {
    if deployed.is_empty() {
        return;
    }
    page.heading("What was deployed");
    let history = generations::history(deployed, now);
    for (number, told) in history.into_iter().take(ROLLOUTS_MAX) {
        page.line(&format!("Generation {number}"), &told);
    }
}

/// Whether a condition is as one wishes it to be.
fn is_well(r#type: ConditionType, status: ConditionStatus) -> bool {
    match r#type {
        ConditionType::Degraded | ConditionType::Progressing => status == ConditionStatus::False,
        _ => status == ConditionStatus::True,
    }
}

fn conditions(page: &mut Page, agent: &AgentObject, now: &str) {
    page.heading("Conditions");
    for condition in &agent.status.conditions {
        let mark = match is_well(condition.r#type, condition.status) {
            true => ' ',
            false => '!',
        };
        let mut value = format!("{:?} ({})", condition.status, condition.reason);
        value.push_str(&format!(
            " since {}, {}",
            to_seconds(&condition.last_transition_time),
            ago(&condition.last_transition_time, now)
        ));
        if !condition.message.is_empty() {
            value.push_str(&format!(": {}", condition.message));
        }
        page.line(&format!("{mark} {:?}", condition.r#type), &value);
    }
}

fn probes(page: &mut Page, agent: &AgentObject, now: &str) {
    if agent.status.probes.is_empty() {
        return;
    }
    page.heading("Probes");
    for probe in &agent.status.probes {
        let ProbeStatus {
            result, run, since, ..
        } = probe;
        let mark = match result {
            ProbeResult::Success => ' ',
            ProbeResult::Unknown | ProbeResult::Failure => '!',
        };
        let since = format!("since {}, {}", to_seconds(since), ago(since, now));
        let mut value = match run {
            0 => "not asked yet".to_owned(),
            run => format!("{result:?} {since}, {run} in a row"),
        };
        if !probe.message.is_empty() {
            value.push_str(&format!(": {}", probe.message));
        }
        page.line(&format!("{mark} {}", probe.probe), &value);
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
    use osmoda_core::rollout::Verdict;
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

    fn entry(seq: u64, kind: &str, at: &str, body: Value) -> EntryObject {
        EntryObject {
            seq,
            leaf: "00".to_owned(),
            entry: json!({
                "kind": kind, "ts": format!("2026-01-31T{at}.900000Z"), "agent": "researcher",
                "incident": "i", "actor": {"type": "Reconciler"}, "body": body
            }),
        }
    }

    fn crash() -> EntryObject {
        let body = json!({
            "reason": "Crashed", "message": "the main process ended: SIGSEGV",
            "uptimeMs": 5000, "restartAfterMs": 0, "consecutive": 1,
            "lastOutput": ["loading model", "segfault \u{1b}[31mhere"]
        });
        entry(9, "FailureDetected", "11:59:59", body)
    }

    const NOW: &str = "2026-01-31T12:05:10.900000Z";

    fn deployed() -> Vec<GenerationItem> {
        let item = |number, verdict, reason: &str| GenerationItem {
            number,
            store_path: format!("/nix/store/{number}"),
            created_at: Some("2026-01-31T11:59:59.500000Z".to_owned()),
            verdict,
            reason: reason.to_owned(),
            active: number == 2,
            desired: number == 3,
            last_known_good: number == 2,
            closure: None,
        };
        vec![
            item(2, Verdict::Good, ""),
            item(3, Verdict::Bad, "CrashLoop"),
        ]
    }

    #[test]
    fn at_3_am_the_page_says_what_happened_why_what_was_done_and_what_comes() {
        let entries = [
            crash(),
            entry(10, "Diff", "11:59:59", json!({"differences": []})),
            entry(11, "ActionIntended", "11:59:59", json!({"action": "Start"})),
            entry(
                12,
                "ActionSucceeded",
                "11:59:59",
                json!({"action": "Start", "pid": 4242, "tookUs": 8000, "note": ""}),
            ),
        ];
        let expected = "\
researcher: Running, ready

What happened:
  5m11s ago, at 2026-01-31T11:59:59Z: it crashed after 5s (SIGSEGV).

Why:
  The last that it wrote before that:
  | loading model
  | segfault  [31mhere

What was done:
  5m11s ago, at 2026-01-31T11:59:59Z: started in 8ms (pid 4242)
  It is not over: health has not been verified since.

What happens next:
  it starts in 4s

What it is:
  Process             pid 4242 for 5m10s, since 2026-01-31T12:00:00Z
  Restarts            1
  Generation          2 (/nix/store/x-bundle)
  Last exit           Crashed: SIGSEGV, 5m11s ago, at 2026-01-31T11:59:59Z

What was deployed:
  Generation 3        Bad (CrashLoop), deployed 5m11s ago, at 2026-01-31T11:59:59Z: desired
  Generation 2        Good, deployed 5m11s ago, at 2026-01-31T11:59:59Z: active, last known good

Conditions:
    Ready             True (Running) since 2026-01-31T12:00:00Z, 5m10s ago

What it should be:
  Spec                /etc/osmoda/agents/researcher.nix
  Labels              team=research
  command             [\"/bin/researcher\",\"--port\",\"8080\"]
  Not enforced        heartbeat, probes.liveness

Last events:
  2026-01-31T11:59:59Z (5m11s ago) failed (Crashed): the main process ended: SIGSEGV, after 5s; restart at once
  2026-01-31T11:59:59Z (5m11s ago) started in 8ms (pid 4242)
";
        assert_eq!(
            describe(&sample("researcher"), &entries, &deployed(), NOW),
            expected
        );
    }

    #[test]
    fn who_fell_with_another_is_not_blamed_and_who_is_silent_is_said_to_be() {
        let mut cascade = crash();
        cascade.entry["body"]["becauseOf"] = json!(["db"]);
        let told = describe(&sample("researcher"), &[cascade], &[], NOW);
        assert!(told.contains("Not its own fault: it depends on db, which failed first.\n"));
        let mut hang = crash();
        hang.entry["body"] =
            json!({"reason": "Hang", "message": "no heartbeat for 3.001 s", "lastOutput": []});
        let told = describe(&sample("researcher"), std::slice::from_ref(&hang), &[], NOW);
        assert!(told.contains("it stopped giving signs of life (no heartbeat for 3.001 s)."));
        assert!(told.contains("It wrote nothing, and said nothing about what it was doing.\n"));
        hang.entry["body"]["facts"] = json!({"status": "asking the model"});
        let told = describe(&sample("researcher"), &[hang], &[], NOW);
        assert!(told.contains("It said it was doing this: asking the model\n"));
    }

    #[test]
    fn probes_tell_what_they_found_and_what_they_warn_of() {
        let mut agent = sample("researcher");
        agent.status.probes = serde_json::from_value(json!([
            {"probe": "startup", "result": "Success", "since": "2026-01-31T12:00:01.000000Z",
             "run": 1, "message": ""},
            {"probe": "readiness", "result": "Failure", "since": "2026-01-31T12:00:00.000000Z",
             "run": 0, "message": ""},
            {"probe": "liveness", "result": "Success", "since": "2026-01-31T12:00:02.000000Z",
             "run": 7, "message": "HTTP 302 to example.org, another host, which was not asked"},
        ]))
        .unwrap();
        let told = describe(&agent, &[], &[], NOW);
        let expected = "
Probes:
    startup           Success since 2026-01-31T12:00:01Z, 5m9s ago, 1 in a row
  ! readiness         not asked yet
    liveness          Success since 2026-01-31T12:00:02Z, 5m8s ago, 7 in a row: \
HTTP 302 to example.org, another host, which was not asked
";
        assert!(told.contains(expected), "{told}");
    }

    #[test]
    fn who_never_failed_has_no_story() {
        let told = describe(&sample("researcher"), &[], &[], NOW);
        assert!(!told.contains("What happened:") && !told.contains("Why:"));
        assert!(told.contains("Last events:\n  none\n"));
    }
}
