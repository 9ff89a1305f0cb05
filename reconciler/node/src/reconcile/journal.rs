//! The ledger as the loop sees it: append, and what a start needs to read back.

use std::{collections::BTreeMap, future::Future};

use crate::{alerts::AlertReceiver, anchors::AnchorStatus};
use osmoda_ledger::{Appended, Commit, CommitError, EntryRef, Head};

/// An entry read back at start.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEntry {
    /// Where it stands.
    pub reference: EntryRef,
    /// The entry.
    pub entry: serde_json::Value,
}

/// The ledger's face towards the loop. The simulator puts faults behind it.
pub trait Journal: Send + Sync + 'static {
    /// Appends in one transaction; resolves once it is durable.
    fn append(
        &self,
        commit: &Commit,
    ) -> impl Future<Output = Result<Vec<Appended>, CommitError>> + Send;

    /// State rows whose key begins with `prefix`.
    ///
    /// # Errors
    /// A sentence for people.
    fn state(&self, prefix: &str) -> Result<BTreeMap<String, Vec<u8>>, String>;

    /// The newest `limit` entries, oldest first.
    ///
    /// # Errors
    /// A sentence for people.
    fn tail(&self, limit: u64) -> Result<Vec<StoredEntry>, String>;

    /// Size, root and chain now.
    fn head(&self) -> Head;

    /// What carries checkpoints away from the machine, for status; a journal may have nothing.
    fn anchors(&self) -> Vec<AnchorStatus> {
        Vec::new()
    }

    /// Who is told of what happens, for status; a journal may tell nobody.
    fn alerts(&self) -> Vec<AlertReceiver> {
        Vec::new()
    }
}
