//! Specs whose programs are yet to be built: real Nix, real builds. Where there is no Nix, a test
//! says so and ends.

use std::{env::consts::ARCH, fs, path::Path};

use serde_json::Value;

use crate::support::{Daemon, Nix, kill};

/// A derivation whose program sleeps; it is built when the file `gate` is there.
fn derivation(name: &str, gate: &Path, script: &str) -> String {
    let wait = format!(
        "while ! [ -e {} ]; do /bin/sleep 0.05; done",
        gate.display()
    );
    format!(
        r#"derivation {{
          name = "{name}";
          system = "{ARCH}-linux";
          builder = "/bin/sh";
          args = [ "-c" "{wait}; {script}" ];
        }}"#
    )
}

/// Writes a program that says its name and sleeps.
const PROGRAM: &str =
    "echo '#!/bin/sh' > $out; echo 'exec /bin/sleep 1000 # '$name >> $out; /bin/chmod +x $out";

fn spec(derivation: &str) -> String {
    format!(
        r#"{{ command = [ "${{{derivation}}}" ]; rollout.minReady = "300ms"; stop.gracePeriod = "1s"; }}"#
    )
}

fn is_building(status: &Value) -> bool {
    let mut all = status["conditions"].as_array().unwrap().iter();
    all.any(|c| c["type"] == "Progressing" && c["reason"] == "Building")
}

#[test]
fn what_a_spec_mentions_is_built_in_the_background_and_kept_from_the_collector() {
    let Some(nix) = Nix::new() else { return };
    let gate = nix.root().join("gate");
    nix.declare_in_nix("a", &spec(&derivation("first", Path::new("/"), PROGRAM)));
    let _daemon = nix.daemon();
    nix.is_good("a", 1);
    let pid = nix.scene.pid("a");
    nix.declare_in_nix("a", &spec(&derivation("second", &gate, PROGRAM)));
    nix.scene.until("a", "is being built", is_building);
    assert_eq!(nix.scene.pid("a"), pid, "it lives on meanwhile");
    kill(pid);
    nix.scene.other_pid("a", pid);
    fs::write(&gate, "").unwrap();
    nix.is_good("a", 2);
    let bundle = nix.active("a")["storePath"].as_str().unwrap().to_owned();
    let closure = nix.run("nix-store", &["--query", "--references", &bundle]);
    assert!(closure.ends_with("-second"), "{closure}");
    nix.run("nix-store", &["--gc"]);
    assert!(Path::new(&closure).exists());
    let build = nix.scene.entry("it was built", |e| {
        e.is_about("ActionSucceeded", "Build", "a") && e.body()["note"] == bundle.as_str()
    });
    let intent = nix.scene.entries();
    let intent = intent.iter().find(|e| Some(e.seq) == build.cause());
    assert_eq!(intent.unwrap().body()["action"], "Build");
}

#[test]
fn a_build_that_fails_is_told_with_its_log_and_leaves_the_old_generation_alone() {
    let Some(nix) = Nix::new() else { return };
    let always = Path::new("/");
    nix.declare_in_nix("a", &spec(&derivation("first", always, PROGRAM)));
    let _daemon = nix.daemon();
    nix.is_good("a", 1);
    let pid = nix.scene.pid("a");
    let broken = "echo the linker is on holiday; exit 3";
    nix.declare_in_nix("a", &spec(&derivation("second", always, broken)));
    let failed = nix.scene.entry("it cannot be built", |e| {
        e.is_about("ActionFailed", "Build", "a")
    });
    let message = failed.body()["message"].as_str().unwrap();
    assert!(message.contains("could not be built"), "{message}");
    assert!(message.contains("the linker is on holiday"), "{message}");
    let waited = nix
        .scene
        .osmoda("wait a --for Proven --timeout 30s")
        .exits(1);
    waited.saying(&["cannot be made", "the linker is on holiday"]);
    assert_eq!(nix.scene.pid("a"), pid);
    nix.declare_in_nix("a", &spec(&derivation("third", always, PROGRAM)));
    nix.is_good("a", 2);
}

#[test]
fn of_a_flake_each_agent_has_its_own_built() {
    let Some(nix) = Nix::new() else { return };
    let always = Path::new("/");
    let flake = nix.root().join("flake");
    fs::create_dir(&flake).unwrap();
    let text = format!(
        "{{ outputs = _: {{ agents = {{ a = {}; b = {}; }}; }}; }}",
        spec(&derivation("first", always, PROGRAM)),
        spec(&derivation("second", always, "exit 1")),
    );
    fs::write(flake.join("flake.nix"), text).unwrap();
    let reference = format!("path:{}#agents", flake.display());
    let words = format!("run {reference} --runtime native --bundles store");
    let command = nix.scene.command(&words);
    let _daemon = Daemon::start(&nix.scene, nix.in_store(command, ""));
    nix.is_good("a", 1);
    nix.scene.entry("the other cannot be built", |e| {
        e.is_about("ActionFailed", "Build", "b")
    });
}

#[test]
fn evaluating_builds_and_writes_nothing() {
    let Some(nix) = Nix::new() else { return };
    nix.declare_in_nix("a", &spec(&derivation("first", Path::new("/"), PROGRAM)));
    for words in ["validate specs", "render specs"] {
        let command = nix.in_store(nix.scene.command(words), "");
        let ran = crate::support::Ran::from({ command }.output().unwrap());
        ran.exits(0);
    }
    let store = nix.root().join("store");
    assert_eq!(
        fs::read_dir(store).unwrap().count(),
        0,
        "nothing was written"
    );
}
