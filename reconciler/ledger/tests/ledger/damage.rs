//! A ledger that is damaged at start: set aside untouched, a new log begun.

use std::{fs, os::unix::fs::chown, path::Path};

use osmoda_core::digest::Digest;
use osmoda_ledger::{OpenError, Reset, Store};
use serde_json::json;

use crate::support::*;

/// Opens the damaged file; checks what must hold after every reset.
fn reset(path: &Path) -> Reset {
    let before = contents(path);
    let opened = Store::open(path, options()).err().unwrap();
    assert!(matches!(opened, OpenError::Damaged { .. }), "{opened}");
    assert_eq!(contents(path), before, "a refused file is not touched");
    let mut opened = Store::open_or_reset(path, options()).unwrap();
    let reset = opened.reset.unwrap();
    if path_is_file(&reset.moved_to) {
        assert_eq!(contents(&reset.moved_to), before, "kept as it was");
    }
    let body = body_of(&opened.ledger, 0);
    assert_eq!(body["movedTo"], json!(reset.moved_to));
    assert_eq!(body["reason"], json!(reset.reason));
    assert_eq!(body["lastGoodSeq"], json!(reset.last_good_seq));
    assert_eq!(body["lastGoodChain"], json!(reset.last_good_chain));
    opened.ledger.commit(&[numbered(1)]).unwrap();
    drop(opened.ledger);
    assert_sound(path, 2);
    reset
}

fn path_is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file())
}

/// Hashes of the file and of its write-ahead log.
fn contents(path: &Path) -> [Option<Digest>; 2] {
    let part = |end: &str| fs::read(format!("{}{end}", path.display())).ok();
    [part(""), part("-wal")].map(|bytes| bytes.map(|bytes| Digest::of(&bytes)))
}

#[test]
fn a_sound_file_is_not_reset() {
    let (_directory, path) = ledger_of(3);
    let opened = Store::open_or_reset(&path, options()).unwrap();
    assert_eq!(opened.reset, None);
    assert_eq!(opened.ledger.head().size, 3);
}

#[test]
fn a_file_that_is_no_database_is_set_aside() {
    let (_directory, path) = ledger_of(0);
    fs::write(
        &path,
        "these are not the pages you are looking for".repeat(200),
    )
    .unwrap();
    let reset = reset(&path);
    assert!(reset.reason.contains("not a database"), "{}", reset.reason);
    assert_eq!(reset.last_good_seq, None);
    let name = reset.moved_to.file_name().unwrap().to_string_lossy();
    assert_eq!(name, "ledger.db.damaged-20260131T120000Z");
}

#[test]
fn an_empty_file_and_another_programs_database_are_set_aside() {
    let (_directory, path) = ledger_of(0);
    fs::write(&path, "").unwrap();
    assert!(reset(&path).reason.contains("not a ledger"));
    fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t(x)").unwrap();
    drop(other);
    let reset = reset(&path);
    assert!(reset.reason.contains("not a ledger"), "{}", reset.reason);
    // The second damage within the same second gets a name of its own.
    assert!(reset.moved_to.to_string_lossy().ends_with("Z-2"));
}

#[test]
fn a_broken_chain_is_set_aside_with_the_last_good_entry() {
    let (_directory, path) = ledger_of(10);
    let chain = Store::open(&path, options()).unwrap().entry(5).unwrap();
    tamper(&path, "UPDATE entry SET chain = zeroblob(32) WHERE seq = 6");
    let reset = reset(&path);
    assert!(reset.reason.contains("entry 6"), "{}", reset.reason);
    assert_eq!(reset.last_good_seq, Some(5));
    assert_eq!(reset.last_good_chain, Some(chain.unwrap().chain));
    assert!(reset.origin.is_some());
    assert_bad(&reset.moved_to, Some(6), "chain value");
}

