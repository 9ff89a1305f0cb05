//! `osmoda events`: one sentence for each entry of the ledger.
//!
//! Where to start: [`list`], and `RENDERERS`, a table from kind to sentence. A kind that is not in it, or an
//! entry of another version, is shown by its kind and its body.

use std::collections::BTreeSet;

use osmoda_node::api::types::EntryObject;
use serde_json::Value;

use super::{age, ago, one_line, to_seconds};

/// Longest body shown of an entry without a renderer, in characters.
const BODY_MAX: usize = 160;

type Renderer = fn(&Body<'_>) -> String;

const RENDERERS: &[(&str, Renderer)] = &[
    ("NodeStarted", node_started),
    ("NodeStopped", node_stopped),
    ("SpecChanged", |b| {
        format!(
            "spec {} ({})",
            b.text("change").to_lowercase(),
            b.text("file")
        )
    }),
    ("SpecRejected", spec_rejected),
    ("Diff", diff),
    ("FailureDetected", failure),
    ("ActionIntended", |b| {
        format!("will {} ({})", verb(b), b.text("reason"))
    }),
    ("ActionSucceeded", succeeded),
    ("ActionFailed", action_failed),
    ("HealthVerified", health_verified),
    ("GenerationActivated", activated),
    ("GenerationGood", |b| {
        format!("{} was found good", b.whose("generation"))
    }),
    ("GenerationBad", bad),
    ("ClosureVerified", closure),
    ("RollbackIntended", |b| {
        format!("will go back to {} ({})", b.whose("to"), b.text("reason"))
    }),
    ("RollbackSucceeded", |b| {
        format!("went back to {}", b.whose("to"))
    }),
    ("RollbackFailed", |b| {
        format!("cannot go back to {}: {}", b.whose("to"), b.text("message"))
    }),
    ("EscalationExhausted", exhausted),
    ("OperatorCommand", operator_command),
    ("OutsideAction", outside),
    ("Paused", |b| format!("paused{}{}", all(b), reason(b))),
    ("Resumed", |b| format!("resumed{}{}", all(b), reason(b))),
    ("Adopted", |b| {
        format!("found running and kept (pid {})", b.text("pid"))
    }),
    ("RecordingDegraded", degraded),
    ("ClockRegressed", |_| "the clock was set back".to_owned()),
    ("LogReset", |_| {
        "a new ledger was begun: the old one is damaged and set aside".to_owned()
    }),
    ("AnchorSucceeded", |b| {
        format!(
            "anchored {} entries with {}",
            b.text("size"),
            b.text("anchor")
        )
    }),
    ("AnchorFailed", |b| {
        format!(
            "cannot anchor with {}: {}",
            b.text("anchor"),
            b.text("reason")
        )
    }),
    ("AlertQueued", |b| {
        let change = match b.text("change").as_str() {
            "Resolve" => "all-clear".to_owned(),
            _ => format!("{} alert", b.text("severity").to_lowercase()),
        };
        format!("{change} queued for {}", names(b, "receivers"))
    }),
    ("AlertDelivered", |b| {
        format!(
            "{} delivered to {}",
            alert_word(&b.text("change")),
            b.text("receiver")
        )
    }),
    ("AlertFailed", |b| {
        let given_up = if b.is("givenUp") {
            "gave up an alert to"
        } else {
            "alerts do not get through to"
        };
        format!("{given_up} {}: {}", b.text("receiver"), b.text("reason"))
    }),
    ("KeyRotated", |b| {
        let key = b.text("next");
        let id = key.split('+').nth(1).unwrap_or(&key);
        format!("from here on the key {id} signs the ledger")
    }),
    ("CheckpointSigned", |_| {
        "nothing had happened for long: the ledger says that it goes on".to_owned()
    }),
    ("Pruned", |_| "old bodies were pruned".to_owned()),
    ("Redacted", |_| "a body was redacted".to_owned()),
];

/// Entries that tell nothing which the one that follows does not tell better: a difference
/// that is acted on at once, and an intent whose outcome follows. What takes its time, a stop
/// or a way back, is told when it begins.
pub fn is_detail(object: &EntryObject) -> bool {
    let entry = &object.entry;
    match entry["kind"].as_str() {
        Some("Diff") => true,
        Some("ActionIntended") => entry["body"]["action"] != "Stop",
        _ => false,
    }
}

/// One line about an agent that is known: when, how long ago, what.
pub fn dated(object: &EntryObject, now: &str) -> String {
    let time = object.entry["ts"].as_str().unwrap_or("-");
    format!("{} ({}) {}", to_seconds(time), ago(time, now), what(object))
}

/// Many entries, oldest first, one line each: when, how long ago, who, what. Those of one
/// incident are joined by a line at their left, from the failure to verified health.
pub fn list(entries: &[EntryObject], now: &str) -> String {
    let whose = |object: &EntryObject| one_line(owner(&object.entry)).chars().count();
    let width = entries.iter().map(whose).max().unwrap_or(0);
    let mut open = BTreeSet::new();
    let mut text = String::new();
    for object in entries {
        let entry = &object.entry;
        let time = entry["ts"].as_str().unwrap_or("-");
        let mark = joint(entry, &mut open);
        let line = format!(
            "{} {:>10}  {:<width$} {mark} {}",
            to_seconds(time),
            ago(time, now),
            owner(entry),
            what(object)
        );
        text.push_str(&one_line(&line));
        text.push('\n');
    }
    text
}

/// How an entry is joined to the others of its incident.
fn joint(entry: &Value, open: &mut BTreeSet<String>) -> char {
    let Some(id) = entry["incident"].as_str() else {
        return ' ';
    };
    match entry["kind"].as_str() {
        Some("HealthVerified") => {
            open.remove(id);
            '└'
        }
        Some("FailureDetected") if open.insert(id.to_owned()) => '┌',
        Some("FailureDetected") => '├',
        // It may have begun before what is shown.
        _ => '│',
    }
}

fn owner(entry: &Value) -> &str {
    let agent = entry["agent"].as_str();
    agent.or(entry["node"].as_str()).unwrap_or("node")
}

/// One line: when, who, what.
pub fn sentence(object: &EntryObject) -> String {
    let entry = &object.entry;
    if entry["kind"].as_str().is_none() {
        return format!("entry {}: {}", object.seq, what(object));
    }
    let when = to_seconds(entry["ts"].as_str().unwrap_or("-"));
    format!("{when} {} {}", owner(entry), what(object))
}

/// What happened, and by whom if that was a person.
pub fn what(object: &EntryObject) -> String {
    let entry = &object.entry;
    let Some(kind) = entry["kind"].as_str() else {
        return "its body was pruned or redacted".to_owned();
    };
    let body = Body {
        value: &entry["body"],
    };
    let renderer = RENDERERS.iter().find(|(known, _)| *known == kind);
    let what = match renderer {
        Some((_, render)) => render(&body),
        None => compact(kind, &entry["body"]),
    };
    // A time, of when it happened. RecordingDegraded has a number there: how many are late.
    let late = if entry["body"]["late"].is_string() {
        " (recorded late)"
    } else {
        ""
    };
    format!("{what}{}{late}", by(&entry["actor"]))
}

fn alert_word(change: &str) -> &'static str {
    match change {
        "Resolve" => "all-clear",
        _ => "alert",
    }
}

