use serde_json::json;

use super::*;

fn shown(kind: &str, body: Value) -> String {
    let entry = json!({
        "kind": kind, "ts": "2026-01-31T12:00:00.500000Z", "agent": "a", "node": "alpha",
        "actor": {"type": "Reconciler"}, "body": body
    });
    let text = sentence(&EntryObject {
        seq: 1,
        leaf: String::new(),
        entry,
    });
    text.strip_prefix("2026-01-31T12:00:00Z a ")
        .unwrap()
        .to_owned()
}

#[test]
fn every_kind_that_is_written_is_a_sentence() {
    let generation = |number: u64| json!({"number": number, "storePath": "/x"});
    let cases = [
        (
            "NodeStarted",
            json!({"version": "0.1.0", "runtime": "native", "pid": 7, "adopted": 2, "rebooted": true}),
            "daemon started (osmoda 0.1.0, pid 7, native runtime, 2 agents found running, after a boot)",
        ),
        (
            "KeyRotated",
            json!({"next": "n/osmoda/0011223344556677+a52148a9+AR26", "previous": null}),
            "from here on the key a52148a9 signs the ledger",
        ),
        (
            "CheckpointSigned",
            json!({"lastSize": 7, "lastSignedAt": "2026-01-31T11:00:00.500000Z"}),
            "nothing had happened for long: the ledger says that it goes on",
        ),
        (
            "NodeStopped",
            json!({"reason": "SIGTERM", "agentsKept": true}),
            "daemon stopped (SIGTERM); agents keep running",
        ),
        (
            "SpecChanged",
            json!({"change": "Added", "file": "specs/a.nix"}),
            "spec added (specs/a.nix)",
        ),
        (
            "SpecRejected",
            json!({"file": "x.nix", "errors": ["1:2: no", "3:4: no"]}),
            "refused spec x.nix: 1:2: no (and 1 more)",
        ),
        (
            "Diff",
            json!({"differences": [{"path": "instance.running", "desired": "true", "observed": "false", "reason": ""}]}),
            "differs: instance.running is false, should be true",
        ),
        (
            "FailureDetected",
            json!({"reason": "Exited", "message": "the main process ended: exit code 1", "uptimeMs": 61_000, "restartAfterMs": 200}),
            "failed (Exited): the main process ended: exit code 1, after 1m1s; restart in 200ms",
        ),
        (
            "ActionIntended",
            json!({"action": "Start", "reason": "Restart", "generation": generation(2)}),
            "will start generation 2 (Restart)",
        ),
        (
            "ActionSucceeded",
            json!({"action": "Start", "pid": 42, "tookUs": 1500, "note": ""}),
            "started in 1ms (pid 42)",
        ),
        (
            "ActionSucceeded",
            json!({"action": "Stop", "killed": true, "tookUs": 10_000_000}),
            "stopped in 10s, by SIGKILL",
        ),
        (
            "ActionFailed",
            json!({"action": "Start", "message": "no such file", "retryAfterMs": 2000}),
            "could not start: no such file; again in 2s",
        ),
        (
            "HealthVerified",
            json!({"reason": "Recovered", "timeToDetectUs": 1000, "timeToRestartUs": 4000, "timeToVerifyUs": 10_004_000}),
            "recovered: found after 1ms, restarted after 4ms, verified after 10s",
        ),
        (
            "HealthVerified",
            json!({"reason": "Completed"}),
            "completed, as its policy expects",
        ),
        (
            "GenerationActivated",
            json!({"generation": generation(3), "previous": generation(2)}),
            "generation 3 is active, after generation 2",
        ),
        (
            "GenerationActivated",
            json!({"generation": generation(1), "previous": null}),
            "generation 1 is active, its first",
        ),
        (
            "EscalationExhausted",
            json!({"restarts": 6, "withinMs": 600_000, "restartAfterMs": 300_000}),
            "restarted 6 times within 10m: restarts go on slowly, the next in 5m",
        ),
        (
            "OperatorCommand",
            json!({"verb": "restart", "reason": "", "accepted": false}),
            "REFUSED command restart",
        ),
        (
            "OperatorCommand",
            json!({"verb": "pause", "reason": "", "accepted": false, "attempts": 41}),
            "REFUSED command pause, 41 times",
        ),
        (
            "OutsideAction",
            json!({"what": "ProfileSwitched", "from": generation(2), "to": generation(1)}),
            "was changed outside osmoda (ProfileSwitched): generation 2 -> generation 1",
        ),
        (
            "OutsideAction",
            json!({"what": "StoppedOutside", "ended": {"respected": true}}),
            "was stopped outside osmoda (systemctl stop): that is respected, as its policy says",
        ),
        (
            "OutsideAction",
            json!({"what": "KilledOutside", "ended": {"respected": false}}),
            "was ended by a signal sent outside osmoda (systemctl kill): it is started again",
        ),
        (
            "Paused",
            json!({"reason": "upgrade", "all": true}),
            "paused, with all other agents (upgrade)",
        ),
        ("Resumed", json!({"reason": "", "all": false}), "resumed"),
        (
            "Adopted",
            json!({"pid": 42}),
            "found running and kept (pid 42)",
        ),
        (
            "RecordingDegraded",
            json!({"reason": "disk full", "lastedMs": 3000, "late": 4, "dropped": 0}),
            "recording was degraded for 3s: disk full; 4 entries follow late, 0 were lost",
        ),
    ];
    for (kind, body, expected) in cases {
        assert_eq!(shown(kind, body), expected, "{kind}");
    }
}

