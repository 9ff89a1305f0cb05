//! The ledger as the loop sees it: append, and what a start needs to read back.

use std::{collections::BTreeMap, future::Future};

use crate::{alerts::AlertReceiver, anchors::AnchorStatus};
use osmoda_ledger::{Appended, Commit, CommitError, EntryRef, Head};

/// How many entries are looked at first for the last daemon's beginning.
const FIRST_LOOK: u64 = 256;

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

    /// What was recorded since the last daemon began, that entry included, oldest first: at most
    /// the newest `limit` entries. What came before is not read, however much it is.
    ///
    /// # Errors
    /// A sentence for people.
    fn since_start(&self, limit: u64) -> Result<Vec<StoredEntry>, String> {
        let mut count = FIRST_LOOK.min(limit);
        loop {
            let mut tail = self.tail(count)?;
            let begun = |stored: &StoredEntry| stored.entry["kind"] == "NodeStarted";
            if let Some(at) = tail.iter().rposition(begun) {
                return Ok(tail.split_off(at));
            }
            if count >= limit || (tail.len() as u64) < count {
                return Ok(tail);
            }
            count = limit.min(count * 4);
        }
    }

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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use osmoda_core::digest::Digest;
    use serde_json::json;

    use super::*;

    /// A journal of so many entries, of which one tells of a daemon's start.
    struct Long {
        entries: u64,
        started: Option<u64>,
        read: AtomicU64,
    }

    impl Journal for Long {
        async fn append(&self, _: &Commit) -> Result<Vec<Appended>, CommitError> {
            Err(CommitError::Closed)
        }

        fn state(&self, _: &str) -> Result<BTreeMap<String, Vec<u8>>, String> {
            Ok(BTreeMap::new())
        }

        fn tail(&self, limit: u64) -> Result<Vec<StoredEntry>, String> {
            self.read.fetch_add(limit, Ordering::Relaxed);
            let entry = |seq| StoredEntry {
                reference: EntryRef {
                    log: "log".to_owned(),
                    seq,
                    leaf: Digest([0; 32]),
                },
                entry: match self.started == Some(seq) {
                    true => json!({"kind": "NodeStarted"}),
                    false => json!({"kind": "Diff"}),
                },
            };
            let from = self.entries.saturating_sub(limit);
            Ok((from..self.entries).map(entry).collect())
        }

        fn head(&self) -> Head {
            unreachable!("nobody asks for it")
        }
    }

    /// The first entry that is found and how many are, and how many were read for it.
    fn found(entries: u64, started: Option<u64>) -> (Option<u64>, usize, u64) {
        let journal = Long {
            entries,
            started,
            read: AtomicU64::default(),
        };
        let found = journal.since_start(5000).unwrap();
        let first = found.first().map(|stored| stored.reference.seq);
        (first, found.len(), journal.read.into_inner())
    }

    #[test]
    fn what_was_before_the_last_daemon_began_is_not_read() {
        assert_eq!(found(1_000_000, Some(999_990)), (Some(999_990), 10, 256));
        assert_eq!(
            found(1_000_000, Some(999_000)),
            (Some(999_000), 1000, 256 + 1024)
        );
    }

    #[test]
    fn without_a_beginning_as_much_is_found_as_was_asked_for_or_is_there() {
        let all = 256 + 1024 + 4096 + 5000;
        assert_eq!(found(1_000_000, None), (Some(995_000), 5000, all));
        assert_eq!(found(1_000_000, Some(3)), (Some(995_000), 5000, all));
        assert_eq!(found(100, None), (Some(0), 100, 256));
        assert_eq!(found(0, None), (None, 0, 256));
    }
}
