//! What other supervisors had to learn, as behaviour of ours: one incarnation at a time, nothing
//! started on the way out, and an end that is waited for.
//!
//! The behaviours are those of process-compose's restart_pending_regression_test.go and of
//! devenv's devenv-processes/tests/process_lifecycle.rs.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::support::{Agent, Daemon, PATIENCE, Scene, eventually, kill};

/// Notes each start and each end of an incarnation of `name`, and any overlap of two.
fn counted(scene: &Scene, name: &str) -> (Agent, PathBuf) {
    let place = scene.path().join(format!("{name}.count"));
    fs::create_dir(&place).unwrap();
    let at = place.display();
    let script = format!(
        "trap 'rmdir {at}/alive; exit 0' TERM; \
         mkdir {at}/alive || echo twice >> {at}/overlaps; echo x >> {at}/starts; \
         while :; do sleep 0.05; done"
    );
    (Agent::script(name, &script), place)
}

fn starts(place: &Path) -> usize {
    let starts = fs::read_to_string(place.join("starts"));
    starts.map_or(0, |text| text.lines().count())
}

#[test]
fn a_restart_while_an_agent_is_held_leads_to_one_incarnation() {
    let scene = Scene::new();
    let gate = scene.path().join("gate");
    let test = format!("test -e {}", gate.display());
    let readiness = json!({"exec": {"command": ["/bin/sh", "-c", test]}, "period": "50ms"});
    scene.declare(&Agent::test("a", "sleep").with("probes", json!({"readiness": readiness})));
    let (b, place) = counted(&scene, "b");
    scene.declare(&b.with("dependsOn", json!(["a"])));
    let _daemon = scene.daemon();
    scene.until("b", "is held", |s| s["phase"] == "Held");
    for _ in 0..3 {
        scene.osmoda("restart b").exits(0);
    }
    scene.until("b", "is still held", |s| s["phase"] == "Held");
    assert_eq!(starts(&place), 0);
    fs::write(gate, "").unwrap();
    let pid = scene.pid("b");
    eventually("it has begun", || (starts(&place) == 1).then_some(()));
    scene.osmoda("plan").exits(0);
    assert_eq!((scene.pid("b"), starts(&place)), (pid, 1));
}

#[test]
fn restarts_in_a_row_never_make_two_incarnations() {
    let scene = Scene::new();
    let (agent, place) = counted(&scene, "a");
    scene.declare(&agent);
    let _daemon = scene.daemon();
    let mut pid = scene.pid("a");
    for _ in 0..5 {
        eventually("it can be asked to end", || {
            place.join("alive").exists().then_some(())
        });
        scene.osmoda("restart a").exits(0);
        scene.osmoda("restart a --wait").exits(0);
        pid = scene.other_pid("a", pid);
    }
    assert!(!place.join("overlaps").exists(), "two lived at once");
    assert_eq!(
        scene.processes()["a"].iter().filter(|p| **p == pid).count(),
        1
    );
}

#[test]
fn an_end_is_waited_for_until_its_own_cleaning_up_is_done() {
    let scene = Scene::new();
    let (up, done) = (scene.path().join("up"), scene.path().join("done"));
    let script = format!(
        "trap 'sleep 0.5; echo clean > {}; exit 0' TERM; echo > {}; while :; do sleep 0.05; done",
        done.display(),
        up.display()
    );
    scene.declare(&Agent::script("a", &script).with("stop", json!({"gracePeriod": "20s"})));
    let daemon = scene.daemon();
    eventually("it listens", || up.exists().then_some(()));
    daemon.stops();
    assert_eq!(fs::read_to_string(done).unwrap(), "clean\n");
    let stop = scene.entry("its stop", |e| e.is_about("ActionSucceeded", "Stop", "a"));
    assert_eq!(stop.body()["killed"], false);
}

#[test]
fn nothing_is_started_again_on_the_way_out() {
    let backoff = json!({"backoff": {"initial": "30s", "max": "30s"}});
    let scene = Scene::with(&[Agent::test("a", "exit 1").with("restart", backoff)]);
    let daemon = scene.daemon();
    scene.until("a", "waits for its time", |s| s["phase"] == "Backoff");
    let count = |scene: &Scene| {
        let entries = scene.entries();
        let starts = entries
            .iter()
            .filter(|e| e.is_about("ActionIntended", "Start", "a"));
        starts.count()
    };
    let before = count(&scene);
    daemon.stops();
    assert_eq!(count(&scene), before);
    scene.has_no_agents();
}

