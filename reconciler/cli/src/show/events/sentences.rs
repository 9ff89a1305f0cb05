//! From the kind of an entry to its sentence. Where to start: [`RENDERERS`].

use serde_json::Value;

use super::{super::age, body::Body};

/// Longest body shown of an entry without a renderer, in characters.
pub const BODY_MAX: usize = 160;

type Renderer = fn(&Body<'_>) -> String;

pub const RENDERERS: &[(&str, Renderer)] = &[
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

pub fn by(actor: &Value) -> String {
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

pub fn compact(kind: &str, body: &Value) -> String {
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
    let again = body.number("retryAfterMs").map(|ms| match ms {
        0 => "; again at once".to_owned(),
        ms => format!("; again in {}", age(ms)),
    });
    format!("{}{}", could_not(body), again.unwrap_or_default())
}

pub fn could_not(body: &Body<'_>) -> String {
    format!("could not {}: {}", verb(body), body.text("message"))
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
