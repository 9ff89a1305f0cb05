//! The ledger's SQLite file: one writer, entries and the state that follows from them in one
//! transaction.
//!
//! Invariants:
//! - What [`Store::commit`] returned is durable (with [`Synchronous::Full`]), also on a disk that
//!   has failed before ([`doubt`]); what it refused left no trace, neither in the file nor in memory.
//! - The row of `log` holds the size and the frontier of the tree over all rows of `entry`.
//! - The file is created whole (built under another name, then renamed), so an empty or
//!   half-made file is always damage and never a fresh log.
//!
//! Where to start: [`Store::open_or_reset`] in `open`, then [`Store::commit`].

mod batch;
mod doubt;
mod drop;
mod open;
mod reset;
pub(crate) mod rouse;
pub(crate) mod schema;
mod signing;
mod tail;
mod transaction;
pub(crate) mod tree;
mod wal;

use std::{
    borrow::{Borrow, Cow},
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use osmoda_core::{
    digest::Digest,
    time::{Clock, Wall},
};
use rusqlite::{Connection, params};
use serde::Serialize;

use self::{
    batch::{Author, Batch},
    doubt::Doubt,
    transaction::Writing,
};
use crate::{
    entry::{Appended, Commit, Prepared, StateChange},
    error::{CommitError, ReadError},
    ids::{IdSource, RandomIds},
    query::{self, Record},
    scrub::Scrubber,
    sign::{LogSigner, SigningOptions},
    tlog::Frontier,
};

pub(crate) use self::drop::prunable;
pub use self::drop::{DropError, Dropped};
pub use self::open::Opened;
pub(crate) use self::open::{is_origin, sync_directory};
pub use self::reset::Reset;
pub use self::signing::SignError;
pub use self::tail::CHECKED_AT_START;
pub(crate) use self::tail::read_log;

/// When a commit counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// After fsync: it survives a power cut.
    #[default]
    Full,
    /// Before fsync: a power cut may lose it. Only to show that the power-cut test can fail.
    Normal,
}

/// What a store is opened with.
pub struct OpenOptions {
    /// Name of the node. Characters other than ASCII letters, digits, `.`, `_` and `-` become
    /// `-`, and 63 are kept.
    pub node: String,
    /// Where the times of entries come from.
    pub clock: Arc<dyn Clock>,
    /// Where their ids come from.
    pub ids: Box<dyn IdSource>,
    /// What keeps secrets out of them.
    pub scrubber: Arc<Scrubber>,
    /// When a commit counts as written.
    pub synchronous: Synchronous,
    /// The key that signs checkpoints; without it, none are signed.
    pub signing: Option<SigningOptions>,
}

impl OpenOptions {
    /// Random ids, a new scrubber, durable commits, no checkpoints.
    pub fn new(node: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self {
            node: node.into(),
            clock,
            ids: Box::new(RandomIds::default()),
            scrubber: Arc::new(Scrubber::new()),
            synchronous: Synchronous::Full,
            signing: None,
        }
    }
}

/// The log as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Name of the log.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root over all of them.
    pub root: Digest,
    /// Chain value after the last.
    pub chain: Digest,
    /// The last checkpoint, if one was signed.
    pub checkpoint: Option<SignedAt>,
    /// Entries after the last one that was anchored away from this machine.
    pub unanchored: u64,
}

/// A checkpoint, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedAt {
    /// Entries it covers.
    pub size: u64,
    /// RFC 3339.
    pub signed_at: String,
}

/// Where the next entry goes.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    pub frontier: Frontier,
    pub chain: Digest,
    pub last_ts: Option<Wall>,
}

impl Position {
    pub(crate) fn head(&self, origin: &str) -> Head {
        Head {
            origin: origin.to_owned(),
            size: self.frontier.size(),
            root: self.frontier.root(),
            chain: self.chain,
            checkpoint: None,
            unanchored: self.frontier.size(),
        }
    }
}

/// The open ledger. Synchronous and for one thread; [`crate::writer::Ledger`] is the handle
/// for many.
pub struct Store {
    connection: Connection,
    path: Option<PathBuf>,
    author: Author,
    position: Position,
    /// About how many pages the write-ahead log has grown by since it was last moved.
    wal_pages: u64,
    signer: Option<LogSigner>,
    /// Why there is no signer although one was asked for.
    key_problem: Option<String>,
    doubt: Doubt,
}

/// Size of a database page, in bytes (SQLite's default).
const PAGE: u64 = 4096;
/// Pages that a commit writes besides those its entries fill.
const PAGES_PER_COMMIT: u64 = 3;
/// Pages after which it is worth moving the write-ahead log into the database.
const WAL_PAGES: u64 = 256;

impl Store {
    /// Records all entries and state changes of `commits`, in order, in one transaction and
    /// with one fsync. The result has one list per commit, one element per draft.
    ///
    /// If the wall clock was set back by more than a second since the last entry, an entry
    /// ClockRegressed goes before; it is in no list.
    ///
    /// # Errors
    /// [`CommitError`]; then nothing was recorded and the store can be used again.
    pub fn commit(&mut self, commits: &[Commit]) -> Result<Vec<Vec<Appended>>, CommitError> {
        let scrubber = &self.author.scrubber;
        let prepare = |commit| Prepared::new(Cow::Borrowed(commit), scrubber);
        let prepared = commits.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        self.commit_prepared(&prepared)
    }

