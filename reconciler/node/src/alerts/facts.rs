//! What a draft says: the facts for the judgement, and the words for people.
//!
//! Bodies are read as JSON, since that is what a commit holds; a field that is not there is left
//! out. Every text is scrubbed here: rows of the state table are not scrubbed by the ledger.

use osmoda_core::{alert::Fact, event::EventKind};
use osmoda_ledger::{Draft, IncidentRef, Scrubber};
use serde_json::Value;

/// Most lines of output in a message.
const LINES_MAX: usize = 20;
/// Longest line of output, in bytes.
const LINE_MAX: usize = 300;
/// Longest text of a fact, in bytes.
const TEXT_MAX: usize = 1000;
/// Most errors of a refused spec in a message.
const ERRORS_MAX: usize = 5;

/// What the judgement needs. `about` is the place for the text that it borrows.
pub fn fact<'a>(draft: &'a Draft, about: &'a mut Option<String>) -> Fact<'a> {
    let incident = match &draft.incident {
        Some(IncidentRef::Known(id)) => Some(id.as_str()),
        _ => None,
    };
    *about = match draft.kind {
        EventKind::SpecRejected => text(draft, "file").map(|file| format!("spec {file}")),
        EventKind::AnchorFailed | EventKind::AnchorSucceeded => {
            text(draft, "anchor").map(|anchor| format!("anchor {anchor}"))
        }
        EventKind::ClosureVerified => {
            let generation = draft.body.get("generation");
            let path = generation.and_then(|of| of.get("storePath"));
            let path = path.and_then(Value::as_str);
            path.map(|path| format!("closure {path}"))
        }
        _ => text(draft, "scope").map(|scope| scope.to_lowercase()),
    };
    let damage = draft.body.get("damage").and_then(Value::as_array);
    let explained = draft.body.get("becauseOf").and_then(Value::as_array);
    Fact {
        kind: draft.kind,
        agent: draft.agent.as_ref(),
        incident,
        about: about.as_deref(),
        restarts: draft.body.get("restartAfterMs").is_some_and(Value::is_u64),
        explained: explained.is_some_and(|agents| !agents.is_empty()),
        marked: draft.body.get("fork").and_then(Value::as_bool) == Some(true)
            || draft.body.get("change").and_then(Value::as_str) == Some("Removed")
            || damage.is_some_and(|damage| !damage.is_empty()),
    }
}

/// The words of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// One line.
    pub title: String,
    /// What is known, by name.
    pub facts: Vec<(String, String)>,
}

/// What is said of an entry.
pub fn words(draft: &Draft, scrubber: &Scrubber) -> Words {
    let get = |name: &str| text(draft, name).unwrap_or_default();
    let who = match &draft.agent {
        Some(agent) => agent.as_str(),
        None if get("scope") == "System" => "system",
        None => "node",
    };
    let what = match draft.kind {
        EventKind::FailureDetected => format!("{}: {}", get("reason"), get("message")),
        EventKind::ActionFailed => {
            format!(
                "cannot {}: {}",
                get("action").to_lowercase(),
                get("message")
            )
        }
        EventKind::GenerationBad => format!(
            "{} is bad: {}",
            generation(draft, "generation"),
            get("message")
        ),
        EventKind::EscalationExhausted => match get("reason").as_str() {
            "RestartBudgetSpent" => format!(
                "restart budget spent ({} restarts): tried again in {}",
                get("restarts"),
                duration(draft, "restartAfterMs")
            ),
            reason => format!(
                "nothing more can be done by itself: {reason} {}",
                get("message")
            ),
        },
        EventKind::RollbackFailed => format!(
            "cannot go back to {}: {}",
            generation(draft, "to"),
            get("message")
        ),
        EventKind::RollbackSucceeded => format!("went back to {}", generation(draft, "to")),
        EventKind::HealthVerified => "healthy again".to_owned(),
        EventKind::GenerationGood => format!("{} is good", generation(draft, "generation")),
        EventKind::ClosureVerified => {
            let damage = draft.body.get("damage").and_then(Value::as_array);
            let what = generation(draft, "generation");
            match damage.map_or(0, Vec::len) {
                0 => format!("{what} is whole"),
                _ => format!("{what} is damaged on the disk, and is not gone back to"),
            }
        }
        EventKind::SpecRejected => format!("spec refused: {}", get("file")),
        EventKind::SpecChanged => "removed from the specs".to_owned(),
        EventKind::OutsideAction => format!("changed by somebody else: {}", get("what")),
        EventKind::AnchorFailed => {
            format!("cannot anchor with {}: {}", get("anchor"), get("reason"))
        }
        EventKind::AnchorSucceeded => format!("anchored again with {}", get("anchor")),
        EventKind::RecordingDegraded => {
            format!(
                "entries could not be written for some time: {}",
                get("reason")
            )
        }
        EventKind::LogReset => "the ledger was damaged; it was set aside and begun anew".to_owned(),
        EventKind::NodeStarted => format!("osmoda {} started", get("version")),
        EventKind::NodeStopped => format!("osmoda stopped: {}", get("reason")),
        EventKind::ActionSucceeded => "works again".to_owned(),
        EventKind::Paused => format!("paused: {}", get("reason")),
        EventKind::Resumed => "resumed".to_owned(),
        kind => format!("{kind:?}"),
    };
    let title = one_line(&scrubber.scrub(&format!("{who}: {what}")));
    Words {
        title: cut(&title, TEXT_MAX).to_owned(),
        facts: facts(draft, scrubber),
    }
}

