//! Committing, reading back, opening again.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use osmoda_core::{digest::Digest, event::EventKind};
use osmoda_ledger::{
    Cause, Commit, CommitError, EntryRef, IncidentRef, Scrubber, StateChange, Store, tlog,
};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::*;

fn put(key: &str, value: &[u8]) -> StateChange {
    StateChange::Put {
        key: key.into(),
        value: value.into(),
    }
}

#[test]
fn entries_are_numbered_chained_and_counted() {
    let mut store = Store::in_memory(options()).unwrap();
    let origin = store.origin().to_owned();
    assert!(origin.starts_with("test-node/osmoda/"), "{origin}");
    assert_eq!(store.head().chain, tlog::chain_start(&origin));
    let done = store.commit(&[numbered(0), numbered(1)]).unwrap();
    let seqs: Vec<_> = done
        .iter()
        .map(|entries| entries[0].reference.seq)
        .collect();
    assert_eq!(seqs, [0, 1]);
    let mut chain = tlog::chain_start(&origin);
    for record in store.entries(0, 9).unwrap() {
        assert_eq!(record.leaf, tlog::leaf(record.entry.as_deref().unwrap()));
        chain = tlog::chain_next(&chain, &record.leaf);
        assert_eq!(record.chain, chain);
    }
    let head = store.head();
    assert_eq!((head.size, head.chain, head.unanchored), (2, chain, 2));
    let leaves = done.iter().map(|entries| entries[0].reference.leaf);
    let leaves: Vec<Digest> = leaves.collect();
    assert_eq!(head.root, tlog::node(&leaves[0], &leaves[1]));
}

#[test]
fn the_same_seed_and_drafts_give_the_same_bytes() {
    let root = || {
        let mut store = Store::in_memory(options()).unwrap();
        store.commit(&[numbered(1), numbered(2)]).unwrap();
        store.head()
    };
    assert_eq!(root(), root());
}

#[test]
fn a_ledger_goes_on_where_it_ended() {
    let (_directory, path) = ledger_of(5);
    let before = Store::open(&path, options()).unwrap().head();
    let mut store = Store::open(&path, options()).unwrap();
    assert_eq!(store.head(), before);
    store.commit(&[numbered(5)]).unwrap();
    assert_eq!(store.head().size, 6);
    drop(store);
    assert_sound(&path, 6);
}

#[test]
fn the_check_at_start_bridges_a_log_longer_than_its_tail() {
    let (_directory, path) = ledger_of(osmoda_ledger::store::CHECKED_AT_START + 1000);
    let mut store = Store::open(&path, options()).unwrap();
    store.commit(&[numbered(0)]).unwrap();
    drop(store);
    assert_sound(&path, osmoda_ledger::store::CHECKED_AT_START + 1001);
}

#[test]
fn state_changes_with_its_entries_or_not_at_all() {
    let (_directory, path) = ledger_of(0);
    let mut store = Store::open(&path, options()).unwrap();
    let mut first = numbered(0);
    first.state = vec![put("a/1", b"x"), put("a/2", b"y"), put("b", b"z")];
    store.commit(&[first]).unwrap();
    let second = Commit {
        entries: Vec::new(),
        state: vec![
            put("a/1", b"new"),
            StateChange::Delete { key: "a/2".into() },
        ],
    };
    store.commit(&[second]).unwrap();
    let mut refused = numbered(1);
    refused.state = vec![put("a/1", b"refused")];
    refused.entries[0].causes = vec![Cause::InCommit(0)];
    store.commit(&[refused]).unwrap_err();
    drop(store);
    let store = Store::open(&path, options()).unwrap();
    let state = store.state("a/").unwrap();
    assert_eq!(
        state.into_iter().collect::<Vec<_>>(),
        [("a/1".to_owned(), b"new".to_vec())]
    );
    assert_eq!(store.state("").unwrap().len(), 2);
}

#[test]
fn causes_and_incidents_link_the_drafts_of_a_commit() {
    let mut store = Store::in_memory(options()).unwrap();
    let mut failure = draft(EventKind::FailureDetected, json!({}));
    failure.incident = Some(IncidentRef::Own);
    let mut intent = draft(EventKind::ActionIntended, json!({}));
    intent.incident = Some(IncidentRef::InCommit(0));
    intent.causes = vec![Cause::InCommit(0)];
    let done = store.commit(&[commit(vec![failure, intent])]).unwrap();
    let [failure, intent] = &done[0][..] else {
        panic!("two drafts, two entries")
    };
    assert_eq!(failure.incident.as_deref(), Some(failure.id.as_str()));
    assert_eq!(intent.incident, failure.incident);
    let mut outcome = draft(EventKind::ActionSucceeded, json!({}));
    outcome.incident = Some(IncidentRef::Known(failure.id.clone()));
    outcome.causes = vec![Cause::Known(intent.reference.clone())];
    store.commit(&[commit(vec![outcome])]).unwrap();
    let entry = store.entry(2).unwrap().unwrap().entry.unwrap();
    let entry: Value = serde_json::from_slice(&entry).unwrap();
    assert_eq!(entry["incident"], json!(failure.id));
    let expected = json!([{"leaf": intent.reference.leaf, "log": store.origin(), "seq": 1}]);
    assert_eq!(entry["causes"], expected);
}

