//! Decides at start whether a file can be believed, from its tables and its last entries.
//!
//! Only the tail is read ([`CHECKED_AT_START`] entries), whatever the size of the log: enough
//! to go on with it soundly. `verify` reads the rest.

use rusqlite::Connection;

use super::{Position, open::is_origin, schema};
use crate::{
    audit::{Audit, Row},
    error::{Damage, LastGood, Severity},
    query,
    tlog::{self, Frontier},
};

/// Entries at the end of the log that are checked whenever it is opened.
pub const CHECKED_AT_START: u64 = 4096;

/// What a sound file says about its log.
pub(super) struct Found {
    pub origin: String,
    pub position: Position,
}

/// Why a file is not opened.
pub(super) enum Trouble {
    Sqlite(rusqlite::Error),
    Damage(Damage),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Checks tables, origin, the last entries and the frontier.
pub(super) fn read_tail(connection: &Connection) -> Result<Found, Trouble> {
    if let Err(reason) = schema::check(connection)? {
        return Err(Trouble::Damage(Damage::new(reason)));
    }
    let (origin, size, frontier) = read_log(connection)?;
    if !is_origin(&origin) {
        let reason = format!("{origin:?} is not the origin of a ledger");
        return Err(Trouble::Damage(Damage::new(reason)));
    }
    let Some(frontier) = Frontier::from_bytes(size, &frontier) else {
        return Err(Trouble::Damage(Damage {
            origin: Some(origin),
            ..Damage::new("its stored tree does not fit its size")
        }));
    };
    let audit = check_tail(connection, &origin, &frontier)?;
    let position = Position {
        frontier,
        chain: audit.chain(),
        last_ts: audit.last_ts(),
    };
    Ok(Found { origin, position })
}

/// The row of `log`: origin, size, frontier.
pub(crate) fn read_log(connection: &Connection) -> rusqlite::Result<(String, u64, Vec<u8>)> {
    connection.query_one("SELECT origin, size, frontier FROM log", [], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })
}

/// Follows the last entries, and rebuilds as much of the tree as they hold.
fn check_tail(
    connection: &Connection,
    origin: &str,
    frontier: &Frontier,
) -> Result<Audit, Trouble> {
    let last: Option<i64> =
        connection.query_row("SELECT max(seq) FROM entry", [], |row| row.get(0))?;
    let rows = last.map_or(0, |last| u64::try_from(last).unwrap_or(0).saturating_add(1));
    let from = rows.saturating_sub(CHECKED_AT_START);
    let before = match from {
        0 => tlog::chain_start(origin),
        _ => query::chain_after(connection, from - 1)?,
    };
    let mut audit = Audit::from(
        origin,
        from,
        before,
        frontier.without_last(CHECKED_AT_START),
    );
    let followed = query::for_each_row(connection, from, |row: &Row<'_>| audit.row(row));
    let damage = |audit: &Audit, reason: String| {
        let last_good = audit.next().checked_sub(1).map(|seq| LastGood {
            seq,
            chain: audit.chain(),
        });
        Trouble::Damage(Damage {
            reason,
            origin: Some(origin.to_owned()),
            last_good,
        })
    };
    match followed {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => return Err(damage(&audit, format!("entry {}: {fault}", audit.next()))),
        Err(error) if Severity::of(&error) == Severity::Damage => {
            return Err(damage(&audit, format!("entry {}: {error}", audit.next())));
        }
        Err(error) => return Err(error.into()),
    }
    if let Some(seq) = audit.first_unexplained() {
        let reason = format!("entry {seq}: its body is missing and nothing explains it");
        return Err(damage(&audit, reason));
    }
    if audit.next() != frontier.size() {
        let (has, size) = (audit.next(), frontier.size());
        return Err(damage(
            &audit,
            format!("it has {has} entries and says {size}"),
        ));
    }
    if audit.frontier() != frontier {
        return Err(damage(
            &audit,
            "its stored tree is not that of its entries".into(),
        ));
    }
    Ok(audit)
}
