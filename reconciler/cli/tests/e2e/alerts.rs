//! Alerts over HTTPS: they arrive once, in order, whatever the provider does and whoever dies.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::support::{Act, Agent, Provider, Scene, eventually, kinds};

/// A scene whose node tells this provider, by a webhook called `ops`.
struct Stage {
    scene: Scene,
    provider: Provider,
}

impl Stage {
    fn new(agents: &[Agent]) -> Self {
        let scene = Scene::with(agents);
        let said = scene.path().join("said");
        let provider = Provider::begin(&said);
        fs::write(said.join("url"), provider.url()).unwrap();
        fs::write(said.join("key"), "a secret that is shared").unwrap();
        let stage = Self { scene, provider };
        stage.declare(&[stage.receiver("ops")]);
        stage
    }

    fn receiver(&self, name: &str) -> Value {
        let said = self.scene.path().join("said");
        json!({
            "name": name, "provider": "Webhook",
            "urlFile": said.join("url"), "keyFile": said.join("key"),
        })
    }

    fn declare(&self, receivers: &[Value]) {
        let node = json!({
            "apiVersion": "osmoda/v1", "kind": "Node", "spec": {"alerts": receivers},
        });
        self.scene.write_spec("node.yaml", &format!("{node}\n"));
    }

    /// `osmoda run`, which trusts the provider's certificate.
    fn run(&self) -> Command {
        let mut command = self.scene.run_command("");
        command.env("SSL_CERT_FILE", self.provider.authority());
        command
    }

    fn until_accepted(&self, count: usize) {
        eventually("the provider has accepted", || {
            (self.provider.accepted().len() >= count).then_some(())
        });
    }

    /// Types of the events that were accepted, in their order.
    fn accepted(&self) -> Vec<String> {
        let accepted = self.provider.accepted();
        let word = |body: &Value| body["type"].as_str().unwrap_or("?").to_owned();
        accepted.iter().map(|one| word(&one.body)).collect()
    }
}

/// It prints its last words and ends, over and over, beyond a budget of one restart.
fn hopeless(name: &str) -> Agent {
    Agent::script(name, "echo the last words; exit 3")
        .with(
            "restart",
            json!({
                "maxRestarts": 1, "within": "1h",
                "backoff": {"initial": "20ms", "factor": 1, "max": "1h"},
            }),
        )
        .with("rollout", json!({"rollback": "Never", "minReady": "300ms"}))
}

#[test]
fn an_agent_beyond_its_budget_is_told_of_and_so_is_its_recovery() {
    let stage = Stage::new(&[hopeless("a")]);
    let daemon = crate::support::Daemon::start(&stage.scene, stage.run());
    let critical = |stage: &Stage| {
        let accepted = stage.provider.accepted();
        let found = accepted
            .into_iter()
            .find(|one| one.body["data"]["severity"] == "Critical");
        found.map(|one| one.body)
    };
    let told = eventually("the alert", || critical(&stage));
    assert_eq!(told["type"], "osmoda.alert.trigger", "{told}");
    assert_eq!(told["subject"], "a");
    assert_eq!(told["data"]["kind"], "EscalationExhausted");
    assert_eq!(told["data"]["lastOutput"], json!(["the last words"]));
    let triggered = stage.accepted().len();

    stage.scene.declare(&Agent::test("a", "sleep"));
    stage.until_accepted(triggered + 1);
    let accepted = stage.provider.accepted();
    let last = &accepted.last().unwrap().body;
    assert_eq!(last["type"], "osmoda.alert.resolve", "{last}");
    let mut keys: Vec<String> = accepted
        .iter()
        .filter(|one| one.body["type"] == "osmoda.alert.trigger")
        .map(|one| one.body["data"]["dedupKey"].to_string())
        .collect();
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all, "no dedup key twice");
    daemon.stops();
    let entries = stage.scene.entries();
    assert!(kinds(&entries).contains(&"AlertQueued".to_owned()));
    stage.scene.verifies();
}

