//! Specs that no daemon can like: each is refused where it stands, and hurts nobody else.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{Agent, Scene, is_installed, is_root};

/// A user with nothing: nobody, on Debian and on NixOS.
const NOBODY: u32 = 65534;

fn spec(fields: &str) -> String {
    format!("apiVersion: osmoda/v1\nkind: Agent\nmetadata: {{name: NAME}}\nspec:\n{fields}")
}

/// Ten aliases of ten aliases of ...: a billion values from a few lines.
fn alias_bomb() -> String {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{below}]\n");
    }
    text
}

/// File, content, and words of the error.
fn mistakes() -> Vec<(&'static str, String, &'static [&'static str])> {
    let run = "  command: [/bin/true]\n";
    let mut all: Vec<(_, _, &'static [&'static str])> = vec![
        (
            "malformed.yaml",
            "kind: [Agent\n".to_owned(),
            &["malformed.yaml:"],
        ),
        (
            "malformed.json",
            "{\"kind\": \n".to_owned(),
            &["malformed.json:"],
        ),
        ("bomb.yaml", alias_bomb(), &["bomb.yaml:"]),
        (
            "unknown.yaml",
            spec("  comand: [/bin/true]\n"),
            &["unknown.yaml:5:3", "comand", "command"],
        ),
        (
            "type.yaml",
            spec("  command: /bin/true\n"),
            &["type.yaml:5:12", "spec.command"],
        ),
        (
            "range.yaml",
            spec(&format!("{run}  restart: {{maxRestarts: -1}}\n")),
            &["range.yaml:6"],
        ),
        (
            "unit.yaml",
            spec(&format!("{run}  stop: {{gracePeriod: 10 s}}\n")),
            &["unit.yaml:6"],
        ),
        (
            "absent.yaml",
            spec("  environment: {}\n"),
            &["absent.yaml:", "command"],
        ),
        (
            "name.yaml",
            spec(run).replace("NAME", "No_Name"),
            &["name.yaml:3", "No_Name"],
        ),
        (
            "empty.yaml",
            String::new(),
            &["empty.yaml", "declares nothing"],
        ),
        ("once.yaml", spec(run).replace("NAME", "twice"), &["twice"]),
        ("again.yaml", spec(run).replace("NAME", "twice"), &["twice"]),
    ];
    for (name, on) in [("x", "y"), ("y", "z"), ("z", "x")] {
        let file = match name {
            "x" => "x.yaml",
            "y" => "y.yaml",
            _ => "z.yaml",
        };
        let circle = spec(&format!("{run}  dependsOn: [{on}]\n")).replace("NAME", name);
        all.push((file, circle, &["circle"]));
    }
    if is_installed("nix-instantiate") {
        all.push((
            "syntax.nix",
            "{ command = [ \"/bin/true\" ;".to_owned(),
            &["syntax.nix:1"],
        ));
        all.push((
            "throws.nix",
            "{ command = throw \"no\"; }".to_owned(),
            &["throws.nix"],
        ));
    }
    for (file, text, _) in &mut all {
        let name = file.split('.').next().unwrap();
        *text = text.replace("NAME", name);
    }
    all
}

#[test]
fn every_mistake_is_refused_where_it_stands_and_the_valid_agent_runs() {
    let scene = Scene::with(&[Agent::test("good", "sleep")]);
    for (file, text, _) in mistakes() {
        scene.write_spec(file, &text);
    }
    let report = scene.osmoda("validate specs").exits(2);
    for (file, _, words) in mistakes() {
        for word in words {
            assert!(
                report.err.contains(word),
                "{file}: no {word:?} in\n{}",
                report.err
            );
        }
    }
    let _daemon = scene.daemon();
    scene.pid("good");
    let errors = scene.json("status")["node"]["specErrors"].clone();
    let said = |file: &str| {
        let mut all = errors.as_array().unwrap().iter();
        let of_it = |e: &&Value| e["file"].as_str().unwrap().ends_with(&format!("/{file}"));
        all.find(of_it).map(|e| e["errors"].clone())
    };
    for (file, ..) in mistakes() {
        let said = said(file);
        assert!(
            said.is_some_and(|e| !e.as_array().unwrap().is_empty()),
            "{file}: {errors:#}"
        );
    }
    let names: Vec<_> = scene.processes().into_keys().collect();
    assert_eq!(names, ["good"], "nothing else runs");
    let rejected = scene.entries();
    let rejected = rejected
        .iter()
        .filter(|e| e.kind() == "SpecRejected")
        .count();
    assert_eq!(rejected, mistakes().len());
    scene.verifies();
}

