//! A clock set by hand, seeded ids, and drafts to append.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use osmoda_core::{
    event::{Actor, EventKind},
    name::AgentName,
    time::{Clock, Mono, Wall},
};
use osmoda_ledger::{
    Commit, Draft, IdSource, OpenOptions, Report, Store, VerifyOptions, ids::uuid_v7_from, verify,
};
use rusqlite::Connection;
use serde_json::{Map, Value, json};

/// 2026-01-31T12:00:00Z.
pub const NOON: i64 = 1_769_860_800_000_000;

pub struct HandClock(pub AtomicI64);

impl HandClock {
    pub fn at_noon() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(NOON)))
    }

    pub fn set(&self, wall: i64) {
        self.0.store(wall, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn mono(&self) -> Mono {
        Mono(7)
    }
    fn wall(&self) -> Wall {
        Wall(self.0.load(Ordering::SeqCst))
    }
    fn boot_id(&self) -> &str {
        "5f0f7e6c-0000-4000-8000-000000000000"
    }
}

/// Ids that count upwards.
pub struct CountedIds(pub u64);

impl IdSource for CountedIds {
    fn uuid_v7(&mut self, wall: Wall) -> String {
        self.0 += 1;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.0.to_be_bytes());
        uuid_v7_from(wall, random)
    }
}

pub fn options() -> OpenOptions {
    options_with(HandClock::at_noon())
}

pub fn options_with(clock: Arc<HandClock>) -> OpenOptions {
    OpenOptions {
        ids: Box::new(CountedIds(0)),
        ..OpenOptions::new("test node", clock)
    }
}

pub fn draft(kind: EventKind, body: Value) -> Draft {
    let Value::Object(body) = body else {
        panic!("a body is an object")
    };
    Draft {
        kind,
        agent: None,
        incident: None,
        causes: Vec::new(),
        actor: Actor::Reconciler,
        body,
    }
}

pub fn of_agent(name: &str, mut draft: Draft) -> Draft {
    draft.agent = Some(AgentName::new(name).unwrap());
    draft
}

pub fn commit(entries: Vec<Draft>) -> Commit {
    Commit {
        entries,
        state: Vec::new(),
    }
}

/// A commit of one entry that carries `n`.
pub fn numbered(n: u64) -> Commit {
    commit(vec![draft(EventKind::Diff, json!({ "n": n }))])
}

/// A ledger of `count` entries in a new directory, closed.
pub fn ledger_of(count: u64) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut store = Store::open(&path, options()).unwrap();
    let commits: Vec<_> = (0..count).map(numbered).collect();
    store.commit(&commits).unwrap();
    (directory, path)
}

/// Changes the file behind the ledger's back, as somebody who knows SQLite would.
pub fn tamper(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(DROP_TRIGGERS).unwrap();
    connection.execute_batch(sql).unwrap();
}

pub const DROP_TRIGGERS: &str = "
DROP TRIGGER IF EXISTS entry_is_next; DROP TRIGGER IF EXISTS entry_stays;
DROP TRIGGER IF EXISTS entry_is_only_dropped; DROP TRIGGER IF EXISTS log_stays;
DROP TRIGGER IF EXISTS origin_stays;";

pub fn verified(path: &Path) -> Report {
    verify(path, &VerifyOptions::default(), |_, _| ()).unwrap()
}

/// Asserts that the file verifies and has `size` entries.
#[track_caller]
pub fn assert_sound(path: &Path, size: u64) {
    let report = verified(path);
    assert!(report.ok, "{report:?}");
    assert_eq!(report.size, size);
}

/// Asserts that the fault is found at `seq`, for a reason that contains `reason`.
#[track_caller]
pub fn assert_bad(path: &Path, seq: Option<u64>, reason: &str) {
    let report = verified(path);
    assert!(!report.ok, "not found: {report:?}");
    assert_eq!(report.first_bad, seq, "{report:?}");
    assert!(
        report.reason.as_ref().unwrap().contains(reason),
        "{report:?}"
    );
}

pub fn body_of(store: &Store, seq: u64) -> Map<String, Value> {
    let record = store.entry(seq).unwrap().unwrap();
    let entry: Value = serde_json::from_slice(&record.entry.unwrap()).unwrap();
    entry["body"].as_object().unwrap().clone()
}
