//! What reaches a receiver: in order, once, and whatever the others do.

use super::*;

fn keys(scene: &Scene) -> Vec<String> {
    let bodies = scene.bodies();
    let shown = |body: &Value| {
        let event = body["event_action"].as_str().unwrap_or("?").to_owned();
        format!("{event} {}", body["dedup_key"].as_str().unwrap_or("?"))
    };
    bodies.iter().map(shown).collect()
}

#[tokio::test]
async fn an_incident_is_told_once_and_so_is_its_end() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::PagerDuty)]);
    scene.breaks("a", "i1");
    scene.breaks("a", "i1");
    scene.heals("a", "i1");
    scene.until_nothing_waits().await;
    let key = "osmoda/alpha/incident/i1";
    assert_eq!(
        keys(&scene),
        [format!("trigger {key}"), format!("resolve {key}")]
    );
    assert_eq!(scene.count(EventKind::AlertQueued), 2);
    assert_eq!(scene.count(EventKind::AlertDelivered), 2);
    assert!(scene.rows("alert/item").is_empty() && scene.rows("alert/open").is_empty());
}

#[tokio::test]
async fn the_end_never_overtakes_the_beginning() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::PagerDuty)]);
    // The first message is refused once: others go first, its own end does not.
    scene
        .stage
        .plays(|_, number| Ok(answer(if number == 0 { 400 } else { 202 })));
    scene.breaks("a", "i1");
    scene.heals("a", "i1");
    scene.breaks("b", "i2");
    scene.until_nothing_waits().await;
    let (one, two) = ("osmoda/alpha/incident/i1", "osmoda/alpha/incident/i2");
    assert_eq!(
        keys(&scene),
        [
            format!("trigger {one}"),
            format!("trigger {two}"),
            format!("trigger {one}"),
            format!("resolve {one}"),
        ]
    );
}

#[tokio::test]
async fn what_a_provider_refuses_is_given_up_on_record() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::PagerDuty)]);
    scene.stage.plays(|_, _| Ok(answer(400)));
    scene.breaks("a", "i1");
    scene.until_nothing_waits().await;
    assert_eq!(scene.stage.sent().len(), 3);
    assert_eq!(scene.count(EventKind::AlertFailed), 1);
    assert_eq!(scene.count(EventKind::AlertDelivered), 0);
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_neither_the_loop_nor_another() {
    struct Hanging(Arc<Stage>);
    impl Carrier for Hanging {
        fn post(&self, request: Outgoing) -> Carried<'_> {
            match request.url.contains("pagerduty") || request.body.contains("routing_key") {
                true => Box::pin(std::future::pending()),
                false => self.0.post(request),
            }
        }
    }
    let mut scene = Scene::new(&[]);
    let hanging = Hanging(Arc::clone(&scene.stage));
    scene.alerts = Alerts::new(Arc::clone(scene.outbox()), Arc::new(hanging));
    scene.declare(&[
        receiver("hangs", AlertProvider::PagerDuty),
        receiver("works", AlertProvider::Webhook),
    ]);
    for n in 0..5 {
        scene.breaks("a", &format!("i{n}"));
    }
    let works = |scene: &Scene| {
        let receivers = scene.outbox().status();
        let waiting: Vec<u64> = receivers.iter().map(|one| one.waiting).collect();
        (waiting == [5, 0]).then_some(())
    };
    scene.until("the other one has all", works).await;
}

#[tokio::test]
async fn urls_and_keys_are_in_no_row_no_entry_and_no_error() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::Telegram)]);
    // A provider that says everything it was told.
    scene.stage.plays(|request, _| {
        let mut answer = answer(500);
        answer.body = format!("{} {}", request.url, request.body).into_bytes();
        Ok(answer)
    });
    scene.breaks("a", "i1");
    let failing = |scene: &Scene| scene.outbox().status()[0].reason.clone();
    let reason = scene.until("it fails", failing).await;
    assert!(reason.starts_with("Telegram answered 500: "), "{reason}");
    let count = |scene: &Scene| (scene.count(EventKind::AlertFailed) > 0).then_some(());
    scene.until("it is on record", count).await;
    let file = |name: &str| std::fs::read(scene.place.path().join(name)).unwrap_or_default();
    let everything = [
        file("ledger.db"),
        file("ledger.db-wal"),
        reason.into_bytes(),
    ]
    .concat();
    let text = String::from_utf8_lossy(&everything);
    assert!(
        !text.contains("sesame"),
        "a secret is in the ledger's file or the error"
    );
}

#[tokio::test]
async fn a_key_that_an_answer_repeats_where_it_is_cut_is_not_told_in_part() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::PagerDuty)]);
    scene.stage.plays(|_, _| {
        let mut answer = answer(500);
        // Only the key's beginning would be within what is repeated of an answer.
        answer.body = format!("{} sesame-key-0123456789", "x".repeat(190)).into_bytes();
        Ok(answer)
    });
    scene.breaks("a", "i1");
    let failing = |scene: &Scene| scene.outbox().status()[0].reason.clone();
    let reason = scene.until("it fails", failing).await;
    assert!(!reason.contains("sesame"), "{reason}");
}

#[tokio::test]
async fn a_missing_file_is_named_and_read_again_once_it_is_there() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::Webhook)]);
    let url = scene.place.path().join("url");
    std::fs::remove_file(&url).unwrap();
    scene.breaks("a", "i1");
    let reason = scene
        .until("it fails", |scene| {
            scene.outbox().status()[0].reason.clone()
        })
        .await;
    assert!(
        reason.starts_with(&format!("cannot read {}: ", url.display())),
        "{reason}"
    );
    std::fs::write(&url, "https://example.test/new").unwrap();
    scene.until_nothing_waits().await;
    assert_eq!(scene.stage.sent()[0].url, "https://example.test/new");
}

#[tokio::test]
async fn a_test_message_is_sent_at_once_and_closed_on_a_pager() {
    let scene = Scene::new(&[
        receiver("chat", AlertProvider::Slack),
        receiver("pager", AlertProvider::PagerDuty),
    ]);
    assert!(scene.alerts.test("chat").await.unwrap().delivered);
    assert!(scene.alerts.test("pager").await.unwrap().delivered);
    assert_eq!(scene.alerts.test("nobody").await, None);
    let bodies = scene.bodies();
    let actions: Vec<&Value> = bodies.iter().map(|body| &body["event_action"]).collect();
    assert_eq!(
        actions,
        [&Value::Null, &json!("trigger"), &json!("resolve")]
    );
    scene.stage.plays(|_, _| Ok(answer(403)));
    let test = scene.alerts.test("chat").await.unwrap();
    assert_eq!(test.reason.as_deref(), Some("Slack answered 403"));
}
