//! Generations in a Nix store: real Nix, real collections, real processes. The store is one of
//! the test's own; where there is no Nix, a test says so and ends.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};

use crate::support::{Nix, Ran, eventually, kill};

#[test]
fn what_a_generation_needs_outlives_the_collector_and_a_bad_deploy_goes_back_to_it() {
    let Some(nix) = Nix::new() else { return };
    let (first, second, unused) = (
        nix.program("first"),
        nix.program("second"),
        nix.program("unused"),
    );
    nix.deploy("a", &first, "sleep");
    let _daemon = nix.daemon();
    nix.is_good("a", 1);
    let bundle = nix.active("a")["storePath"].as_str().unwrap().to_owned();
    assert!(bundle.starts_with(&nix.root().join("store").display().to_string()));
    let closure = nix.run("nix-store", &["--query", "--requisites", &bundle]);
    assert!(closure.contains(first.to_str().unwrap()), "{closure}");
    nix.scene.entry("its closure is verified", |e| {
        e.is("ClosureVerified", "a") && e.body()["damage"] == json!([])
    });

    nix.run("nix-store", &["--gc"]);
    assert!(first.exists() && second.exists() == unused.exists());
    assert!(!unused.exists(), "nothing refers to it");
    let second = nix.program("second");
    nix.deploy("a", &second, "exit 3");
    nix.scene
        .entry("it goes back", |e| e.is("RollbackSucceeded", "a"));
    nix.run("nix-store", &["--gc"]);
    assert!(first.exists() && second.exists(), "both are generations");
    let is_back = |s: &Value| s["ready"] == true && s["generation"]["active"]["number"] == 1;
    nix.scene.until("a", "is back", is_back);
    let pid = nix.scene.pid("a");
    kill(pid);
    nix.scene.other_pid("a", pid);
    nix.scene.verifies();
}