#[test]
fn an_alert_outlives_the_daemon_and_the_providers_outage_and_comes_once() {
    let stage = Stage::new(&[hopeless("a")]);
    stage.provider.always(Act::Close);
    let daemon = crate::support::Daemon::start(&stage.scene, stage.run());
    eventually("it was tried in vain", || {
        let list = stage.scene.json("alerts list");
        let tries = list["items"][0]["tries"].as_u64();
        tries.is_some_and(|tries| tries > 0).then_some(())
    });
    let status = stage.scene.osmoda("status").exits(0).out;
    assert!(
        status.contains("alerts to ops do not get through since "),
        "{status}"
    );
    daemon.kill();
    let tried: Vec<String> = stage.provider.taken().iter().map(id).collect();
    stage.provider.next(&[]);
    let daemon = crate::support::Daemon::start(&stage.scene, stage.run());
    eventually("nothing waits", || {
        let list = stage.scene.json("alerts list");
        list["items"].as_array().unwrap().is_empty().then_some(())
    });
    let accepted: Vec<String> = stage.provider.accepted().iter().map(id).collect();
    assert!(
        accepted.contains(&tried[0]),
        "the very message of before: {accepted:?}"
    );
    let once = accepted.iter().filter(|one| **one == tried[0]).count();
    assert_eq!(once, 1);
    daemon.kill();
    // Another life, and nothing is sent again.
    let before = stage.provider.taken().len();
    let daemon = crate::support::Daemon::start(&stage.scene, stage.run());
    let tested = stage.scene.osmoda("alerts test ops").exits(0).out;
    assert_eq!(tested, "ops (Webhook) has taken the test message\n");
    let after = stage.provider.taken();
    let again = after[before..]
        .iter()
        .filter(|one| accepted.contains(&id(one)));
    assert_eq!(again.count(), 0);
    daemon.stops();
}

fn id(taken: &crate::support::Taken) -> String {
    taken.header("webhook-id").to_owned()
}

#[test]
fn whatever_a_provider_does_its_message_comes_in_the_end_and_once() {
    let stage = Stage::new(&[hopeless("a")]);
    let trouble = [Act::Answer(503), Act::TooMany(2), Act::Redirect, Act::Close];
    stage.provider.next(&trouble);
    let daemon = crate::support::Daemon::start(&stage.scene, stage.run());
    stage.until_accepted(1);
    let taken = stage.provider.taken();
    let ids: Vec<String> = taken.iter().take(5).map(id).collect();
    assert!(
        ids.iter().all(|one| *one == ids[0]),
        "the same id for every try: {ids:?}"
    );
    let accepted = stage.provider.accepted();
    assert_eq!(accepted.iter().filter(|one| id(one) == ids[0]).count(), 1);
    daemon.stops();
    let entries = stage.scene.entries();
    let outages = entries.iter().filter(|entry| entry.kind() == "AlertFailed");
    assert_eq!(outages.count(), 1, "one entry for the outage");
    let log = stage.scene.daemon_log();
    let database = fs::read(stage.scene.state().join("ledger.db")).unwrap();
    for (what, text) in [
        ("log", log),
        ("ledger", String::from_utf8_lossy(&database).into()),
    ] {
        assert!(!text.contains("sesame"), "the URL is in the {what}");
    }
}

#[test]
fn a_provider_that_hangs_delays_no_healing() {
    let stage = Stage::new(&[hopeless("a"), Agent::test("b", "sleep")]);
    stage.provider.always(Act::Hang);
    let daemon = crate::support::Daemon::start(&stage.scene, stage.run());
    let pid = stage.scene.pid("b");
    eventually("it hangs", || {
        (!stage.provider.taken().is_empty()).then_some(())
    });
    crate::support::kill(pid);
    stage.scene.other_pid("b", pid);
    let list = stage.scene.json("alerts list");
    assert_eq!(list["items"][0]["inFlight"], true, "it hangs still: {list}");
    daemon.stops();
}

#[test]
fn a_test_that_fails_says_why_and_exits_1() {
    let stage = Stage::new(&[]);
    let daemon = crate::support::Daemon::start(&stage.scene, stage.run());
    stage.provider.always(Act::Answer(403));
    let ran = stage.scene.osmoda("alerts test ops").exits(1);
    assert_eq!(
        ran.out,
        "ops (Webhook) has not taken the test message: Webhook answered 403\n"
    );
    let missing = stage.scene.osmoda("alerts test nobody").exits(2);
    assert!(
        missing
            .err
            .contains("no receiver of alerts is called nobody"),
        "{}",
        missing.err
    );
    let listed = stage.scene.osmoda("alerts list").exits(0).out;
    assert!(listed.contains("nothing waits"), "{listed}");
    let commands = stage.scene.entries();
    let commands = commands
        .iter()
        .filter(|entry| entry.kind() == "OperatorCommand");
    assert_eq!(commands.count(), 2, "both are on record");
    daemon.stops();
}
