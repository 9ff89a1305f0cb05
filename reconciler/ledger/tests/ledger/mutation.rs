//! Every change of a stored value is found by `verify`; what is allowed is not reported.

use std::path::Path;

use osmoda_core::event::EventKind;
use osmoda_ledger::{Cause, Store, tlog};
use proptest::{prelude::*, test_runner::TestRunner};
use rusqlite::{Connection, params};
use serde_json::json;

use crate::support::*;

const SIZE: u64 = 12;

#[test]
fn an_untouched_file_verifies() {
    let (_directory, path) = ledger_of(SIZE);
    assert_sound(&path, SIZE);
    let store = Store::open(&path, options()).unwrap();
    let (head, report) = (store.head(), verified(&path));
    assert_eq!(report.root, Some(head.root));
    assert_eq!(report.chain, Some(head.chain));
    assert_eq!(report.origin, Some(head.origin));
    assert_eq!(report.unanchored, SIZE);
    assert_eq!((report.first_bad, report.reason), (None, None));
}

#[test]
fn an_empty_log_verifies() {
    let (_directory, path) = ledger_of(0);
    assert_sound(&path, 0);
}

#[test]
fn vacuum_and_new_triggers_change_nothing_that_counts() {
    let (_directory, path) = ledger_of(SIZE);
    tamper(&path, "VACUUM");
    assert_sound(&path, SIZE);
    drop(Store::open(&path, options()).unwrap()); // puts the triggers back
    let connection = Connection::open(&path).unwrap();
    assert!(connection.execute_batch("DELETE FROM entry").is_err());
}

#[test]
fn rows_that_were_swapped_dropped_doubled_or_put_in_are_found() {
    let row = "(SELECT body FROM entry WHERE seq = 5), (SELECT leaf FROM entry WHERE seq = 5), \
               (SELECT chain FROM entry WHERE seq = 5)";
    let insert = format!("INSERT INTO entry VALUES (12, {row})");
    for (sql, seq, reason) in [
        ("DELETE FROM entry WHERE seq = 0", 0, "missing"),
        ("DELETE FROM entry WHERE seq = 5", 5, "missing"),
        ("DELETE FROM entry WHERE seq = 11", 11, "missing"),
        ("DELETE FROM entry", 0, "missing"),
        (
            "UPDATE entry SET seq = -1 WHERE seq = 3;
             UPDATE entry SET seq = 3 WHERE seq = 4;
             UPDATE entry SET seq = 4 WHERE seq = -1",
            3,
            "chain",
        ),
        ("UPDATE entry SET seq = 99 WHERE seq = 11", 11, "missing"),
        ("UPDATE entry SET seq = -7 WHERE seq = 0", 0, "missing"),
        (insert.as_str(), 12, "chain"),
        ("UPDATE entry SET body = NULL WHERE seq = 5", 5, "missing"),
        ("UPDATE entry SET leaf = x'00' WHERE seq = 5", 5, "32 bytes"),
    ] {
        let (_directory, path) = ledger_of(SIZE);
        tamper(&path, sql);
        assert_bad(&path, Some(seq), reason);
    }
}

#[test]
fn what_the_log_says_of_itself_is_compared_with_its_entries() {
    for (sql, seq, reason) in [
        ("UPDATE log SET size = 10", Some(10), "after the end"),
        ("UPDATE log SET size = 20", Some(12), "20 entries"),
        ("UPDATE log SET frontier = zeroblob(64)", None, "tree"),
        ("UPDATE log SET frontier = x''", None, "tree"),
        (
            "UPDATE log SET origin = 'a/osmoda/0123456789abcdef'",
            Some(0),
            "chain",
        ),
        ("UPDATE log SET origin = 'no origin'", None, "origin"),
    ] {
        let (_directory, path) = ledger_of(SIZE);
        tamper(&path, sql);
        assert_bad(&path, seq, reason);
    }
}

