//! Reads entries and state from an open database; shared by the store and its readers.

use std::collections::BTreeMap;

use osmoda_core::digest::Digest;
use rusqlite::{Connection, OptionalExtension as _, params, types::ValueRef};
use serde::Serialize;
use serde_json::Value;

use crate::{audit::Row, entry::Envelope, error::ReadError, store::SignedAt};

/// Most rows that one query by agent looks at; a caller that wants more goes on from
/// [`AgentPage::reached`].
pub const AGENT_SCAN_MAX: u64 = 1 << 18;

/// One entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log.
    pub seq: u64,
    /// Its leaf hash.
    pub leaf: Digest,
    /// Chain value after it.
    pub chain: Digest,
    /// The exact bytes that were hashed; `None` if they were pruned or redacted.
    pub entry: Option<Vec<u8>>,
}

impl Serialize for Record {
    /// `{seq, leaf, entry}`, the entry as an object.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            seq: u64,
            leaf: Digest,
            entry: Option<Value>,
        }
        let parse = |bytes: &Vec<u8>| serde_json::from_slice(bytes);
        let entry = self.entry.as_ref().map(parse).transpose();
        Shown {
            seq: self.seq,
            leaf: self.leaf,
            entry: entry.map_err(serde::ser::Error::custom)?,
        }
        .serialize(serializer)
    }
}

/// Entries of one agent, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPage {
    /// The entries.
    pub records: Vec<Record>,
    /// Everything from this seq on was looked at; 0 when nothing is left.
    pub reached: u64,
}

const COLUMNS: &str = "SELECT seq, body, leaf, chain FROM entry";

/// Gives every row from `from` on to `visit`, until that fails: the outer error is SQLite's,
/// the inner one the visitor's. Values of the wrong type are given as empty.
pub(crate) fn for_each_row<E>(
    connection: &Connection,
    from: u64,
    visit: impl FnMut(&Row<'_>) -> Result<(), E>,
) -> rusqlite::Result<Result<(), E>> {
    for_each_row_within(connection, from, i64::MAX as u64, visit)
}

/// Like [`for_each_row`], as far as the row before `until`.
pub(crate) fn for_each_row_within<E>(
    connection: &Connection,
    from: u64,
    until: u64,
    mut visit: impl FnMut(&Row<'_>) -> Result<(), E>,
) -> rusqlite::Result<Result<(), E>> {
    let mut select = connection.prepare_cached(&format!(
        "{COLUMNS} WHERE seq >= ?1 AND seq < ?2 ORDER BY seq"
    ))?;
    // A forged file may hold negative numbers; from the beginning they are to be seen.
    let from = if from == 0 {
        i64::MIN
    } else {
        i64::try_from(from).unwrap_or(i64::MAX)
    };
    let mut rows = select.query(params![from, until])?;
    while let Some(row) = rows.next()? {
        let row = Row {
            seq: row.get_ref(0)?.as_i64()?,
            body: match row.get_ref(1)? {
                ValueRef::Null => None,
                value => Some(blob(value)),
            },
            leaf: blob(row.get_ref(2)?),
            chain: blob(row.get_ref(3)?),
        };
        if let Err(error) = visit(&row) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

fn blob(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Blob(bytes) => bytes,
        _ => &[],
    }
}

/// Chain value after the entry `seq`.
pub(crate) fn chain_after(connection: &Connection, seq: u64) -> rusqlite::Result<Digest> {
    let select = "SELECT chain FROM entry WHERE seq = ?1";
    connection.query_row(select, [seq], |row| row.get(0).map(Digest))
}

/// Chain value that the row before the entry `seq` holds, if there is one.
pub(crate) fn chain_before(connection: &Connection, seq: u64) -> rusqlite::Result<Option<Digest>> {
    let mut select = connection.prepare_cached("SELECT chain FROM entry WHERE seq = ?1 - 1")?;
    let found: Option<Vec<u8>> = select.query_row([seq], |row| row.get(0)).optional()?;
    // One of the wrong length is found where that row itself is looked at.
    let digest = |bytes: Vec<u8>| Digest(bytes.try_into().unwrap_or_default());
    Ok(found.map(digest))
}

/// The first place from `from` on that has a row.
pub(crate) fn first_seq(connection: &Connection, from: u64) -> rusqlite::Result<Option<i64>> {
    let select = "SELECT min(seq) FROM entry WHERE seq >= ?1";
    connection.query_row(select, [from], |row| row.get(0))
}

/// The last stored checkpoint of at most `size` entries, or of all: in short, and its note.
pub(crate) fn last_checkpoint(
    connection: &Connection,
    size: Option<u64>,
) -> rusqlite::Result<Option<(SignedAt, String)>> {
    let size = size.map_or(i64::MAX, |size| i64::try_from(size).unwrap_or(i64::MAX));
    let select = "SELECT size, signed_at, note FROM checkpoint WHERE size <= ?1 \
                  ORDER BY size DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        let at = SignedAt {
            size: row.get(0)?,
            signed_at: row.get(1)?,
        };
        Ok((at, row.get(2)?))
    };
    connection.query_row(select, [size], read).optional()
}

/// At most `limit` entries from `from` on, oldest first.
pub(crate) fn entries(
    connection: &Connection,
    from: u64,
    limit: u64,
) -> Result<Vec<Record>, ReadError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut select =
        connection.prepare_cached(&format!("{COLUMNS} WHERE seq >= ?1 ORDER BY seq LIMIT ?2"))?;
    let mut rows = select.query(params![from, limit])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(record(row)?);
    }
    Ok(records)
}

