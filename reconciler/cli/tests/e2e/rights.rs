//! Who may look and who may act; every attempt is on record.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{Agent, Daemon, Ran, Scene, eventually, is_installed, is_root};

/// A user without rights: nobody, on Debian and on NixOS.
const NOBODY: u32 = 65534;
/// A group that no machine has; the daemon runs in it, as a service with Group= does.
const GROUP: u32 = 424_242;

/// Whether this machine lets a test be another user.
fn can_be_another() -> bool {
    is_root() && is_installed("setpriv")
}

fn daemon_in_group(scene: &Scene) -> Daemon<'_> {
    let mut command = Command::new("setpriv");
    command.args(["--regid", &GROUP.to_string(), "--clear-groups"]);
    command.arg(env!("CARGO_BIN_EXE_osmoda"));
    Daemon::start(scene, scene.in_place(command, "run specs --runtime native"))
}

fn nobody(scene: &Scene, groups: &str, words: &str) -> Command {
    let mut command = Command::new("setpriv");
    let user = NOBODY.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--groups", groups]);
    command.arg(scene.binary_for_all());
    scene.in_place(command, words)
}

fn as_nobody(scene: &Scene, groups: &str, words: &str) -> Ran {
    Ran::from(nobody(scene, groups, words).output().unwrap())
}

/// A node with a receiver of alerts, `ops`, that nothing listens for.
fn declare_a_receiver(scene: &Scene) {
    let url = scene.path().join("url");
    fs::write(&url, "https://127.0.0.1:9/").unwrap();
    let receiver = json!({"name": "ops", "provider": "Slack", "urlFile": url});
    let node = json!({
        "apiVersion": "osmoda/v1", "kind": "Node", "spec": {"alerts": [receiver]},
    });
    scene.write_spec("node.json", &node.to_string());
}

/// The refused command that is on record as this verb, of the user without rights.
fn attempt(scene: &Scene, verb: &str) {
    let attempt = scene.entry("the attempt is recorded", |e| {
        e.kind() == "OperatorCommand" && e.body()["verb"] == verb
    });
    assert_eq!(attempt.body()["accepted"], false, "{verb}");
    assert_eq!(attempt.fields["actor"]["uid"], NOBODY, "{verb}");
}

#[test]
fn a_member_of_the_sockets_group_may_look_and_is_refused_and_recorded_when_it_acts() {
    if !can_be_another() {
        return;
    }
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    declare_a_receiver(&scene);
    let _daemon = daemon_in_group(&scene);
    let pid = scene.pid("a");
    let group = GROUP.to_string();
    for words in [
        "status",
        "describe a",
        "events",
        "plan",
        "status --diff",
        "logs a",
    ] {
        as_nobody(&scene, &group, words).exits(0);
    }
    for (words, verb) in [
        ("restart a", "restart"),
        ("pause --reason mine", "pause"),
        ("resume a", "resume"),
        ("rollback a --to 1", "rollback"),
        ("rollback --system", "rollback --system"),
        ("generations a --verify", "verify"),
        ("alerts test ops", "alerts test"),
        ("ledger key --rotate", "ledger key --rotate"),
    ] {
        let ran = as_nobody(&scene, &group, words)
            .exits(4)
            .saying(&["you may look, but not act"]);
        assert_eq!(ran.out, "", "{words}");
        attempt(&scene, verb);
    }
    assert_eq!(scene.pid("a"), pid);
    assert!(scene.entries().iter().all(|e| e.kind() != "Paused"));

    as_nobody(&scene, "4711", "status")
        .exits(4)
        .saying(&["you may not connect"]);
    scene.verifies();
}

#[test]
fn an_assistant_that_may_act_has_no_more_rights_than_its_user() {
    if !can_be_another() {
        return;
    }
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let _daemon = daemon_in_group(&scene);
    let pid = scene.pid("a");
    let call = |tool: &str, arguments: Value| {
        json!({
            "jsonrpc": "2.0", "id": tool, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        })
    };
    let calls = [
        call("status", json!({})),
        call("restart", json!({"agent": "a"})),
        call("pause", json!({"agent": "a", "reason": "mine"})),
        call("rollback", json!({"agent": "a"})),
    ];
    let lines: String = calls.iter().map(|call| format!("{call}\n")).collect();
    let asked = scene.path().join("asked");
    fs::write(&asked, lines).unwrap();
    let mut command = nobody(&scene, &GROUP.to_string(), "mcp --allow-actions");
    command.stdin(File::open(&asked).unwrap());
    let ran = Ran::from(command.output().unwrap()).exits(0);

    let answers: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers[0]["result"]["isError"], false, "{}", ran.out);
    for answer in &answers[1..] {
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        assert!(answer.to_string().contains("you may look, but not act"));
        attempt(&scene, answer["id"].as_str().unwrap());
    }
    assert_eq!((answers.len(), scene.pid("a")), (4, pid));
    scene.verifies();
}

#[test]
fn an_operator_that_the_node_names_may_act() {
    if !can_be_another() {
        return;
    }
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let node = json!({
        "apiVersion": "osmoda/v1", "kind": "Node",
        "spec": {"operators": {"users": ["nobody"]}},
    });
    scene.write_spec("node.json", &node.to_string());
    let _daemon = daemon_in_group(&scene);
    let pid = scene.pid("a");
    as_nobody(&scene, &GROUP.to_string(), "restart a --wait --timeout 40s").exits(0);
    scene.other_pid("a", pid);
    let command = scene.entry("recorded", |e| e.is("OperatorCommand", "a"));
    assert_eq!(command.fields["actor"]["uid"], NOBODY);
    assert_eq!(command.body()["accepted"], true);
}

