//! PagerDuty: Events API v2.
//!
//! <https://developer.pagerduty.com/docs/send-alert-event>: summary of at most 1024 characters,
//! dedup_key of 255; severity is critical, error, warning or info.

use osmoda_core::{alert::Change, spec::Severity};
use serde_json::{Map, Value, json};

use super::{Outgoing, fit, fit_lines, time};
use crate::alerts::item::Item;

/// Where events go unless a file names another place.
pub const URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Longest summary, in characters.
pub const SUMMARY_MAX: usize = 1024;
/// Longest value of a detail, and what is kept of output, in characters: an event has at most
/// 512 KB.
const DETAIL_MAX: usize = 1000;
const OUTPUT_MAX: usize = 8000;

pub fn request(url: Option<&str>, key: &str, item: &Item) -> Result<Outgoing, String> {
    let mut body = json!({
        "routing_key": key,
        "dedup_key": item.key,
        "event_action": match item.change {
            Change::Trigger | Change::Note => "trigger",
            Change::Resolve | Change::ResolveAgent => "resolve",
        },
    });
    if body["event_action"] == "trigger" {
        body["client"] = "osmoda".into();
        body["payload"] = payload(item);
    }
    Ok(Outgoing {
        url: url.unwrap_or(URL).to_owned(),
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.to_string(),
    })
}

fn payload(item: &Item) -> Value {
    let facts = item.facts.iter();
    let mut details: Map<String, Value> = facts
        .map(|(name, value)| (name.clone(), fit(value, DETAIL_MAX).into()))
        .collect();
    if !item.output.is_empty() {
        let output = fit_lines(&item.output, OUTPUT_MAX);
        details.insert("Last output".to_owned(), output.into());
    }
    if let Some(incident) = &item.incident {
        details.insert("Incident".to_owned(), incident.clone().into());
    }
    json!({
        "summary": fit(&item.title, SUMMARY_MAX),
        "source": item.node,
        "severity": match item.severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        },
        "timestamp": time(item),
        "component": item.agent.as_deref().unwrap_or("osmoda"),
        "class": item.kind,
        "custom_details": details,
    })
}