/// Rewrites the body of entry 5 and whatever else the forger thinks of.
fn forge(path: &Path, body: &[u8], leaf_too: bool, chain_too: bool) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(DROP_TRIGGERS).unwrap();
    let update = |column: &str, value: &[u8], seq: u64| {
        let sql = format!("UPDATE entry SET {column} = ?1 WHERE seq = ?2");
        connection
            .execute(&sql, params![value, seq as i64])
            .unwrap();
    };
    let digest = |column: &str, seq: u64| {
        let sql = format!("SELECT {column} FROM entry WHERE seq = ?1");
        connection
            .query_row(&sql, [seq as i64], |row| {
                row.get(0).map(osmoda_core::digest::Digest)
            })
            .unwrap()
    };
    update("body", body, 5);
    if leaf_too {
        update("leaf", &tlog::leaf(body).0, 5);
    }
    if chain_too {
        let mut chain = digest("chain", 4);
        for seq in 5..SIZE {
            chain = tlog::chain_next(&chain, &digest("leaf", seq));
            update("chain", &chain.0, seq);
        }
    }
}

#[test]
fn forgers_are_found_at_each_step_they_leave_out() {
    let change = |body: &[u8]| {
        let text = String::from_utf8(body.to_vec()).unwrap();
        text.replace("\"n\":5", "\"n\":6").into_bytes()
    };
    for (leaf, chain, seq, reason) in [
        (false, false, Some(5), "leaf"),
        (false, true, Some(5), "leaf"),
        (true, false, Some(5), "chain"),
        (true, true, None, "tree"),
    ] {
        let (_directory, path) = ledger_of(SIZE);
        let store = Store::open(&path, options()).unwrap();
        let body = store.entry(5).unwrap().unwrap().entry.unwrap();
        drop(store);
        forge(&path, &change(&body), leaf, chain);
        assert_bad(&path, seq, reason);
    }
}

#[test]
fn bytes_that_hash_but_are_no_entry_are_found() {
    for (body, reason) in [
        (&b"{\"a\": 1}"[..], "not canonical"),
        (b"{}", "no proper field"),
        (b"\xff", "not canonical"),
    ] {
        let (_directory, path) = ledger_of(SIZE);
        forge(&path, body, true, true);
        assert_bad(&path, Some(5), reason);
    }
    // A whole entry, but that of another place.
    let (_directory, path) = ledger_of(SIZE);
    let store = Store::open(&path, options()).unwrap();
    let other = store.entry(6).unwrap().unwrap().entry.unwrap();
    drop(store);
    forge(&path, &other, true, true);
    assert_bad(&path, Some(5), "says seq 6");
}

#[test]
fn a_missing_body_needs_a_later_entry_that_explains_it() {
    for (kind, body, sql, sound) in [
        (
            EventKind::Pruned,
            json!({"firstSeq": 0, "lastSeq": 5}),
            "seq <= 5",
            true,
        ),
        (
            EventKind::Pruned,
            json!({"firstSeq": 0, "lastSeq": 5}),
            "seq <= 6",
            false,
        ),
        (
            EventKind::Pruned,
            json!({"firstSeq": 1, "lastSeq": 5}),
            "seq <= 5",
            false,
        ),
        (EventKind::Redacted, json!({"seq": 3}), "seq = 3", true),
        (EventKind::Redacted, json!({"seq": 3}), "seq = 4", false),
        (EventKind::Diff, json!({"seq": 3}), "seq = 3", false),
        // An entry does not explain what comes after it, nor itself.
        (
            EventKind::Pruned,
            json!({"firstSeq": 0, "lastSeq": 99}),
            "seq = 13",
            false,
        ),
        (
            EventKind::Pruned,
            json!({"firstSeq": 0, "lastSeq": 99}),
            "seq = 12",
            false,
        ),
    ] {
        let (_directory, path) = ledger_of(SIZE);
        let mut store = Store::open(&path, options()).unwrap();
        let entry = commit(vec![draft(kind, body.clone())]);
        store.commit(&[entry, numbered(13)]).unwrap();
        drop(store);
        tamper(&path, &format!("UPDATE entry SET body = NULL WHERE {sql}"));
        let report = verified(&path);
        assert_eq!(report.ok, sound, "{body} for {sql}: {report:?}");
        let opened = Store::open(&path, options());
        assert_eq!(opened.is_ok(), sound, "at start: {body} for {sql}");
    }
}

