//! Outages of days, in simulated time, with daemons that die in the middle of them.

use osmoda_core::alert::patience;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(start_paused = true)]
async fn an_alert_survives_days_of_outage_and_the_death_of_the_daemon() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::PagerDuty)]);
    scene
        .stage
        .plays(|_, _| Err("no answer: connection refused".into()));
    scene.breaks("a", "i1");
    tokio::time::sleep(2 * DAY).await;
    let tries = scene.stage.sent().len();
    assert!(
        (190..300).contains(&tries),
        "every 15 minutes at most: {tries}"
    );
    let scene = scene.dies().await;
    tokio::time::sleep(DAY).await;
    assert_eq!(
        scene.count(EventKind::AlertFailed),
        1,
        "one entry for the whole outage"
    );
    let receiver = &scene.outbox().status()[0];
    assert_eq!(
        (receiver.waiting, receiver.failing_since.is_some()),
        (1, true)
    );

    let before = scene.stage.sent().len();
    scene.stage.plays(|_, _| Ok(answer(202)));
    let sent = |scene: &Scene| scene.outbox().list().items.is_empty().then_some(());
    scene.within(patience::LONGEST * 2, "delivered", sent).await;
    let scene = scene.dies().await;
    tokio::time::sleep(DAY).await;
    assert_eq!(
        scene.stage.sent().len(),
        before + 1,
        "once, and never again after a 2xx"
    );
    assert_eq!(scene.outbox().status()[0].failing_since, None);
    scene.heals("a", "i1");
    scene.until_nothing_waits().await;
    let last = scene.bodies().pop().unwrap();
    assert_eq!(
        last["event_action"], "resolve",
        "what was open before is closed: {last}"
    );
}

#[tokio::test(start_paused = true)]
async fn every_try_of_a_message_has_the_same_id() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::Webhook)]);
    scene.stage.plays(|_, number| match number {
        0..3 => Err("the answer broke off".into()),
        _ => Ok(answer(204)),
    });
    scene.breaks("a", "i1");
    scene.until_nothing_waits().await;
    let ids = |name: &str| {
        let sent = scene.stage.sent();
        let find = |request: &Outgoing| {
            let mut headers = request.headers.iter();
            headers
                .find(|(header, _)| *header == name)
                .unwrap()
                .1
                .clone()
        };
        let mut found: Vec<String> = sent.iter().map(find).collect();
        found.dedup();
        found.len()
    };
    assert_eq!(scene.stage.sent().len(), 4);
    assert_eq!(ids("webhook-id"), 1);
    assert!(ids("webhook-timestamp") > 1, "the time is that of the try");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::Slack)]);
    scene.stage.plays(|_, number| {
        let mut answer = answer(if number == 0 { 429 } else { 200 });
        answer.retry_after = Some("120".into());
        Ok(answer)
    });
    scene.breaks("a", "i1");
    let begin = scene.clock.mono();
    let sent = |scene: &Scene| scene.outbox().list().items.is_empty().then_some(());
    scene.within(HOUR, "delivered", sent).await;
    let waited = scene.clock.mono().since(begin);
    assert!((120..200).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(scene.stage.sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_week_a_message_is_given_up_on_record() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::PagerDuty)]);
    scene.stage.plays(|_, _| Err("no answer".into()));
    scene.breaks("a", "i1");
    tokio::time::sleep(patience::GIVE_UP + HOUR).await;
    scene.until_nothing_waits().await;
    assert_eq!(
        scene.count(EventKind::AlertFailed),
        2,
        "the outage, and the end of patience"
    );
    assert!(scene.rows("alert/item").is_empty());
}

#[tokio::test(start_paused = true)]
async fn once_a_day_people_are_told_what_happened_and_nothing_of_a_quiet_day() {
    let mut red = receiver("red", AlertProvider::Webhook);
    red.labels = BTreeMap::from([("team".into(), "red".into())]);
    let scene = Scene::new(&[receiver("chat", AlertProvider::Slack), red]);
    tokio::time::sleep(HOUR).await;
    for agent in ["a", "a", "b"] {
        let body = json!({"reason": "Exited", "message": "exit code 1", "restartAfterMs": 0});
        scene.happens(EventKind::FailureDetected, agent, "i", body);
    }
    assert_eq!(scene.stage.sent().len(), 0, "healed by themselves");
    tokio::time::sleep(DAY).await;
    let bodies = scene.bodies();
    assert_eq!(bodies.len(), 2, "one for each: {bodies:?}");
    let chat = bodies.iter().find(|body| body["text"].is_string()).unwrap();
    let text = chat["text"].as_str().unwrap();
    assert!(
        text.starts_with("node: 3 failures of 2 agents since 2026-01-01T12:00"),
        "{text}"
    );
    let red = bodies.iter().find(|body| body["data"].is_object()).unwrap();
    assert_eq!(
        red["data"]["facts"],
        json!({"a": "2 failures"}),
        "its own team only"
    );
    tokio::time::sleep(3 * DAY).await;
    assert_eq!(scene.stage.sent().len(), 2, "nothing happened since");
}

#[tokio::test]
async fn a_node_whose_spec_is_broken_at_its_start_tells_those_of_before() {
    let scene = Scene::new(&[receiver("ops", AlertProvider::PagerDuty)]);
    let noted = |scene: &Scene| (!scene.rows("alert/receivers").is_empty()).then_some(());
    scene.until("they are noted", noted).await;
    let scene = scene.dies().await;
    scene.outbox().set(None, labels());
    scene.breaks("a", "i1");
    scene.until_nothing_waits().await;
    assert_eq!(scene.stage.sent().len(), 1);
}
