//! Measures a switch of generations; `cargo xtask bench rollback` builds it, runs it and makes
//! the table.
//!
//! `nix-bench DIRECTORY ROUNDS` makes a Nix store of its own in an empty directory and two
//! generations of an agent, and goes back from the second to the first in turns: as osmoda does
//! it (check, lock, link, sync) with bundles in the store and with bundles in a directory, with
//! `nix-env --rollback`, and with nothing but a link, a rename and a sync of the directory.
//! Prints one JSON object with every sample in nanoseconds.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers: what goes wrong ends it"
)]

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use osmoda_core::{name::AgentName, observed::Generation};
use osmoda_nix::{
    profiles::{Profiles, SymlinkProfiles},
    store::NixStore,
};
use serde_json::json;

/// An agent with two generations, of which the second is active.
struct Contender {
    profiles: SymlinkProfiles,
    profile: PathBuf,
    old: Generation,
    new: Generation,
}

impl Contender {
    fn new(root: &Path, name: &str, store: Option<NixStore>, manifests: &[String; 2]) -> Self {
        let [profile_dir, bundle_dir] = ["profiles", "bundles"].map(|d| root.join(name).join(d));
        let profiles = SymlinkProfiles::open(&profile_dir, &bundle_dir, store).unwrap();
        let [old, new] = manifests
            .each_ref()
            .map(|manifest| profiles.activate(&agent(), manifest).unwrap());
        Self {
            profiles,
            profile: profile_dir.join(agent().as_str()),
            old,
            new,
        }
    }

    /// Goes back as osmoda does, and forth again.
    fn switch(&self) -> Duration {
        let start = Instant::now();
        self.profiles.switch(&agent(), &self.old).unwrap();
        let took = start.elapsed();
        self.profiles.switch(&agent(), &self.new).unwrap();
        took
    }

    /// Goes back as nix-env does, and forth again.
    fn nix_env(&self, root: &Path) -> Duration {
        let mut command = nix(root, "nix-env");
        command
            .arg("--profile")
            .arg(&self.profile)
            .arg("--rollback");
        let start = Instant::now();
        let output = command.output().unwrap();
        let took = start.elapsed();
        assert!(output.status.success(), "{output:?}");
        let active = self.profiles.active(&agent()).unwrap();
        assert_eq!(active.as_ref(), Some(&self.old));
        self.profiles.switch(&agent(), &self.new).unwrap();
        took
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let root = Path::new(&arguments[1]).canonicalize().unwrap();
    let rounds: usize = arguments[2].parse().unwrap();
    fs::create_dir(root.join("store")).unwrap();
    let store = NixStore::private(&root).unwrap();
    store.probe().unwrap();
    let manifests = [program(&root, "old"), program(&root, "new")].map(|path| manifest(&path));

    let in_store = Contender::new(&root, "in-store", Some(store.clone()), &manifests);
    let in_directory = Contender::new(&root, "in-directory", None, &manifests);
    let by_nix_env = Contender::new(&root, "by-nix-env", Some(store), &manifests);
    let floor = root.join("floor");
    fs::create_dir(&floor).unwrap();

    let mut samples = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let took = [
            in_store.switch(),
            in_directory.switch(),
            by_nix_env.nix_env(&root),
            link(&floor),
        ];
        for (samples, took) in samples.iter_mut().zip(took) {
            samples.push(u64::try_from(took.as_nanos()).unwrap());
        }
    }
    let [in_store, in_directory, nix_env, floor] = samples;
    let version = nix(&root, "nix-env").arg("--version").output().unwrap();
    let printed = json!({
        "nix": String::from_utf8_lossy(&version.stdout).trim(),
        "storeNs": in_store,
        "directoryNs": in_directory,
        "nixEnvNs": nix_env,
        "floorNs": floor,
    });
    println!("{printed}");
}

fn agent() -> AgentName {
    AgentName::new("agent").unwrap()
}

/// A program in the store.
fn program(root: &Path, name: &str) -> String {
    let source = root.join(name);
    fs::create_dir_all(source.join("bin")).unwrap();
    fs::write(source.join("bin/run"), format!("#!/bin/sh\nexec {name}\n")).unwrap();
    let output = nix(root, "nix-store")
        .arg("--add")
        .arg(&source)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn manifest(program: &str) -> String {
    json!({"spec": {"command": [format!("{program}/bin/run")]}}).to_string()
}

/// The least that a switch can be.
fn link(dir: &Path) -> Duration {
    let start = Instant::now();
    let temporary = dir.join("new");
    symlink("target", &temporary).unwrap();
    fs::rename(&temporary, dir.join("link")).unwrap();
    File::open(dir).unwrap().sync_all().unwrap();
    start.elapsed()
}

fn nix(root: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove("NIX_REMOTE")
        .env("HOME", root)
        .env("NIX_STORE_DIR", root.join("store"))
        .env("NIX_STATE_DIR", root.join("state"))
        .env("NIX_LOCALSTATE_DIR", root.join("state"))
        .env("NIX_LOG_DIR", root.join("log"))
        .env("NIX_CONF_DIR", root.join("conf"))
        .env("NIX_CONFIG", "substituters =");
    command
}
