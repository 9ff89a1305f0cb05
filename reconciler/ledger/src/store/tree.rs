//! The tree's inner nodes that are kept, so that a proof about ten million entries reads a few
//! hundred rows and not all of them.
//!
//! Of every perfect subtree whose height is a multiple of [`STEP`], the root is a row of
//! `subtree(level, place, root)`, written in the transaction that completes it: one row for
//! 256 entries. Any other node is at most 255 hashes away. The rows follow from the entries and
//! prove nothing; a proof is checked before it leaves the house, and `verify` compares them.

use osmoda_core::digest::Digest;
use rusqlite::{Connection, params};

use crate::{
    error::ReadError,
    proof::NodeSource,
    tlog::{self, Frontier},
};

/// Levels between two that are kept.
pub(crate) const STEP: u32 = 8;
/// Entries under a node of the lowest level that is kept.
const LEAVES: u64 = 1 << STEP;

/// The table, exactly as it is created.
pub(crate) const TABLE: &str = "CREATE TABLE subtree(level INTEGER NOT NULL, \
    place INTEGER NOT NULL, root BLOB NOT NULL, PRIMARY KEY (level, place)) STRICT, WITHOUT ROWID";

/// Adds the nodes that `leaves` complete when they are appended to `before`.
pub(super) fn grow(
    connection: &Connection,
    before: &Frontier,
    leaves: impl ExactSizeIterator<Item = Digest>,
) -> rusqlite::Result<()> {
    let after = before.size() + leaves.len() as u64;
    if before.size() / LEAVES == after / LEAVES {
        return Ok(());
    }
    let mut insert = connection
        .prepare_cached("INSERT OR REPLACE INTO subtree(level, place, root) VALUES (?1, ?2, ?3)")?;
    let mut tree = before.clone();
    for leaf in leaves {
        let mut completed = Vec::new();
        tree.push_each(leaf, |level, root| {
            if level.is_multiple_of(STEP) {
                completed.push((level, *root));
            }
        });
        for (level, root) in completed {
            let place = (tree.size() >> level) - 1;
            insert.execute(params![level, place, root.0])?;
        }
    }
    Ok(())
}

/// Makes the table where a file has none yet, with all rows that belong in it.
pub(super) fn restore(connection: &mut Connection) -> rusqlite::Result<()> {
    if connection.table_exists(None, "subtree")? {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLE)?;
    let mut tree = Frontier::default();
    let mut select = transaction.prepare("SELECT leaf FROM entry ORDER BY seq")?;
    let mut rows = select.query([])?;
    let mut batch = Vec::new();
    while let Some(row) = rows.next()? {
        batch.push(row.get(0).map(Digest)?);
        if batch.len() as u64 == LEAVES {
            grow(&transaction, &tree, batch.iter().copied())?;
            batch.drain(..).for_each(|leaf| tree.push(leaf));
        }
    }
    drop(rows);
    drop(select);
    transaction.commit()
}

/// The tree of the kept nodes of the lowest level that lie within a stretch of entries, which
/// begins at a multiple of what such a node covers. It ends where one is missing.
pub(crate) fn kept_within(
    connection: &Connection,
    from: u64,
    until: u64,
) -> rusqlite::Result<Frontier> {
    let mut tree = Frontier::default();
    let mut select = connection.prepare_cached(
        "SELECT place, root FROM subtree WHERE level = ?1 AND place >= ?2 AND place < ?3 \
         ORDER BY place",
    )?;
    let mut rows = select.query(params![STEP, from >> STEP, until >> STEP])?;
    while let Some(row) = rows.next()? {
        if row.get::<_, u64>(0)? != (from + tree.size()) >> STEP {
            break;
        }
        tree.append(&Frontier::perfect(STEP, row.get(1).map(Digest)?));
    }
    Ok(tree)
}

/// Whether the kept nodes above the lowest level follow from those below them, and there are
/// as many of each level as a tree of `size` entries has.
pub(crate) fn upper_levels_fit(connection: &Connection, size: u64) -> rusqlite::Result<bool> {
    let select = "SELECT level, count(*) FROM subtree GROUP BY level ORDER BY level";
    let mut counts = connection.prepare(select)?;
    let counts = counts.query_map([], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, u64>(1)?)))?;
    let counts = counts.collect::<rusqlite::Result<Vec<_>>>()?;
    let levels = (1..)
        .map(|step| step * STEP)
        .take_while(|level| size >> level > 0);
    let expected: Vec<_> = levels.map(|level| (level, size >> level)).collect();
    if counts != expected {
        return Ok(false);
    }
    let mut select = connection
        .prepare("SELECT root FROM subtree WHERE level = ?1 ORDER BY place LIMIT ?2 OFFSET ?3")?;
    let mut roots = |level: u32, count: u64, offset: u64| {
        let rows = select.query_map(params![level, count, offset], |row| row.get(0).map(Digest))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    for (level, count) in expected.into_iter().skip(1) {
        for (place, root) in roots(level, count, 0)?.into_iter().enumerate() {
            let mut tree = Frontier::default();
            let below = roots(level - STEP, LEAVES, place as u64 * LEAVES)?;
            below.into_iter().for_each(|node| tree.push(node));
            if tree.root() != root {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The nodes of a ledger's tree.
pub(crate) struct Nodes<'c>(pub &'c Connection);

impl NodeSource for Nodes<'_> {
    type Error = ReadError;

    fn node(&mut self, level: u32, index: u64) -> Result<Digest, ReadError> {
        let above = level % STEP;
        let kept = level - above;
        let count = 1u64 << above;
        let first = index << above;
        let mut hashes = Vec::new();
        let sql = match kept {
            0 => "SELECT leaf FROM entry WHERE seq >= ?1 AND seq < ?2 AND ?3 = 0 ORDER BY seq",
            _ => {
                "SELECT root FROM subtree WHERE place >= ?1 AND place < ?2 AND level = ?3 \
                 ORDER BY place"
            }
        };
        let mut select = self.0.prepare_cached(sql)?;
        let mut rows = select.query(params![first, first + count, kept])?;
        while let Some(row) = rows.next()? {
            hashes.push(row.get(0).map(Digest)?);
        }
        if hashes.len() as u64 != count {
            let reason = format!(
                "nodes {first} to {} of level {kept} are missing",
                first + count
            );
            return Err(ReadError::Damaged(reason));
        }
        while hashes.len() > 1 {
            let (pairs, _) = hashes.as_chunks::<2>();
            hashes = pairs.iter().map(|[a, b]| tlog::node(a, b)).collect();
        }
        Ok(hashes[0])
    }
}
