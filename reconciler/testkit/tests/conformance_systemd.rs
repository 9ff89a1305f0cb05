//! The systemd runtime passes the whole suite: with agents in the sandbox, and out of it.
//!
//! Where systemd is PID 1 on a cgroup v2 the cases run as they are (`--ignored`); elsewhere
//! `the_suite_passes_under_a_systemd_of_its_own` has them run in namespaces
//! (checks/systemd/namespace.sh). All cases share the host's one systemd, so they run one by one.

mod systemd_only;
mod systemd_subject;

use std::process::Command;

use osmoda_core::spec::Sandbox;
use osmoda_testkit::runtime_conformance;
use systemd_subject::Systemd;

mod sandboxed {
    use super::*;

    runtime_conformance!(
        any, probes, real, real_probes;
        [tokio::test(flavor = "multi_thread", worker_threads = 2), ignore = "needs systemd as PID 1"];
        Systemd::new(Sandbox::Default)
    );
}

mod without_sandbox {
    use super::*;

    runtime_conformance!(
        any, probes, real, real_probes;
        [tokio::test(flavor = "multi_thread", worker_threads = 2), ignore = "needs systemd as PID 1"];
        Systemd::new(Sandbox::Off)
    );
}

/// Run by `cargo xtask test systemd`, which says where and why it cannot be.
#[test]
#[ignore = "needs namespaces, which not every host grants"]
fn the_suite_passes_under_a_systemd_of_its_own() {
    let me = std::env::current_exe().unwrap();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../checks/systemd/namespace.sh"
    );
    let output = Command::new(script)
        .arg(me)
        .args(["--ignored", "--skip", "under_a_systemd_of_its_own"])
        .arg("--test-threads=1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    assert!(told.contains("test result: ok"), "{told}\n{errors}");
    assert!(!told.contains("running 0 tests"), "{told}");
}
