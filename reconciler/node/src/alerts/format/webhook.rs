//! A program of one's own: a CloudEvents 1.0 event, signed as Standard Webhooks asks for.
//!
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md> in structured mode, and
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>:
//! `webhook-signature` is `v1,` and the base64 of HMAC-SHA-256 over `ID.TIMESTAMP.BODY`. A secret
//! that begins with `whsec_` is base64; any other is used as it is.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use osmoda_core::{alert::Change, time::Wall};
use serde_json::json;
use sha2::Sha256;

use super::{Outgoing, headline, time};
use crate::alerts::item::Item;

pub fn request(url: &str, key: Option<&str>, item: &Item, now: Wall) -> Result<Outgoing, String> {
    let body = event(item).to_string();
    let timestamp = now.0.div_euclid(1_000_000);
    let mut headers = vec![
        (
            "content-type",
            "application/cloudevents+json; charset=utf-8".to_owned(),
        ),
        ("webhook-id", item.id.clone()),
        ("webhook-timestamp", timestamp.to_string()),
    ];
    if let Some(key) = key {
        let signed = format!("{}.{timestamp}.{body}", item.id);
        headers.push(("webhook-signature", signature(key, signed.as_bytes())?));
    }
    Ok(Outgoing {
        url: url.to_owned(),
        headers,
        body,
    })
}

fn event(item: &Item) -> serde_json::Value {
    let word = match item.change {
        Change::Trigger => "trigger",
        Change::Note => "note",
        Change::Resolve | Change::ResolveAgent => "resolve",
    };
    let facts: serde_json::Map<_, _> = (item.facts.iter())
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let source: String = form_urlencoded::byte_serialize(item.node.as_bytes()).collect();
    let mut event = json!({
        "specversion": "1.0",
        "id": item.id,
        "source": format!("/osmoda/{source}"),
        "type": format!("osmoda.alert.{word}"),
        "time": time(item),
        "datacontenttype": "application/json",
        "data": {
            "dedupKey": item.key,
            "severity": item.severity,
            "kind": item.kind,
            "node": item.node,
            "agent": item.agent,
            "incident": item.incident,
            "title": item.title,
            "text": headline(item),
            "facts": facts,
            "lastOutput": item.output,
        },
    });
    if let Some(agent) = &item.agent {
        event["subject"] = agent.clone().into();
    }
    event
}

pub fn signature(key: &str, signed: &[u8]) -> Result<String, String> {
    let secret = match key.strip_prefix("whsec_") {
        Some(encoded) => STANDARD
            .decode(encoded)
            .map_err(|_| "the key begins with whsec_ and is not base64 after that".to_owned())?,
        None => key.as_bytes().to_vec(),
    };
    // HMAC takes a key of any length (RFC 2104).
    let mac = Hmac::<Sha256>::new_from_slice(&secret);
    let mut mac = mac.map_err(|error| error.to_string())?;
    mac.update(signed);
    Ok(format!(
        "v1,{}",
        STANDARD.encode(mac.finalize().into_bytes())
    ))
}