/// A list of names.
fn names(body: &Body<'_>, name: &str) -> String {
    let names = body.value[name].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    names.join(", ")
}

/// A body whose fields may be missing: an entry may come from another version.
struct Body<'a> {
    value: &'a Value,
}

impl Body<'_> {
    /// A field as text; `?` if it is missing.
    fn text(&self, name: &str) -> String {
        match &self.value[name] {
            Value::String(text) => text.clone(),
            Value::Null => "?".to_owned(),
            other => other.to_string(),
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.value[name].as_u64()
    }

    fn is(&self, name: &str) -> bool {
        self.value[name] == true
    }

    /// `generation 3`, of a field that should hold one.
    fn whose(&self, name: &str) -> String {
        self.generation(name).unwrap_or_else(|| "?".to_owned())
    }

    /// `generation 3`, of a field that holds one.
    fn generation(&self, name: &str) -> Option<String> {
        let number = self.value[name]["number"].as_u64()?;
        Some(match self.value["scope"].as_str() {
            Some("System") => format!("generation {number} of the system"),
            _ => format!("generation {number}"),
        })
    }
}

fn bad(body: &Body<'_>) -> String {
    let stays = match body.value["stays"].as_str() {
        Some(why) => format!("; it stays active ({why})"),
        None => String::new(),
    };
    format!(
        "{} is bad ({}): {}{stays}",
        body.whose("generation"),
        body.text("reason"),
        body.text("message")
    )
}

