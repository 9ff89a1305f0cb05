//! Agents that hang: found by their silence, ended, started anew; and those that only look so.
//!
//! What sd_notify(3) promises is held with programs that know nothing of osmoda. Behaviours of
//! systemd's TEST-16-EXTEND-TIMEOUT (each stage, in time and too late), TEST-59-RELOADING-RESTART
//! and TEST-80-NOTIFYACCESS (here the whole tree may speak), and of devenv's notify_watchdog.rs,
//! written anew.

use std::{fs, os::unix::net::UnixDatagram};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Agent, Entry, Scene, eventually, is_alive, is_installed, kill, kinds};

/// An agent that sends its heartbeats.
fn speaking(actions: &str, timeout: &str) -> Agent {
    Agent::test("a", actions).with("heartbeat", json!({"source": "Notify", "timeout": timeout}))
}

fn speaking_script(script: &str, timeout: &str) -> Agent {
    Agent::script("a", script).with("heartbeat", json!({"source": "Notify", "timeout": timeout}))
}

fn freeze(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
}

#[track_caller]
fn failure(scene: &Scene) -> Entry {
    scene.entry("a failure is on record", |e| e.is("FailureDetected", "a"))
}

/// The outcome of the first stop.
#[track_caller]
fn stopped(scene: &Scene) -> Entry {
    scene.entry("it was stopped", |e| {
        e.is_about("ActionSucceeded", "Stop", "a")
    })
}

#[track_caller]
fn until_ready(scene: &Scene) -> Value {
    scene.until("a", "is ready", |status| status["ready"] == true)
}

#[track_caller]
fn until_said(scene: &Scene, text: &str) {
    eventually(&format!("it says {text}"), || {
        let said = scene.osmoda("logs a").out;
        said.lines().any(|line| line == text).then_some(())
    });
}

#[track_caller]
fn has_not_failed(scene: &Scene) {
    let entries = scene.entries_of("a");
    let failed = entries
        .iter()
        .any(|entry| entry.kind() == "FailureDetected");
    assert!(!failed, "{:?}", kinds(&entries));
}

#[test]
fn a_frozen_agent_is_found_by_its_silence_and_the_next_one_is_verified() {
    let actions = "notify READY=1 STATUS=asks_the_model then heartbeat --every 50";
    let scene = Scene::with(&[speaking(actions, "1s")]);
    let _daemon = scene.daemon();
    let status = until_ready(&scene);
    assert_eq!(status["message"], "asks_the_model");
    let first = scene.pid("a");
    freeze(first);
    scene.other_pid("a", first);
    let failure = failure(&scene);
    assert_eq!(failure.body()["reason"], "Hang");
    let facts = &failure.body()["facts"];
    assert_eq!(facts["status"], "asks_the_model");
    assert!(facts["heartbeat"]["lastMonoUs"].as_u64().unwrap() > 0);
    assert!(facts["heartbeat"]["silentUs"].as_u64().unwrap() >= 1_000_000);
    // SIGTERM, and SIGCONT so that it can act on it.
    assert_eq!(stopped(&scene).body()["exit"]["status"]["signal"], 15);
    assert_eq!(stopped(&scene).body()["killed"], false);
    scene.entry("it is healthy again", |e| e.is("HealthVerified", "a"));
    assert!(!is_alive(first));
    scene.verifies();
}

#[test]
fn a_deadlocked_agent_that_is_deaf_is_killed_with_its_children() {
    let actions = "ignore-term then fork-grandchild then notify READY=1 \
                   then heartbeat --every 50 --count 3 then deadlock";
    let agent = speaking(actions, "500ms").with("stop", json!({"gracePeriod": "300ms"}));
    let scene = Scene::with(&[agent]);
    let _daemon = scene.daemon();
    let first = scene.pid("a");
    let stopped = stopped(&scene);
    assert_eq!(stopped.body()["killed"], true);
    assert_eq!(stopped.body()["exit"]["status"]["signal"], 9);
    assert_eq!(failure(&scene).body()["reason"], "Hang");
    scene.other_pid("a", first);
    assert!(!is_alive(first));
}

#[test]
fn a_long_call_that_extends_its_deadline_is_no_hang() {
    let actions = "notify READY=1 EXTEND_TIMEOUT_USEC=60000000 then sleep 1500 \
                   then print done then sleep";
    let scene = Scene::with(&[speaking(actions, "300ms")]);
    let _daemon = scene.daemon();
    until_said(&scene, "done");
    has_not_failed(&scene);
    until_ready(&scene);
}

