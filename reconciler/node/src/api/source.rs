//! The ledger as the API reads it.

use tokio::sync::watch;

use super::types::{EntryObject, LedgerHead};

/// A ledger that grows while it is read. Reads may block; callers see to that.
pub trait EntrySource: Send + Sync + 'static {
    /// Its end, now.
    fn head(&self) -> LedgerHead;

    /// At most `limit` entries from `from` on, in order.
    ///
    /// # Errors
    /// A sentence for people.
    fn entries(&self, from: u64, limit: usize) -> Result<Vec<EntryObject>, String>;

    /// Its size, whenever it changes.
    fn follow(&self) -> watch::Receiver<u64>;
}
