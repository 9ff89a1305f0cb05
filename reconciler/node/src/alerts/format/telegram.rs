//! Telegram: sendMessage of the Bot API, in its HTML style.
//!
//! <https://core.telegram.org/bots/api#sendmessage>: 1 to 4096 characters of text. The token is a
//! part of the URL, which is a secret for that reason.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Outgoing, fit, fit_lines, headline, time};
use crate::alerts::item::Item;

/// Where the API is unless a file names another place.
pub const URL: &str = "https://api.telegram.org";
/// Longest text, in characters, after entities are read: an escape counts as one. Everything
/// below together stays within it.
const TEXT_MAX: usize = 4096;
const HEADLINE_MAX: usize = 600;
const FACT_MAX: usize = 200;
const FACTS_MAX: usize = 6;
const OUTPUT_MAX: usize = 1800;
const ABOUT_MAX: usize = 400;
const _: () = {
    let facts = FACTS_MAX * (FACT_MAX + 1);
    assert!(HEADLINE_MAX + facts + OUTPUT_MAX + ABOUT_MAX + 2 <= TEXT_MAX);
};

pub fn request(
    url: Option<&str>,
    token: &str,
    chat: &str,
    item: &Item,
) -> Result<Outgoing, String> {
    let base = url.unwrap_or(URL).trim_end_matches('/');
    let body = json!({
        "chat_id": chat,
        "text": text(item),
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": true},
    });
    Ok(Outgoing {
        url: format!("{base}/bot{token}/sendMessage"),
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.to_string(),
    })
}

fn text(item: &Item) -> String {
    let mut text = format!("<b>{}</b>\n", escaped(&fit(&headline(item), HEADLINE_MAX)));
    for (name, value) in item.facts.iter().take(FACTS_MAX) {
        let line = fit(&format!("{name}: {value}"), FACT_MAX);
        text.push_str(&format!("{}\n", escaped(&line)));
    }
    if !item.output.is_empty() {
        let output = fit_lines(&item.output, OUTPUT_MAX);
        text.push_str(&format!("<pre>{}</pre>\n", escaped(&output)));
    }
    let about = format!("node {} · {} · {}", item.node, item.kind, time(item));
    text.push_str(&format!("<i>{}</i>", escaped(&fit(&about, ABOUT_MAX))));
    text
}

/// The three characters that mean something to HTML style.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// `parameters.retry_after` of an answer that is too early, in seconds.
pub fn retry_after(body: &[u8]) -> Option<Duration> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let seconds = answer.get("parameters")?.get("retry_after")?.as_u64()?;
    Some(Duration::from_secs(seconds))
}
