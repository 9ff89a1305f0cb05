//! What the kubelet's probes promise, asked of ours: the behaviours of Kubernetes'
//! test/e2e/common/node/container_probe.go, written anew for processes. (Thresholds and timers,
//! pkg/kubelet/prober/worker_test.go, are held with a paused clock in osmoda-node's prober.)
//!
//! Left out: grace periods of a probe's own and gRPC, which specs do not have.

use std::{fs, net::TcpListener, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{Agent, Scene, eventually};

/// A command is given this long: a busy machine takes its time for a shell.
const LONG: &str = "20s";

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A file of a scene.
fn file(scene: &Scene, name: &str) -> PathBuf {
    scene.path().join(name)
}

fn touch(scene: &Scene, name: &str) {
    fs::write(file(scene, name), "").unwrap();
}

/// A probe that runs a shell script.
fn exec(script: &str) -> Value {
    json!({
        "exec": {"command": ["/bin/sh", "-c", script]},
        "period": "100ms",
        "timeout": LONG,
        "failureThreshold": 1,
    })
}

/// A probe that succeeds while a file is there.
fn while_there(scene: &Scene, name: &str) -> Value {
    exec(&format!("test -e {}", file(scene, name).display()))
}

fn with_probes(actions: &str, probes: Value) -> Agent {
    Agent::test("a", actions).with("probes", probes)
}

/// What a probe has found so far.
fn found<'a>(status: &'a Value, probe: &str) -> &'a Value {
    let all = status["probes"].as_array().map_or(&[][..], Vec::as_slice);
    let of_it = all.iter().find(|found| found["probe"] == probe);
    of_it.unwrap_or(&Value::Null)
}

/// Waits until a probe has given this answer so often in a row.
#[track_caller]
fn until_found(scene: &Scene, probe: &str, result: &str, times: u64) -> Value {
    scene.until("a", &format!("{probe} is {result}"), |status| {
        let found = found(status, probe);
        found["result"] == result && found["run"].as_u64() >= Some(times)
    })
}

#[track_caller]
fn reason_of_its_failure(scene: &Scene) -> (Value, Value) {
    let failure = scene.entry("a failure is on record", |e| e.is("FailureDetected", "a"));
    let body = failure.body();
    (
        body["reason"].clone(),
        body["facts"]["probe"]["answer"].clone(),
    )
}

#[track_caller]
fn was_never_restarted(scene: &Scene) {
    assert_eq!(scene.look("a").unwrap()["restarts"], 0);
    let entries = scene.entries_of("a");
    assert!(
        !entries.iter().any(|e| e.kind() == "FailureDetected"),
        "{entries:#?}"
    );
}

fn is_ready(status: &Value) -> bool {
    status["ready"] == true
}

/// RFC 3339 in UTC, in microseconds of its day: a test is not run over midnight in this century.
fn micros_of_day(time: &Value) -> i64 {
    let text = time.as_str().unwrap();
    let (_, clock) = text.trim_end_matches('Z').split_once('T').unwrap();
    let mut parts = clock
        .split([':', '.'])
        .map(|part| part.parse::<i64>().unwrap());
    let mut next = || parts.next().unwrap();
    let (hours, minutes, seconds, micros) = (next(), next(), next(), next());
    ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros
}

#[test]
fn nobody_is_ready_before_the_initial_delay_of_the_readiness_probe() {
    let mut readiness = exec("true");
    readiness["initialDelay"] = json!("1500ms");
    let scene = Scene::with(&[with_probes("sleep", json!({"readiness": readiness}))]);
    let _daemon = scene.daemon();
    let status = scene.until("a", "is ready", is_ready);
    let began = micros_of_day(&status["startedAt"]);
    let ready = micros_of_day(&found(&status, "readiness")["since"]);
    let took = (ready - began).rem_euclid(86_400_000_000);
    assert!(
        (1_500_000..43_200_000_000).contains(&took),
        "{took} us: {status:#?}"
    );
    was_never_restarted(&scene);
}