#[test]
fn a_person_with_nix_env_is_respected() {
    let Some(nix) = Nix::new() else { return };
    let program = nix.program("first");
    nix.deploy("a", &program, "sleep");
    let _daemon = nix.daemon();
    nix.is_good("a", 1);
    nix.deploy("a", &program, "print second then sleep");
    nix.is_good("a", 2);
    let profile = nix.scene.state().join("profiles/a").display().to_string();
    let listed = nix.run("nix-env", &["--profile", &profile, "--list-generations"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let pid = nix.scene.pid("a");
    nix.run(
        "nix-env",
        &["--profile", &profile, "--switch-generation", "1"],
    );
    nix.scene.osmoda("restart a").exits(0);
    nix.scene.other_pid("a", pid);
    nix.scene
        .entry("it is on record", |e| e.is("OutsideAction", "a"));
    assert_eq!(nix.active("a")["number"], 1);
    let diff = nix.scene.osmoda("status --diff").exits(1);
    diff.telling(&["switched outside osmoda"]);
}

#[test]
fn a_program_that_somebody_deleted_is_not_started_and_the_way_out_is_named() {
    let Some(nix) = Nix::new() else { return };
    let program = nix.program("first");
    nix.deploy("a", &program, "sleep");
    let _daemon = nix.daemon();
    nix.is_good("a", 1);
    let pid = nix.scene.pid("a");
    let copy = nix.root().join("copy");
    nix.copy(&program, &copy);
    nix.delete(&program);
    kill(pid);
    let refused = nix.scene.entry("it is not started", |e| {
        e.is("ActionFailed", "a") && e.body()["action"] == "Start"
    });
    let message = refused.body()["message"].as_str().unwrap().to_owned();
    let repair = format!("nix-store --repair-path {}", program.display());
    assert!(message.contains(&repair), "{message}");
    let status = nix.scene.until("a", "says so", |s| s["phase"] == "Failed");
    assert!(status["message"].as_str().unwrap().contains(&repair));
    nix.copy(&copy, &program);
    nix.scene.until("a", "runs again", |s| s["ready"] == true);
}

#[test]
fn a_bundle_that_was_deleted_is_written_anew_by_the_next_daemon() {
    let Some(nix) = Nix::new() else { return };
    nix.deploy("a", &nix.program("first"), "sleep");
    let daemon = nix.daemon();
    nix.is_good("a", 1);
    let bundle = nix.active("a")["storePath"].as_str().unwrap().to_owned();
    daemon.kill();
    let pid = nix.scene.processes()["a"].clone();
    nix.run("nix-store", &["--delete", "--ignore-liveness", &bundle]);
    let _daemon = nix.daemon();
    eventually("it is written anew", || {
        Path::new(&bundle).exists().then_some(())
    });
    nix.scene.until("a", "is known again", |s| {
        s["ready"] == true && s["generation"]["active"]["number"] == 1
    });
    assert_eq!(nix.scene.processes()["a"], pid, "it was not touched");
}

#[test]
fn what_cannot_be_fetched_leaves_the_old_generation_alone() {
    let Some(nix) = Nix::new() else { return };
    nix.deploy("a", &nix.program("first"), "sleep");
    let _daemon = nix.daemon();
    nix.is_good("a", 1);
    let pid = nix.scene.pid("a");
    let absent = nix
        .root()
        .join("store/00000000000000000000000000000000-later");
    nix.deploy("a", &absent, "sleep");
    nix.scene.entry("it cannot be made", |e| {
        e.is("ActionFailed", "a") && e.body()["action"] == "Build"
    });
    let waited = nix
        .scene
        .osmoda("wait a --for Proven --timeout 30s")
        .exits(1);
    waited.saying(&["cannot be made", "could not be fetched", "nix copy"]);
    let status = nix.scene.look("a").unwrap();
    let progressing = status["conditions"].as_array().unwrap();
    let progressing = progressing.iter().find(|c| c["type"] == "Progressing");
    assert_eq!(progressing.unwrap()["reason"], "BuildFailed");
    assert_eq!(
        (status["ready"].clone(), nix.scene.pid("a")),
        (json!(true), pid)
    );
    kill(pid);
    nix.scene.other_pid("a", pid);
    nix.deploy("a", &nix.program("second"), "sleep");
    nix.is_good("a", 2);
}

#[test]
fn a_fetch_that_hangs_delays_nobody_else_and_is_overtaken_by_a_newer_spec() {
    let Some(nix) = Nix::new() else { return };
    // Whoever connects waits for ever.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let substituter = format!("http://{}", silent.local_addr().unwrap());
    let program = nix.program("first");
    nix.deploy("a", &program, "sleep");
    let _daemon = nix.daemon_with(&substituter);
    nix.is_good("a", 1);
    let absent = nix
        .root()
        .join("store/00000000000000000000000000000000-later");
    nix.deploy("a", &absent, "sleep");
    let building = |s: &Value| {
        let mut all = s["conditions"].as_array().unwrap().iter();
        all.any(|c| c["type"] == "Progressing" && c["reason"] == "Building")
    };
    nix.scene.until("a", "is being built", building);
    nix.deploy("b", &program, "sleep");
    nix.is_good("b", 1);
    let pid = nix.scene.pid("a");
    kill(pid);
    nix.scene.other_pid("a", pid);
    nix.deploy("a", &program, "print second then sleep");
    nix.is_good("a", 2);
}

#[test]
fn damage_is_found_by_hashing_put_on_record_and_lifted_when_it_is_gone() {
    let Some(nix) = Nix::new() else { return };
    let program = nix.program("first");
    nix.deploy("a", &program, "sleep");
    let _daemon = nix.daemon();
    nix.is_good("a", 1);
    nix.deploy("a", &nix.program("second"), "sleep");
    nix.is_good("a", 2);
    nix.scene.osmoda("generations a --verify").exits(0);
    let script = program.join("bin/run");
    let whole = fs::read(&script).unwrap();
    let spoil = |content: &[u8]| {
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&script, content).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o555)).unwrap();
    };
    spoil(b"#!/bin/sh\nexec sleep 1\n");
    let found: Ran = nix.scene.osmoda("generations a --verify").exits(1);
    let repair = format!("nix-store --repair-path {}", program.display());
    found.telling(&["generation 1 is damaged", "was modified", &repair]);
    nix.scene.entry("it is on record", |e| {
        e.is("ClosureVerified", "a") && e.body()["damage"] != json!([])
    });
    let refused = nix.scene.osmoda("rollback a").exits(2);
    refused.saying(&["no other generation that is known to be good"]);
    nix.scene.osmoda("rollback a --to 1").exits(0);
    let failed = nix
        .scene
        .entry("it is not activated", |e| e.is("RollbackFailed", "a"));
    assert!(failed.body()["message"].as_str().unwrap().contains(&repair));
    assert_eq!(nix.active("a")["number"], 2);
    spoil(&whole);
    nix.scene.osmoda("generations a --verify").exits(0);
    nix.scene.osmoda("rollback a --wait").exits(0);
    assert_eq!(nix.active("a")["number"], 1);
}
