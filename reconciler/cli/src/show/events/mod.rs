//! `osmoda events`: one sentence for each entry of the ledger.
//!
//! Where to start: [`list`], and [`sentences`], a table from kind to sentence. A kind that is not
//! in it, or an entry of another version, is shown by its kind and its body.

mod body;
mod sentences;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use osmoda_node::api::types::EntryObject;
use serde_json::Value;

use self::{
    body::Body,
    sentences::{RENDERERS, by, compact, could_not},
};
use super::{ago, one_line, to_seconds};

/// Entries that tell nothing which the one that follows does not tell better: a difference
/// that is acted on at once, and an intent whose outcome follows. What takes its time, a stop
/// or a way back, is told when it begins.
pub fn is_detail(object: &EntryObject) -> bool {
    let entry = &object.entry;
    match entry["kind"].as_str() {
        Some("Diff") => true,
        Some("ActionIntended") => entry["body"]["action"] != "Stop",
        _ => false,
    }
}

/// One line about an agent that is known: when, how long ago, what.
pub fn dated(object: &EntryObject, now: &str) -> String {
    let time = object.entry["ts"].as_str().unwrap_or("-");
    format!("{} ({}) {}", to_seconds(time), ago(time, now), what(object))
}

/// Many entries, oldest first, one line each: when, how long ago, who, what. Those of one
/// incident are joined by a line at their left, from the failure to verified health.
pub fn list(entries: &[EntryObject], now: &str) -> String {
    let whose = |object: &EntryObject| one_line(owner(&object.entry)).chars().count();
    let width = entries.iter().map(whose).max().unwrap_or(0);
    let mut open = BTreeSet::new();
    let mut text = String::new();
    for object in entries {
        let entry = &object.entry;
        let time = entry["ts"].as_str().unwrap_or("-");
        let mark = joint(entry, &mut open);
        let line = format!(
            "{} {:>10}  {:<width$} {mark} {}",
            to_seconds(time),
            ago(time, now),
            owner(entry),
            what(object)
        );
        text.push_str(&one_line(&line));
        text.push('\n');
    }
    text
}

/// How an entry is joined to the others of its incident.
fn joint(entry: &Value, open: &mut BTreeSet<String>) -> char {
    let Some(id) = entry["incident"].as_str() else {
        return ' ';
    };
    match entry["kind"].as_str() {
        Some("HealthVerified") => {
            open.remove(id);
            '└'
        }
        Some("FailureDetected") if open.insert(id.to_owned()) => '┌',
        Some("FailureDetected") => '├',
        // It may have begun before what is shown.
        _ => '│',
    }
}

fn owner(entry: &Value) -> &str {
    let agent = entry["agent"].as_str();
    agent.or(entry["node"].as_str()).unwrap_or("node")
}

/// One line: when, who, what.
pub fn sentence(object: &EntryObject) -> String {
    let entry = &object.entry;
    if entry["kind"].as_str().is_none() {
        return format!("entry {}: {}", object.seq, what(object));
    }
    let when = to_seconds(entry["ts"].as_str().unwrap_or("-"));
    format!("{when} {} {}", owner(entry), what(object))
}

/// What happened, and by whom if that was a person.
pub fn what(object: &EntryObject) -> String {
    let entry = &object.entry;
    let Some(kind) = entry["kind"].as_str() else {
        return "its body was pruned or redacted".to_owned();
    };
    let body = Body {
        value: &entry["body"],
    };
    let renderer = RENDERERS.iter().find(|(known, _)| *known == kind);
    let what = match renderer {
        Some((_, render)) => render(&body),
        None => compact(kind, &entry["body"]),
    };
    // A time, of when it happened. RecordingDegraded has a number there: how many are late.
    let late = if entry["body"]["late"].is_string() {
        " (recorded late)"
    } else {
        ""
    };
    format!("{what}{}{late}", by(&entry["actor"]))
}

/// What an ActionFailed says without when it is tried again: `could not start: no such file`.
pub fn what_failed(entry: &Value) -> String {
    could_not(&Body {
        value: &entry["body"],
    })
}