#[test]
fn groups_that_an_agent_made_for_itself_get_its_stop_signal_too() {
    let scene = Scene::new();
    let place = scene.path().join("said");
    // Job control puts the child into a process group of its own.
    let script = format!(
        "set -m; bash -c 'trap \"echo told > {0}/child; exit\" HUP; echo > {0}/up; \
         while :; do sleep 0.05; done' & trap : HUP; wait; wait",
        place.display()
    );
    let stop = json!({"signal": "SIGHUP", "gracePeriod": "10s"});
    let agent = Agent::running("a", &["/bin/bash", "-c", &script]);
    scene.declare(&agent.with("stop", stop));
    let daemon = scene.daemon();
    eventually("the child listens", || {
        place.join("up").exists().then_some(())
    });
    daemon.stops();
    assert_eq!(fs::read_to_string(place.join("child")).unwrap(), "told\n");
}

#[test]
fn an_agent_reads_nothing_from_its_standard_input() {
    let scene =
        Scene::with(&[
            Agent::script("a", "read line && exit 9; echo end of input; exit 0")
                .with("restart", json!({"policy": "Never"})),
        ]);
    let _daemon = scene.daemon();
    scene.until("a", "has come to its end", |s| s["phase"] == "Succeeded");
    let logs = scene.osmoda("logs a").exits(0);
    assert!(logs.out.contains("end of input"), "{}", logs.out);
}