#[test]
fn each_mistake_alone_is_refused_with_exit_code_2() {
    for (file, text, words) in mistakes() {
        let scene = Scene::new();
        scene.write_spec(file, &text);
        let ran = scene.osmoda("validate specs");
        let alone_is_fine = ["once.yaml", "again.yaml"].contains(&file);
        if alone_is_fine {
            ran.exits(0);
            continue;
        }
        let ran = ran.exits(2);
        assert_eq!(ran.out, "", "{file}");
        // A circle that is not closed lacks an agent instead.
        if words != ["circle"] {
            ran.saying(words);
        }
    }
}

#[test]
fn a_program_that_is_not_there_is_named_and_comes_to_run_when_it_is() {
    let scene = Scene::new();
    let program = scene.path().join("later");
    let restart = json!({"backoff": {"initial": "50ms", "max": "100ms"}});
    scene.declare(&Agent::running("a", &[program.to_str().unwrap()]).with("restart", restart));
    let _daemon = scene.daemon();
    let status = scene.until("a", "cannot be started", |status| {
        status["phase"] == "Failed"
    });
    let message = status["message"].as_str().unwrap();
    assert!(message.contains(program.to_str().unwrap()), "{message}");
    assert!(message.contains("No such file"), "{message}");
    let failed = scene.entry("recorded", |e| e.is_about("ActionFailed", "Start", "a"));
    assert_eq!(failed.body()["message"], message);
    scene
        .osmoda("wait a --for Ready --timeout 30s")
        .exits(1)
        .saying(&["later"]);
    scene.has_no_agents();

    fs::write(&program, "#!/bin/sh\nexec sleep 300\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    scene.pid("a");
    scene.verifies();
}

#[test]
fn specs_that_are_not_there_end_the_daemon_before_it_begins() {
    let scene = Scene::new();
    fs::remove_dir(scene.specs()).unwrap();
    let ran = scene.failing_daemon(scene.run_command("")).exits(2);
    ran.saying(&["there is no ", "specs"]);
    scene.osmoda("status").exits(3);
    scene.osmoda("validate specs").exits(2);
}

#[test]
fn specs_that_may_not_be_read_end_the_daemon_before_it_begins() {
    if !is_root() || !is_installed("setpriv") {
        return;
    }
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    fs::set_permissions(scene.specs(), fs::Permissions::from_mode(0o700)).unwrap();
    for place in [scene.state(), scene.run_dir()] {
        fs::create_dir(&place).unwrap();
        chown(&place, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut command = Command::new("setpriv");
    let user = NOBODY.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    command.arg(scene.binary_for_all());
    let command = scene.in_place(command, "run specs --runtime native");
    let ran = scene.failing_daemon(command).exits(2);
    ran.saying(&["cannot read", "specs", "Permission denied"]);
    scene.has_no_agents();
}

#[test]
fn specs_that_vanish_while_the_daemon_runs_stop_no_agent() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let daemon = scene.daemon();
    let pid = scene.pid("a");
    let aside = scene.path().join("aside");
    fs::rename(scene.specs(), &aside).unwrap();
    scene.entry("it is said", |e| e.kind() == "SpecRejected");
    assert_eq!(scene.pid("a"), pid);
    daemon.kill();
    // A new daemon knows the agent from before: it supervises without specs.
    let _daemon = scene.daemon();
    assert_eq!(scene.pid("a"), pid);
    fs::rename(&aside, scene.specs()).unwrap();
    scene.until("a", "its spec is valid again", |status| {
        let mut all = status["conditions"].as_array().unwrap().iter();
        all.any(|c| c["type"] == "SpecValid" && c["status"] == "True")
    });
    assert_eq!(scene.pid("a"), pid);
    scene.verifies();
}
