//! An agent's life as a unit, and the daemon's beside it.

use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use super::{Host, condition};
use crate::support::{Agent, Daemon, eventually, is_alive, kill, test_agent};

#[test]
#[ignore = "needs systemd as PID 1"]
fn an_agent_is_a_unit_in_the_slice_and_comes_back_when_it_crashes() {
    let host = Host::new();
    host.declare(&Agent::script("a", "exec sleep 1000"));
    let _daemon = host.units();
    let pid = host.pid("a");
    assert_eq!(host.property("a", "MainPID"), pid.to_string());
    assert_eq!(host.property("a", "Slice"), "osmoda.slice");
    let node = &host.json("status")["node"];
    assert_eq!(node["runtime"], "systemd");

    kill(pid);
    let next = host.other_pid("a", pid);
    assert_eq!(host.property("a", "MainPID"), next.to_string());
    let failures = host.told("FailureDetected", "a");
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].body()["reason"], "Crashed");
    assert_eq!(failures[0].body()["exit"]["status"]["signal"], 9);
    assert_eq!(
        host.told("OutsideAction", "a"),
        [],
        "a plain kill is a crash"
    );
    host.entry("it is well again", |e| e.is("HealthVerified", "a"));
    host.verifies();
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn a_daemon_that_is_killed_stopped_or_replaced_leaves_its_agents_running() {
    let host = Host::new();
    host.declare(&Agent::script("a", "exec sleep 1000"));
    let daemon = host.units();
    let pid = host.pid("a");
    daemon.kill();
    assert!(is_alive(pid));

    let daemon = host.units();
    assert_eq!(host.pid("a"), pid);
    assert_eq!(host.told("Adopted", "a").len(), 1);
    daemon.signal(Signal::USR2);
    eventually("the next daemon has begun", || {
        let begun = host.entries();
        let begun = begun.iter().filter(|e| e.kind() == "NodeStarted").count();
        (begun == 3 && host.osmoda("status").code == 0).then_some(())
    });
    assert_eq!(host.pid("a"), pid);
    daemon.stops();
    assert!(is_alive(pid), "SIGTERM is for the daemon alone");
    let stopped = host.entry("it said so", |e| {
        e.kind() == "NodeStopped" && e.body()["reason"] == "SIGTERM"
    });
    assert_eq!(stopped.body()["agentsKept"], true);

    // It ends while nobody looks; the next daemon finds out.
    kill(pid);
    let _daemon = host.units();
    host.other_pid("a", pid);
    assert_eq!(host.told("FailureDetected", "a").len(), 1);
    host.verifies();
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn a_second_daemon_of_the_same_systemd_is_told_who_has_it() {
    let host = Host::new();
    let daemon = host.units();
    let other = Host::new();
    other
        .failing_daemon(other.command("run specs --runtime systemd"))
        .exits(1)
        .saying(&["another daemon", &daemon.pid().to_string()]);
    assert_eq!(host.osmoda("status").code, 0);
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn auto_takes_systemd_where_it_runs_the_host() {
    let host = Host::new();
    host.declare(&Agent::script("a", "exec sleep 1000"));
    let _daemon = Daemon::start(&host, host.command("run specs"));
    assert_eq!(host.json("status")["node"]["runtime"], "systemd");
    let found = host.osmoda("doctor specs").out;
    assert!(found.contains("systemd 2"), "{found}");
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn heartbeats_reach_the_daemon_and_their_absence_is_a_hang() {
    let host = Host::new();
    let agent = host.for_all(test_agent()).display().to_string();
    let command = [agent.as_str(), "count", "--every", "50"];
    let heartbeat = json!({"source": "Notify", "timeout": "5s"});
    host.declare(&Agent::running("a", &command).with("heartbeat", heartbeat));
    let silent = [agent.as_str(), "notify", "READY=1", "then", "sleep"];
    let short = json!({"source": "Notify", "timeout": "300ms"});
    host.declare(&Agent::running("b", &silent).with("heartbeat", short));
    let _daemon = host.units();
    host.until("a", "is ready by its own word", |status| {
        status["ready"] == true
    });
    let hang = host.entry("silence is found", |e| e.is("FailureDetected", "b"));
    assert_eq!(hang.body()["reason"], "Hang");
    assert_eq!(host.told("FailureDetected", "a"), []);
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn a_limit_that_is_changed_by_hand_shows_until_the_next_start() {
    let host = Host::new();
    let limits = json!({"tasksMax": 50});
    host.declare(&Agent::script("a", "exec sleep 1000").with("resources", limits));
    let _daemon = host.units();
    host.pid("a");
    assert_eq!(host.osmoda("status a --diff").code, 0);
    host.systemctl("set-property --runtime osmoda-a.service TasksMax=7");
    let diff = host.osmoda("status a --diff -o json").exits(1).json();
    let differences = diff["agents"][0]["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert_eq!(differences[0]["path"], "resources.tasksMax");
    assert_eq!(
        [&differences[0]["desired"], &differences[0]["observed"]],
        ["50", "7"]
    );
    host.osmoda("restart a --wait --timeout 40s").exits(0);
    assert_eq!(host.osmoda("status a --diff").code, 0);
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn what_cannot_be_started_is_said_and_tried_again() {
    let host = Host::new();
    host.declare(&Agent::running("a", &["/no/such/program"]));
    let _daemon = host.units();
    let status = host.until("a", "cannot be started", |status| {
        status["phase"] == "Failed"
    });
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("/no/such/program"), "{message}");
    assert_eq!(condition(&status, "Ready")["status"], "False");
    host.declare(&Agent::script("a", "exec sleep 1000"));
    host.pid("a");
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn the_slice_takes_every_agent_along_and_nothing_is_left() {
    let host = Host::new();
    for name in ["a", "b"] {
        host.declare(&Agent::script(name, "sleep 1000 & exec sleep 1000"));
    }
    let daemon = host.units();
    let pids = [host.pid("a"), host.pid("b")];
    daemon.stops();
    host.systemctl("stop osmoda.slice");
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    let mut list = Command::new("systemctl");
    let list = list.args(["list-units", "--all", "--plain", "--no-legend", "osmoda-*"]);
    let left = String::from_utf8(list.output().unwrap().stdout).unwrap();
    assert_eq!(left, "", "no unit is left, not even a failed one");
}
