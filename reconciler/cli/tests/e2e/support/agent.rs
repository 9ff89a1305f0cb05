//! Manifests of agents, most of them of the test agent of osmoda-testkit.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};

/// The test agent's program. It lies beside `osmoda` when the workspace was built, and is built
/// when only this package was.
pub fn test_agent() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let beside = Path::new(env!("CARGO_BIN_EXE_osmoda")).with_file_name("osmoda-test-agent");
        if !beside.exists() {
            build(&beside);
        }
        beside.into_os_string().into_string().unwrap()
    })
}

/// Several tests at once wait for each other in cargo's own lock.
fn build(program: &Path) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile_directory = program.parent().unwrap();
    let profile = match profile_directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target: PathBuf = profile_directory.parent().unwrap().to_owned();
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "osmoda-testkit"])
        .args(["--bin", "osmoda-test-agent", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(
        status.success() && program.exists(),
        "no {}",
        program.display()
    );
}

/// A manifest in the making. What is not said is as fast as a test likes it: recovery is
/// verified after 300 ms, SIGKILL comes 2 s after SIGTERM.
#[derive(Clone)]
pub struct Agent {
    name: String,
    spec: Value,
}

impl Agent {
    /// The test agent with these actions, separated by spaces.
    pub fn test(name: &str, actions: &str) -> Self {
        let mut command = vec![test_agent()];
        command.extend(actions.split(' '));
        Self::running(name, &command)
    }

    /// A script of /bin/sh.
    pub fn script(name: &str, script: &str) -> Self {
        Self::running(name, &["/bin/sh", "-c", script])
    }

    /// Any command.
    pub fn running(name: &str, command: &[&str]) -> Self {
        let spec = json!({
            "command": command,
            "rollout": {"minReady": "300ms"},
            "stop": {"gracePeriod": "2s"},
        });
        Self {
            name: name.to_owned(),
            spec,
        }
    }

    /// With another field of its spec.
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The manifest as JSON, which is YAML as well.
    pub fn manifest(&self) -> String {
        let manifest = json!({
            "apiVersion": "osmoda/v1",
            "kind": "Agent",
            "metadata": {"name": self.name},
            "spec": self.spec,
        });
        format!("{manifest}\n")
    }
}