#[test]
fn a_credential_that_vanishes_between_two_starts_is_said_and_waited_for() {
    let scene = Scene::new();
    let secret = scene.path().join("secret");
    fs::write(&secret, "one").unwrap();
    let credentials = json!({"key": {"path": secret}});
    let backoff = json!({"backoff": {"initial": "50ms", "max": "100ms"}, "maxRestarts": 100});
    scene.declare(
        &Agent::test("a", "sleep")
            .with("credentials", credentials)
            .with("restart", backoff),
    );
    let _daemon = scene.daemon();
    let pid = scene.pid("a");
    fs::remove_file(&secret).unwrap();
    kill(pid);
    let status = scene.until("a", "cannot be started", |s| s["phase"] == "Failed");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("credential key") && message.contains("secret"),
        "{message}"
    );
    fs::write(&secret, "two").unwrap();
    let next = scene.other_pid("a", pid);
    let environment = fs::read(format!("/proc/{next}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let directory = environment
        .split('\0')
        .find_map(|v| v.strip_prefix("CREDENTIALS_DIRECTORY="))
        .unwrap();
    assert_eq!(
        fs::read_to_string(PathBuf::from(directory).join("key")).unwrap(),
        "two"
    );
}

/// A file of a scene that an agent writes lines to.
fn file(scene: &Scene, name: &str) -> PathBuf {
    scene.path().join(name)
}

fn lines(scene: &Scene, name: &str) -> usize {
    let text = fs::read_to_string(file(scene, name)).unwrap_or_default();
    text.lines().count()
}

/// Writes `started` at each start, and `asked` whenever it is asked to end, which takes it until
/// the file `go` is there.
fn slow_to_end(scene: &Scene, name: &str) -> Agent {
    let [started, asked, go] = ["started", "asked", "go"].map(|name| file(scene, name));
    let script = format!(
        "trap 'echo x >>{}; while ! [ -e {} ]; do sleep 0.05; done; exit 0' TERM; echo x >>{}; \
         while :; do sleep 0.1; done",
        asked.display(),
        go.display(),
        started.display()
    );
    Agent::script(name, &script).with("stop", json!({"gracePeriod": "1h"}))
}

fn let_it_end(scene: &Scene) {
    fs::write(file(scene, "go"), "").unwrap();
}

#[track_caller]
fn until_asked(scene: &Scene) {
    eventually("it is asked to end", || {
        (lines(scene, "asked") > 0).then_some(())
    });
}

/// Waits until the daemon says this to its service manager.
#[track_caller]
fn until_heard(manager: &UnixDatagram, text: &str) {
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = [0; 256];
    loop {
        let length = manager.recv(&mut said).unwrap();
        if said.get(..length) == Some(text.as_bytes()) {
            return;
        }
    }
}

/// A dependency that is ready once the file `up` is there, and who waits for it.
fn pair(scene: &Scene) -> [Agent; 2] {
    let up = file(scene, "up");
    let readiness = json!({
        "exec": {"command": ["/bin/sh", "-c", format!("test -e {}", up.display())]},
        "period": "50ms",
        "timeout": "20s",
    });
    let started = file(scene, "started");
    let script = format!("echo x >>{}; exec sleep 300", started.display());
    [
        Agent::test("base", "sleep").with("probes", json!({"readiness": readiness})),
        Agent::script("waiting", &script).with("dependsOn", json!(["base"])),
    ]
}

fn is_held(status: &serde_json::Value) -> bool {
    status["phase"] == "Held"
}

#[test]
fn one_that_waits_is_taken_back_at_once_and_can_be_declared_again() {
    let scene = Scene::new();
    let [base, waiting] = pair(&scene);
    scene.declare(&base);
    scene.declare(&waiting);
    let _daemon = scene.daemon();
    scene.until("waiting", "is held", is_held);
    scene.withdraw("waiting");
    eventually("it is gone", || {
        scene.look("waiting").is_none().then_some(())
    });
    scene.declare(&waiting);
    scene.until("waiting", "is held again", is_held);
    fs::write(file(&scene, "up"), "").unwrap();
    scene.pid("waiting");
    assert_eq!(lines(&scene, "started"), 1);
}

#[test]
fn one_that_is_taken_out_of_the_specs_while_it_restarts_does_not_come_back() {
    let scene = Scene::new();
    scene.declare(&slow_to_end(&scene, "a"));
    let _daemon = scene.daemon();
    scene.pid("a");
    eventually("it has begun", || {
        (lines(&scene, "started") == 1).then_some(())
    });
    scene.osmoda("restart a").exits(0);
    until_asked(&scene);
    scene.until("a", "is stopping", |status| status["phase"] == "Stopping");
    scene.withdraw("a");
    scene.entry("that is on record", |e| {
        e.is("SpecChanged", "a") && e.body()["change"] == "Removed"
    });
    let_it_end(&scene);
    scene.entry("it is gone", |e| {
        e.is_about("ActionSucceeded", "Remove", "a")
    });
    scene.has_no_agents();
    assert_eq!(lines(&scene, "started"), 1, "the later word holds");
}

#[test]
fn a_shutdown_while_one_restarts_waits_for_its_end_asks_it_once_and_starts_nothing() {
    let scene = Scene::new();
    scene.declare(&slow_to_end(&scene, "a"));
    let manager = UnixDatagram::bind(file(&scene, "manager")).unwrap();
    let mut command = scene.run_command("");
    command.env("NOTIFY_SOCKET", file(&scene, "manager"));
    let daemon = Daemon::start(&scene, command);
    scene.pid("a");
    eventually("it has begun", || {
        (lines(&scene, "started") == 1).then_some(())
    });
    scene.osmoda("restart a").exits(0);
    until_asked(&scene);
    daemon.signal(rustix::process::Signal::TERM);
    until_heard(&manager, "STOPPING=1");
    let_it_end(&scene);
    daemon.ends();
    assert_eq!(lines(&scene, "started"), 1);
    assert_eq!(
        lines(&scene, "asked"),
        1,
        "one signal, however often it was wanted"
    );
    scene.has_no_agents();
}

#[test]
fn what_a_crash_leaves_behind_is_gone_before_the_next_one_and_who_is_withdrawn_meanwhile_stays() {
    let scene = Scene::new();
    let started = file(&scene, "started");
    // The leader crashes; its child, in a group of its own, is deaf to everything but SIGKILL.
    let script = format!(
        "echo x >>{0}; setsid sh -c 'trap \"\" TERM; echo x >>{1}; while :; do sleep 0.1; done' & \
         while ! [ -s {1} ]; do sleep 0.02; done; exit 1",
        started.display(),
        file(&scene, "child").display()
    );
    let restart = json!({"backoff": {"initial": "1h", "max": "1h"}, "maxRestarts": 1});
    scene.declare(&Agent::script("a", &script).with("restart", restart));
    let _daemon = scene.daemon();
    scene.until("a", "waits for its third start", |s| {
        s["phase"] == "Backoff"
    });
    scene.has_no_agents();
    assert_eq!(lines(&scene, "started"), 2);
    scene.withdraw("a");
    scene.entry("it is gone", |e| {
        e.is_about("ActionSucceeded", "Remove", "a")
    });
    assert_eq!(lines(&scene, "started"), 2);
}

#[test]
fn a_crash_in_the_instant_of_a_restart_leads_to_one_instance() {
    let scene = Scene::new();
    let started = file(&scene, "started");
    let script = format!("echo x >>{}; exec sleep 300", started.display());
    scene.declare(&Agent::script("a", &script));
    let _daemon = scene.daemon();
    let mut pid = scene.pid("a");
    for round in 1..=5 {
        kill(pid);
        scene.osmoda("restart a --wait").exits(0);
        pid = scene.other_pid("a", pid);
        let running = eventually("one runs", || {
            scene.processes().remove("a").filter(|all| all.len() == 1)
        });
        assert_eq!(running, [pid], "round {round}");
    }
}
