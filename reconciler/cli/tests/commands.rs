//! The built binary, where no daemon is needed: answers on stdout, failures on stderr, exit codes.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says why it leaves something out"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
};

use osmoda_core::{
    event::{Actor, EventKind},
    name::AgentName,
};
use osmoda_ledger::{Commit, Draft, OpenOptions, Store};
use osmoda_runtime::clock::SystemClock;
use serde_json::{Map, Value};

const GOOD: &str =
    "apiVersion: osmoda/v1\nkind: Agent\nmetadata: {name: a}\nspec: {command: [/bin/true]}\n";

/// A scene with a state and a runtime directory of its own; its words are split at spaces.
struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_osmoda"));
        command.args(words.split(' ').filter(|word| !word.is_empty()));
        command.current_dir(self.path()).stdin(Stdio::null());
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| name.to_string_lossy().starts_with("OSMODA_")) {
            command.env_remove(name);
        }
        command.env("OSMODA_STATE_DIR", self.path().join("state"));
        command.env("OSMODA_RUNTIME_DIR", self.path().join("run"));
        command.env("OSMODA_BUNDLES", "directory");
        command
    }

    fn run(&self, words: &str) -> Ran {
        Ran::from(self.command(words).output().unwrap())
    }

    /// A ledger with this many entries, in the state directory.
    fn ledger(&self, entries: usize) {
        let state = self.path().join("state");
        fs::create_dir_all(&state).unwrap();
        let clock = Arc::new(SystemClock::new().unwrap());
        let options = OpenOptions::new("alpha", clock);
        let mut store = Store::open(&state.join("ledger.db"), options).unwrap();
        let draft = |number: usize| {
            let mut body = Map::new();
            body.insert("pid".to_owned(), Value::from(number));
            Draft {
                kind: EventKind::Adopted,
                agent: Some(AgentName::new(["a", "b"][number % 2]).unwrap()),
                incident: None,
                causes: Vec::new(),
                actor: Actor::Reconciler,
                body,
            }
        };
        let commit = Commit {
            entries: (0..entries).map(draft).collect(),
            state: Vec::new(),
        };
        store.commit(&[commit]).unwrap();
    }
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Ran {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.out, self.err
        );
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

#[test]
fn wrong_usage_exits_2_and_says_nothing_on_stdout() {
    let scene = Scene::new();
    for words in [
        "",
        "fly",
        "status --nonsense",
        "restart",
        "restart Not_A_Name",
        "wait --for Someday",
        "events --since yesterday",
        "logs a -n many",
        "ledger show first",
        "run --runtime magic",
    ] {
        let ran = scene.run(words).exits(2);
        assert_eq!(ran.out, "", "{words}");
        assert!(!ran.err.is_empty(), "{words}");
    }
}

#[test]
fn without_a_daemon_every_question_to_it_exits_3_and_says_what_to_do() {
    let scene = Scene::new();
    scene.write("a.yaml", GOOD);
    for words in [
        "status",
        "status a",
        "status --diff",
        "status --watch",
        "describe a",
        "logs a",
        "logs a -f",
        "events",
        "events -f",
        "restart a",
        "pause",
        "resume a",
        "wait --for Ready --timeout 100ms",
        "plan",
        "plan a.yaml",
    ] {
        let ran = scene.run(words).exits(3);
        assert_eq!(ran.out, "", "{words}");
        let socket = scene.path().join("run/osmoda.sock");
        assert!(
            ran.err.contains(&socket.display().to_string()),
            "{words}: {}",
            ran.err
        );
        assert!(
            ran.err.contains("start it with: osmoda run SPECS"),
            "{words}: {}",
            ran.err
        );
    }
}

#[test]
fn valid_specs_are_ok_and_invalid_ones_are_explained() {
    let scene = Scene::new();
    scene.write("good.yaml", GOOD);
    assert_eq!(
        scene.run("validate good.yaml").exits(0).out,
        "ok: 1 agent\n"
    );
    scene.write("bad.yaml", &GOOD.replace("command", "comand"));
    let ran = scene.run("validate bad.yaml").exits(2);
    assert_eq!(ran.out, "");
    assert!(
        ran.err.contains("bad.yaml:4:8") && ran.err.contains("command"),
        "{}",
        ran.err
    );
    assert!(
        !ran.err.contains('\u{1b}'),
        "no colours where no terminal is: {}",
        ran.err
    );
    scene.run("validate .").exits(2);
    scene.run("validate nothing-here").exits(2);
    scene.run("render bad.yaml").exits(2);
    scene.run("plan bad.yaml").exits(2);
}

#[test]
fn a_rendered_spec_is_a_spec_again() {
    let scene = Scene::new();
    scene.write("good.yaml", GOOD);
    let yaml = scene.run("render good.yaml").exits(0).out;
    scene.write("again.yaml", &yaml);
    scene.run("validate again.yaml").exits(0);
    let json = scene.run("render good.yaml -o json").exits(0);
    assert_eq!(json.json()["items"][0]["metadata"]["name"], "a");
}

