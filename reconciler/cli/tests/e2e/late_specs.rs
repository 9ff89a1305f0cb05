//! Specs that take long to be read when a daemon begins: agents are supervised meanwhile.

use std::{env, fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use serde_json::json;

use crate::support::{Agent, Daemon, Entry, Scene, eventually, is_installed, kill, test_agent};

/// A scene whose evaluator waits while its gate is closed.
struct Gated {
    scene: Scene,
}

impl Gated {
    fn new() -> Option<Self> {
        if !is_installed("nix-instantiate") {
            return None;
        }
        let gated = Self {
            scene: Scene::new(),
        };
        let programs = gated.programs();
        fs::create_dir(&programs).unwrap();
        let path = env::var("PATH").unwrap();
        let gate = gated.gate().display().to_string();
        let script = format!(
            "#!/bin/sh\nwhile [ -e {gate} ]; do /bin/sleep 0.05; done\n\
             PATH={path} exec nix-instantiate \"$@\"\n"
        );
        let stub = programs.join("nix-instantiate");
        fs::write(&stub, script).unwrap();
        fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
        Some(gated)
    }

    fn programs(&self) -> PathBuf {
        self.scene.path().join("programs")
    }

    fn gate(&self) -> PathBuf {
        self.scene.path().join("closed")
    }

    fn close(&self) {
        fs::write(self.gate(), "").unwrap();
    }

    fn open(&self) {
        fs::remove_file(self.gate()).unwrap();
    }

    fn declare(&self, agent: &str, actions: &str) {
        let words = actions.split(' ').map(|word| format!("{word:?}"));
        let words: Vec<_> = words.collect();
        let command = format!("[ {:?} {} ]", test_agent(), words.join(" "));
        let rest = "rollout.minReady = \"300ms\"; stop.gracePeriod = \"1h\";";
        let text = format!("{{ command = {command}; {rest} }}\n");
        self.scene.write_spec(&format!("{agent}.nix"), &text);
    }

    fn withdraw(&self, agent: &str) {
        fs::remove_file(self.scene.specs().join(format!("{agent}.nix"))).unwrap();
    }

    fn daemon(&self) -> Daemon<'_> {
        let mut command: Command = self.scene.run_command("");
        let path = env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.programs().display()));
        Daemon::start(&self.scene, command)
    }

    fn node_line(&self) -> String {
        self.scene.osmoda("status").exits(0).out
    }
}

const READING: &str = "the specs are still being read; the last valid ones are in force";

#[test]
fn agents_are_healed_while_the_specs_are_still_being_read_and_follow_them_then() {
    let Some(gated) = Gated::new() else { return };
    let scene = &gated.scene;
    gated.declare("a", "print one then sleep");
    let node = json!({"apiVersion": "osmoda/v1", "kind": "Node", "spec": {"name": "mill"}});
    scene.write_spec("node.yaml", &node.to_string());
    let daemon = gated.daemon();
    let first = scene.pid("a");
    daemon.kill();
    gated.close();
    kill(first);

    let _next = gated.daemon();
    let second = scene.other_pid("a", first);
    let verified = |e: &Entry| e.is("HealthVerified", "a");
    scene.entry("it is verified", verified);
    assert!(gated.node_line().contains(READING), "{}", gated.node_line());
    assert_eq!(scene.json("status")["node"]["name"], "mill");
    kill(second);
    let third = scene.other_pid("a", second);

    gated.declare("a", "print two then sleep");
    gated.open();
    scene.until("a", "has the new spec", |status| {
        status["generation"]["active"]["number"] == 2
    });
    scene.other_pid("a", third);
    assert!(!gated.node_line().contains(READING));
    let changes = scene.entries_of("a");
    let changes = changes.iter().filter(|e| e.is("SpecChanged", "a"));
    assert_eq!(changes.count(), 2, "one for each spec that was written");
    scene.verifies();
}

#[test]
fn an_agent_that_was_taken_out_of_the_specs_is_not_started_for_want_of_them() {
    let Some(gated) = Gated::new() else { return };
    let scene = &gated.scene;
    gated.declare("a", "sleep");
    gated.declare("b", "ignore-term then print deaf then sleep");
    let daemon = gated.daemon();
    let (a, b) = (scene.pid("a"), scene.pid("b"));
    eventually("it is deaf", || {
        (scene.osmoda("logs b").out == "deaf\n").then_some(())
    });
    gated.withdraw("b");
    scene.entry("it is to be stopped", |e| {
        e.is_about("ActionIntended", "Stop", "b")
    });
    daemon.kill();
    gated.close();
    kill(a);
    kill(b);

    let _next = gated.daemon();
    scene.other_pid("a", a);
    scene.has_none_of("b");
    gated.open();
    scene.entry("it is gone", |e| {
        e.is_about("ActionSucceeded", "Remove", "b")
    });
    let starts = scene.entries_of("b");
    let starts = starts
        .iter()
        .filter(|e| e.is_about("ActionIntended", "Start", "b"));
    assert_eq!(starts.count(), 1);
}

#[test]
fn what_was_gone_back_to_stays_active_while_the_specs_are_still_being_read() {
    let Some(gated) = Gated::new() else { return };
    let scene = &gated.scene;
    gated.declare("a", "sleep");
    let daemon = gated.daemon();
    scene.entry("it is proven", |e| e.is("GenerationGood", "a"));
    gated.declare("a", "exit 1");
    scene.entry("it is gone back from", |e| e.is("RollbackSucceeded", "a"));
    let pid = scene.pid("a");
    daemon.kill();
    gated.close();
    kill(pid);
    let _next = gated.daemon();
    scene.other_pid("a", pid);
    gated.open();
    eventually("they are read", || {
        (!gated.node_line().contains(READING)).then_some(())
    });
    let status = scene.look("a").unwrap();
    assert_eq!(status["generation"]["active"]["number"], 1, "{status:#?}");
    let activations = scene.entries_of("a");
    let activations = activations
        .iter()
        .filter(|e| e.is_about("ActionIntended", "Activate", "a"));
    assert_eq!(activations.count(), 2, "nothing was deployed anew");
}

#[test]
fn a_spec_that_became_invalid_while_no_daemon_ran_leaves_what_was_gone_back_to_active() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let daemon = scene.daemon();
    scene.entry("it is proven", |e| e.is("GenerationGood", "a"));
    scene.declare(&Agent::test("a", "exit 1"));
    scene.entry("it is gone back from", |e| e.is("RollbackSucceeded", "a"));
    let pid = scene.pid("a");
    daemon.kill();
    scene.write_spec(
        "a.yaml",
        "apiVersion: osmoda/v1\nkind: Agent\nmetadata: {name: a}\nspec: {",
    );
    let _next = scene.daemon();
    scene.until("a", "is refused", |status| {
        status["message"] == "the last valid spec stays in force"
    });
    assert_eq!(scene.pid("a"), pid, "it runs on");
    let activations = scene.entries_of("a");
    let activations = activations
        .iter()
        .filter(|e| e.is_about("ActionIntended", "Activate", "a"));
    assert_eq!(activations.count(), 2, "nothing was deployed anew");
}
