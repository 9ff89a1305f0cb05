//! The disk is full: agents are healed all the same, and what happened is recorded late.

use std::{
    fs::{self, File},
    io::Write as _,
    process::Command,
};

use crate::support::{Agent, Scene, is_alive, is_root, kill};

/// A small file system in memory, until it is dropped: too small for the room that a ledger takes
/// for itself in advance, so that it is full when the disk is.
struct Tmpfs<'a>(&'a Scene);

impl<'a> Tmpfs<'a> {
    /// At the state directory; `None`, and a reason, where nothing may be mounted.
    fn mount(scene: &'a Scene) -> Option<Self> {
        fs::create_dir(scene.state()).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=0755", "osmoda-e2e"])
            .arg(scene.state())
            .output();
        match mounted {
            Ok(ran) if ran.status.success() => Some(Self(scene)),
            refused => {
                eprintln!("skipped: cannot mount a tmpfs: {refused:?}");
                None
            }
        }
    }

    fn fill(&self) {
        let mut file = File::create(self.0.state().join("filler")).unwrap();
        let full = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        fs::remove_file(self.0.state().join("filler")).unwrap();
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        // Lazily: whatever still has a file open there is about to be killed.
        let state = self.0.state();
        let unmounted = Command::new("umount").arg("--lazy").arg(&state).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_crash_on_a_full_disk_is_healed_and_recorded_late() {
    if !is_root() {
        return;
    }
    let scene = Scene::with(&[Agent::test("a", "sleep"), Agent::test("b", "sleep")]);
    let Some(disk) = Tmpfs::mount(&scene) else {
        return;
    };
    let daemon = scene.daemon();
    let (first, other) = (scene.pid("a"), scene.pid("b"));
    disk.fill();
    kill(first);
    let second = scene.other_pid("a", first);
    kill(second);
    let third = scene.other_pid("a", second);
    let degraded = scene.json("status")["node"]["ledger"]["degraded"].clone();
    assert!(
        degraded.is_string(),
        "status says that recording is degraded: {degraded}"
    );
    let accepted = scene.json("pause b --reason full");
    assert_eq!(accepted["accepted"], true);
    assert_eq!(
        accepted["seq"],
        serde_json::Value::Null,
        "nothing is claimed to be recorded"
    );
    scene.json("resume b");
    scene.verifies();

    disk.free();
    let announced = scene.entry("recording works again", |e| e.kind() == "RecordingDegraded");
    let late = |kind: &str, count: usize| {
        let entries = scene.entries();
        let late = entries
            .iter()
            .filter(|e| e.kind() == kind && e.seq > announced.seq && e.body()["late"].is_string());
        (late.count() == count).then_some(())
    };
    crate::support::eventually("both crashes are recorded late", || {
        late("FailureDetected", 2)
    });
    crate::support::eventually("and the pause", || late("Paused", 1));
    assert!(announced.body()["late"].as_u64().unwrap() > 0);
    assert_eq!(announced.body()["dropped"], 0);
    let sentences = scene.osmoda("events a -n 1000").exits(0).out;
    assert!(sentences.contains("(recorded late)"), "{sentences}");
    assert_eq!(
        scene.json("status")["node"]["ledger"]["degraded"],
        serde_json::Value::Null
    );
    assert_eq!((scene.pid("a"), scene.pid("b")), (third, other));
    scene.verifies();

    // From here on records are on time again, and the daemon ends in order.
    kill(third);
    scene.other_pid("a", third);
    let failures = scene.entries_of("a");
    let last = failures
        .iter()
        .rfind(|e| e.kind() == "FailureDetected")
        .unwrap();
    assert!(last.body()["late"].is_null());
    daemon.stops();
    assert!(!is_alive(other));
    scene.verifies();
}