#[test]
fn an_extension_that_is_over_is_a_hang() {
    let actions = "notify READY=1 EXTEND_TIMEOUT_USEC=600000 then sleep";
    let scene = Scene::with(&[speaking(actions, "100ms")]);
    let _daemon = scene.daemon();
    let failure = failure(&scene);
    assert_eq!(failure.body()["reason"], "Hang");
    let uptime = failure.body()["uptimeMs"].as_u64().unwrap();
    assert!(uptime >= 600, "{uptime}");
}

#[test]
fn an_agent_that_asks_to_be_treated_as_hung_is() {
    let actions = "notify READY=1 then notify STATUS=lost_its_mind ERRNO=5 then \
                   notify WATCHDOG=trigger then heartbeat --every 50";
    let scene = Scene::with(&[speaking(actions, "1h")]);
    let _daemon = scene.daemon();
    let failure = failure(&scene);
    assert_eq!(failure.body()["reason"], "Hang");
    assert_eq!(failure.body()["facts"]["errno"], 5);
    assert_eq!(failure.body()["facts"]["status"], "lost_its_mind");
}

#[test]
fn an_agent_may_shorten_its_own_timeout() {
    let actions = "notify READY=1 then notify WATCHDOG_USEC=200000 then sleep";
    let scene = Scene::with(&[speaking(actions, "1h")]);
    let _daemon = scene.daemon();
    assert_eq!(failure(&scene).body()["reason"], "Hang");
}

#[test]
fn an_agent_that_never_says_ready_has_failed_to_start() {
    let agent = speaking("heartbeat --every 50", "10s");
    let agent = agent.with(
        "rollout",
        json!({"progressDeadline": "600ms", "minReady": "300ms"}),
    );
    let scene = Scene::with(&[agent]);
    let _daemon = scene.daemon();
    let failure = failure(&scene);
    assert_eq!(failure.body()["reason"], "StartTimeout");
    assert!(failure.body()["uptimeMs"].as_u64().unwrap() >= 600);
}

#[test]
fn silence_before_ready_is_no_hang_and_after_it_is() {
    let actions = "sleep 1200 then notify READY=1 then print ready then sleep";
    let scene = Scene::with(&[speaking(actions, "300ms")]);
    let _daemon = scene.daemon();
    let failure = failure(&scene);
    assert_eq!(failure.body()["reason"], "Hang");
    assert_eq!(failure.body()["lastOutput"], json!(["ready"]));
    let uptime = failure.body()["uptimeMs"].as_u64().unwrap();
    assert!(uptime >= 1500, "{uptime}");
}

#[test]
fn one_that_hangs_again_and_again_spends_its_budget_once_and_is_not_given_up() {
    let restart = json!({
        "backoff": {"initial": "10ms", "max": "100ms"}, "maxRestarts": 2, "within": "10m",
    });
    let agent = speaking("notify READY=1 then sleep", "200ms").with("restart", restart);
    let scene = Scene::with(&[agent]);
    let _daemon = scene.daemon();
    scene.until("a", "is tried again beyond its budget", |status| {
        status["restarts"].as_u64() >= Some(5)
    });
    let status = scene.look("a").unwrap();
    let mut conditions = status["conditions"].as_array().unwrap().iter();
    let degraded = conditions.find(|c| c["type"] == "Degraded").unwrap();
    assert_eq!(degraded["status"], "True");
    let entries = scene.entries_of("a");
    let count = |kind: &str| entries.iter().filter(|e| e.kind() == kind).count();
    assert_eq!(count("EscalationExhausted"), 1, "{:?}", kinds(&entries));
    let hangs = entries.iter().filter(|e| e.kind() == "FailureDetected");
    assert!(hangs.clone().count() >= 5);
    assert!(hangs.clone().all(|e| e.body()["reason"] == "Hang"));
}

#[test]
fn a_start_and_a_stop_that_ask_for_longer_get_it() {
    let actions = "notify EXTEND_TIMEOUT_USEC=60000000 then sleep 1200 then notify READY=1 \
                   then extend-on-term 1000 7";
    let agent = speaking(actions, "1h")
        .with(
            "rollout",
            json!({"progressDeadline": "400ms", "minReady": "300ms"}),
        )
        .with("stop", json!({"gracePeriod": "200ms"}));
    let scene = Scene::with(&[agent]);
    let _daemon = scene.daemon();
    until_ready(&scene);
    has_not_failed(&scene);
    until_said(&scene, "waiting");
    scene.osmoda("restart a").exits(0);
    let stopped = stopped(&scene);
    assert_eq!(stopped.body()["exit"]["status"]["code"], 7);
    assert_eq!(stopped.body()["killed"], false);
}

