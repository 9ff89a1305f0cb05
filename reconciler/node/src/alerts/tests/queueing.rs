//! What a commit owes: rows in its own transaction, within their bounds, and without secrets.

use osmoda_ledger::CommitError;

use super::*;
use crate::alerts::plan::WAITING_MAX;

#[tokio::test]
async fn what_is_queued_is_in_the_transaction_of_its_cause() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::Webhook)]);
    scene.alerts.stop();
    let before = scene.ledger.head().size;
    scene.breaks("a", "i1");
    assert_eq!(
        scene.ledger.head().size,
        before + 2,
        "the entry and AlertQueued"
    );
    assert_eq!(scene.rows("alert/item/ops/").len(), 1);
    assert_eq!(scene.rows("alert/open/ops/").len(), 1);
    let entries = scene.ledger.reader().unwrap().entries(before, 2).unwrap();
    let queued = String::from_utf8(entries[1].entry.clone().unwrap()).unwrap();
    assert!(queued.contains(r#""kind":"AlertQueued""#), "{queued}");
    assert!(
        queued.contains(&format!(r#""seq":{before}}}"#)),
        "its cause: {queued}"
    );
}

#[tokio::test]
async fn what_is_not_recorded_is_not_owed() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::Webhook)]);
    scene.alerts.stop();
    scene.ledger.shutdown().await;
    let refused = scene.outbox().append(&commit(
        EventKind::EscalationExhausted,
        "a",
        "i1",
        json!({"reason": "x"}),
    ));
    assert!(matches!(refused, Err(CommitError::Closed)), "{refused:?}");
    let list = scene.outbox().list();
    assert_eq!((list.items.len(), list.receivers[0].open), (0, 0));
}

#[tokio::test]
async fn secrets_are_in_no_row() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::Webhook)]);
    scene.alerts.stop();
    scene.scrubber.learn("a/token", b"open-sesame-1234567");
    let body = json!({
        "reason": "Exited", "message": "said open-sesame-1234567",
        "lastOutput": ["line one", "token open-sesame-1234567 end"],
    });
    scene.happens(EventKind::FailureDetected, "a", "i1", body);
    let rows = scene.rows("alert/item/");
    let text = String::from_utf8(rows.into_values().next().unwrap()).unwrap();
    assert!(!text.contains("sesame"), "{text}");
    assert!(text.contains("[scrubbed:a/token] end"), "{text}");
}

#[tokio::test]
async fn an_alert_carries_what_the_agent_wrote_before_it_failed() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::Webhook)]);
    let healed = json!({"reason": "Exited", "message": "exit code 1", "restartAfterMs": 0,
        "lastOutput": ["Traceback", "KeyError: 'x'"]});
    scene.happens(EventKind::FailureDetected, "a", "i1", healed);
    scene.breaks("a", "i1");
    scene.until_nothing_waits().await;
    let bodies = scene.bodies();
    assert_eq!(
        bodies[0]["data"]["title"],
        "a: restart budget spent (6 restarts): tried again in 5m1s"
    );
    assert_eq!(bodies.len(), 1, "what heals by itself is no Warning");
    assert_eq!(
        bodies[0]["data"]["lastOutput"],
        json!(["Traceback", "KeyError: 'x'"])
    );
}

#[tokio::test]
async fn a_full_outbox_counts_the_oldest_and_loses_none() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::PagerDuty)]);
    scene.alerts.stop();
    let day = Duration::from_secs(86_400).as_micros() as u64 / 100;
    for n in 0..=WAITING_MAX {
        // Far enough apart to be no storm.
        let ahead = n as u64 * day;
        scene
            .clock
            .ahead
            .store(ahead, std::sync::atomic::Ordering::Relaxed);
        scene.breaks(if n % 2 == 0 { "a" } else { "b" }, &format!("i{n}"));
    }
    let list = scene.outbox().list();
    assert_eq!(
        list.items.len(),
        WAITING_MAX + 2 - 500,
        "one stands for 500"
    );
    assert_eq!(scene.rows("alert/item/ops/").len(), list.items.len());
    let first = &list.items[0];
    assert_eq!(first.kind, "Overflow");
    assert!(
        first
            .title
            .starts_with("node: 500 alerts, of a, b since 2026"),
        "{}",
        first.title
    );
}

#[tokio::test]
async fn a_storm_is_one_message_that_names_who() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::PagerDuty)]);
    scene.alerts.stop();
    for n in 0..25 {
        scene.breaks(if n < 23 { "a" } else { "b" }, &format!("i{n}"));
    }
    let items = scene.outbox().list().items;
    assert_eq!(items.len(), 21);
    assert_eq!(
        items[20].title,
        "node: many alerts at once: 5 more alerts, of a, b"
    );
    assert!(items[20].next_try_in_ms > 60_000, "it waits for more");
}

#[tokio::test]
async fn without_receivers_a_commit_is_as_it_was() {
    let scene = Scene::new(&[]);
    let before = scene.ledger.head().size;
    scene.breaks("a", "i1");
    assert_eq!(scene.ledger.head().size, before + 1);
    assert!(scene.rows("alert/item").is_empty() && scene.rows("alert/open").is_empty());
}
