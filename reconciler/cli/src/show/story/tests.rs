use serde_json::json;

use super::*;

fn entry(seq: u64, agent: &str, incident: &str, kind: &str, body: Value) -> EntryObject {
    caused(seq, agent, incident, kind, body, &[])
}

fn caused(
    seq: u64,
    agent: &str,
    incident: &str,
    kind: &str,
    body: Value,
    causes: &[u64],
) -> EntryObject {
    let causes: Vec<Value> = causes.iter().map(|seq| json!({"seq": seq})).collect();
    EntryObject {
        seq,
        leaf: String::new(),
        entry: json!({
            "kind": kind, "agent": agent, "incident": incident, "ts": format!("T{seq}"),
            "actor": {"type": "Reconciler"}, "body": body, "causes": causes
        }),
    }
}

fn exited() -> Value {
    json!({"reason": "Exited", "message": "the main process ended: exit code 3",
        "uptimeMs": 1000, "lastOutput": ["oops", {"cut": "a long li", "length": 9999}]})
}

#[test]
fn an_incident_is_told_from_failure_to_verified_health() {
    let started = json!({"action": "Start", "pid": 7, "tookUs": 2000});
    let verified = json!({"reason": "Recovered", "timeToVerifyUs": 2_003_000});
    let stories = Stories::of(&[
        entry(0, "a", "i", "FailureDetected", exited()),
        entry(1, "a", "i", "Diff", json!({})),
        entry(2, "a", "i", "ActionSucceeded", started),
        entry(3, "a", "i", "FailureDetected", exited()),
        entry(4, "a", "i", "HealthVerified", verified),
    ]);
    let story = stories.get("i").unwrap();
    assert!(!story.is_open());
    assert_eq!(
        story.happened(),
        "it ended after 1s (exit code 3), 2 times by now"
    );
    assert_eq!(story.ended(), "healthy again after 2s");
    assert_eq!(story.deeds.len(), 1);
    let output = &story.latest.as_ref().unwrap().last_output;
    assert_eq!(output[..], ["oops", "a long li"]);
}

#[test]
fn an_incident_whose_causes_lead_to_another_is_its_consequence() {
    let stories = Stories::of(&[
        entry(0, "db", "root", "FailureDetected", exited()),
        caused(1, "web", "leaf", "FailureDetected", exited(), &[0]),
        caused(2, "web", "leaf", "Diff", json!({}), &[1]),
        entry(3, "other", "own", "FailureDetected", exited()),
    ]);
    assert_eq!(stories.get("leaf").unwrap().root.as_deref(), Some("root"));
    let consequences: Vec<_> = stories.consequences("root").map(|s| &s.agent).collect();
    assert_eq!(consequences, ["web"]);
    assert_eq!(stories.get("own").unwrap().root, None);
}

#[test]
fn what_cannot_be_started_is_told_once_with_how_often_it_was_tried() {
    let failed = |seq, ms: u64| {
        let body = json!({"action": "Start", "message": "no such file", "retryAfterMs": ms});
        entry(seq, "a", "i", "ActionFailed", body)
    };
    let mut stories = Stories::of(&[failed(0, 0)]);
    let happened = |stories: &Stories| stories.get("i").unwrap().happened();
    assert_eq!(happened(&stories), "osmoda could not start: no such file");
    stories.take(&failed(1, 100));
    stories.take(&failed(2, 300_000));
    let expected = "osmoda could not start: no such file (3 tries by now)";
    assert_eq!(happened(&stories), expected);
    let deeds = &stories.get("i").unwrap().deeds;
    let told: Vec<_> = deeds.iter().map(|deed| deed.text.as_str()).collect();
    assert_eq!(told, ["could not start: no such file; again in 5m"]);
}

#[test]
fn open_incidents_come_first_and_then_the_newest() {
    let end = |seq, id| entry(seq, "a", id, "HealthVerified", json!({}));
    let stories = Stories::of(&[
        entry(0, "a", "old", "FailureDetected", exited()),
        entry(1, "b", "open", "FailureDetected", exited()),
        entry(2, "c", "new", "FailureDetected", exited()),
        end(3, "old"),
        end(4, "new"),
    ]);
    let order: Vec<_> = stories
        .newest_first()
        .iter()
        .map(|s| s.id.clone())
        .collect();
    assert_eq!(order, ["open", "new", "old"]);
    assert_eq!(stories.latest_of("c").unwrap().id, "new");
    assert_eq!(stories.latest_of("nobody"), None);
}

#[test]
fn what_is_kept_is_bounded_and_open_incidents_stay_longest() {
    let mut stories = Stories::default();
    stories.take(&entry(0, "a", "open", "FailureDetected", exited()));
    for seq in 1..=STORIES_MAX as u64 * 2 {
        let id = format!("i{seq}");
        stories.take(&entry(seq, "b", &id, "HealthVerified", json!({})));
    }
    assert_eq!(stories.by_id.len(), STORIES_MAX);
    assert!(stories.get("open").is_some());
    for seq in 0..100 {
        let deed = json!({"action": "Start", "message": seq.to_string()});
        stories.take(&entry(seq, "a", "open", "ActionFailed", deed));
    }
    let story = stories.get("open").unwrap();
    assert_eq!(story.deeds.len() as u64 + story.forgotten, 100);
    assert_eq!(story.deeds.len(), DEEDS_MAX);
}

#[test]
fn entries_of_another_version_are_taken_for_what_they_say() {
    let stories = Stories::of(&[
        entry(0, "a", "i", "FailureDetected", Value::Null),
        EntryObject {
            seq: 1,
            leaf: String::new(),
            entry: Value::Null,
        },
    ]);
    let story = stories.get("i").unwrap();
    assert_eq!(story.happened(), "it failed");
    assert_eq!(story.ended(), "open");
}
