//! What operators look at: logs, events, plan, diff, describe.

use serde_json::json;

use crate::support::{Agent, Entry, Scene, eventually, kill};

#[test]
fn logs_are_of_the_latest_run_and_previous_ones_of_the_run_before() {
    let script = "n=$(cat \"$HOME/n\" 2>/dev/null || echo 0); echo $((n + 1)) > \"$HOME/n\"; \
                  echo \"run $n\"; echo oops >&2; exec sleep 300";
    let scene = Scene::with(&[Agent::script("a", script)]);
    let _daemon = scene.daemon();
    let first = scene.pid("a");
    let says = |words: &str, what: &str| {
        eventually(what, || (scene.osmoda(words).out == what).then_some(()));
    };
    says("logs a", "run 0\noops\n");
    assert_eq!(scene.osmoda("logs a --previous").exits(0).out, "");
    kill(first);
    scene.other_pid("a", first);
    says("logs a", "run 1\noops\n");
    says("logs a --previous", "run 0\noops\n");
    says("logs a -n 1", "oops\n");
    let json = scene.json("logs a --previous");
    assert_eq!(json["lines"], json!(["run 0", "oops"]));
    scene.osmoda("logs nobody").exits(2);
    let follower = scene.follow("logs a -f");
    follower.line_with("run 1");
    let second = scene.pid("a");
    kill(second);
    follower.line_with("run 2");
}

#[test]
fn who_follows_the_events_sees_what_happens_as_it_is_recorded() {
    let scene = Scene::with(&[Agent::test("a", "sleep"), Agent::test("b", "sleep")]);
    let daemon = scene.daemon();
    let pid = scene.pid("a");
    scene.pid("b");
    let everything = scene.follow("events -f -o json -n 1000");
    let of_a = scene.follow("events a -f -n 1");
    // Followed from before the crash: the newest entry so far is there.
    everything.line_with("ActionSucceeded");
    of_a.line_with("a started");
    kill(pid);
    of_a.line_with("a failed (Crashed)");
    of_a.line_with("a recovered");
    let failure = Entry::of(&everything.line_with("FailureDetected")).unwrap();
    let stored = scene.entries();
    assert_eq!(stored[usize::try_from(failure.seq).unwrap()], failure);
    scene.osmoda("pause b --reason look").exits(0);
    everything.line_with("\"Paused\"");
    daemon.stops();
    everything.rest(); // the stream ends with its daemon
    let ran = scene.osmoda("events").exits(3);
    assert_eq!(ran.out, "");
}

#[test]
fn events_since_an_entry_begin_there() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let _daemon = scene.daemon();
    scene.pid("a");
    let all = scene.json("events -n 1000");
    let all = all["items"].as_array().unwrap();
    let some = scene.json("events --since 3 -n 1000");
    assert_eq!(some["items"].as_array().unwrap()[..], all[3..]);
    let of_a = scene.json("events a -n 1000");
    let of_a = of_a["items"].as_array().unwrap();
    assert!(!of_a.is_empty() && of_a.iter().all(|e| e["entry"]["agent"] == "a"));
}

#[test]
fn a_plan_tells_what_would_be_done_and_does_nothing() {
    let scene = Scene::with(&[Agent::test("a", "sleep"), Agent::test("b", "sleep")]);
    let _daemon = scene.daemon();
    let (a, b) = (scene.pid("a"), scene.pid("b"));
    assert_eq!(scene.json("plan"), json!({"steps": []}));
    scene.osmoda("plan specs").exits(0);

    let other = Scene::with(&[
        Agent::test("a", "print changed then sleep"),
        Agent::test("c", "sleep"),
    ]);
    for agent in ["a", "b"] {
        scene.entry("its deploy is proven", |e| e.is("GenerationGood", agent));
    }
    let size = scene.entries().len();
    let ran = scene
        .osmoda(&format!("plan {} -o json", other.specs().display()))
        .exits(1);
    let steps = ran.json();
    let steps: Vec<_> = steps["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            [&step["agent"], &step["action"]]
                .map(|text| text.as_str().unwrap().to_owned())
                .join(" ")
        })
        .collect();
    assert_eq!(
        steps,
        [
            "a Activate",
            "a Stop",
            "a Start",
            "b Stop",
            "b Remove",
            "c Activate",
            "c Start"
        ]
    );
    assert_eq!((scene.pid("a"), scene.pid("b")), (a, b));
    assert_eq!(scene.entries().len(), size, "asking leaves no trace");
    assert!(scene.look("c").is_none());
}

#[test]
fn the_diff_tells_desired_from_observed_field_by_field() {
    let scene = Scene::with(&[Agent::test("a", "sleep"), Agent::test("b", "sleep")]);
    let _daemon = scene.daemon();
    let (pid, _) = (scene.pid("a"), scene.pid("b"));
    assert_eq!(
        scene.osmoda("status --diff -o json").exits(0).json()["inSync"],
        true
    );
    scene.osmoda("pause a --reason look").exits(0);
    kill(pid);
    scene.until("a", "is gone", |status| status["pid"].is_null());
    let drift = scene.osmoda("status --diff -o json").exits(1).json();
    assert_eq!(drift["inSync"], false);
    let difference = &drift["agents"][0]["differences"][0];
    assert_eq!(drift["agents"][0]["name"], "a");
    assert_eq!(difference["path"], "instance.running");
    assert_eq!(
        (&difference["desired"], &difference["observed"]),
        (&json!("true"), &json!("false"))
    );
    assert_eq!(difference["reason"], "SIGKILL");
    scene.osmoda("status a --diff").exits(1);
    scene.osmoda("status b --diff").exits(0);
    scene.osmoda("status a").exits(1);
    scene.osmoda("status b").exits(0);
    scene.osmoda("status").exits(0);
    scene.osmoda("status nobody").exits(2);
    scene.osmoda("status nobody --diff").exits(2);
    scene.osmoda("resume a").exits(0);
    scene.pid("a");
    scene.osmoda("status --diff").exits(0);
}

#[test]
fn describe_shows_the_last_failure_with_what_was_written_before_it() {
    let slow = json!({"backoff": {"initial": "1h", "max": "1h"}});
    let actions = "print almost there then exit 42";
    let scene = Scene::with(&[Agent::test("a", actions).with("restart", slow)]);
    let _daemon = scene.daemon();
    scene.until("a", "waits", |status| status["phase"] == "Backoff");
    let told = scene.osmoda("describe a").exits(0).out;
    for words in [
        "What happened",
        "it ended",
        "exit code 42",
        "What happens next",
        "it starts in",
        "almost",
        "there",
        "Backoff",
        "print",
    ] {
        assert!(told.contains(words), "no {words:?} in\n{told}");
    }
    let status = scene.look("a").unwrap();
    assert_eq!(status["lastExit"]["code"], 42);
    scene.osmoda("describe nobody").exits(2);
}

#[test]
fn who_watches_sees_a_change_on_one_line() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let _daemon = scene.daemon();
    scene.pid("a");
    let watch = scene.follow("status a --watch -o json");
    watch.line_with("\"phase\":\"Running\"");
    scene.osmoda("pause a --reason look").exits(0);
    let line = watch.line_with("\"phase\":\"Paused\"");
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["metadata"]["name"], "a");
}