#[test]
fn who_is_never_ready_is_never_restarted_for_it() {
    let scene = Scene::with(&[with_probes("sleep", json!({"readiness": exec("exit 3")}))]);
    let _daemon = scene.daemon();
    let status = until_found(&scene, "readiness", "Failure", 5);
    assert_eq!(found(&status, "readiness")["message"], "exit code 3");
    assert!(!is_ready(&status));
    was_never_restarted(&scene);
}

#[test]
fn a_command_that_fails_restarts_and_one_that_succeeds_does_not() {
    let scene = Scene::new();
    touch(&scene, "health");
    scene.declare(&with_probes(
        "sleep",
        json!({"liveness": while_there(&scene, "health")}),
    ));
    let _daemon = scene.daemon();
    until_found(&scene, "liveness", "Success", 5);
    was_never_restarted(&scene);
    let pid = scene.pid("a");
    fs::remove_file(file(&scene, "health")).unwrap();
    let (reason, answer) = reason_of_its_failure(&scene);
    assert_eq!((reason, answer), (json!("Unhealthy"), json!("exit code 1")));
    touch(&scene, "health");
    scene.other_pid("a", pid);
    scene.until("a", "is ready again", is_ready);
    assert_eq!(scene.look("a").unwrap()["restarts"], 1);
}

#[test]
fn an_open_port_is_enough_for_a_tcp_probe_whatever_is_said_there() {
    let scene = Scene::new();
    let answers = file(&scene, "answers");
    fs::create_dir(&answers).unwrap();
    fs::write(answers.join("healthz"), "500").unwrap();
    let port = free_port();
    let actions = format!("serve --port {port} --status-from {}", answers.display());
    let liveness = json!({"tcpSocket": {"port": port}, "period": "50ms", "timeout": LONG});
    scene.declare(&with_probes(&actions, json!({"liveness": liveness})));
    let _daemon = scene.daemon();
    until_found(&scene, "liveness", "Success", 5);
    was_never_restarted(&scene);
}

#[test]
fn each_instance_that_fails_its_liveness_probe_is_one_restart_more() {
    let port = free_port();
    let actions = format!("serve --port {port} --fail-after 1");
    let liveness = json!({
        "httpGet": {"port": port}, "period": "100ms", "retryInterval": "50ms", "timeout": LONG,
        "failureThreshold": 2,
    });
    let restart = json!({"backoff": {"initial": "10ms", "max": "20ms"}, "maxRestarts": 100});
    let agent = with_probes(&actions, json!({"liveness": liveness})).with("restart", restart);
    let scene = Scene::with(&[agent]);
    let _daemon = scene.daemon();
    scene.until("a", "was restarted three times", |status| {
        status["restarts"].as_u64() >= Some(3)
    });
    let entries = scene.entries_of("a");
    let failures = entries.iter().filter(|e| e.kind() == "FailureDetected");
    let told: Vec<_> = failures
        .map(|e| (e.body()["reason"].clone(), e.body()["consecutive"].clone()))
        .take(3)
        .collect();
    let expected = [1, 2, 3].map(|n| (json!("Unhealthy"), json!(n)));
    assert_eq!(told, expected);
}

#[test]
fn a_command_that_does_not_end_in_time_has_failed_and_is_gone() {
    let scene = Scene::new();
    let hang = file(&scene, "hang");
    let mut liveness = exec(&format!(
        "test -e {} && exec sleep 250; true",
        hang.display()
    ));
    liveness["timeout"] = json!("2s");
    scene.declare(&with_probes("sleep", json!({"liveness": liveness})));
    let _daemon = scene.daemon();
    until_found(&scene, "liveness", "Success", 1);
    let pid = scene.pid("a");
    touch(&scene, "hang");
    let (reason, answer) = reason_of_its_failure(&scene);
    let late = json!("it did not end within 2s");
    assert_eq!((reason, answer), (json!("Unhealthy"), late));
    fs::remove_file(hang).unwrap();
    let next = scene.other_pid("a", pid);
    scene.until("a", "is ready again", is_ready);
    eventually("nothing of the probe is left", || {
        (scene.processes()["a"] == [next]).then_some(())
    });
}