#[test]
fn a_start_whose_extension_is_over_and_a_stop_that_takes_longer_than_asked_end() {
    let actions = "notify EXTEND_TIMEOUT_USEC=300000 then ignore-term then sleep";
    let agent = speaking(actions, "1h")
        .with(
            "rollout",
            json!({"progressDeadline": "200ms", "minReady": "300ms"}),
        )
        .with("stop", json!({"gracePeriod": "200ms"}));
    let scene = Scene::with(&[agent]);
    let _daemon = scene.daemon();
    assert_eq!(failure(&scene).body()["reason"], "StartTimeout");
    assert_eq!(stopped(&scene).body()["killed"], true);
}

#[test]
fn an_agent_that_ends_while_it_reloads_has_failed_and_does_not_linger() {
    let actions = "notify READY=1 then notify RELOADING=1 MONOTONIC_USEC=1 then \
                   notify STATUS=reads_its_files ERRNO=2 then exit 1";
    let scene = Scene::with(&[speaking(actions, "10s")]);
    let _daemon = scene.daemon();
    let failure = failure(&scene);
    assert_eq!(failure.body()["exit"]["status"]["code"], 1);
    // Its last words are taken in before its end is judged.
    assert_eq!(failure.body()["facts"]["status"], "reads_its_files");
    assert_eq!(failure.body()["facts"]["errno"], 2);
    // MONOTONIC_USEC=1 is before it was born, and no reload begins before READY=1.
    let since = &failure.body()["facts"]["reloadingSinceMonoUs"];
    assert!(since.as_u64().unwrap() > 1, "{since}");
    scene.entry("it is started again", |e| {
        e.is_about("ActionSucceeded", "Start", "a") && e.seq > failure.seq
    });
}

#[test]
fn a_reload_shows_until_it_is_over_and_is_told_of_one_that_fails_in_it() {
    let heartbeat = json!({"source": "Notify", "timeout": "1h"});
    let during = "notify READY=1 then notify RELOADING=1 STATUS=reads_its_files then sleep";
    let after = "notify READY=1 then notify RELOADING=1 STATUS=reads then \
                 notify READY=1 STATUS=has_read then sleep";
    let scene = Scene::with(&[
        Agent::test("a", during).with("heartbeat", heartbeat.clone()),
        Agent::test("b", after).with("heartbeat", heartbeat),
    ]);
    let _daemon = scene.daemon();
    let reloads = |s: &Value| s["message"] == "reloading: reads_its_files";
    let status = scene.until("a", "reloads", reloads);
    assert_eq!(
        (&status["phase"], &status["ready"]),
        (&json!("Running"), &json!(true))
    );
    scene.until("b", "has reloaded", |s| s["message"] == "has_read");
    for name in ["a", "b"] {
        kill(scene.pid(name));
    }
    let since = |name: &str| {
        let failure = scene.entry("its end", |e| e.is("FailureDetected", name));
        failure.body()["facts"]["reloadingSinceMonoUs"].clone()
    };
    assert!(since("a").is_u64());
    assert_eq!(since("b"), Value::Null);
}

#[test]
fn an_agent_that_announces_its_end_and_does_not_come_to_it_is_ended() {
    let agent = speaking(
        "notify READY=1 then notify STOPPING=1 then heartbeat --every 50",
        "1s",
    );
    let scene = Scene::with(&[agent.with("stop", json!({"gracePeriod": "300ms"}))]);
    let _daemon = scene.daemon();
    assert_eq!(failure(&scene).body()["reason"], "StopTimeout");
}

#[test]
fn output_serves_as_a_heartbeat() {
    let agent = Agent::test(
        "a",
        "chatter --every 50 --count 40 then print over then sleep",
    );
    let agent = agent.with("heartbeat", json!({"source": "Output", "timeout": "600ms"}));
    let scene = Scene::with(&[agent]);
    let _daemon = scene.daemon();
    let failure = failure(&scene);
    assert_eq!(failure.body()["reason"], "Hang");
    let output = failure.body()["lastOutput"].as_array().unwrap();
    assert_eq!(
        output.last().unwrap(),
        "over",
        "it was left alone while it wrote"
    );
    let uptime = failure.body()["uptimeMs"].as_u64().unwrap();
    assert!(uptime >= 40 * 50 + 600, "{uptime}");
}

