//! A host that runs out of what a start needs: agents are not given up, nobody is blamed, the
//! command line is answered, and all is well as soon as there is room again.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use serde_json::Value;

use crate::support::{Agent, Daemon, Entry, Scene, eventually, is_installed, is_root, kill};

const NOBODY: u32 = 65534;

/// Starts that fail, one after the other, before there is room again: more than any budget.
const REFUSALS: usize = 7;

/// Sets the soft limit of a process that runs, as its own user.
#[track_caller]
fn limit(pid: u32, user: u32, resource: &str, value: u64) {
    let mut command = Command::new("setpriv");
    let user = user.to_string();
    command.args([
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
        "prlimit",
    ]);
    command.args(["--pid", &pid.to_string()]);
    command.arg(format!("--{resource}={value}:"));
    assert!(command.status().unwrap().success());
}

/// The limit below which a process has so many numbers of descriptors left.
fn leaving(pid: u32, free: usize) -> u64 {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let number = |name: std::ffi::OsString| name.to_str().and_then(|name| name.parse().ok());
    let open: BTreeSet<u64> = entries
        .filter_map(|entry| number(entry.unwrap().file_name()))
        .collect();
    let mut unused = (0..).filter(|number| !open.contains(number));
    unused.nth(free).unwrap()
}

/// Deploys twice: the second one is suspect, and there is a first one to go back to.
#[track_caller]
fn suspect(scene: &Scene, second: &Agent) -> u32 {
    let until_proven = |number: u64| {
        scene.entry("a deploy is proven", |e| {
            e.is("GenerationGood", "a") && e.body()["generation"]["number"] == number
        });
    };
    until_proven(1);
    scene.declare(second);
    until_proven(2);
    scene.pid("a")
}

fn is_refused(entry: &Entry) -> bool {
    entry.is_about("ActionFailed", "Start", "a")
}

/// Waits for so many refused starts; gives what the last one says.
#[track_caller]
fn until_refused(scene: &Scene) -> String {
    eventually("the host refuses it", || {
        let entries = scene.entries_of("a");
        let refused: Vec<_> = entries.iter().filter(|e| is_refused(e)).collect();
        let last = refused.last()?.body()["message"].as_str()?.to_owned();
        (refused.len() >= REFUSALS).then_some(last)
    })
}

/// It is not given up, and its deploy is not to blame.
#[track_caller]
fn nobody_is_blamed(scene: &Scene) {
    let status = scene.look("a").unwrap();
    assert_eq!(status["generation"]["active"]["number"], 2, "{status:#?}");
    let entries = scene.entries_of("a");
    for kind in ["GenerationBad", "EscalationExhausted", "RollbackIntended"] {
        assert!(!entries.iter().any(|e| e.kind() == kind), "{entries:#?}");
    }
}

#[test]
fn without_descriptors_nobody_is_given_up_or_blamed_and_with_them_all_is_well() {
    if !is_root() || !is_installed("prlimit") || !is_installed("setpriv") {
        return;
    }
    let scene = Scene::with(&[Agent::test("a", "sleep"), Agent::test("b", "sleep")]);
    let daemon = scene.daemon();
    let pid = suspect(&scene, &Agent::test("a", "print two then sleep"));
    let other = scene.pid("b");
    // One connection of the command line at a time has room, a start has not.
    let few = leaving(daemon.pid(), 1);
    limit(daemon.pid(), 0, "nofile", few);
    kill(pid);
    let message = until_refused(&scene);
    assert!(message.contains("Too many open files"), "{message}");
    let waits = |status: &Value| status["phase"] == "Backoff";
    scene.until("a", "waits for its next try", waits);
    assert_eq!(scene.pid("b"), other, "who runs is left alone");
    limit(daemon.pid(), 0, "nofile", 1024);
    scene.osmoda("restart a").exits(0);
    scene.other_pid("a", pid);
    nobody_is_blamed(&scene);
    daemon.stops();
    scene.verifies();
}

/// A place that an unprivileged user's daemon may use, and that daemon.
fn daemon_of_nobody(scene: &Scene) -> Daemon<'_> {
    let owned: [PathBuf; 3] = [scene.state(), scene.run_dir(), scene.path().join("home")];
    for directory in owned {
        fs::create_dir(&directory).unwrap();
        std::os::unix::fs::chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut setpriv = Command::new("setpriv");
    let user = NOBODY.to_string();
    setpriv.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    setpriv.arg(scene.binary_for_all());
    let mut command = scene.in_place(setpriv, "run specs --runtime native");
    command.env("HOME", scene.path().join("home"));
    Daemon::start(scene, command)
}

#[test]
fn without_processes_nobody_is_given_up_or_blamed_and_with_them_all_is_well() {
    if !is_root() || !is_installed("prlimit") || !is_installed("setpriv") {
        return;
    }
    let scene = Scene::with(&[Agent::script("a", "exec sleep 300")]);
    let daemon = daemon_of_nobody(&scene);
    let pid = suspect(&scene, &Agent::script("a", "exec sleep 301"));
    limit(daemon.pid(), NOBODY, "nproc", 1);
    kill(pid);
    let message = until_refused(&scene);
    assert!(
        message.contains("Resource temporarily unavailable"),
        "{message}"
    );
    // Specs are read and questions answered all the same.
    scene.declare(&Agent::script("b", "exec sleep 302"));
    scene.until("b", "is known", |status| !status["phase"].is_null());
    limit(daemon.pid(), NOBODY, "nproc", 1000);
    scene.osmoda("restart a").exits(0);
    scene.other_pid("a", pid);
    nobody_is_blamed(&scene);
    scene.pid("b");
    daemon.stops();
}
