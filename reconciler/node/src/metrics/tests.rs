//! What a reading shows after what the loop has counted, and that nothing of it lasts longer
//! than its agent.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use osmoda_core::{
    event::{ActionIntended, ActionKind, ActionSucceeded, Event, FailureDetected, HealthVerified},
    name::AgentName,
    observed::InvocationId,
};
use tokio::sync::mpsc;

use super::{Depths, Form, Metrics, Seen};
use crate::{
    api::tests::{Entries, metrics},
    handle::Handle,
};

const INSTANCE: InvocationId = InvocationId([1; 16]);

fn name(text: &str) -> AgentName {
    AgentName::new(text).unwrap()
}

fn node() -> Arc<Metrics> {
    let (sender, inbox) = mpsc::channel(16);
    drop(inbox);
    metrics(Handle::new(sender), Arc::new(Entries::of(5, &["a"])))
}

fn failure(reason: &'static str) -> Event {
    Event::FailureDetected(FailureDetected {
        reason,
        message: String::new(),
        invocation: None,
        generation: None,
        exit: None,
        uptime_ms: None,
        detected_after_us: 0,
        consecutive: 1,
        restart_after_ms: Some(0),
        because_of: Vec::new(),
        facts: None,
        last_output: Vec::new(),
    })
}

fn intent(reason: &'static str) -> Event {
    Event::ActionIntended(ActionIntended {
        action: ActionKind::Start,
        reason,
        invocation: None,
        generation: None,
        digest: None,
    })
}

fn started() -> Event {
    Event::ActionSucceeded(ActionSucceeded {
        action: ActionKind::Start,
        invocation: None,
        pid: Some(7),
        exit: None,
        killed: false,
        took_us: 1,
        note: String::new(),
    })
}

fn see(metrics: &Metrics, agent: &str, seen: Seen) {
    let seen = vec![(name(agent), seen)];
    metrics
        .meters
        .turn(seen, Depths::default(), Duration::from_micros(70));
}

/// Lines of a reading that begin so.
async fn lines(metrics: &Metrics, prefix: &str) -> Vec<String> {
    let text = metrics.read(Form::OpenMetrics).await;
    let found = text.lines().filter(|line| line.starts_with(prefix));
    found.map(str::to_owned).collect()
}

#[tokio::test]
async fn an_agent_shows_what_it_is_and_what_it_uses() {
    let metrics = node();
    let seen = Seen {
        running: Some(INSTANCE),
        ready: true,
        generation: 3,
        ..Seen::default()
    };
    see(&metrics, "a", seen);
    see(&metrics, "b", Seen::default());
    let found = lines(&metrics, "osmoda_agent_").await;
    for line in [
        "osmoda_agent_up{agent=\"a\"} 1",
        "osmoda_agent_up{agent=\"b\"} 0",
        "osmoda_agent_ready{agent=\"a\"} 1",
        "osmoda_agent_generation{agent=\"a\"} 3",
        "osmoda_agent_memory_bytes{agent=\"a\"} 4096",
        "osmoda_agent_cpu_seconds_total{agent=\"a\"} 7e-6",
    ] {
        assert!(
            found.iter().any(|shown| shown == line),
            "{line}: {found:#?}"
        );
    }
    let of_b = found.iter().filter(|line| line.contains("\"b\"")).count();
    assert_eq!(of_b, 5, "what does not run uses nothing: {found:#?}");
}

#[tokio::test]
async fn a_restart_is_counted_when_it_succeeded_by_the_failure_it_answers() {
    let metrics = node();
    let note = |event: &Event| metrics.meters.note(&name("a"), event);
    let restarts = "osmoda_agent_restarts_total";
    note(&intent("Desired"));
    note(&started());
    assert_eq!(
        lines(&metrics, restarts).await,
        [""; 0],
        "the first start is none"
    );
    note(&failure("Crashed"));
    note(&intent("Restart"));
    assert_eq!(
        lines(&metrics, restarts).await,
        [""; 0],
        "not before it succeeded"
    );
    note(&started());
    note(&failure("Hang"));
    note(&intent("Restart"));
    note(&started());
    note(&intent("OperatorRequest"));
    note(&started());
    let expected = ["Crashed", "Hang", "OperatorRequest"]
        .map(|reason| format!("{restarts}{{agent=\"a\",reason=\"{reason}\"}} 1"));
    assert_eq!(lines(&metrics, restarts).await, expected);
    let failures = lines(&metrics, "osmoda_agent_failures_total").await;
    assert_eq!(failures.len(), 2);
}

#[tokio::test]
async fn a_recovery_goes_into_its_histograms() {
    let metrics = node();
    metrics.meters.note(
        &name("a"),
        &Event::HealthVerified(HealthVerified {
            reason: "Recovered",
            invocation: INSTANCE,
            time_to_detect_us: 900,
            time_to_restart_us: 2_000,
            time_to_verify_us: 300_000,
        }),
    );
    for line in [
        "osmoda_detection_seconds_bucket{le=\"0.001\"} 1",
        "osmoda_restart_seconds_bucket{le=\"0.0025\"} 1",
        "osmoda_recovery_seconds_bucket{le=\"0.25\"} 0",
        "osmoda_recovery_seconds_bucket{le=\"0.5\"} 1",
        "osmoda_recovery_seconds_sum 0.3",
    ] {
        assert_eq!(lines(&metrics, line).await, [line]);
    }
}

#[tokio::test]
async fn an_agent_that_is_gone_takes_its_series_along() {
    let metrics = node();
    let seen = Seen {
        running: Some(INSTANCE),
        ..Seen::default()
    };
    see(&metrics, "a", seen);
    metrics.meters.note(&name("a"), &failure("Crashed"));
    assert!(!lines(&metrics, "osmoda_agent_").await.is_empty());
    metrics.meters.forget(&name("a"));
    assert_eq!(lines(&metrics, "osmoda_agent_").await, [""; 0]);
}

#[tokio::test]
async fn a_reading_is_whole_and_every_family_of_it_is_documented() {
    let metrics = node();
    let text = metrics.read(Form::OpenMetrics).await;
    assert!(text.ends_with("# EOF\n"));
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let shown: BTreeSet<String> = families
        .map(|line| match line.split_once(' ') {
            Some((name, "counter")) => format!("{name}_total"),
            Some((name, "info")) => format!("{name}_info"),
            Some((name, _)) => name.to_owned(),
            None => line.to_owned(),
        })
        .collect();
    assert_eq!(shown, documented());
}

/// The families that docs/metrics.md lists.
fn documented() -> BTreeSet<String> {
    let rows = include_str!("../../../../docs/metrics.md").lines();
    rows.filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect()
}

#[test]
fn dashboard_and_alert_rules_ask_for_nothing_that_is_not_documented() {
    let known = documented();
    for (file, text) in [
        (
            "dashboard",
            include_str!("../../../../docs/grafana-dashboard.json"),
        ),
        (
            "rules",
            include_str!("../../../../docs/prometheus-rules.yaml"),
        ),
    ] {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let asked: BTreeSet<_> = words
            .filter(|word| word.starts_with("osmoda_"))
            .map(|word| word.trim_end_matches("_bucket"))
            .collect();
        assert!(asked.len() > 5, "{file}: {asked:?}");
        for family in asked {
            assert!(known.contains(family), "{file} asks for {family}");
        }
    }
}