#[test]
fn a_readiness_command_that_does_not_end_in_time_keeps_from_being_ready_and_no_more() {
    let mut readiness = exec("exec sleep 250");
    readiness["timeout"] = json!("200ms");
    let scene = Scene::with(&[with_probes("sleep", json!({"readiness": readiness}))]);
    let _daemon = scene.daemon();
    let status = until_found(&scene, "readiness", "Failure", 2);
    assert!(!is_ready(&status));
    assert_eq!(
        status["message"],
        "its readiness probe: it did not end within 200ms"
    );
    was_never_restarted(&scene);
}

#[test]
fn a_command_that_fails_and_leaves_a_child_behind_has_failed_and_its_child_is_gone() {
    let scene = Scene::new();
    touch(&scene, "health");
    let script = format!(
        "test -e {} && exit 0; setsid sleep 250 & exit 1",
        file(&scene, "health").display()
    );
    scene.declare(&with_probes("sleep", json!({"liveness": exec(&script)})));
    let _daemon = scene.daemon();
    until_found(&scene, "liveness", "Success", 1);
    let pid = scene.pid("a");
    fs::remove_file(file(&scene, "health")).unwrap();
    let (reason, answer) = reason_of_its_failure(&scene);
    assert_eq!((reason, answer), (json!("Unhealthy"), json!("exit code 1")));
    touch(&scene, "health");
    let next = scene.other_pid("a", pid);
    eventually("the daemon that its probe left is gone", || {
        let all = scene.processes().remove("a")?;
        let probes = all.iter().filter(|pid| **pid != next);
        let lingers = probes.into_iter().any(|pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words == b"sleep\x00250\0"
        });
        (!lingers).then_some(())
    });
}

/// An HTTP agent whose /redirect leads to a place, and whose /healthz is well at first.
fn redirecting(scene: &Scene, to: &str) -> PathBuf {
    let answers = file(scene, "answers");
    fs::create_dir(&answers).unwrap();
    fs::write(answers.join("redirect"), format!("302 {to}")).unwrap();
    let port = free_port();
    let actions = format!("serve --port {port} --status-from {}", answers.display());
    let liveness = json!({
        "httpGet": {"port": port, "path": "/redirect"},
        "period": "100ms", "timeout": LONG, "failureThreshold": 1,
    });
    scene.declare(&with_probes(&actions, json!({"liveness": liveness})));
    answers
}

#[test]
fn a_redirect_to_the_same_host_is_followed_and_what_is_found_there_counts() {
    let scene = Scene::new();
    let answers = redirecting(&scene, "/healthz");
    let _daemon = scene.daemon();
    let status = until_found(&scene, "liveness", "Success", 2);
    assert_eq!(found(&status, "liveness")["message"], "");
    let aside = answers.join("aside");
    fs::write(&aside, "503").unwrap();
    fs::rename(aside, answers.join("healthz")).unwrap();
    let (reason, answer) = reason_of_its_failure(&scene);
    assert_eq!(reason, "Unhealthy");
    assert_eq!(answer, "HTTP 503 Service Unavailable: told");
}

#[test]
fn a_redirect_to_another_host_is_not_followed_and_said() {
    let scene = Scene::new();
    redirecting(&scene, "http://0.0.0.0/");
    let _daemon = scene.daemon();
    let status = until_found(&scene, "liveness", "Success", 3);
    let said = "HTTP 302 to 0.0.0.0, another host, which was not asked";
    assert_eq!(found(&status, "liveness")["message"], said);
    let described = scene.osmoda("describe a").exits(0).out;
    assert!(described.contains(said), "{described}");
    was_never_restarted(&scene);
}

