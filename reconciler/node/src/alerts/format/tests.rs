//! Every provider's requests against the fields and limits that it documents.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use osmoda_core::spec::{Alert, AlertProvider};
use serde_json::Value;

use super::*;

const NOW: Wall = Wall(1_767_225_600_000_000);

fn alert(provider: AlertProvider) -> Alert {
    Alert {
        name: "ops".into(),
        provider,
        url_file: None,
        key_file: None,
        chat_id: Some("-100123".into()),
        min_severity: Severity::Warning,
        labels: Default::default(),
        kinds: Vec::new(),
    }
}

fn item(change: Change) -> Item {
    Item {
        id: "msg_0123".into(),
        key: "osmoda/alpha/incident/i1".into(),
        lane: "incident/i1".into(),
        change,
        severity: Severity::Critical,
        kind: "EscalationExhausted".into(),
        node: "alpha".into(),
        agent: Some("researcher".into()),
        incident: Some("i1".into()),
        title: "researcher: restart budget spent <6>".into(),
        facts: vec![("Reason".into(), "RestartBudgetSpent & more".into())],
        output: vec!["```Traceback```".into(), "<b>KeyError</b>".into()],
        at: NOW,
        counted: None,
        tries: 0,
        refusals: 0,
        last_error: None,
    }
}

/// A message with everything as long as it can be, and worse.
fn monster(change: Change) -> Item {
    let long = "<&ü\u{1f600}>".repeat(1500);
    Item {
        title: long.clone(),
        node: "n".repeat(253),
        facts: (0..40)
            .map(|n| (format!("Fact {n}"), long.clone()))
            .collect(),
        output: vec![long; 20],
        ..item(change)
    }
}

fn sent(provider: AlertProvider, item: &Item) -> (Outgoing, Value) {
    let secrets = Secrets {
        url: Some("https://example.test/hook".into()),
        key: Some("whsec_c2VzYW1lLTAxMjM0NTY3".into()),
    };
    let request = request(&alert(provider), &secrets, item, NOW).unwrap();
    let body = serde_json::from_str(&request.body).unwrap();
    (request, body)
}

fn header<'a>(request: &'a Outgoing, name: &str) -> &'a str {
    let mut headers = request.headers.iter();
    &headers.find(|(header, _)| *header == name).unwrap().1
}

/// An object has these members and no other; those that begin with `?` may be missing.
#[track_caller]
fn has(value: &Value, members: &[&str]) {
    let found: BTreeSet<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let known: BTreeSet<&str> = members
        .iter()
        .map(|name| name.trim_start_matches('?'))
        .collect();
    let needed = members.iter().filter(|name| !name.starts_with('?'));
    let missing: Vec<_> = needed.filter(|name| !found.contains(**name)).collect();
    let unknown: Vec<_> = found.difference(&known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "missing {missing:?}, unknown {unknown:?}"
    );
}

#[track_caller]
fn text(value: &Value, least: usize, most: usize) -> &str {
    let text = value.as_str().unwrap();
    let length = text.encode_utf16().count();
    assert!(
        (least..=most).contains(&length),
        "{length} characters: {text:.80}"
    );
    text
}

fn each(check: impl Fn(&Item)) {
    for change in [Change::Trigger, Change::Resolve, Change::Note] {
        check(&item(change));
        check(&monster(change));
    }
}