#[test]
fn a_process_inside_an_agent_may_look_but_never_act() {
    let scene = Scene::new();
    let osmoda = env!("CARGO_BIN_EXE_osmoda");
    let script = format!(
        "{osmoda} status victim >/dev/null; echo looked=$?; \
         {osmoda} restart victim; echo plain=$?; \
         (trap '' TERM; {osmoda} pause victim --reason mine); echo nested=$?; \
         env -i setsid -w {osmoda} restart victim --state-dir {state} --runtime-dir {run}; \
         echo hidden=$?; exec sleep 300",
        state = scene.state().display(),
        run = scene.run_dir().display(),
    );
    scene.declare(&Agent::test("victim", "sleep"));
    let _daemon = scene.daemon();
    let victim = scene.pid("victim");
    let places = json!({"OSMODA_STATE_DIR": scene.state(), "OSMODA_RUNTIME_DIR": scene.run_dir()});
    scene.declare(&Agent::script("rogue", &script).with("environment", places));
    let said = eventually("the agent has tried everything", || {
        let said = scene.osmoda("logs rogue").out;
        said.contains("hidden=").then_some(said)
    });
    let codes: Vec<_> = said
        .lines()
        .filter(|line| line.contains('=') && !line.contains(' '))
        .collect();
    let hidden = if is_installed("setsid") {
        "hidden=4"
    } else {
        "hidden=127"
    };
    assert_eq!(codes, ["looked=0", "plain=4", "nested=4", hidden], "{said}");
    assert!(
        said.contains("a process of an agent may not act on agents"),
        "{said}"
    );
    let attempts = scene.entries_of("victim");
    let attempts: Vec<_> = attempts
        .iter()
        .filter(|e| e.kind() == "OperatorCommand")
        .collect();
    assert!(attempts.len() >= 2 && attempts.iter().all(|e| e.body()["accepted"] == false));
    assert_eq!(scene.pid("victim"), victim);
    scene.verifies();
}

#[test]
fn an_agent_of_another_user_reads_no_credential_of_another_and_no_ledger() {
    if !can_be_another() {
        return;
    }
    let scene = Scene::new();
    let token = scene.path().join("token");
    fs::write(&token, "hunter-two").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let credential = json!({"key": {"path": token, "environmentVariable": "KEY"}});
    let owner = Agent::script("owner", "echo $CREDENTIALS_DIRECTORY; exec sleep 300");
    scene.declare(&owner.with("credentials", credential));
    let _daemon = scene.daemon();
    let pid = scene.pid("owner");
    let place = eventually("its credentials are somewhere", || {
        let said = scene.osmoda("logs owner").out;
        said.lines().next().map(str::to_owned)
    });
    let state = scene.state().display().to_string();
    let attempts = [
        ("credential", format!("{place}/key")),
        ("source", token.display().to_string()),
        ("variables", format!("/proc/{pid}/environ")),
        ("ledger", format!("{state}/ledger.db")),
        ("log", format!("{state}/ledger.db-wal")),
        ("signing", format!("{state}/ledger.key")),
    ];
    let tries = attempts
        .iter()
        .map(|(name, file)| format!("head -c 1 {file} >/dev/null 2>&1; echo {name}=$?; "));
    let script = tries.collect::<String>() + "echo over; exec sleep 300";
    let tried = |name: &str| {
        let said = eventually("the agent has tried everything", || {
            let said = scene.osmoda(&format!("logs {name}")).out;
            said.ends_with("over\n").then_some(said)
        });
        let codes = said.lines().filter_map(|line| line.split_once('='));
        codes.map(|(_, code)| code == "0").collect::<Vec<_>>()
    };
    // Whoever is the daemon's user reads all of it: the places are the right ones.
    scene.declare(&Agent::script("friend", &script));
    assert_eq!(tried("friend"), [true; 6]);
    scene.declare(&Agent::script("stranger", &script).with("user", json!("nobody")));
    assert_eq!(tried("stranger"), [false; 6]);
    scene.verifies();
}

#[test]
fn who_is_refused_again_and_again_does_not_fill_the_ledger() {
    if !can_be_another() {
        return;
    }
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let _daemon = daemon_in_group(&scene);
    let pid = scene.pid("a");
    let group = GROUP.to_string();
    for _ in 0..5 {
        as_nobody(&scene, &group, "restart a").exits(4);
        as_nobody(&scene, &group, "ledger key --rotate").exits(4);
    }
    let attempts = |verb: &str| {
        let entries = scene.entries();
        let of_verb = entries
            .iter()
            .filter(|e| e.kind() == "OperatorCommand" && e.body()["verb"] == verb);
        of_verb.count()
    };
    // The others are counted, and written once the minute is over.
    scene.entry("the first attempt is recorded", |e| {
        e.body()["verb"] == "ledger key --rotate"
    });
    assert_eq!(
        (attempts("restart"), attempts("ledger key --rotate")),
        (1, 1)
    );
    assert_eq!(scene.pid("a"), pid);
    scene.verifies();
}