#[test]
fn a_file_serves_as_a_heartbeat_and_a_missing_one_is_silence() {
    let scene = Scene::new();
    let file = scene.path().join("beat");
    let actions = format!(
        "touch {} --every 50 --count 40 then print over then sleep",
        file.display()
    );
    let heartbeat = json!({"source": "File", "file": file, "timeout": "600ms"});
    scene.declare(&Agent::test("a", &actions).with("heartbeat", heartbeat));
    let missing = json!({"source": "File", "file": scene.path().join("none"), "timeout": "300ms"});
    scene.declare(&Agent::test("b", "sleep").with("heartbeat", missing));
    let _daemon = scene.daemon();
    let failure = failure(&scene);
    assert_eq!(failure.body()["reason"], "Hang");
    assert_eq!(failure.body()["lastOutput"], json!(["over"]));
    let other = scene.entry("the other one hangs too", |e| e.is("FailureDetected", "b"));
    assert_eq!(other.body()["reason"], "Hang");
    assert_eq!(
        other.body()["facts"]["heartbeat"]["lastMonoUs"],
        Value::Null
    );
}

#[test]
fn a_daemon_that_follows_a_killed_one_goes_on_judging() {
    let actions = "notify READY=1 then heartbeat --every 50";
    let scene = Scene::with(&[speaking(actions, "1s")]);
    let daemon = scene.daemon();
    until_ready(&scene);
    let pid = scene.pid("a");
    daemon.kill();
    let _next = scene.daemon();
    // It beats to the new daemon's socket, and is not asked to be READY again.
    assert_eq!(scene.pid("a"), pid);
    until_ready(&scene);
    has_not_failed(&scene);
    freeze(pid);
    scene.other_pid("a", pid);
    assert_eq!(failure(&scene).body()["reason"], "Hang");
}

#[test]
fn another_main_process_is_watched_and_adopted_instead_of_the_first() {
    let agent = Agent::test("a", "notify READY=1 then hand-over then exit 0");
    let scene = Scene::with(&[agent]);
    let daemon = scene.daemon();
    // It may be named before the start of the first one is on record.
    let child = eventually("its child is the main process", || {
        let pid = scene.look("a")?["pid"].as_u64()?;
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        words.ends_with(b"\0sleep\0").then_some(pid)
    });
    let child = u32::try_from(child).unwrap();
    eventually("the first process is gone", || {
        (scene.processes()["a"] == [child]).then_some(())
    });
    assert!(is_alive(child));
    has_not_failed(&scene);

    daemon.kill();
    let _next = scene.daemon();
    assert_eq!(scene.pid("a"), child);
    has_not_failed(&scene);
    kill(child);
    scene.other_pid("a", child);
    // Another process is its parent, and not every host tells how a stranger's child ended.
    let reason = failure(&scene).body()["reason"].clone();
    assert!(
        ["Crashed", "ExitUnknown"].contains(&reason.as_str().unwrap()),
        "{reason}"
    );
}

#[test]
fn strangers_are_not_heard() {
    let scene = Scene::with(&[speaking("sleep", "1h")]);
    let _daemon = scene.daemon();
    scene.until("a", "has a process", |status| status["pid"].is_u64());
    let socket = UnixDatagram::unbound().unwrap();
    let notify = scene.run_dir().join("notify");
    for text in [
        &b"READY=1"[..],
        b"STOPPING=1",
        b"WATCHDOG=trigger",
        b"\0\xff",
        &[b'x'; 9000],
    ] {
        socket.send_to(text, &notify).unwrap();
    }
    eventually("the daemon says so", || {
        scene
            .daemon_log()
            .contains("ignoring notifications")
            .then_some(())
    });
    let status = scene.look("a").unwrap();
    assert_eq!(
        (&status["phase"], &status["ready"]),
        (&json!("Starting"), &json!(false))
    );
    has_not_failed(&scene);
}

#[test]
fn systemd_notify_works_as_a_child_of_the_agent() {
    if !is_installed("systemd-notify") {
        return;
    }
    // It waits with a barrier until it was heard, and fails if nobody tells it so.
    let script = "systemd-notify --ready --status='all is well' || echo unheard; \
                  while systemd-notify WATCHDOG=1; do sleep 0.1; done";
    let scene = Scene::with(&[speaking_script(script, "5s")]);
    let _daemon = scene.daemon();
    assert_eq!(until_ready(&scene)["message"], "all is well");
    assert_eq!(scene.osmoda("logs a").exits(0).out, "");
    has_not_failed(&scene);
}

#[test]
fn a_python_program_that_connects_once_is_heard() {
    if !is_installed("python3") {
        return;
    }
    // As the package sdnotify does.
    let script = "exec python3 -c 'import os, socket, time\n\
                  s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                  s.connect(os.environ[\"NOTIFY_SOCKET\"])\n\
                  s.sendall(b\"READY=1\\nSTATUS=from python\")\n\
                  while True:\n    s.sendall(b\"WATCHDOG=1\"); time.sleep(0.1)'";
    let scene = Scene::with(&[speaking_script(script, "10s")]);
    let _daemon = scene.daemon();
    assert_eq!(until_ready(&scene)["message"], "from python");
}