#[test]
fn intents_without_outcome_are_reported_and_are_no_failure() {
    let (_directory, path) = ledger_of(0);
    let mut store = Store::open(&path, options()).unwrap();
    let intents = vec![draft(EventKind::ActionIntended, json!({})); 3];
    let done = store.commit(&[commit(intents)]).unwrap().remove(0);
    let mut outcome = draft(EventKind::ActionFailed, json!({}));
    outcome.causes = vec![Cause::Known(done[1].reference.clone())];
    // An outcome that names the right place and the wrong entry closes nothing.
    let mut wrong = outcome.clone();
    let mut reference = done[2].reference.clone();
    reference.leaf = done[0].reference.leaf;
    wrong.causes = vec![Cause::Known(reference)];
    store.commit(&[commit(vec![outcome, wrong])]).unwrap();
    drop(store);
    let report = verified(&path);
    assert!(report.ok);
    assert_eq!(report.open_intents, [0, 2]);
}

#[test]
fn the_report_has_the_members_of_the_contract() {
    let (_directory, path) = ledger_of(1);
    tamper(&path, "UPDATE entry SET chain = zeroblob(32)");
    let report = serde_json::to_value(verified(&path)).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["firstBad"], 0);
    assert_eq!(report["size"], 0);
    for member in [
        "origin",
        "root",
        "chain",
        "reason",
        "unanchored",
        "openIntents",
    ] {
        assert!(!report[member].is_null(), "{member}");
    }
    assert!(report["checkpoint"].is_null());
}

#[test]
fn only_a_file_that_cannot_be_read_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let verify = |path: &Path| osmoda_ledger::verify(path, &Default::default(), |_, _| ());
    assert!(verify(&directory.path().join("none")).is_err());
    let text = directory.path().join("text");
    std::fs::write(&text, "no database, but long enough to be one".repeat(100)).unwrap();
    assert_bad(&text, None, "not a database");
}

#[test]
fn a_verifier_that_does_not_follow_the_chain_would_miss_a_swap() {
    // Negative control: every row of the swapped log is sound on its own.
    let (_directory, path) = ledger_of(SIZE);
    tamper(
        &path,
        "UPDATE entry SET seq = -1 WHERE seq = 3; UPDATE entry SET seq = 3 WHERE seq = 4;
         UPDATE entry SET seq = 4 WHERE seq = -1",
    );
    let reader = osmoda_ledger::Reader::open(&path).unwrap();
    for record in reader.entries(0, SIZE).unwrap() {
        assert_eq!(tlog::leaf(record.entry.as_deref().unwrap()), record.leaf);
    }
    assert!(!verified(&path).ok);
}

#[test]
fn any_flipped_bit_of_a_stored_value_is_found() {
    let (directory, path) = ledger_of(SIZE);
    let flipped = directory.path().join("flipped.db");
    let which = (0..SIZE, 0..3usize, any::<prop::sample::Index>());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(200));
    let ran = runner.run(&which, |(seq, column, bit)| {
        std::fs::copy(&path, &flipped).unwrap();
        flip(&flipped, seq, ["body", "leaf", "chain"][column], bit);
        let report = verified(&flipped);
        prop_assert!(!report.ok);
        prop_assert_eq!(report.first_bad, Some(seq));
        Ok(())
    });
    ran.unwrap();
}

fn flip(path: &Path, seq: u64, column: &str, bit: prop::sample::Index) {
    let connection = Connection::open(path).unwrap();
    let fast = "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;";
    connection.execute_batch(fast).unwrap();
    connection.execute_batch(DROP_TRIGGERS).unwrap();
    let select = format!("SELECT {column} FROM entry WHERE seq = ?1");
    let mut value: Vec<u8> = connection
        .query_row(&select, [seq as i64], |row| row.get(0))
        .unwrap();
    let bit = bit.index(value.len() * 8);
    value[bit / 8] ^= 1 << (bit % 8);
    let update = format!("UPDATE entry SET {column} = ?1 WHERE seq = ?2");
    connection
        .execute(&update, params![value, seq as i64])
        .unwrap();
}
