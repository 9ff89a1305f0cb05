//! One message in the words of each provider: pure, and within the provider's own limits.
//!
//! Limits count characters as the provider does; what is longer is cut with `…`. Where to start:
//! [`requests`] makes what is sent, [`judge`] reads what is answered.

mod opsgenie;
mod pagerduty;
mod slack;
mod telegram;
#[cfg(test)]
mod tests;
mod webhook;

use std::time::Duration;

use osmoda_core::{
    alert::Change,
    spec::{Alert, AlertProvider, Severity},
    time::Wall,
};

use super::{item::Item, secrets::Secrets};
use crate::web::Answer;

/// Longest part of a provider's answer that is repeated in an error, in bytes.
const ANSWER_MAX: usize = 200;

/// A POST to be sent. It holds secrets: it is never logged, and has no Debug for that reason.
#[derive(Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub url: String,
    /// Headers, Content-Type among them.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The provider has it.
    Delivered,
    /// This message is wrong in the provider's eyes.
    Refused(String),
    /// Not now; it may say for how long.
    Later(String, Option<Duration>),
}

/// The request of a message.
///
/// # Errors
/// A sentence, without secrets: what the receiver's files do not hold.
pub fn request(
    alert: &Alert,
    secrets: &Secrets,
    item: &Item,
    now: Wall,
) -> Result<Outgoing, String> {
    match alert.provider {
        AlertProvider::Slack => slack::request(need(&secrets.url, "urlFile")?, item),
        AlertProvider::PagerDuty => {
            pagerduty::request(secrets.url.as_deref(), need(&secrets.key, "keyFile")?, item)
        }
        AlertProvider::Opsgenie => {
            opsgenie::request(secrets.url.as_deref(), need(&secrets.key, "keyFile")?, item)
        }
        AlertProvider::Telegram => {
            let chat = alert.chat_id.as_deref().unwrap_or_default();
            let key = need(&secrets.key, "keyFile")?;
            telegram::request(secrets.url.as_deref(), key, chat, item)
        }
        AlertProvider::Webhook => {
            let url = need(&secrets.url, "urlFile")?;
            webhook::request(url, secrets.key.as_deref(), item, now)
        }
    }
}

fn need<'s>(secret: &'s Option<String>, field: &str) -> Result<&'s str, String> {
    secret
        .as_deref()
        .ok_or_else(|| format!("the receiver has no {field}"))
}

/// What a provider's answer means. 400, 413 and 422 are about the message; everything else that
/// is no 2xx (a wrong key, a closed channel, an outage) is about the receiver and can be mended.
pub fn judge(provider: AlertProvider, answer: &Answer, now: Wall) -> Verdict {
    let said = || {
        let text = String::from_utf8_lossy(&answer.body);
        let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
        match super::facts::cut(text.trim(), ANSWER_MAX) {
            "" => String::new(),
            text => format!(": {text}"),
        }
    };
    let why = || format!("{provider:?} answered {}{}", answer.status, said());
    match answer.status {
        200..=299 => Verdict::Delivered,
        300..=399 => Verdict::Later(
            format!(
                "{provider:?} answered {}: redirects are not followed",
                answer.status
            ),
            None,
        ),
        400 | 413 | 422 => Verdict::Refused(why()),
        _ => {
            let asked = answer.retry_after.as_deref();
            let asked = asked.and_then(|header| retry_after(header, now));
            Verdict::Later(why(), asked.or_else(|| telegram::retry_after(&answer.body)))
        }
    }
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(header: &str, now: Wall) -> Option<Duration> {
    if let Ok(seconds) = header.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(header.trim()).ok()?;
    let ahead = date.timestamp().as_microsecond().saturating_sub(now.0);
    Some(Duration::from_micros(u64::try_from(ahead).unwrap_or(0)))
}

/// At most `max` characters, as UTF-16 counts them.
fn fit(text: &str, max: usize) -> String {
    if text.encode_utf16().count() <= max {
        return text.to_owned();
    }
    let mut used = 0;
    let kept = text.chars().take_while(|letter| {
        used += letter.len_utf16();
        used < max
    });
    let mut kept: String = kept.collect();
    kept.push('…');
    kept
}

/// The last lines that fit into `max` characters, as UTF-16 counts them.
fn fit_lines(lines: &[String], max: usize) -> String {
    let mut used = 0;
    let fitting = lines.iter().rev().take_while(|line| {
        used += line.encode_utf16().count() + 1;
        used <= max
    });
    let mut kept: Vec<&str> = fitting.map(String::as_str).collect();
    if let (true, Some(last)) = (kept.is_empty(), lines.last()) {
        return fit(last, max);
    }
    kept.reverse();
    kept.join("\n")
}

/// `Critical: TITLE`, `Resolved: TITLE`, or the title of a note.
fn headline(item: &Item) -> String {
    let word = match (item.change, item.severity) {
        (Change::Resolve | Change::ResolveAgent, _) => "Resolved: ",
        (_, Severity::Critical) => "Critical: ",
        (_, Severity::Warning) => "Warning: ",
        (_, Severity::Info) => "",
    };
    format!("{word}{}", item.title)
}

/// RFC 3339 in UTC.
fn time(item: &Item) -> String {
    item.at.to_string()
}
