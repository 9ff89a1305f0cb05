//! The real store, in memory, behind a disk that can fail and a daemon that can die. Whatever
//! becomes durable is shown to the monitor at once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use osmoda_ledger::{Appended, Commit, CommitError, EntryRef, Head, Record, Store};
use osmoda_node::reconcile::{
    journal::{Journal, StoredEntry},
    recorder::RETRY,
};
use tokio::time::Instant;

use super::monitor::Monitor;

/// Simulated duration of a durable append: long enough that things happen meanwhile.
const APPEND: Duration = Duration::from_micros(200);

/// The machine's disk: it outlives every daemon.
#[derive(Clone)]
pub struct Disk {
    /// Negative control: acknowledges first and writes later.
    premature: bool,
    monitor: Monitor,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    store: Store,
    full: bool,
    /// When an append failed last.
    failed_at: Option<Instant>,
}

impl Disk {
    /// A disk that holds `store`.
    pub fn new(store: Store, monitor: Monitor, premature: bool) -> Self {
        Self {
            premature,
            monitor,
            inner: Arc::new(Mutex::new(Inner {
                store,
                full: false,
                failed_at: None,
            })),
        }
    }

    /// From now on appends fail, or work again.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
        if full {
            self.monitor.degrade();
        }
    }

    /// Whether the daemon may hold entries that are not written yet.
    pub fn holds_back(&self) -> bool {
        let failed_at = self.lock().failed_at;
        failed_at.is_some_and(|at| at.elapsed() <= 2 * RETRY)
    }

    /// Every entry from `from` on.
    pub fn entries(&self, from: u64) -> Vec<StoredEntry> {
        let inner = self.lock();
        let log = inner.store.head().origin;
        let records = inner
            .store
            .entries(from, u64::from(u32::MAX))
            .expect("a store in memory reads");
        records.iter().map(|record| stored(&log, record)).collect()
    }

    /// Chain value and size.
    pub fn head(&self) -> Head {
        self.lock().store.head()
    }

    /// Exact records, for verification.
    pub fn records(&self, from: u64) -> Vec<Record> {
        self.lock()
            .store
            .entries(from, u64::from(u32::MAX))
            .expect("a store in memory reads")
    }

    fn write(&self, commit: &Commit) -> Result<Vec<Appended>, CommitError> {
        let mut inner = self.lock();
        if inner.full {
            inner.failed_at = Some(Instant::now());
            return Err(CommitError::Full(Arc::new(disk_full())));
        }
        let from = inner.store.head().size;
        let mut appended = inner.store.commit(std::slice::from_ref(commit))?;
        drop(inner);
        for stored in self.entries(from) {
            self.monitor.see(&stored.entry);
        }
        Ok(appended.pop().unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn disk_full() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
}

fn stored(log: &str, record: &Record) -> StoredEntry {
    let entry = record.entry.as_deref().map(serde_json::from_slice);
    StoredEntry {
        reference: EntryRef {
            log: log.to_owned(),
            seq: record.seq,
            leaf: record.leaf,
        },
        entry: entry
            .transpose()
            .expect("entries are JSON")
            .unwrap_or_default(),
    }
}

impl Journal for Disk {
    async fn append(&self, commit: &Commit) -> Result<Vec<Appended>, CommitError> {
        // A daemon that dies here leaves an intent that was never written ...
        tokio::time::sleep(APPEND).await;
        if self.premature {
            let (disk, commit) = (self.clone(), commit.clone());
            tokio::spawn(async move {
                tokio::time::sleep(APPEND).await;
                disk.write(&commit)
            });
            return Ok(Vec::new());
        }
        let appended = self.write(commit)?;
        // ... and one that dies here leaves an intent that was written and never begun.
        tokio::time::sleep(APPEND).await;
        Ok(appended)
    }

    fn state(&self, prefix: &str) -> Result<BTreeMap<String, Vec<u8>>, String> {
        self.lock()
            .store
            .state(prefix)
            .map_err(|error| error.to_string())
    }

    fn tail(&self, limit: u64) -> Result<Vec<StoredEntry>, String> {
        let head = self.head();
        Ok(self.entries(head.size.saturating_sub(limit)))
    }

    fn head(&self) -> Head {
        self.lock().store.head()
    }
}
