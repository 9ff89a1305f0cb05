//! The systemd runtime as a subject of the conformance suite.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    sync::Arc,
};

use osmoda_core::spec::{AgentSpec, Sandbox};
use osmoda_runtime::{
    clock::SystemClock,
    systemd::{SystemdOptions, SystemdRuntime},
};
use osmoda_testkit::conformance::Subject;
use tempfile::TempDir;
use tokio::{runtime::Handle, task::block_in_place};

pub struct Systemd {
    directory: TempDir,
    sandbox: Sandbox,
    runtime: Option<SystemdRuntime>,
}

impl Systemd {
    /// A runtime in fresh directories, which the sandbox hides from agents but for what they need.
    pub fn new(sandbox: Sandbox) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let mut subject = Self {
            directory,
            sandbox,
            runtime: None,
        };
        subject.open();
        subject
    }

    /// The daemon dies, something happens, and another begins.
    pub fn while_no_daemon_lives(&mut self, happens: impl FnOnce()) {
        self.runtime = None;
        happens();
        self.open();
    }

    fn open(&mut self) {
        let place = |name: &str| self.directory.path().join(name);
        let clock = Arc::new(SystemClock::new().unwrap());
        let mut options = SystemdOptions::new(place("run"), place("state"), clock);
        options.notify_socket = Some(place("run/notify.sock"));
        let opening = SystemdRuntime::open(options);
        let opened = block_in_place(|| Handle::current().block_on(opening));
        self.runtime = Some(opened.unwrap());
    }
}

impl Subject for Systemd {
    type Runtime = SystemdRuntime;

    fn runtime(&self) -> &SystemdRuntime {
        self.runtime.as_ref().unwrap()
    }

    fn program(&self) -> String {
        env!("CARGO_BIN_EXE_osmoda-test-agent").to_owned()
    }

    fn adapt(&self, spec: AgentSpec) -> AgentSpec {
        AgentSpec {
            sandbox: Some(self.sandbox),
            ..spec
        }
    }

    fn restart_daemon(&mut self) {
        self.runtime = None;
        self.open();
    }

    fn sees_everything(&self) -> bool {
        true
    }
}