fn closure(body: &Body<'_>) -> String {
    let damage = body.value["damage"].as_array();
    let damage = damage.into_iter().flatten().filter_map(Value::as_str);
    let damage: Vec<_> = damage.collect();
    let found = match damage.as_slice() {
        [] => "is whole".to_owned(),
        [first] => format!("is damaged: {first}"),
        [first, more @ ..] => format!("is damaged: {first} (and {} more)", more.len()),
    };
    format!(
        "the closure of {} {found} ({} store paths)",
        body.whose("generation"),
        body.text("paths")
    )
}

fn by(actor: &Value) -> String {
    match actor["type"].as_str() {
        Some("Operator") => {
            let command = actor["command"].as_str().unwrap_or("?");
            format!(
                ", by uid {} ({command}, pid {})",
                actor["uid"], actor["pid"]
            )
        }
        _ => String::new(),
    }
}

fn compact(kind: &str, body: &Value) -> String {
    let text = body.to_string();
    match text.char_indices().nth(BODY_MAX) {
        Some((end, _)) => format!("{kind} {}…", &text[..end]),
        None => format!("{kind} {text}"),
    }
}

fn node_started(body: &Body<'_>) -> String {
    let adopted = body.number("adopted").filter(|count| *count > 0);
    let adopted = adopted
        .map(|n| format!(", {n} agents found running"))
        .unwrap_or_default();
    let boot = if body.is("rebooted") {
        ", after a boot"
    } else {
        ""
    };
    format!(
        "daemon started (osmoda {}, pid {}, {} runtime{adopted}{boot})",
        body.text("version"),
        body.text("pid"),
        body.text("runtime")
    )
}

fn node_stopped(body: &Body<'_>) -> String {
    let agents = if body.is("agentsKept") {
        "; agents keep running"
    } else {
        ""
    };
    format!("daemon stopped ({}){agents}", body.text("reason"))
}

fn spec_rejected(body: &Body<'_>) -> String {
    let errors = body.value["errors"].as_array();
    let first = errors
        .and_then(|errors| errors.first())
        .and_then(Value::as_str);
    let count = errors.map_or(0, Vec::len);
    let more = if count > 1 {
        format!(" (and {} more)", count - 1)
    } else {
        String::new()
    };
    format!(
        "refused spec {}: {}{more}",
        body.text("file"),
        first.unwrap_or("?")
    )
}

fn diff(body: &Body<'_>) -> String {
    let differences = body.value["differences"].as_array();
    let each = differences.into_iter().flatten().map(|difference| {
        let field = Body { value: difference };
        let (path, observed) = (field.text("path"), field.text("observed"));
        format!("{path} is {observed}, should be {}", field.text("desired"))
    });
    format!("differs: {}", each.collect::<Vec<_>>().join("; "))
}

fn failure(body: &Body<'_>) -> String {
    let after = body
        .number("uptimeMs")
        .map(|ms| format!(", after {}", age(ms)));
    let then = match body.number("restartAfterMs") {
        Some(0) => "restart at once".to_owned(),
        Some(ms) => format!("restart in {}", age(ms)),
        None => "not restarted, as its policy says".to_owned(),
    };
    format!(
        "failed ({}): {}{}; {then}",
        body.text("reason"),
        body.text("message"),
        after.unwrap_or_default()
    )
}

fn verb(body: &Body<'_>) -> String {
    let verb = match body.text("action").as_str() {
        "Build" => "make its bundle".to_owned(),
        action => action.to_lowercase(),
    };
    match body.generation("generation") {
        Some(generation) => format!("{verb} {generation}"),
        None => verb,
    }
}

fn succeeded(body: &Body<'_>) -> String {
    let took = body
        .number("tookUs")
        .map(|us| format!(" in {}", age(us / 1000)));
    let took = took.unwrap_or_default();
    let note = match body.text("note") {
        note if note.is_empty() || note == "?" => String::new(),
        note => format!(" ({note})"),
    };
    match body.text("action").as_str() {
        "Start" => format!("started{took} (pid {}){note}", body.text("pid")),
        "Stop" if body.is("killed") => format!("stopped{took}, by SIGKILL{note}"),
        "Stop" => format!("stopped{took}{note}"),
        "Activate" => format!("deployed{took}{note}"),
        "Build" => format!("made its bundle{took}{note}"),
        "Remove" => format!("removed{took}{note}"),
        other => format!("{other} done{took}{note}"),
    }
}

