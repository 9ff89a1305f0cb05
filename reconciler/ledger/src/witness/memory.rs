//! What a witness must never forget: the latest checkpoint that it cosigned of each log.
//!
//! One SQLite file. Reading what is there, deciding and replacing it is one immediate
//! transaction with synchronous=FULL, so that two requests, two connections or two processes
//! never both build on the same old size, and a power cut loses nothing that was answered.

use std::path::{Path, PathBuf};

use osmoda_core::digest::Digest;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::Refusal;

/// `osmw`, in the header of the file (pragma application_id).
const APPLICATION_ID: i32 = 0x6f73_6d77;
/// Longest wait for another process's transaction, in milliseconds.
const BUSY_MS: u64 = 5000;
/// Longest note that is kept as evidence, in bytes.
const EVIDENCE_MAX: usize = 16 * 1024;

const TABLES: &str = "
CREATE TABLE latest(origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL,
  note TEXT NOT NULL) STRICT;
CREATE TABLE evidence(origin TEXT PRIMARY KEY, note TEXT NOT NULL,
  received_at INTEGER NOT NULL) STRICT;";

/// The latest cosigned checkpoint of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// Entries that it covers.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Digest,
    /// The signed note with the cosignature.
    pub note: String,
}

/// Why the memory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} the witness's memory {path}")]
pub struct MemoryError {
    operation: &'static str,
    path: PathBuf,
    source: rusqlite::Error,
}

/// The open file.
pub struct Memory {
    connection: Connection,
    path: PathBuf,
}

impl Memory {
    /// Whether there is a memory at `path`. Where there is none but the witness's key has been
    /// in use, it has lost what it signed, and must not sign with that key any more.
    pub fn exists(path: &Path) -> bool {
        path.exists()
    }

    /// Opens the memory at `path`, or makes an empty one.
    ///
    /// # Errors
    /// [`MemoryError`], also if the file is something else.
    pub fn open(path: &Path) -> Result<Self, MemoryError> {
        let connection = Connection::open(path).and_then(|mut connection| {
            connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            prepare(&mut connection)?;
            Ok(connection)
        });
        match connection {
            Ok(connection) => Ok(Self {
                connection,
                path: path.to_owned(),
            }),
            Err(source) => Err(MemoryError {
                operation: "open",
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Gives what is remembered of `origin` to `decide`, and remembers what that answers: both
    /// or neither. When this returns `Ok(Ok(_))` it is durable.
    pub(super) fn exchange<T>(
        &mut self,
        origin: &str,
        decide: impl FnOnce(Option<&Latest>) -> Result<(Latest, T), Refusal>,
    ) -> Result<Result<T, Refusal>, MemoryError> {
        let path = self.path.clone();
        let exchanged = exchange(&mut self.connection, origin, decide);
        exchanged.map_err(|source| MemoryError {
            operation: "change",
            path,
            source,
        })
    }

    /// What is remembered of a log.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn latest(&self, origin: &str) -> Result<Option<Latest>, MemoryError> {
        read(&self.connection, origin).map_err(|source| MemoryError {
            operation: "read",
            path: self.path.clone(),
            source,
        })
    }

    /// Keeps the first checkpoint of a log that was signed by it and did not fit: together with
    /// the latest one it can show that the log has two histories.
    pub(super) fn keep_evidence(&self, origin: &str, note: &str, now: u64) {
        if note.len() > EVIDENCE_MAX {
            return;
        }
        let insert =
            "INSERT OR IGNORE INTO evidence(origin, note, received_at) VALUES (?1, ?2, ?3)";
        let kept = self.connection.execute(insert, params![origin, note, now]);
        if let Err(error) = kept {
            tracing::warn!(%error, origin, "a checkpoint that does not fit was not kept");
        }
    }

    /// The first checkpoint of a log that did not fit, if there was one.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn evidence(&self, origin: &str) -> Result<Option<String>, MemoryError> {
        let select = "SELECT note FROM evidence WHERE origin = ?1";
        let note = self
            .connection
            .query_row(select, [origin], |row| row.get(0));
        note.optional().map_err(|source| MemoryError {
            operation: "read",
            path: self.path.clone(),
            source,
        })
    }
}

/// Makes the tables of a new file; another program's file is refused.
fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let id: i32 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let objects: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if id == 0 && objects == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        return transaction.commit();
    }
    match id == APPLICATION_ID {
        true => Ok(()),
        false => Err(rusqlite::Error::InvalidQuery),
    }
}

fn exchange<T>(
    connection: &mut Connection,
    origin: &str,
    decide: impl FnOnce(Option<&Latest>) -> Result<(Latest, T), Refusal>,
) -> rusqlite::Result<Result<T, Refusal>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let latest = read(&transaction, origin)?;
    let (next, answer) = match decide(latest.as_ref()) {
        Ok(decided) => decided,
        Err(refusal) => return Ok(Err(refusal)),
    };
    write(&transaction, origin, &next)?;
    transaction.commit()?;
    Ok(Ok(answer))
}

fn read(connection: &Connection, origin: &str) -> rusqlite::Result<Option<Latest>> {
    let select = "SELECT size, root, note FROM latest WHERE origin = ?1";
    let row = connection.query_row(select, [origin], |row| {
        Ok(Latest {
            size: row.get(0)?,
            root: row.get(1).map(Digest)?,
            note: row.get(2)?,
        })
    });
    row.optional()
}

fn write(transaction: &Transaction<'_>, origin: &str, next: &Latest) -> rusqlite::Result<()> {
    let upsert = "INSERT INTO latest(origin, size, root, note) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT(origin) DO UPDATE SET size = excluded.size, root = excluded.root, \
        note = excluded.note";
    let values = params![origin, next.size, next.root.0, next.note];
    transaction.execute(upsert, values).map(drop)
}