#[test]
fn lost_and_unexplained_rows_are_set_aside() {
    for (sql, reason) in [
        (
            "DELETE FROM entry WHERE seq = 9",
            "has 9 entries and says 10",
        ),
        ("DELETE FROM entry WHERE seq = 4", "entry 4 is missing"),
        ("UPDATE entry SET body = NULL WHERE seq = 4", "entry 4"),
        ("UPDATE log SET frontier = zeroblob(64)", "stored tree"),
        ("UPDATE log SET size = 7", "does not fit"),
        ("UPDATE log SET origin = 'elsewhere'", "origin"),
        (
            "UPDATE log SET origin = 'x/osmoda/0123456789abcdef'",
            "entry 0",
        ),
        ("DELETE FROM log", "no rows"),
        ("DROP TABLE state", "table state"),
        ("PRAGMA user_version = 2", "version 2"),
    ] {
        let (_directory, path) = ledger_of(10);
        tamper(&path, sql);
        let reset = reset(&path);
        assert!(reset.reason.contains(reason), "{sql}: {}", reset.reason);
    }
}

#[test]
fn a_truncated_file_is_set_aside() {
    let (_directory, path) = ledger_of(400);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length / 2 / 4096 * 4096).unwrap();
    drop(file);
    let reset = reset(&path);
    assert!(reset.reason.contains("malformed"), "{}", reset.reason);
}

#[test]
fn a_page_of_noise_is_set_aside_with_the_last_good_entry() {
    let (_directory, path) = ledger_of(400);
    let mut bytes = fs::read(&path).unwrap();
    let from = bytes.len() - 4096 * 2; // the last pages hold the newest entries
    bytes[from..from + 4096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let reset = reset(&path);
    assert!(reset.last_good_seq.is_none_or(|seq| seq < 399), "{reset:?}");
    assert!(!verified(&reset.moved_to).ok);
}

#[test]
fn what_is_still_in_the_write_ahead_log_is_kept_with_the_damaged_file() {
    let (directory, path) = ledger_of(400);
    let mut store = Store::open(&path, options()).unwrap();
    store.commit(&[numbered(400)]).unwrap();
    // As a crash leaves it, with damage in a page that the log does not hold.
    let crashed = directory.path().join("crashed.db");
    let mut bytes = fs::read(&path).unwrap();
    let from = bytes.len() - 4096 * 6;
    bytes[from..from + 4096].fill(0xa5);
    fs::write(&crashed, bytes).unwrap();
    let log = fs::read(format!("{}-wal", path.display())).unwrap();
    fs::write(directory.path().join("crashed.db-wal"), &log).unwrap();
    let reset = reset(&crashed);
    let kept = fs::read(format!("{}-wal", reset.moved_to.display())).unwrap();
    assert!(!log.is_empty() && kept == log);
}

#[test]
fn a_write_ahead_log_alone_is_never_replayed_into_a_new_ledger() {
    let (_directory, path) = ledger_of(0);
    let mut store = Store::open(&path, options()).unwrap();
    store.commit(&[numbered(0)]).unwrap();
    let wal = format!("{}-wal", path.display());
    let log = fs::read(&wal).unwrap();
    drop(store);
    fs::remove_file(&path).unwrap();
    fs::write(&wal, log).unwrap();
    assert!(reset(&path).reason.contains("only its write-ahead log"));
}

#[test]
fn what_is_not_a_file_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    fs::create_dir(&path).unwrap();
    assert!(reset(&path).reason.contains("regular file"));
    let target = directory.path().join("target");
    fs::remove_file(&path).unwrap();
    fs::write(&target, "x").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert!(reset(&path).reason.contains("regular file"));
    assert_eq!(fs::read(&target).unwrap(), b"x");
}

#[test]
fn a_file_of_another_user_is_set_aside() {
    let (_directory, path) = ledger_of(2);
    if let Err(error) = chown(&path, Some(12345), None) {
        eprintln!("skipped: only root can give a file away: {error}");
        return;
    }
    let reset = reset(&path);
    assert!(reset.reason.contains("belongs to user 12345"));
}

#[test]
fn a_directory_that_cannot_be_written_is_no_damage() {
    let path = Path::new("/proc/ledger.db");
    let error = Store::open_or_reset(path, options()).err().unwrap();
    assert!(matches!(error, OpenError::Unavailable { .. }), "{error}");
}