/// The last `count` entries, oldest first.
pub(crate) fn tail(connection: &Connection, count: u64) -> Result<Vec<Record>, ReadError> {
    let last: Option<u64> =
        connection.query_row("SELECT max(seq) FROM entry", [], |row| row.get(0))?;
    let from = last.map_or(0, |last| (last + 1).saturating_sub(count));
    entries(connection, from, count)
}

/// At most `limit` entries of `agent` before the entry `before`, newest first, among at most
/// [`AGENT_SCAN_MAX`] rows.
pub(crate) fn by_agent(
    connection: &Connection,
    agent: &str,
    before: u64,
    limit: usize,
) -> Result<AgentPage, ReadError> {
    let before = before.min(i64::MAX as u64);
    let mut page = AgentPage {
        records: Vec::new(),
        reached: 0,
    };
    let mut select = connection.prepare_cached(&format!(
        "{COLUMNS} WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2"
    ))?;
    let mut rows = select.query(params![before, AGENT_SCAN_MAX])?;
    while let Some(row) = rows.next()? {
        if page.records.len() >= limit {
            return Ok(page);
        }
        page.reached = row.get(0)?;
        let body = blob(row.get_ref(1)?);
        let entry = Envelope::parse(body).ok();
        if entry.is_some_and(|entry| entry.agent == Some(agent)) {
            page.records.push(record(row)?);
        }
    }
    Ok(page)
}

fn record(row: &rusqlite::Row<'_>) -> Result<Record, ReadError> {
    Ok(Record {
        seq: row.get(0)?,
        entry: row.get(1)?,
        leaf: row.get(2).map(Digest)?,
        chain: row.get(3).map(Digest)?,
    })
}

/// All state whose key begins with `prefix`.
pub(crate) fn state(
    connection: &Connection,
    prefix: &str,
) -> Result<BTreeMap<String, Vec<u8>>, ReadError> {
    let mut select =
        connection.prepare_cached("SELECT key, value FROM state WHERE key >= ?1 ORDER BY key")?;
    let mut rows = select.query([prefix])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        if !key.starts_with(prefix) {
            break;
        }
        found.insert(key, row.get(1)?);
    }
    Ok(found)
}