#[test]
fn an_incident_is_joined_from_its_failure_to_verified_health() {
    let entry = |seq, kind: &str, agent: &str, incident: Option<&str>, body: Value| EntryObject {
        seq,
        leaf: String::new(),
        entry: json!({
            "kind": kind, "ts": format!("2026-01-31T12:00:0{seq}.5Z"), "agent": agent,
            "incident": incident, "actor": {"type": "Reconciler"}, "body": body
        }),
    };
    let entries = [
        entry(0, "Adopted", "bb", None, json!({"pid": 5})),
        entry(
            1,
            "FailureDetected",
            "a",
            Some("i"),
            json!({"reason": "Exited", "message": "gone"}),
        ),
        entry(2, "Adopted", "bb", None, json!({"pid": 6})),
        entry(
            3,
            "ActionSucceeded",
            "a",
            Some("i"),
            json!({"action": "Start", "pid": 7}),
        ),
        entry(
            4,
            "FailureDetected",
            "a",
            Some("i"),
            json!({"reason": "Exited", "message": "gone"}),
        ),
        entry(
            5,
            "HealthVerified",
            "a",
            Some("i"),
            json!({"reason": "Completed"}),
        ),
    ];
    let expected = "\
2026-01-31T12:00:00Z   1m5s ago  bb   found running and kept (pid 5)
2026-01-31T12:00:01Z   1m4s ago  a  ┌ failed (Exited): gone; not restarted, as its policy says
2026-01-31T12:00:02Z   1m3s ago  bb   found running and kept (pid 6)
2026-01-31T12:00:03Z   1m2s ago  a  │ started (pid 7)
2026-01-31T12:00:04Z   1m1s ago  a  ├ failed (Exited): gone; not restarted, as its policy says
2026-01-31T12:00:05Z     1m ago  a  └ completed, as its policy expects
";
    assert_eq!(list(&entries, "2026-01-31T12:01:05.5Z"), expected);
}

#[test]
fn what_the_next_entry_tells_better_is_a_detail() {
    let detail = |kind: &str, action: &str| {
        is_detail(&EntryObject {
            seq: 0,
            leaf: String::new(),
            entry: json!({"kind": kind, "body": {"action": action}}),
        })
    };
    assert!(detail("Diff", "") && detail("ActionIntended", "Start"));
    assert!(!detail("ActionIntended", "Stop") && !detail("RollbackIntended", ""));
    assert!(!detail("ActionFailed", "Start") && !detail("Invented", ""));
}

#[test]
fn an_operator_is_named() {
    let actor =
        json!({"type": "Operator", "uid": 1000, "gid": 1000, "pid": 7, "command": "osmoda"});
    let entry = json!({
        "kind": "Paused", "ts": "2026-01-31T12:00:00.500000Z", "node": "alpha", "actor": actor,
        "body": {"reason": "", "all": true}
    });
    let text = sentence(&EntryObject {
        seq: 1,
        leaf: String::new(),
        entry,
    });
    let expected =
        "2026-01-31T12:00:00Z alpha paused, with all other agents, by uid 1000 (osmoda, pid 7)";
    assert_eq!(text, expected);
}

#[test]
fn what_is_not_known_is_shown_as_it_is() {
    assert_eq!(shown("Invented", json!({"x": 1})), r#"Invented {"x":1}"#);
    assert_eq!(
        shown("Invented", json!("ä".repeat(500))).chars().count(),
        super::sentences::BODY_MAX + 10
    );
    for (kind, _) in RENDERERS {
        assert!(
            !shown(kind, json!(null)).is_empty(),
            "{kind} without a body"
        );
    }
    let dropped = EntryObject {
        seq: 5,
        leaf: String::new(),
        entry: Value::Null,
    };
    assert_eq!(
        sentence(&dropped),
        "entry 5: its body was pruned or redacted"
    );
}