#[test]
fn a_new_spec_validates_and_is_never_overwritten() {
    let scene = Scene::new();
    let mut command = scene.command("new my-agent --");
    let ran = Ran::from(
        command
            .args(["/bin/echo", "a \"b\" ${c}", "--flag"])
            .output()
            .unwrap(),
    );
    assert!(ran.exits(0).out.starts_with("wrote specs/my-agent.nix\n"));
    let written = fs::read_to_string(scene.path().join("specs/my-agent.nix")).unwrap();
    let again = scene.run("new my-agent -- /bin/other").exits(2);
    assert!(again.err.contains("not overwritten"), "{}", again.err);
    let kept = fs::read_to_string(scene.path().join("specs/my-agent.nix")).unwrap();
    assert_eq!(kept, written);
    scene.run("new Bad_Name -- /bin/x").exits(2);
    scene.run("new no-command").exits(2);
    if Command::new("nix").arg("--version").output().is_err() {
        eprintln!("not validated: there is no nix command here");
        return;
    }
    scene.run("validate specs").exits(0);
    let manifest = scene.run("render specs -o json").exits(0).json();
    let command = &manifest["items"][0]["spec"]["command"];
    assert_eq!(
        *command,
        serde_json::json!(["/bin/echo", "a \"b\" ${c}", "--flag"])
    );
}

#[test]
fn a_ledger_is_read_without_a_daemon() {
    let scene = Scene::new();
    scene.ledger(7);
    let report = scene.run("ledger verify -o json").exits(0).json();
    assert_eq!((&report["ok"], &report["size"]), (&true.into(), &7.into()));
    assert!(scene.run("ledger verify").exits(0).out.starts_with("ok: "));
    let head = scene.run("ledger head -o json").exits(0).json();
    for field in ["origin", "size", "root", "chain", "unanchored"] {
        assert_eq!(head[field], report[field], "{field}");
    }
    let entry = scene.run("ledger show 3 -o json").exits(0).json();
    assert_eq!(
        (&entry["seq"], &entry["entry"]["kind"]),
        (&3.into(), &"Adopted".into())
    );
    let shown = scene.run("ledger show 3").exits(0).out;
    assert!(
        shown.contains("b found running and kept (pid 3)"),
        "{shown}"
    );
    scene.run("ledger show 7").exits(2);
}

#[test]
fn an_export_and_a_backup_verify_again() {
    let scene = Scene::new();
    scene.ledger(7);
    let export = scene.run("ledger export").exits(0).out;
    scene.write("export.jsonl", &export);
    assert_eq!(
        scene
            .run("ledger verify export.jsonl -o json")
            .exits(0)
            .json()["size"],
        7
    );
    scene.write(
        "forged.jsonl",
        &export.replacen("\"pid\":3", "\"pid\":4", 1),
    );
    let forged = scene
        .run("ledger verify forged.jsonl -o json")
        .exits(1)
        .json();
    assert_eq!(
        (&forged["ok"], &forged["firstBad"]),
        (&false.into(), &3.into())
    );
    let of_one = scene.run("ledger export --agent a --since 1h").exits(0).out;
    assert_eq!(of_one.matches("\"agent\":\"a\"").count(), 4, "{of_one}");
    assert!(!of_one.contains("\"agent\":\"b\""));
    scene.run("ledger backup copy.db").exits(0);
    scene.run("ledger verify copy.db").exits(0);
    scene.run("ledger backup copy.db").exits(5);
}

#[test]
fn a_damaged_ledger_exits_1_and_a_missing_one_2() {
    let scene = Scene::new();
    scene.run("ledger verify").exits(2);
    scene.run("ledger head").exits(2);
    scene.ledger(7);
    let path = scene.path().join("state/ledger.db");
    let mut bytes = fs::read(&path).unwrap();
    let needle = b"\"pid\":5";
    let place = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    bytes[place + needle.len() - 1] = b'6';
    fs::write(&path, bytes).unwrap();
    let ran = scene.run("ledger verify").exits(1);
    assert!(ran.out.starts_with("FAILED: entry 5"), "{}", ran.out);
}

#[test]
fn the_manual_and_completions_name_every_command() {
    let scene = Scene::new();
    let help = scene.run("--help").exits(0).out;
    let commands: BTreeSet<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(
        commands.contains("status") && commands.len() > 12,
        "{commands:?}"
    );
    let man = scene.run("man").exits(0).out;
    for shell in ["bash", "zsh", "fish"] {
        let script = scene.run(&format!("completions {shell}")).exits(0).out;
        for command in &commands {
            assert!(
                script.contains(command),
                "{shell} does not complete {command}"
            );
            assert!(
                man.contains(&format!("osmoda\\-{command}")),
                "the manual misses {command}"
            );
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let scene = Scene::new();
    scene.ledger(7);
    let mut command = scene.command("ledger export");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().unwrap());
    // It may have written everything before the pipe was closed; either way it is silent.
    assert_eq!(ran.exits(0).err, "");
}