    /// As [`Store::commit`], of commits whose authors have written what they could.
    pub(crate) fn commit_prepared<'c>(
        &mut self,
        commits: &[impl Borrow<Prepared<'c>>],
    ) -> Result<Vec<Vec<Appended>>, CommitError> {
        self.writing(|store| store.record(commits))
    }

    /// Whatever writes to the file: nothing does while the disk is in doubt.
    fn writing<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T, CommitError>,
    ) -> Result<T, CommitError> {
        self.doubt.settle(self.path.as_deref())?;
        write(self).inspect_err(|error| self.doubt.consider(error))
    }

    fn record<'c>(
        &mut self,
        commits: &[impl Borrow<Prepared<'c>>],
    ) -> Result<Vec<Vec<Appended>>, CommitError> {
        let commits = commits.iter().map(Borrow::borrow);
        let entries = commits.clone().map(|it| it.commit().entries.len()).sum();
        let mut batch = Batch::after(self.position.clone(), entries);
        let mut appended = Vec::with_capacity(commits.len());
        for commit in commits.clone() {
            appended.push(batch.add(commit, &mut self.author)?);
        }
        let changes = commits.flat_map(|it| &it.commit().state);
        if batch.rows.is_empty() && changes.clone().next().is_none() {
            return Ok(appended);
        }
        let transaction = Writing::begin(&mut self.connection)?;
        insert(&transaction, &self.position.frontier, &batch)?;
        change_state(&transaction, changes)?;
        signing::insert(&transaction, self.signer.as_ref())?;
        transaction.commit()?;
        if let Some(signer) = &mut self.signer {
            signer.settle();
        }
        self.wal_pages += PAGES_PER_COMMIT + batch.bytes() / PAGE;
        self.position = batch.position;
        Ok(appended)
    }

    /// The log as it stands.
    pub fn head(&self) -> Head {
        let signed = self.last_checkpoint();
        Head {
            checkpoint: signed.map(|signed| signed.at()),
            ..self.position.head(&self.author.origin)
        }
    }

    /// Name of the log, `NODE/osmoda/LOGID`.
    pub fn origin(&self) -> &str {
        &self.author.origin
    }

    /// What keeps secrets out of its entries.
    pub(crate) fn scrubber(&self) -> &Arc<Scrubber> {
        &self.author.scrubber
    }

    /// The file; `None` in memory.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// All state whose key begins with `prefix`.
    ///
    /// # Errors
    /// [`ReadError::Sqlite`].
    pub fn state(&self, prefix: &str) -> Result<BTreeMap<String, Vec<u8>>, ReadError> {
        query::state(&self.connection, prefix)
    }

    /// One entry; `None` if there is none of that seq.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entry(&self, seq: u64) -> Result<Option<Record>, ReadError> {
        Ok(query::entries(&self.connection, seq, 1)?
            .into_iter()
            .next()
            .filter(|record| record.seq == seq))
    }

    /// At most `limit` entries from `from` on.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entries(&self, from: u64, limit: u64) -> Result<Vec<Record>, ReadError> {
        query::entries(&self.connection, from, limit)
    }

    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// Whether [`Store::move_wal`] would be worth its while now.
    pub(crate) fn wal_is_long(&self) -> bool {
        self.wal_pages >= WAL_PAGES
    }

    /// Gives the write-ahead log its full length at once, so that no commit has to. A log that
    /// stays short works just as well, only slower.
    pub(crate) fn lengthen_wal(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = wal::lengthen(path)
        {
            self.doubt.consider_io(&error);
            tracing::debug!(%error, "write-ahead log of the ledger stays short");
        }
    }

    /// Moves the write-ahead log into the database (an SQLite checkpoint), as far as readers
    /// allow, so that no commit has to.
    pub(crate) fn move_wal(&mut self) -> Result<(), CommitError> {
        self.wal_pages = 0;
        self.writing(|store| {
            let moved =
                store
                    .connection
                    .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            Ok(moved?)
        })
    }
}

fn insert(transaction: &Connection, before: &Frontier, batch: &Batch) -> rusqlite::Result<()> {
    if batch.rows.is_empty() {
        return Ok(());
    }
    let mut insert = transaction
        .prepare_cached("INSERT INTO entry(seq, body, leaf, chain) VALUES (?1, ?2, ?3, ?4)")?;
    for row in &batch.rows {
        insert.execute(params![row.seq, batch.body(row), row.leaf.0, row.chain.0])?;
    }
    tree::grow(transaction, before, batch.rows.iter().map(|row| row.leaf))?;
    let frontier = &batch.position.frontier;
    transaction
        .prepare_cached("UPDATE log SET size = ?1, frontier = ?2")?
        .execute(params![frontier.size(), frontier.to_bytes()])?;
    Ok(())
}

fn change_state<'a>(
    transaction: &Connection,
    changes: impl Iterator<Item = &'a StateChange>,
) -> rusqlite::Result<()> {
    let mut changes = changes.peekable();
    if changes.peek().is_none() {
        return Ok(());
    }
    let mut put = transaction.prepare_cached(
        "INSERT INTO state(key, value) VALUES (?1, ?2) \
         ON CONFLICT(key) DO UPDATE SET value = excluded.value",
    )?;
    let mut delete = transaction.prepare_cached("DELETE FROM state WHERE key = ?1")?;
    for change in changes {
        match change {
            StateChange::Put { key, value } => put.execute(params![key, value])?,
            StateChange::Delete { key } => delete.execute(params![key])?,
        };
    }
    Ok(())
}
