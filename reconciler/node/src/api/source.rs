//! The ledger as the API reads it.

use std::sync::{Mutex, PoisonError};

use osmoda_ledger::{Ledger, ReadError, Reader, Record};
use tokio::sync::watch;

use super::types::{CheckpointStatus, EntryObject, LedgerHead};
use crate::error::chain;

/// A ledger that grows while it is read. Reads may block; callers see to that.
pub trait EntrySource: Send + Sync + 'static {
    /// Its end, now.
    fn head(&self) -> LedgerHead;

    /// At most `limit` entries from `from` on, in order.
    ///
    /// # Errors
    /// A sentence for people.
    fn entries(&self, from: u64, limit: usize) -> Result<Vec<EntryObject>, String>;

    /// The newest `limit` entries, of one agent or of all, oldest first. For an agent that has
    /// been quiet for very long, only the younger part of the ledger is searched.
    ///
    /// # Errors
    /// A sentence for people.
    fn newest(&self, limit: usize, agent: Option<&str>) -> Result<Vec<EntryObject>, String>;

    /// Its size, whenever it changes.
    fn follow(&self) -> watch::Receiver<u64>;

    /// The ledger itself, if it is one that signs, proves and can be operated.
    fn ledger(&self) -> Option<&Ledger> {
        None
    }
}

/// The daemon's ledger: its writer knows the head, a connection of its own reads entries.
pub struct LedgerSource {
    ledger: Ledger,
    /// Held for one batch at a time.
    reader: Mutex<Reader>,
}

impl LedgerSource {
    /// Reads the file that `ledger` writes.
    ///
    /// # Errors
    /// [`ReadError`] if there is none, or it cannot be opened a second time.
    pub fn new(ledger: Ledger) -> Result<Self, ReadError> {
        let reader = Mutex::new(ledger.reader()?);
        Ok(Self { ledger, reader })
    }

    fn read(
        &self,
        query: impl FnOnce(&Reader) -> Result<Vec<Record>, ReadError>,
    ) -> Result<Vec<EntryObject>, String> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let records = query(&reader).map_err(|error| chain(&error))?;
        drop(reader);
        records.iter().map(entry_object).collect()
    }
}

impl EntrySource for LedgerSource {
    fn head(&self) -> LedgerHead {
        self.ledger.head().into()
    }

    fn entries(&self, from: u64, limit: usize) -> Result<Vec<EntryObject>, String> {
        self.read(|reader| reader.entries(from, limit as u64))
    }

    fn newest(&self, limit: usize, agent: Option<&str>) -> Result<Vec<EntryObject>, String> {
        self.read(|reader| match agent {
            None => reader.tail(limit as u64),
            Some(name) => {
                let mut records = reader.by_agent(name, u64::MAX, limit)?.records;
                records.reverse();
                Ok(records)
            }
        })
    }

    fn follow(&self) -> watch::Receiver<u64> {
        self.ledger.follow()
    }

    fn ledger(&self) -> Option<&Ledger> {
        Some(&self.ledger)
    }
}

impl From<osmoda_ledger::Head> for LedgerHead {
    fn from(head: osmoda_ledger::Head) -> Self {
        let signed = |at: osmoda_ledger::store::SignedAt| CheckpointStatus {
            size: at.size,
            signed_at: at.signed_at,
        };
        Self {
            origin: head.origin,
            size: head.size,
            root: head.root.to_string(),
            chain: head.chain.to_string(),
            checkpoint: head.checkpoint.map(signed),
            unanchored: head.unanchored,
        }
    }
}

/// An entry as the API shows it.
///
/// # Errors
/// A sentence for people, if what is stored is not JSON.
pub fn entry_object(record: &Record) -> Result<EntryObject, String> {
    let parse = |bytes: &Vec<u8>| serde_json::from_slice(bytes);
    let entry = record.entry.as_ref().map(parse).transpose();
    let entry = entry.map_err(|error| format!("entry {} is not JSON: {error}", record.seq))?;
    Ok(EntryObject {
        seq: record.seq,
        leaf: record.leaf.to_string(),
        entry: entry.unwrap_or_default(),
    })
}
