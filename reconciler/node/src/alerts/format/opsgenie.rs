//! Opsgenie: Alert API v2, create and close by alias.
//!
//! <https://docs.opsgenie.com/docs/alert-api>: message of at most 130 characters, alias and
//! entity of 512, description of 15000, source of 100, details of 8000 in all.

use osmoda_core::{alert::Change, spec::Severity};
use serde_json::{Map, Value, json};

use super::{Outgoing, fit, fit_lines, headline};
use crate::alerts::item::Item;

/// Where alerts go unless a file names another place (`https://api.eu.opsgenie.com/v2/alerts`).
pub const URL: &str = "https://api.opsgenie.com/v2/alerts";
/// Longest message, in characters.
pub const MESSAGE_MAX: usize = 130;
/// Longest description, in characters.
pub const DESCRIPTION_MAX: usize = 15_000;
/// Longest source, in characters.
pub const SOURCE_MAX: usize = 100;
/// What is kept of output, in characters.
const OUTPUT_MAX: usize = 6000;
/// Longest value of a detail, in characters.
const DETAIL_MAX: usize = 500;

pub fn request(url: Option<&str>, key: &str, item: &Item) -> Result<Outgoing, String> {
    let url = url.unwrap_or(URL).trim_end_matches('/');
    let source = fit(&format!("osmoda {}", item.node), SOURCE_MAX);
    let (url, body) = match item.change {
        Change::Trigger | Change::Note => (url.to_owned(), create(item, &source)),
        Change::Resolve | Change::ResolveAgent => {
            let alias: String = form_urlencoded::byte_serialize(item.key.as_bytes()).collect();
            let url = format!("{url}/{alias}/close?identifierType=alias");
            (url, json!({"source": source, "note": headline(item)}))
        }
    };
    Ok(Outgoing {
        url,
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("authorization", format!("GenieKey {key}")),
        ],
        body: body.to_string(),
    })
}

fn create(item: &Item, source: &str) -> Value {
    let mut description = item.title.clone();
    if !item.output.is_empty() {
        let output = fit_lines(&item.output, OUTPUT_MAX);
        description.push_str(&format!("\n\nLast output:\n{output}"));
    }
    let facts = item.facts.iter();
    let details: Map<String, Value> = facts
        .map(|(name, value)| (name.clone(), fit(value, DETAIL_MAX).into()))
        .collect();
    json!({
        "message": fit(&item.title, MESSAGE_MAX),
        "alias": item.key,
        "description": fit(&description, DESCRIPTION_MAX),
        "entity": item.agent.as_deref().unwrap_or(&item.node),
        "source": source,
        "priority": match item.severity {
            Severity::Critical => "P1",
            Severity::Warning => "P3",
            Severity::Info => "P5",
        },
        "tags": ["osmoda", item.kind],
        "details": details,
    })
}