#[test]
fn a_draft_that_refers_to_nothing_is_refused_and_the_store_goes_on() {
    let mut store = Store::in_memory(options()).unwrap();
    store.commit(&[numbered(0)]).unwrap();
    let before = store.head();
    let mistakes: [fn(&mut osmoda_ledger::Draft); 6] = [
        |draft| draft.causes = vec![Cause::InCommit(1)],
        |draft| draft.incident = Some(IncidentRef::InCommit(1)),
        |draft| draft.incident = Some(IncidentRef::InCommit(0)), // has none
        |draft| draft.incident = Some(IncidentRef::Known(String::new())),
        |draft| draft.causes = vec![Cause::InCommit(0); 129],
        |draft| {
            let reference = EntryRef {
                log: "x".repeat(129),
                seq: 0,
                leaf: Digest([0; 32]),
            };
            draft.causes = vec![Cause::Known(reference)];
        },
    ];
    for (index, mistake) in mistakes.iter().enumerate() {
        let mut wrong = commit(vec![numbered(1).entries.remove(0); 2]);
        mistake(&mut wrong.entries[1]);
        let error = store.commit(&[numbered(1), wrong]).unwrap_err();
        assert!(
            matches!(&error, CommitError::Invalid(_)),
            "{index}: {error}"
        );
        assert!(!error.is_retryable());
        assert_eq!(store.head(), before, "{index}");
    }
    store.commit(&[numbered(1)]).unwrap();
    assert_eq!(store.entries(0, 9).unwrap().len(), 2);
}

#[test]
fn a_clock_that_goes_back_is_recorded_before_what_it_times() {
    let clock = HandClock::at_noon();
    let (_directory, path) = ledger_of(1);
    let mut store = Store::open(&path, options_with(Arc::clone(&clock))).unwrap();
    clock.set(NOON - 1_000_000);
    store.commit(&[numbered(1)]).unwrap();
    assert_eq!(store.head().size, 2, "one second is within the slack");
    clock.set(NOON - 5_000_000);
    let done = store.commit(&[numbered(2)]).unwrap();
    assert_eq!(done[0][0].reference.seq, 3);
    let body = body_of(&store, 2);
    assert_eq!(body["previousTs"], "2026-01-31T11:59:59.000000Z");
    assert_eq!(body["newTs"], "2026-01-31T11:59:55.000000Z");
    drop(store);
    assert_eq!(verified(&path).clock_regressions, [2]);
}

#[test]
fn the_files_are_readable_by_their_owner_only() {
    let (_directory, path) = ledger_of(0);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut store = Store::open(&path, options()).unwrap();
    store.commit(&[numbered(0)]).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", path.display());
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{file}");
    }
}

#[test]
fn the_settings_that_durability_rests_on_are_in_force() {
    let (_directory, path) = ledger_of(1);
    let connection = Connection::open(&path).unwrap();
    let mode: String = connection
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
    assert!(rusqlite::version_number() >= 3_051_003);
}

#[test]
fn accidents_with_rows_are_refused_by_the_database_itself() {
    let (_directory, path) = ledger_of(3);
    let connection = Connection::open(&path).unwrap();
    for accident in [
        "DELETE FROM entry WHERE seq = 2",
        "DELETE FROM log",
        "UPDATE entry SET body = x'00'",
        "UPDATE entry SET body = NULL, chain = x'00' WHERE seq = 0",
        "UPDATE entry SET leaf = x'00'",
        "UPDATE entry SET seq = 9 WHERE seq = 2",
        "UPDATE log SET origin = 'x'",
        "INSERT INTO entry VALUES (9, x'00', x'00', x'00')",
        "INSERT OR REPLACE INTO entry VALUES (1, x'00', x'00', x'00')",
        "REPLACE INTO entry SELECT * FROM entry WHERE seq = 2",
    ] {
        assert!(connection.execute_batch(accident).is_err(), "{accident}");
    }
    let drop_body = "UPDATE entry SET body = NULL WHERE seq = 1";
    assert_eq!(connection.execute(drop_body, []).unwrap(), 1);
}

#[test]
fn another_program_that_wrote_is_noticed_and_overwrites_nothing() {
    let (_directory, path) = ledger_of(1);
    let mut first = Store::open(&path, options()).unwrap();
    let mut second = Store::open(&path, options()).unwrap();
    second.commit(&[numbered(1)]).unwrap();
    let error = first.commit(&[numbered(2)]).unwrap_err();
    assert!(matches!(error, CommitError::Corrupt(_)), "{error}");
    drop((first, second));
    assert_sound(&path, 2);
}

#[test]
fn a_locked_file_is_a_passing_trouble() {
    let (_directory, path) = ledger_of(1);
    let mut store = Store::open(&path, options()).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.commit(&[numbered(1)]).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(&[numbered(1)]).unwrap();
    drop((store, other));
    assert_sound(&path, 2);
}

#[test]
fn what_the_scrubber_learned_never_reaches_the_file() {
    let secret = "s3cr3t-value-of-a-key";
    let scrubber = Arc::new(Scrubber::new());
    scrubber.learn("KEY", secret.as_bytes());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut with = options();
    with.scrubber = scrubber;
    let mut store = Store::open(&path, with).unwrap();
    let body = json!({"lastOutput": [format!("key is {secret}")], secret: [{"k": secret}]});
    store
        .commit(&[commit(vec![draft(EventKind::FailureDetected, body)])])
        .unwrap();
    for suffix in ["", "-wal"] {
        let bytes = fs::read(format!("{}{suffix}", path.display())).unwrap();
        let found = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "ledger.db{suffix} holds the secret");
    }
    assert_eq!(body_of(&store, 0)["lastOutput"][0], "key is [scrubbed:KEY]");
}