fn action_failed(body: &Body<'_>) -> String {
    let again = body
        .number("retryAfterMs")
        .map(|ms| format!("; again in {}", age(ms)));
    format!(
        "could not {}: {}{}",
        verb(body),
        body.text("message"),
        again.unwrap_or_default()
    )
}

fn health_verified(body: &Body<'_>) -> String {
    let ms = |name| {
        body.number(name)
            .map_or_else(|| "?".to_owned(), |us| age(us / 1000))
    };
    match body.text("reason").as_str() {
        "Completed" => "completed, as its policy expects".to_owned(),
        _ => format!(
            "recovered: found after {}, restarted after {}, verified after {}",
            ms("timeToDetectUs"),
            ms("timeToRestartUs"),
            ms("timeToVerifyUs")
        ),
    }
}

fn activated(body: &Body<'_>) -> String {
    let now = body
        .generation("generation")
        .unwrap_or_else(|| "a generation".to_owned());
    match body.generation("previous") {
        Some(before) => format!("{now} is active, after {before}"),
        None => format!("{now} is active, its first"),
    }
}

fn exhausted(body: &Body<'_>) -> String {
    if body.value["scope"] == "System" {
        let (reason, message) = (body.text("reason"), body.text("message"));
        let why = body.text("noRollback");
        return format!("the system stays as it is ({reason}, {why}): {message}");
    }
    let time = |name| body.number(name).map_or_else(|| "?".to_owned(), age);
    let why = match body.value["noRollback"].as_str() {
        Some("NothingToGoBackTo") => "; there is no good generation to go back to",
        Some("RollbackOff") => "; going back is switched off",
        Some("RolledBackAlready") => "; it went back once for this deploy already",
        Some("RollbackBudgetSpent") => "; the budget of rollbacks is spent",
        Some("NotSuspect") => "; its generation was good for too long to be blamed",
        _ => "",
    };
    if body.value["reason"] == "ProgressDeadlineExceeded" {
        return format!("not ready by its deadline: retries go on slowly{why}");
    }
    format!(
        "restarted {} times within {}: restarts go on slowly, the next in {}{why}",
        body.text("restarts"),
        time("withinMs"),
        time("restartAfterMs")
    )
}

fn operator_command(body: &Body<'_>) -> String {
    let refused = if body.is("accepted") { "" } else { "REFUSED " };
    let times = match body.text("attempts") {
        text if text.is_empty() || text == "?" => String::new(),
        text => format!(", {text} times"),
    };
    format!(
        "{refused}command {}{times}{}",
        body.text("verb"),
        reason(body)
    )
}

fn reason(body: &Body<'_>) -> String {
    match body.text("reason") {
        text if text.is_empty() || text == "?" => String::new(),
        text => format!(" ({text})"),
    }
}

fn all(body: &Body<'_>) -> &'static str {
    if body.is("all") {
        ", with all other agents"
    } else {
        ""
    }
}

fn outside(body: &Body<'_>) -> String {
    let ended = Body {
        value: &body.value["ended"],
    };
    if ended.value.is_object() {
        let what = match body.text("what").as_str() {
            "KilledOutside" => "was ended by a signal sent outside osmoda (systemctl kill)",
            _ => "was stopped outside osmoda (systemctl stop)",
        };
        let follows = match ended.is("respected") {
            true => "that is respected, as its policy says",
            false => "it is started again",
        };
        return format!("{what}: {follows}");
    }
    let from = body
        .generation("from")
        .unwrap_or_else(|| "nothing".to_owned());
    let to = body
        .generation("to")
        .unwrap_or_else(|| "nothing".to_owned());
    format!(
        "was changed outside osmoda ({}): {from} -> {to}",
        body.text("what")
    )
}

fn degraded(body: &Body<'_>) -> String {
    format!(
        "recording was degraded for {}: {}; {} entries follow late, {} were lost",
        body.number("lastedMs").map_or_else(|| "?".to_owned(), age),
        body.text("reason"),
        body.text("late"),
        body.text("dropped")
    )
}

#[cfg(test)]
mod tests {
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
        let entry =
            |seq, kind: &str, agent: &str, incident: Option<&str>, body: Value| EntryObject {
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
            BODY_MAX + 10
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
}
