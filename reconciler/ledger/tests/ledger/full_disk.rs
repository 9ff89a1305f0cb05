//! A full disk: nothing is said to be recorded that is not, and it goes on when there is room.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use osmoda_core::event::EventKind;
use osmoda_ledger::{CommitError, OpenError, StateChange, Store};
use serde_json::json;

use crate::support::*;

/// A small file system in memory, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, with the reason printed, where mounting is not permitted.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"])
            .arg(directory.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(directory)),
            Ok(output) => {
                eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                eprintln!("skipped: no mount command: {error}");
                None
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("ledger.db")
    }

    /// Fills what is left.
    fn fill(&self) {
        // It fails when the disk is full, which is what it is for.
        fs::write(self.ballast(), vec![0; 1 << 20]).unwrap_err();
    }

    /// Gives back what `fill` took. Truncated and not removed: a process that another test is
    /// just forking may still hold the file open, and with it the space.
    fn make_room(&self) {
        fs::File::create(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy, for the same reason: somebody may hold a file of it open for a moment.
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.0.path().display());
        }
    }
}

fn big(n: u64) -> osmoda_ledger::Commit {
    let mut commit = commit(vec![draft(
        EventKind::Diff,
        json!({ "n": n, "filler": "x".repeat(8000) }),
    )]);
    commit.state = vec![StateChange::Put {
        key: "n".into(),
        value: n.to_string().into(),
    }];
    commit
}

/// Appends until it fails, and gives the number of entries and the error.
fn append_until_full(store: &mut Store) -> (u64, CommitError) {
    for n in store.head().size.. {
        if let Err(error) = store.commit(&[big(n)]) {
            return (n, error);
        }
    }
    unreachable!("the disk is small")
}

fn state_of(path: &Path) -> Vec<u8> {
    let store = Store::open(path, options()).unwrap();
    store.state("n").unwrap().remove("n").unwrap()
}

#[test]
fn a_full_disk_loses_nothing_and_the_store_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let path = disk.path();
    let mut store = Store::open(&path, options()).unwrap();
    store.commit(&[big(0)]).unwrap();
    disk.fill();
    let (size, error) = append_until_full(&mut store);
    assert!(matches!(error, CommitError::Full(_)), "{error}");
    assert!(error.is_retryable());
    let head = store.head();
    assert_eq!(head.size, size);
    for _ in 0..3 {
        store.commit(&[big(size), big(size + 1)]).unwrap_err();
        assert_eq!(store.head(), head, "a refused commit changes nothing");
    }
    assert_sound(&path, size);
    disk.make_room();
    let done = store.commit(&[big(size)]).unwrap();
    assert_eq!(done[0][0].reference.seq, size);
    drop(store);
    assert_sound(&path, size + 1);
    assert_eq!(state_of(&path), size.to_string().into_bytes());
}

#[test]
fn a_disk_that_is_full_at_start_is_no_reason_to_begin_anew() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let path = disk.path();
    let mut store = Store::open(&path, options()).unwrap();
    store.commit(&[big(0)]).unwrap();
    drop(store);
    disk.fill();
    match Store::open_or_reset(&path, options()) {
        Err(error) => assert!(matches!(error, OpenError::Unavailable { .. }), "{error}"),
        Ok(opened) => assert_eq!(opened.reset, None),
    }
    disk.make_room();
    let opened = Store::open_or_reset(&path, options()).unwrap();
    assert_eq!((opened.reset, opened.ledger.head().size), (None, 1));
}

#[test]
fn a_new_ledger_on_a_full_disk_leaves_nothing_half_made() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    disk.fill();
    let error = Store::open_or_reset(&disk.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::Unavailable { .. }), "{error}");
    assert!(!disk.path().exists());
    disk.make_room();
    let opened = Store::open_or_reset(&disk.path(), options()).unwrap();
    assert_eq!((opened.reset, opened.ledger.head().size), (None, 0));
}
