//! The built binary over the systemd runtime, under a real systemd.
//!
//! The cases need systemd as PID 1 with cgroup v2 and a bus. Where that is the host's, they run as
//! they are (`--ignored systemd::`); elsewhere [`the_daemon_works_under_a_systemd_of_its_own`] has
//! them run in namespaces, one after the other: they share one systemd.
//!
//! Where to start: [`Host`], which is a scene of such a machine.

mod by_hand;
mod confined;
mod life;
mod output;

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::support::{Daemon, Entry, Ran, Scene, eventually};

/// Where state is: agents that are units have their directories below it.
const STATE: &str = "/var/lib";

/// Run by `cargo xtask test systemd`, which says where and why it cannot be.
#[test]
#[ignore = "needs namespaces, which not every host grants"]
fn the_daemon_works_under_a_systemd_of_its_own() {
    let me = std::env::current_exe().unwrap();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../checks/systemd/namespace.sh"
    );
    let mut command = Command::new(script);
    command
        .arg(me)
        .args(["systemd::", "--ignored", "--test-threads=1"])
        .args(["--skip", "under_a_systemd_of_its_own"]);
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    assert!(told.contains("test result: ok"), "{told}\n{errors}");
    assert!(!told.contains("running 0 tests"), "{told}");
}

#[test]
fn where_systemd_does_not_run_the_host_it_is_refused_with_the_reason() {
    if Path::new("/run/systemd/system").is_dir() {
        eprintln!("skipped: systemd runs this host");
        return;
    }
    let scene = Scene::new();
    scene
        .failing_daemon(scene.command("run specs --runtime systemd"))
        .exits(2)
        .saying(&["systemd", "--runtime native"]);
    assert!(!scene.state().exists(), "a refusal leaves nothing behind");
}

/// A scene whose agents are units. Dropped, it leaves no unit.
struct Host(Scene);

impl std::ops::Deref for Host {
    type Target = Scene;
    fn deref(&self) -> &Scene {
        &self.0
    }
}

impl Host {
    fn new() -> Self {
        Self(Scene::below(Path::new(STATE)))
    }

    /// Starts a daemon and waits until it answers.
    fn units(&self) -> Daemon<'_> {
        Daemon::start(self, self.command("run specs --runtime systemd"))
    }

    /// systemctl, which must do it.
    #[track_caller]
    fn systemctl(&self, words: &str) -> String {
        let mut command = Command::new("systemctl");
        let output = command.args(words.split(' ')).output().unwrap();
        Ran::from(output).exits(0).out
    }

    /// A property of an agent's unit.
    #[track_caller]
    fn property(&self, agent: &str, name: &str) -> String {
        let words = format!("show --value --property={name} osmoda-{agent}.service");
        self.systemctl(&words).trim().to_owned()
    }

    /// Every entry of this kind about this agent.
    #[track_caller]
    fn told(&self, kind: &str, agent: &str) -> Vec<Entry> {
        let mut entries = self.entries_of(agent);
        entries.retain(|entry| entry.kind() == kind);
        entries
    }

    /// Waits until the agent's output, of its latest run, has such a line.
    #[track_caller]
    fn said(&self, agent: &str, what: &str) -> String {
        eventually(&format!("{agent} says {what:?}"), || {
            let out = self.osmoda(&format!("logs {agent}")).out;
            out.contains(what).then_some(out)
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // That there is nothing to be stopped is no failure.
        let _ = Command::new("systemctl")
            .args(["stop", "osmoda.slice"])
            .status();
    }
}

/// The condition of this type.
fn condition<'a>(status: &'a Value, r#type: &str) -> &'a Value {
    let mut all = status["conditions"].as_array().unwrap().iter();
    all.find(|condition| condition["type"] == r#type).unwrap()
}
