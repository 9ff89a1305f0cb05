//! The native runtime as a subject of the conformance suite, in directories of its own.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use std::{fs, path::Path, sync::Arc, thread, time::Instant};

use osmoda_runtime::{
    clock::SystemClock,
    native::{Cgroups, NativeOptions, NativeRuntime},
};
use osmoda_testkit::conformance::{PATIENCE, Subject};
use tempfile::TempDir;

pub struct Native {
    pub directory: TempDir,
    cgroups: Cgroups,
    runtime: Option<NativeRuntime>,
}

impl Native {
    /// A runtime in fresh directories. They lie directly below /tmp and can be searched by all,
    /// so that an agent of another user reaches its own.
    pub fn new(cgroups: Cgroups) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut subject = Self {
            directory,
            cgroups,
            runtime: None,
        };
        subject.open();
        subject
    }

    pub fn options(&self) -> NativeOptions {
        let place = |name: &str| self.directory.path().join(name);
        let clock = Arc::new(SystemClock::new().unwrap());
        let mut options = NativeOptions::new(place("run"), place("log"), place("state"), clock);
        options.notify_socket = Some(place("notify.sock"));
        options.cgroups = self.cgroups.clone();
        options
    }

    pub fn open(&mut self) {
        self.runtime = Some(NativeRuntime::open(self.options()).unwrap());
    }

    pub fn close(&mut self) {
        self.runtime = None;
    }
}

impl Subject for Native {
    type Runtime = NativeRuntime;

    fn runtime(&self) -> &NativeRuntime {
        self.runtime.as_ref().unwrap()
    }

    fn program(&self) -> String {
        env!("CARGO_BIN_EXE_osmoda-test-agent").to_owned()
    }

    fn restart_daemon(&mut self) {
        self.close();
        self.open();
    }

    fn sees_everything(&self) -> bool {
        self.runtime().enforcement().cgroup.is_some()
    }
}

impl Drop for Native {
    /// Leaves no process and no cgroup behind, whatever a failed test has left.
    fn drop(&mut self) {
        let place = self
            .runtime
            .take()
            .and_then(|runtime| runtime.enforcement().cgroup.clone());
        if let Some(place) = place {
            let _ = fs::write(place.join("cgroup.kill"), "1");
            let deadline = Instant::now() + PATIENCE;
            while !removed(&place) && Instant::now() < deadline {
                thread::yield_now();
            }
        }
    }
}

/// Removes a cgroup and those below it; false while something in them is still dying.
fn removed(place: &Path) -> bool {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(entry.path()); // a file, or busy: the parent's removal tells
    }
    fs::remove_dir(place).is_ok()
}