#[test]
fn a_startup_probe_that_fails_restarts_even_if_the_liveness_probe_would_succeed() {
    let mut startup = exec("exit 4");
    startup["failureThreshold"] = json!(3);
    let probes = json!({"startup": startup, "liveness": exec("true")});
    let scene = Scene::with(&[with_probes("sleep", probes)]);
    let _daemon = scene.daemon();
    let (reason, answer) = reason_of_its_failure(&scene);
    assert_eq!(
        (reason, answer),
        (json!("StartupFailed"), json!("exit code 4"))
    );
}

#[test]
fn a_liveness_probe_waits_for_the_startup_probe_and_then_decides() {
    let scene = Scene::new();
    let mut startup = while_there(&scene, "started");
    startup["failureThreshold"] = json!(10_000);
    let probes = json!({"startup": startup, "liveness": exec("exit 5")});
    scene.declare(&with_probes("sleep", probes));
    let _daemon = scene.daemon();
    let status = until_found(&scene, "startup", "Unknown", 5);
    assert_eq!(found(&status, "liveness")["run"], 0, "it was not asked");
    was_never_restarted(&scene);
    touch(&scene, "started");
    let (reason, answer) = reason_of_its_failure(&scene);
    assert_eq!((reason, answer), (json!("Unhealthy"), json!("exit code 5")));
}

#[test]
fn readiness_is_asked_at_once_when_startup_has_succeeded_however_long_its_period() {
    let scene = Scene::new();
    let mut startup = while_there(&scene, "started");
    startup["failureThreshold"] = json!(10_000);
    let mut readiness = exec("true");
    readiness["period"] = json!("1h");
    let probes = json!({"startup": startup, "readiness": readiness});
    scene.declare(&with_probes("sleep", probes));
    let _daemon = scene.daemon();
    let status = until_found(&scene, "startup", "Unknown", 2);
    assert!(!is_ready(&status));
    touch(&scene, "started");
    scene.until("a", "is ready", is_ready);
    was_never_restarted(&scene);
}

#[test]
fn while_it_is_being_stopped_nobody_is_ready_and_no_probe_counts() {
    let scene = Scene::new();
    let [alive, go] = ["alive", "go"].map(|name| file(&scene, name));
    let script = format!(
        "touch {0}; trap 'rm -f {0}; while ! [ -e {1} ]; do sleep 0.05; done; exit 0' TERM; \
         while :; do sleep 0.05; done",
        alive.display(),
        go.display()
    );
    let mut startup = while_there(&scene, "alive");
    startup["failureThreshold"] = json!(10_000);
    let [readiness, liveness] = [(); 2].map(|()| while_there(&scene, "alive"));
    let probes = json!({"startup": startup, "readiness": readiness, "liveness": liveness});
    let agent = Agent::script("a", &script)
        .with("probes", probes)
        .with("stop", json!({"gracePeriod": "1h"}));
    scene.declare(&agent);
    let _daemon = scene.daemon();
    scene.until("a", "is ready", is_ready);
    let pid = scene.pid("a");
    scene.osmoda("restart a").exits(0);
    let status = until_found(&scene, "liveness", "Failure", 1);
    assert_eq!(
        (&status["phase"], is_ready(&status)),
        (&json!("Stopping"), false)
    );
    touch(&scene, "go");
    scene.other_pid("a", pid);
    scene.until("a", "is ready again", is_ready);
    was_never_restarted(&scene);
}

#[test]
fn a_start_that_was_complete_is_not_asked_for_again_by_the_next_daemon() {
    let scene = Scene::new();
    touch(&scene, "started");
    let mut startup = while_there(&scene, "started");
    startup["failureThreshold"] = json!(1);
    let probes = json!({"startup": startup, "liveness": exec("true")});
    scene.declare(&with_probes("sleep", probes));
    let daemon = scene.daemon();
    scene.until("a", "is ready", is_ready);
    let pid = scene.pid("a");
    daemon.kill();
    fs::remove_file(file(&scene, "started")).unwrap();
    let _next = scene.daemon();
    let status = until_found(&scene, "liveness", "Success", 2);
    assert!(is_ready(&status));
    assert_eq!(found(&status, "startup"), &Value::Null);
    assert_eq!(scene.pid("a"), pid);
    was_never_restarted(&scene);
}
