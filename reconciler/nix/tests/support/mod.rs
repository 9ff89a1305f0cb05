//! A Nix with a store, a database and profiles of its own, in a temporary directory.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a fixture fails as its test does")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use osmoda_nix::store::NixStore;
use tempfile::TempDir;

pub struct PrivateNix {
    pub dir: TempDir,
    pub store: NixStore,
}

impl PrivateNix {
    /// `None`, and the reason printed, if Nix is not there.
    pub fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let store = NixStore::private(dir.path()).unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        match store.probe() {
            Ok(()) => Some(Self { dir, store }),
            Err(error) => {
                #[expect(clippy::print_stderr, reason = "a skipped test says why")]
                {
                    eprintln!("skipped: {error}");
                }
                None
            }
        }
    }

    pub fn command(&self, program: &str) -> Command {
        let root = self.dir.path();
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

    /// The lines that `nix-store` prints.
    pub fn nix_store(&self, args: &[&str]) -> Vec<String> {
        let output = self.command("nix-store").args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub fn env(&self, profile: &Path, args: &[&str]) -> Output {
        let mut command = self.command("nix-env");
        command.arg("--profile").arg(profile).args(args);
        command.output().unwrap()
    }

    /// Adds a file or directory to the store.
    pub fn add(&self, source: &Path) -> PathBuf {
        let lines = self.nix_store(&["--add", source.to_str().unwrap()]);
        PathBuf::from(&lines[0])
    }

    /// A program in the store: a directory with `bin/run`.
    pub fn program(&self, name: &str) -> PathBuf {
        let source = self.dir.path().join(name);
        fs::create_dir_all(source.join("bin")).unwrap();
        let script = source.join("bin/run");
        fs::write(&script, format!("#!/bin/sh\necho {name}\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let path = self.add(&source);
        fs::remove_dir_all(source).unwrap();
        path
    }

    pub fn collect_garbage(&self) {
        self.nix_store(&["--gc"]);
    }

    /// Changes a file of the store behind Nix' back.
    pub fn spoil(&self, file: &Path, content: &str) {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(file, content).unwrap();
    }
}

/// The manifest of an agent that runs a program.
pub fn manifest(program: &Path) -> String {
    format!("{{\"command\":[\"{}/bin/run\"]}}", program.display())
}
