//! A Nix store of a test's own: real Nix, in a temporary directory.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{Agent, Daemon, Scene, test_agent};

/// A scene whose daemon uses a Nix store of its own.
pub struct Nix {
    pub scene: Scene,
}

impl Nix {
    pub fn new() -> Option<Self> {
        let nix = Self {
            scene: Scene::new(),
        };
        fs::create_dir(nix.root().join("store")).unwrap();
        let version = Command::new("nix-store").arg("--version").output();
        if version.is_err() {
            eprintln!("skipped: there is no nix-store on PATH");
            return None;
        }
        Some(nix)
    }

    pub fn root(&self) -> &Path {
        self.scene.path()
    }

    /// A command in this store, whose substituters are these.
    pub fn in_store(&self, mut command: Command, substituters: &str) -> Command {
        let root = self.root();
        let settings =
            format!("substituters = {substituters}\nsandbox = false\nbuild-users-group =");
        command
            .env_remove("NIX_REMOTE")
            .env("HOME", root)
            .env("NIX_STORE_DIR", root.join("store"))
            .env("NIX_STATE_DIR", root.join("nix"))
            .env("NIX_LOCALSTATE_DIR", root.join("nix"))
            .env("NIX_LOG_DIR", root.join("log"))
            .env("NIX_CONF_DIR", root.join("conf"))
            .env("NIX_CONFIG", settings);
        command
    }

    #[track_caller]
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let mut command = self.in_store(Command::new(program), "");
        let output = command.args(args).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn daemon(&self) -> Daemon<'_> {
        self.daemon_with("")
    }

    pub fn daemon_with(&self, substituters: &str) -> Daemon<'_> {
        let command = self.scene.run_command("--bundles store");
        Daemon::start(&self.scene, self.in_store(command, substituters))
    }

    /// The test agent in the store, different for each name.
    pub fn program(&self, name: &str) -> PathBuf {
        let source = self.root().join(name);
        fs::create_dir_all(source.join("bin")).unwrap();
        fs::copy(test_agent(), source.join("bin/agent")).unwrap();
        let script = format!("#!/bin/sh\nexec \"$(dirname \"$0\")/agent\" \"$@\" # {name}\n");
        fs::write(source.join("bin/run"), script).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(source.join("bin/run"), mode).unwrap();
        let path = self.run("nix-store", &["--add", source.to_str().unwrap()]);
        fs::remove_dir_all(source).unwrap();
        PathBuf::from(path)
    }

    pub fn deploy(&self, agent: &str, program: &Path, actions: &str) {
        let run = program.join("bin/run").display().to_string();
        let mut command = vec![run.as_str()];
        command.extend(actions.split(' '));
        let backoff = json!({"backoff": {"initial": "10ms", "max": "200ms"}});
        let declared = Agent::running(agent, &command).with("restart", backoff);
        self.scene.declare(&declared);
    }

    /// Writes a spec in Nix.
    pub fn declare_in_nix(&self, agent: &str, text: &str) {
        self.scene.write_spec(&format!("{agent}.nix"), text);
    }

    pub fn active(&self, agent: &str) -> Value {
        self.scene.look(agent).unwrap()["generation"]["active"].clone()
    }

    pub fn is_good(&self, agent: &str, number: u64) {
        self.scene.entry("it is found good", |e| {
            e.is("GenerationGood", agent) && e.body()["generation"]["number"] == number
        });
    }

    pub fn copy(&self, from: &Path, to: &Path) {
        let status = Command::new("cp").arg("-a").args([from, to]).status();
        assert!(status.unwrap().success());
    }

    pub fn delete(&self, path: &Path) {
        let status = Command::new("chmod").args(["-R", "u+w"]).arg(path).status();
        assert!(status.unwrap().success());
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
}
