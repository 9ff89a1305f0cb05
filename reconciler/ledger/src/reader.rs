//! Reads a ledger through a connection of its own, also while the daemon writes to it.

use std::{collections::BTreeMap, fs, path::Path};

use osmoda_core::digest::Digest;
use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::{
    anchor,
    checkpoint::{Checkpoint, CheckpointError},
    error::ReadError,
    note::Note,
    proof,
    query::{self, AgentPage, Record},
    store::{Head, read_log, schema, tree::Nodes},
    tlog::{self, Frontier},
    tlog_proof::TlogProof,
};

/// Why an entry cannot be proved.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// There is none.
    #[error("there is no entry {0}")]
    NoEntry(u64),
    /// No checkpoint covers it yet.
    #[error("no checkpoint covers entry {0} yet")]
    Unsigned(u64),
    /// The ledger cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A read-only connection. It blocks; call it from where blocking is allowed.
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens the ledger at `path` for reading.
    ///
    /// # Errors
    /// [`ReadError::Sqlite`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let connection = connect(path)?;
        Ok(Self { connection })
    }

    /// The log as it stands, as one snapshot.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn head(&self) -> Result<Head, ReadError> {
        let snapshot = self.connection.unchecked_transaction()?;
        let (origin, size, frontier) = read_log(&snapshot)?;
        let damaged = || ReadError::Damaged("its tree does not fit its size".into());
        let frontier = Frontier::from_bytes(size, &frontier).ok_or_else(damaged)?;
        let chain = match size {
            0 => tlog::chain_start(&origin),
            _ => query::chain_after(&snapshot, size - 1)?,
        };
        let anchors = anchor::read_all(&query::state(&snapshot, anchor::STATE_PREFIX)?);
        let signed = query::last_checkpoint(&snapshot, None)?;
        Ok(Head {
            root: frontier.root(),
            origin,
            size,
            chain,
            checkpoint: signed.map(|(at, _)| at),
            unanchored: size - anchor::anchored_size(&anchors, size),
        })
    }

    /// The note of the last checkpoint that covers at most `size` entries, or of the last one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn checkpoint(&self, size: Option<u64>) -> Result<Option<String>, ReadError> {
        let found = query::last_checkpoint(&self.connection, size)?;
        Ok(found.map(|(_, note)| note))
    }

    /// Proof that the entry `seq` is in the log that the last stored checkpoint is about, with
    /// the entry's bytes as extra data, if it still has them.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn prove(&self, seq: u64) -> Result<TlogProof, ProveError> {
        let snapshot = self
            .connection
            .unchecked_transaction()
            .map_err(ReadError::from)?;
        let found = query::entries(&snapshot, seq, 1)?.into_iter().next();
        let record = found
            .filter(|record| record.seq == seq)
            .ok_or(ProveError::NoEntry(seq))?;
        let signed = query::last_checkpoint(&snapshot, None).map_err(ReadError::from)?;
        let (_, note) = signed
            .filter(|(at, _)| at.size > seq)
            .ok_or(ProveError::Unsigned(seq))?;
        let note =
            Note::parse(note.as_bytes()).map_err(|error| ReadError::Damaged(error.to_string()))?;
        let checkpoint: Checkpoint = note
            .text()
            .parse()
            .map_err(|error: CheckpointError| ReadError::Damaged(error.to_string()))?;
        let proof = TlogProof {
            index: seq,
            hashes: proof::inclusion(seq, checkpoint.size, &mut Nodes(&snapshot))?,
            note,
            extra: record.entry,
        };
        // Rows that are kept only to be fast may be wrong; a wrong proof is not given away.
        let (size, root) = (checkpoint.size, &checkpoint.root);
        proof::verify_inclusion(&record.leaf, seq, size, &proof.hashes, root).map_err(|error| {
            ReadError::Damaged(format!("its tree is not that of its entries: {error}"))
        })?;
        Ok(proof)
    }

    /// What shows that the log of `new` entries grew out of that of `old`. Empty if `old` is 0
    /// or not smaller.
    ///
    /// # Errors
    /// [`ReadError`], also if the log has fewer entries.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, ReadError> {
        let snapshot = self.connection.unchecked_transaction()?;
        proof::consistency(old, new, &mut Nodes(&snapshot))
    }

    /// Root of the tree over the first `size` entries.
    ///
    /// # Errors
    /// [`ReadError`], also if the log has fewer entries.
    pub fn root(&self, size: u64) -> Result<Digest, ReadError> {
        let snapshot = self.connection.unchecked_transaction()?;
        proof::root(size, &mut Nodes(&snapshot))
    }

    /// At most `limit` entries from `from` on, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entries(&self, from: u64, limit: u64) -> Result<Vec<Record>, ReadError> {
        query::entries(&self.connection, from, limit)
    }

    /// The entry `seq`, if there is one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn entry(&self, seq: u64) -> Result<Option<Record>, ReadError> {
        let found = query::entries(&self.connection, seq, 1)?;
        Ok(found.into_iter().find(|record| record.seq == seq))
    }

    /// The last `count` entries, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn tail(&self, count: u64) -> Result<Vec<Record>, ReadError> {
        query::tail(&self.connection, count)
    }

    /// At most `limit` entries of `agent` before the entry `before` (u64::MAX: the newest),
    /// newest first. It looks at [`query::AGENT_SCAN_MAX`] rows at most; go on from
    /// [`AgentPage::reached`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn by_agent(&self, agent: &str, before: u64, limit: usize) -> Result<AgentPage, ReadError> {
        query::by_agent(&self.connection, agent, before, limit)
    }

    /// All state whose key begins with `prefix`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn state(&self, prefix: &str) -> Result<BTreeMap<String, Vec<u8>>, ReadError> {
        query::state(&self.connection, prefix)
    }

    pub(crate) fn into_connection(self) -> Connection {
        self.connection
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// A read-only connection that changes neither the file nor its write-ahead log. Where there
/// is no such log it is opened as immutable, so that nothing is made beside it either and a
/// copy on a read-only mount can be read.
pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let immutable = fs::symlink_metadata(wal).is_err();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(path, immutable), flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    schema::distrust(&connection)?;
    Ok(connection)
}

/// `file:` and the path, percent-encoded (sqlite.org/uri.html).
fn uri(path: &Path, immutable: bool) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut uri = String::from("file://");
    for &byte in absolute.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    if immutable {
        uri.push_str("?immutable=1");
    }
    uri
}