#[test]
fn slack_gets_blocks_within_its_limits() {
    each(|item| {
        let (_, body) = sent(AlertProvider::Slack, item);
        has(&body, &["text", "blocks"]);
        text(&body["text"], 1, 3000);
        let blocks = body["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50);
        for block in blocks {
            match block["type"].as_str().unwrap() {
                "header" => {
                    has(block, &["type", "text"]);
                    has(&block["text"], &["type", "text", "emoji"]);
                    assert_eq!(block["text"]["type"], "plain_text");
                    text(&block["text"]["text"], 1, 150);
                }
                "section" => {
                    has(block, &["type", "?text", "?fields"]);
                    if let Some(part) = block.get("text") {
                        has(part, &["type", "text"]);
                        text(&part["text"], 1, 3000);
                    }
                    let fields = block["fields"].as_array().cloned().unwrap_or_default();
                    assert!(fields.len() <= 10);
                    for field in fields {
                        has(&field, &["type", "text"]);
                        text(&field["text"], 1, 2000);
                    }
                }
                "context" => {
                    has(block, &["type", "elements"]);
                    text(&block["elements"][0]["text"], 1, 3000);
                }
                other => panic!("an unknown block: {other}"),
            }
        }
    });
}

#[test]
fn slack_reads_output_as_text_and_not_as_its_own_marks() {
    let (_, body) = sent(AlertProvider::Slack, &item(Change::Trigger));
    let output = body["blocks"][2]["text"]["text"].as_str().unwrap();
    assert_eq!(output, "```'''Traceback'''\n&lt;b&gt;KeyError&lt;/b&gt;```");
    let header = body["blocks"][0]["text"]["text"].as_str().unwrap();
    assert_eq!(
        header,
        ":rotating_light: Critical: researcher: restart budget spent <6>"
    );
}

#[test]
fn pagerduty_gets_events_v2() {
    each(|item| {
        let (_, body) = sent(AlertProvider::PagerDuty, item);
        text(&body["dedup_key"], 1, 255);
        text(&body["routing_key"], 1, 64);
        let action = body["event_action"].as_str().unwrap();
        if item.change == Change::Resolve {
            assert_eq!(action, "resolve");
            return has(&body, &["routing_key", "dedup_key", "event_action"]);
        }
        assert_eq!(action, "trigger");
        has(
            &body,
            &[
                "routing_key",
                "dedup_key",
                "event_action",
                "client",
                "payload",
            ],
        );
        let payload = &body["payload"];
        has(
            payload,
            &[
                "summary",
                "source",
                "severity",
                "timestamp",
                "component",
                "class",
                "custom_details",
            ],
        );
        text(&payload["summary"], 1, 1024);
        assert_eq!(payload["severity"], "critical");
        assert_eq!(payload["timestamp"], "2026-01-01T00:00:00.000000Z");
        assert!(
            body.to_string().len() < 512 * 1024,
            "PagerDuty takes 512 KB"
        );
    });
    let secrets = Secrets {
        url: None,
        key: Some("k".into()),
    };
    let alert = alert(AlertProvider::PagerDuty);
    let request = request(&alert, &secrets, &item(Change::Trigger), NOW).unwrap();
    assert_eq!(request.url, "https://events.pagerduty.com/v2/enqueue");
}

#[test]
fn opsgenie_gets_a_create_and_a_close_by_alias() {
    each(|item| {
        let (request, body) = sent(AlertProvider::Opsgenie, item);
        assert!(header(&request, "authorization").starts_with("GenieKey "));
        text(&body["source"], 1, 100);
        if item.change == Change::Resolve {
            let close = "https://example.test/hook/osmoda%2Falpha%2Fincident%2Fi1/close?identifierType=alias";
            assert_eq!(request.url, close);
            text(&body["note"], 1, 25_000);
            return has(&body, &["source", "note"]);
        }
        has(
            &body,
            &[
                "message",
                "alias",
                "description",
                "entity",
                "source",
                "priority",
                "tags",
                "details",
            ],
        );
        text(&body["message"], 1, 130);
        text(&body["alias"], 1, 512);
        text(&body["description"], 1, 15_000);
        text(&body["entity"], 1, 512);
        assert_eq!(body["priority"], "P1");
        for tag in body["tags"].as_array().unwrap() {
            text(tag, 1, 50);
        }
    });
}

#[test]
fn telegram_gets_html_that_is_whole() {
    each(|item| {
        let (request, body) = sent(AlertProvider::Telegram, item);
        let url = "https://example.test/hook/botwhsec_c2VzYW1lLTAxMjM0NTY3/sendMessage";
        assert_eq!(request.url, url);
        has(
            &body,
            &["chat_id", "text", "parse_mode", "link_preview_options"],
        );
        assert_eq!(body["chat_id"], "-100123");
        let text = body["text"].as_str().unwrap();
        let mut plain = text.to_owned();
        for tag in ["<b>", "<i>", "<pre>"] {
            let end = tag.replace('<', "</");
            assert_eq!(
                plain.matches(tag).count(),
                plain.matches(&end).count(),
                "{tag}"
            );
            plain = plain.replace(tag, "").replace(&end, "");
        }
        assert!(
            !plain.contains('<') && !plain.contains('>'),
            "a bare bracket in {plain:.80}"
        );
        let read = plain
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&");
        let length = read.encode_utf16().count();
        assert!((1..=4096).contains(&length), "{length} characters");
    });
}

#[test]
fn a_webhook_gets_a_cloudevent_that_is_signed() {
    each(|item| {
        let (request, body) = sent(AlertProvider::Webhook, item);
        has(
            &body,
            &[
                "specversion",
                "id",
                "source",
                "type",
                "subject",
                "time",
                "datacontenttype",
                "data",
            ],
        );
        assert_eq!(body["specversion"], "1.0");
        assert!(header(&request, "content-type").starts_with("application/cloudevents+json"));
        assert_eq!(header(&request, "webhook-id"), body["id"].as_str().unwrap());
        assert_eq!(header(&request, "webhook-timestamp"), "1767225600");
        // As a receiver checks it.
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"sesame-01234567").unwrap();
        mac.update(format!("msg_0123.1767225600.{}", request.body).as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(header(&request, "webhook-signature"), expected);
    });
}

/// The example of the Standard Webhooks reference libraries.
#[test]
fn a_signature_is_that_of_the_reference_libraries() {
    let payload = r#"{"test": 2432232314}"#;
    let signed = format!("msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{payload}");
    let signature = webhook::signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", signed.as_bytes());
    assert_eq!(
        signature.unwrap(),
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    );
    assert!(webhook::signature("whsec_%", b"").is_err());
}

#[test]
fn an_answer_is_about_the_message_or_about_the_receiver() {
    let judged = |status, retry_after: Option<&str>, body: &str| {
        let answer = Answer {
            status,
            media_type: String::new(),
            retry_after: retry_after.map(str::to_owned),
            body: body.into(),
        };
        judge(AlertProvider::Telegram, &answer, NOW)
    };
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!(judged(202, None, ""), Verdict::Delivered);
    let refused = Verdict::Refused("Telegram answered 400: no chat".into());
    assert_eq!(
        judged(400, None, "no\nchat\n"),
        Verdict::Refused("Telegram answered 400: nochat".into())
    );
    assert_eq!(judged(400, None, "no chat"), refused);
    let later = |why: &str, asked| Verdict::Later(format!("Telegram answered {why}"), asked);
    assert_eq!(judged(403, None, ""), later("403", None));
    assert_eq!(
        judged(302, None, ""),
        later("302: redirects are not followed", None)
    );
    assert_eq!(judged(429, Some("30"), ""), later("429", seconds(30)));
    let date = "Thu, 01 Jan 2026 00:01:00 GMT";
    assert_eq!(judged(503, Some(date), ""), later("503", seconds(60)));
    let body = r#"{"parameters":{"retry_after":7}}"#;
    assert_eq!(
        judged(429, None, body),
        later(&format!("429: {body}"), seconds(7))
    );
}
