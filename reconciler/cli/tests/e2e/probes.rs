//! Health as probes see it: what restarts an agent, what keeps it from being ready, and what only
//! has to be waited for.

use std::{fs, net::TcpListener, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{Agent, Scene, eventually, is_alive};

/// A port that nobody listens on now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// An HTTP agent whose answers the test decides.
struct Served {
    port: u16,
    answers: PathBuf,
}

impl Served {
    fn new(scene: &Scene) -> Self {
        let answers = scene.path().join("answers");
        fs::create_dir(&answers).unwrap();
        let port = free_port();
        Self { port, answers }
    }

    /// From now on /NAME is answered with this status, or never if it is `hang`.
    fn answers(&self, name: &str, status: &str) {
        let aside = self.answers.join("aside");
        fs::write(&aside, status).unwrap();
        fs::rename(aside, self.answers.join(name)).unwrap();
    }

    fn agent(&self, before: &str) -> Agent {
        let (port, answers) = (self.port, self.answers.display());
        let actions = format!("{before}serve --port {port} --status-from {answers}");
        Agent::test("a", &actions)
    }

    fn get(&self, name: &str) -> Value {
        json!({
            "httpGet": {"port": self.port, "path": format!("/{name}")},
            "period": "200ms",
            "retryInterval": "50ms",
        })
    }
}

fn is_ready(status: &Value) -> bool {
    status["ready"] == true
}

#[test]
fn an_agent_whose_endpoint_fails_is_restarted_and_verified() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    let agent = served
        .agent("")
        .with("probes", json!({"liveness": served.get("live")}));
    scene.declare(&agent);
    let _daemon = scene.daemon();
    scene.until("a", "is ready", is_ready);
    let pid = scene.pid("a");
    served.answers("live", "503");
    let failure = scene.entry("the failure", |e| e.is("FailureDetected", "a"));
    served.answers("live", "200");
    let body = failure.body();
    assert_eq!(body["reason"], "Unhealthy", "{body}");
    let facts = &body["facts"]["probe"];
    assert_eq!(facts["probe"], "liveness");
    assert_eq!(facts["failures"], 3);
    assert_eq!(facts["answer"], "HTTP 503 Service Unavailable: told");
    scene.other_pid("a", pid);
    assert!(!is_alive(pid));
    let verified = scene.entry("recovery is verified", |e| {
        e.is("HealthVerified", "a") && e.seq > failure.seq
    });
    assert!(verified.body()["timeToDetectUs"].is_u64(), "{:?}", verified);
    scene.verifies();
}

#[test]
fn an_endpoint_that_never_answers_fails_at_its_timeout() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    let mut probe = served.get("live");
    probe["timeout"] = json!("100ms");
    scene.declare(&served.agent("").with("probes", json!({"liveness": probe})));
    let _daemon = scene.daemon();
    scene.until("a", "is ready", is_ready);
    let pid = scene.pid("a");
    served.answers("live", "hang");
    let failure = scene.entry("the failure", |e| e.is("FailureDetected", "a"));
    served.answers("live", "200");
    let answer = &failure.body()["facts"]["probe"]["answer"];
    assert_eq!(answer, "no answer within 100ms");
    scene.other_pid("a", pid);
    scene.until("a", "is ready again", is_ready);
}

#[test]
fn an_agent_that_is_not_ready_is_left_alone() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    served.answers("ready", "500");
    let probes = json!({"readiness": served.get("ready"), "liveness": served.get("live")});
    scene.declare(&served.agent("").with("probes", probes));
    let _daemon = scene.daemon();
    let pid = scene.pid("a");
    let waits = |status: &Value| {
        let conditions = status["conditions"].as_array().unwrap();
        let ready = conditions
            .iter()
            .find(|condition| condition["type"] == "Ready")
            .unwrap();
        let message = ready["message"].as_str().unwrap_or_default();
        !is_ready(status) && message.contains("HTTP 500")
    };
    scene.until("a", "says why it is not ready", waits);
    scene.osmoda("status a").exits(1);
    served.answers("ready", "200");
    scene.until("a", "is ready", is_ready);
    served.answers("ready", "404");
    scene.until("a", "is no longer ready", |status| !is_ready(status));
    served.answers("ready", "200");
    scene.until("a", "is ready again", is_ready);
    assert_eq!(scene.pid("a"), pid, "it was never restarted");
    let failures = scene
        .entries_of("a")
        .into_iter()
        .filter(|e| e.is("FailureDetected", "a"));
    assert_eq!(failures.count(), 0);
}

#[test]
fn a_slow_starter_is_given_its_time() {
    let scene = Scene::new();
    let served = Served::new(&scene);
    let mut startup = served.get("started");
    startup["failureThreshold"] = json!(100);
    let probes = json!({"startup": startup, "liveness": served.get("live")});
    scene.declare(&served.agent("sleep 2500 then ").with("probes", probes));
    let _daemon = scene.daemon();
    let pid = scene.pid("a");
    scene.until("a", "is ready", is_ready);
    assert_eq!(scene.pid("a"), pid);
    assert_eq!(scene.look("a").unwrap()["restarts"], 0);
}