/// What else the body says, as far as people want to read it.
fn facts(draft: &Draft, scrubber: &Scrubber) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let value = one_line(&scrubber.scrub(&value));
            facts.push((name.to_owned(), cut(&value, TEXT_MAX).to_owned()));
        }
    };
    let has = |name: &str| draft.body.contains_key(name);
    add("Reason", text(draft, "reason"));
    add(
        "Generation",
        has("generation").then(|| generation(draft, "generation")),
    );
    add("Failures in a row", text(draft, "consecutive"));
    add(
        "Next start in",
        has("restartAfterMs").then(|| duration(draft, "restartAfterMs")),
    );
    add("No rollback because", text(draft, "noRollback"));
    add("Stays active because", text(draft, "stays"));
    add("Time to recover", microseconds(draft, "timeToVerifyUs"));
    let errors = draft.body.get("errors").and_then(Value::as_array);
    for error in errors.into_iter().flatten().take(ERRORS_MAX) {
        add("Error", error.as_str().map(str::to_owned));
    }
    let damage = draft.body.get("damage").and_then(Value::as_array);
    for found in damage.into_iter().flatten().take(ERRORS_MAX) {
        add("Damaged", found.as_str().map(str::to_owned));
    }
    facts
}

/// The end of what the agent wrote, if the entry holds it.
pub fn output(draft: &Draft, scrubber: &Scrubber) -> Vec<String> {
    let lines = draft.body.get("lastOutput").and_then(Value::as_array);
    let lines: Vec<&str> = lines
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let first = lines.len().saturating_sub(LINES_MAX);
    let line = |line: &&str| cut(&printable(&scrubber.scrub(line)), LINE_MAX).to_owned();
    lines[first..].iter().map(line).collect()
}

/// A field of the body as text.
fn text(draft: &Draft, name: &str) -> Option<String> {
    match draft.body.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

fn generation(draft: &Draft, name: &str) -> String {
    let number = draft.body.get(name).and_then(|value| value.get("number"));
    match number.and_then(Value::as_u64) {
        Some(number) => format!("generation {number}"),
        None => "a generation".to_owned(),
    }
}

/// As people say it: without milliseconds, once it is longer than a minute.
fn duration(draft: &Draft, name: &str) -> String {
    const MINUTE: u64 = 60_000;
    let millis = draft.body.get(name).and_then(Value::as_u64);
    let millis = millis.unwrap_or_default();
    let exact = if millis < MINUTE {
        millis
    } else {
        millis / 1000 * 1000
    };
    osmoda_core::units::Period::millis(exact).to_string()
}

fn microseconds(draft: &Draft, name: &str) -> Option<String> {
    let micros = draft.body.get(name)?.as_u64()?;
    Some(osmoda_core::units::Period::millis(micros / 1000).to_string())
}

/// Without line breaks and other control characters, which could draw on a terminal.
fn one_line(text: &str) -> String {
    printable(&text.replace(['\n', '\r', '\t'], " "))
}

fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

/// At most `max` bytes.
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
