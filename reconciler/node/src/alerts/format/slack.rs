//! Slack: an incoming webhook with Block Kit.
//!
//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks> and
//! <https://docs.slack.dev/reference/block-kit/blocks>: at most 50 blocks, a header of 150
//! characters, a section's text of 3000, ten fields of 2000 each.

use osmoda_core::{alert::Change, spec::Severity};
use serde_json::{Value, json};

use super::{Outgoing, fit, fit_lines, headline, time};
use crate::alerts::item::Item;

/// Longest header, in characters.
pub const HEADER_MAX: usize = 150;
/// Longest text of a section, in characters.
pub const TEXT_MAX: usize = 3000;
/// Longest text of a field, in characters.
pub const FIELD_MAX: usize = 2000;
/// Most fields of a section.
pub const FIELDS_MAX: usize = 10;
/// What is kept of output: escaping makes it at most five times as long.
const OUTPUT_MAX: usize = 2400;

pub fn request(url: &str, item: &Item) -> Result<Outgoing, String> {
    let body = json!({
        "text": fit(&escaped(&headline(item)), TEXT_MAX),
        "blocks": blocks(item),
    });
    Ok(Outgoing {
        url: url.to_owned(),
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.to_string(),
    })
}

fn blocks(item: &Item) -> Vec<Value> {
    let header = format!("{} {}", sign(item), headline(item));
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": fit(&header, HEADER_MAX), "emoji": true},
    })];
    if header.chars().count() > HEADER_MAX {
        let text = fit(&escaped(&item.title), TEXT_MAX);
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": text}}));
    }
    let fields: Vec<Value> = (item.facts.iter().take(FIELDS_MAX))
        .map(|(name, value)| {
            let text = fit(
                &format!("*{}*\n{}", escaped(name), escaped(value)),
                FIELD_MAX,
            );
            json!({"type": "mrkdwn", "text": text})
        })
        .collect();
    if !fields.is_empty() {
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    if !item.output.is_empty() {
        // A fence within the output would end the block that shows it.
        let output = escaped(&fit_lines(&item.output, OUTPUT_MAX)).replace("```", "'''");
        let text = format!("```{}```", fit(&output, TEXT_MAX - 6));
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": text}}));
    }
    let about = format!(
        "node *{}* · {} · {}",
        escaped(&item.node),
        item.kind,
        time(item)
    );
    blocks.push(json!({
        "type": "context",
        "elements": [{"type": "mrkdwn", "text": fit(&about, TEXT_MAX)}],
    }));
    blocks
}

fn sign(item: &Item) -> &'static str {
    match (item.change, item.severity) {
        (Change::Resolve | Change::ResolveAgent, _) => ":white_check_mark:",
        (_, Severity::Critical) => ":rotating_light:",
        (_, Severity::Warning) => ":warning:",
        (_, Severity::Info) => ":information_source:",
    }
}

/// The three characters that mean something to Slack.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
