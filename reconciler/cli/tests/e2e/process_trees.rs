//! What an agent leaves behind: the whole tree of its processes goes, before the next one runs.

use serde_json::json;

use crate::support::{Agent, Scene, eventually, is_alive, is_installed, kill};

/// The number after `grandchild` in an agent's output.
fn grandchild(scene: &Scene, agent: &str) -> u32 {
    eventually("the agent tells its grandchild's pid", || {
        let said = scene.osmoda(&format!("logs {agent}")).exits(0).out;
        let mut lines = said.lines();
        lines.find_map(|line| line.strip_prefix("grandchild ")?.parse().ok())
    })
}

#[test]
fn a_grandchild_that_holds_stdout_open_does_not_hide_a_crash() {
    let actions = "fork-grandchild --hold-stdout then sleep";
    let scene = Scene::with(&[Agent::test("a", actions)]);
    let _daemon = scene.daemon();
    let leader = scene.pid("a");
    let left = grandchild(&scene, "a");
    kill(leader);
    scene.other_pid("a", leader);
    let failure = scene.entry("the crash is seen", |e| e.is("FailureDetected", "a"));
    assert_eq!(failure.body()["exit"]["status"]["signal"], 9);
    assert!(!is_alive(left), "the grandchild went with its leader");
    scene.verifies();
}

#[test]
fn a_leaders_death_takes_its_whole_tree_before_the_restart() {
    if !is_installed("setsid") {
        return;
    }
    // Each run looks whether what the one before left in a session of its own is still there.
    // A zombie that nobody has reaped yet is gone.
    let script = "left=$(cat \"$HOME/left\" 2>/dev/null || echo none); \
                  if grep -qs '^State:[^Z]*$' \"/proc/$left/status\"; \
                  then echo left; else echo clear; fi; \
                  setsid sleep 300 & echo $! > \"$HOME/left\"; echo begun; exec sleep 300";
    let scene = Scene::with(&[Agent::script("a", script)]);
    let _daemon = scene.daemon();
    let mut leader = scene.pid("a");
    for _ in 0..3 {
        eventually("its child is started", || {
            let said = scene.osmoda("logs a").exits(0).out;
            said.contains("begun").then_some(())
        });
        assert_eq!(scene.osmoda("logs a").exits(0).out, "clear\nbegun\n");
        kill(leader);
        leader = scene.other_pid("a", leader);
    }
    eventually("one tree, of two processes", || {
        (scene.processes()["a"].len() == 2).then_some(())
    });
}

#[test]
fn not_even_a_child_without_session_and_environment_escapes_a_cgroup() {
    let actions = "fork-grandchild --setsid --clear-env then sleep";
    let scene = Scene::with(&[Agent::test("a", actions)]);
    let daemon = scene.daemon();
    let leader = scene.pid("a");
    let left = grandchild(&scene, "a");
    if scene.cgroup().is_none() {
        eprintln!("skipped: no cgroup v2 can be written here");
        kill(left);
        return;
    }
    assert!(is_alive(left));
    kill(leader);
    let leader = scene.other_pid("a", leader);
    assert!(!is_alive(left));
    let left = eventually("the second run has its own", || {
        Some(grandchild(&scene, "a")).filter(|pid| *pid != left)
    });
    daemon.stops();
    assert!(!is_alive(left) && !is_alive(leader));
}

#[test]
fn an_agent_that_ignores_sigterm_is_gone_after_its_grace_period() {
    let deaf = |name| {
        Agent::test(name, "ignore-term then print deaf then sleep")
            .with("stop", json!({"gracePeriod": "300ms"}))
    };
    let scene = Scene::with(&[deaf("restarted"), deaf("removed")]);
    let _daemon = scene.daemon();
    let [restarted, removed] = ["restarted", "removed"].map(|name| {
        eventually("it is deaf", || {
            let said = scene.osmoda(&format!("logs {name}"));
            (said.out == "deaf\n").then_some(())
        });
        scene.pid(name)
    });
    scene.osmoda("restart restarted --wait").exits(0);
    assert!(!is_alive(restarted));
    scene.withdraw("removed");
    scene.entry("removed", |e| {
        e.is_about("ActionSucceeded", "Remove", "removed")
    });
    assert!(!is_alive(removed));
    for name in ["restarted", "removed"] {
        let stopped = scene.entry("stopped", |e| e.is_about("ActionSucceeded", "Stop", name));
        assert_eq!(stopped.body()["killed"], true);
        assert_eq!(stopped.body()["exit"]["status"]["signal"], 9);
        assert!(
            stopped.body()["tookUs"].as_u64().unwrap() >= 300_000,
            "it had its time"
        );
    }
    scene.verifies();
}

#[test]
fn one_agent_that_will_not_stop_delays_no_other() {
    let stubborn = Agent::test("stubborn", "ignore-term then print deaf then sleep")
        .with("stop", json!({"gracePeriod": "1h"}));
    let scene = Scene::with(&[stubborn, Agent::test("other", "sleep")]);
    let _daemon = scene.daemon();
    let (stubborn, other) = (scene.pid("stubborn"), scene.pid("other"));
    eventually("it is deaf", || {
        (scene.osmoda("logs stubborn").out == "deaf\n").then_some(())
    });
    scene.osmoda("restart stubborn").exits(0);
    scene.until("stubborn", "is being stopped", |status| {
        status["phase"] == "Stopping"
    });
    kill(other);
    scene.other_pid("other", other);
    assert!(is_alive(stubborn));
    assert_eq!(scene.look("stubborn").unwrap()["phase"], "Stopping");
    kill(stubborn);
    scene.other_pid("stubborn", stubborn);
}
