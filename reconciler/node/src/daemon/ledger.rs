//! The real ledger behind the loop's trait.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::{
    alerts::{AlertReceiver, Outbox},
    anchors::{AnchorStatus, Board},
    error::chain,
    reconcile::journal::{Journal, StoredEntry},
    specs::Loaded,
};
use osmoda_ledger::{
    Appended, Cadence, Commit, CommitError, EntryRef, Head, Ledger, Reader, Record,
};

/// How often the ledger is signed, as the specs say that are known when the daemon begins.
pub fn cadence(specs: Option<&Loaded>) -> Cadence {
    let node = specs.and_then(|loaded| loaded.node.as_ref());
    let every = node.map(|node| node.node.ledger.checkpoint_every.get());
    let default = Cadence::default();
    Cadence {
        after: every.unwrap_or(default.after),
        ..default
    }
}

/// A ledger and a connection of its own to read it.
pub struct LedgerJournal {
    ledger: Ledger,
    reader: Mutex<Reader>,
    anchors: Arc<Board>,
    outbox: Arc<Outbox>,
}

impl LedgerJournal {
    /// Opens the connection.
    pub fn open(
        ledger: Ledger,
        anchors: Arc<Board>,
        outbox: Arc<Outbox>,
    ) -> Result<Self, osmoda_ledger::ReadError> {
        let reader = Mutex::new(ledger.reader()?);
        Ok(Self {
            ledger,
            reader,
            anchors,
            outbox,
        })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, osmoda_ledger::ReadError>,
    ) -> Result<T, String> {
        // A reader that panicked left nothing half-done: it only reads.
        let reader = self
            .reader
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        read(&reader).map_err(|error| chain(&error))
    }
}

fn parsed(record: &Record) -> serde_json::Value {
    let body = record.entry.as_deref().map(serde_json::from_slice);
    // What was written as canonical JSON reads back; damage shows as null, and in `verify`.
    body.and_then(Result::ok).unwrap_or_default()
}

impl Journal for LedgerJournal {
    /// Blocks until it is durable: the loop has a thread of its own and does nothing meanwhile,
    /// so a switch to another thread and back would only cost time.
    async fn append(&self, commit: &Commit) -> Result<Vec<Appended>, CommitError> {
        self.outbox.append(commit)
    }

    fn state(&self, prefix: &str) -> Result<BTreeMap<String, Vec<u8>>, String> {
        self.read(|reader| reader.state(prefix))
    }

    fn tail(&self, limit: u64) -> Result<Vec<StoredEntry>, String> {
        let log = self.ledger.origin();
        let records = self.read(|reader| reader.tail(limit))?;
        let stored = |record: &Record| StoredEntry {
            reference: EntryRef {
                log: log.to_owned(),
                seq: record.seq,
                leaf: record.leaf,
            },
            entry: parsed(record),
        };
        Ok(records.iter().map(stored).collect())
    }

    fn head(&self) -> Head {
        self.ledger.head()
    }

    fn anchors(&self) -> Vec<AnchorStatus> {
        self.anchors.all()
    }

    fn alerts(&self) -> Vec<AlertReceiver> {
        self.outbox.status()
    }
}