#[test]
fn an_agent_that_never_opens_its_port_is_restarted_for_that() {
    let port = free_port();
    let startup = json!({"tcpSocket": {"port": port}, "period": "100ms"});
    let agent = Agent::test("a", "sleep").with("probes", json!({"startup": startup}));
    let scene = Scene::with(&[agent]);
    let _daemon = scene.daemon();
    let failure = scene.entry("the failure", |e| e.is("FailureDetected", "a"));
    assert_eq!(failure.body()["reason"], "StartupFailed");
    let answer = failure.body()["facts"]["probe"]["answer"].clone();
    let expected = format!("cannot connect to 127.0.0.1:{port}: Connection refused");
    assert!(answer.as_str().unwrap().starts_with(&expected), "{answer}");
    scene.verifies();
}

#[test]
fn a_command_asks_as_the_agent_and_what_it_says_is_kept_without_secrets() {
    let scene = Scene::new();
    let secret = scene.path().join("secret");
    fs::write(&secret, "correct-horse-battery").unwrap();
    let check = "test -e \"$HOME/healthy\" || { echo \"with $TOKEN as $OSMODA_AGENT\"; exit 7; }";
    let probe = json!({
        "exec": {"command": ["/bin/sh", "-c", check]},
        "period": "100ms",
        "timeout": "20s",
    });
    let agent = Agent::script("a", "touch \"$HOME/healthy\"; exec sleep 300")
        .with(
            "credentials",
            json!({"token": {"path": secret, "environmentVariable": "TOKEN"}}),
        )
        .with("probes", json!({"liveness": probe}));
    scene.declare(&agent);
    let _daemon = scene.daemon();
    scene.until("a", "is ready", is_ready);
    let pid = scene.pid("a");
    fs::remove_file(scene.state().join("agents/a/healthy")).unwrap();
    let failure = scene.entry("the failure", |e| e.is("FailureDetected", "a"));
    let answer = failure.body()["facts"]["probe"]["answer"].clone();
    let answer = answer.as_str().unwrap();
    assert!(answer.starts_with("exit code 7: with "), "{answer}");
    assert!(answer.ends_with(" as a"), "{answer}");
    assert!(!answer.contains("correct-horse"), "{answer}");
    scene.other_pid("a", pid);
    scene.until("a", "is ready again", is_ready);
}

#[test]
fn no_secret_reaches_the_status_either_not_even_half_of_one() {
    let scene = Scene::new();
    let secret = scene.path().join("secret");
    fs::write(&secret, "correct-horse-battery").unwrap();
    // Its answer is cut after 1 KiB: in the middle of the secret.
    let check = "printf '%01000d%s' 0 \"$TOKEN\"; exit 7";
    let probe = json!({"exec": {"command": ["/bin/sh", "-c", check]}, "timeout": "20s"});
    let agent = Agent::test("a", "sleep")
        .with(
            "credentials",
            json!({"token": {"path": secret, "environmentVariable": "TOKEN"}}),
        )
        .with("probes", json!({"readiness": probe}));
    scene.declare(&agent);
    let _daemon = scene.daemon();
    let status = scene.until("a", "says why it is not ready", |status| {
        status.to_string().contains("exit code 7: 0")
    });
    assert!(!status.to_string().contains("corr"), "{status}");
}

/// Probes of this scene's agents that run now.
fn running_probes(scene: &Scene) -> Vec<u32> {
    let all = scene.processes().remove("a").unwrap_or_default();
    let is_probe = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.starts_with(b"OSMODA_PROBE=")
            || String::from_utf8_lossy(&environment).contains("\0OSMODA_PROBE=")
    };
    all.into_iter().filter(is_probe).collect()
}

#[test]
fn a_probe_that_a_dead_daemon_left_is_gone_when_the_next_has_begun() {
    let probe = json!({"exec": {"command": ["sleep", "250"]}, "timeout": "1h"});
    let agent = Agent::test("a", "sleep").with("probes", json!({"readiness": probe}));
    let scene = Scene::with(&[agent]);
    let daemon = scene.daemon();
    let pid = scene.pid("a");
    let [left] = eventually("a probe runs", || running_probes(&scene).try_into().ok());
    daemon.kill();
    assert!(is_alive(left));
    let _next = scene.daemon();
    assert!(!is_alive(left), "the next daemon has swept it away");
    assert_eq!(scene.pid("a"), pid, "its agent was adopted");
}

#[test]
fn a_probe_that_may_not_act_is_refused_as_its_agent_is() {
    let osmoda = env!("CARGO_BIN_EXE_osmoda");
    let scene = Scene::new();
    let ask = format!(
        "{osmoda} --runtime-dir {} pause a --reason me; exit $?",
        scene.run_dir().display()
    );
    let probe = json!({
        "exec": {"command": ["/bin/sh", "-c", ask]},
        "timeout": "30s",
        "failureThreshold": 1,
    });
    scene.declare(&Agent::test("a", "sleep").with("probes", json!({"startup": probe})));
    let _daemon = scene.daemon();
    let failure = scene.entry("the probe fails", |e| e.is("FailureDetected", "a"));
    let answer = failure.body()["facts"]["probe"]["answer"].clone();
    assert!(
        answer.as_str().unwrap().starts_with("exit code 4"),
        "{answer}"
    );
}
