//! The tables of ledger.db, and the settings of a connection.

use rusqlite::{Connection, config::DbConfig};

use super::Synchronous;

/// `osmo`, in the header of the file (pragma application_id).
pub(crate) const APPLICATION_ID: i32 = 0x6f73_6d6f;
/// Version of the tables (pragma user_version).
pub(crate) const SCHEMA_VERSION: i32 = 1;

/// Oldest SQLite that is accepted, as in sqlite3_libversion_number: 3.51.3 mends a fault by
/// which a write-ahead log could lose a commit.
pub(super) const SQLITE_OLDEST: i32 = 3_051_003;

/// Pages of the write-ahead log after which SQLite itself moves them into the database, in the
/// middle of a commit. The writer does so earlier, when it is idle; this is the backstop. A longer
/// log is moved no cheaper: whoever has to wait for it waits longer, and what is read back has left
/// the processor's caches (with 8192 pages one append at a time took 7 % longer).
const AUTOCHECKPOINT_PAGES: u32 = 512;
/// Page cache of a connection, in KiB.
const CACHE_KIB: u32 = 512;
/// Longest wait for another program's lock, in milliseconds.
const BUSY_MS: u64 = 1000;

/// Tables by name, exactly as they are created: what differs was not made by this version.
pub(crate) const TABLES: [(&str, &str); 5] = [
    (
        "entry",
        "CREATE TABLE entry(seq INTEGER PRIMARY KEY, body BLOB, leaf BLOB NOT NULL, \
         chain BLOB NOT NULL) STRICT",
    ),
    (
        "checkpoint",
        "CREATE TABLE checkpoint(size INTEGER PRIMARY KEY, signed_at TEXT NOT NULL, \
         note TEXT NOT NULL) STRICT",
    ),
    (
        "log",
        "CREATE TABLE log(origin TEXT NOT NULL, size INTEGER NOT NULL, frontier BLOB NOT NULL, \
         one INTEGER PRIMARY KEY CHECK (one = 1)) STRICT",
    ),
    (
        "state",
        "CREATE TABLE state(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
    ),
    ("subtree", super::tree::TABLE),
];

/// Guards against accidents. Whoever wants to forge drops them; the hashes are the proof.
const TRIGGERS: &str = "
CREATE TRIGGER IF NOT EXISTS entry_is_next BEFORE INSERT ON entry
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq) + 1, 0) FROM entry)
BEGIN SELECT RAISE(ABORT, 'an entry is appended after the last one'); END;
CREATE TRIGGER IF NOT EXISTS entry_stays BEFORE DELETE ON entry
BEGIN SELECT RAISE(ABORT, 'an entry is never deleted'); END;
CREATE TRIGGER IF NOT EXISTS entry_is_only_dropped BEFORE UPDATE ON entry
WHEN NEW.body IS NOT NULL OR NEW.seq IS NOT OLD.seq
  OR NEW.leaf IS NOT OLD.leaf OR NEW.chain IS NOT OLD.chain
BEGIN SELECT RAISE(ABORT, 'of an entry only the body can be dropped'); END;
CREATE TRIGGER IF NOT EXISTS checkpoint_stays BEFORE DELETE ON checkpoint
BEGIN SELECT RAISE(ABORT, 'a checkpoint is never deleted'); END;
CREATE TRIGGER IF NOT EXISTS checkpoint_is_what_was_signed BEFORE UPDATE ON checkpoint
BEGIN SELECT RAISE(ABORT, 'a checkpoint never changes'); END;
CREATE TRIGGER IF NOT EXISTS log_stays BEFORE DELETE ON log
BEGIN SELECT RAISE(ABORT, 'the log is never deleted'); END;
CREATE TRIGGER IF NOT EXISTS origin_stays BEFORE UPDATE OF origin ON log
BEGIN SELECT RAISE(ABORT, 'the origin of a log never changes'); END;
";

/// Makes the tables and the row of an empty log.
pub(super) fn create(connection: &Connection, origin: &str) -> rusqlite::Result<()> {
    for (_, sql) in TABLES {
        connection.execute_batch(sql)?;
    }
    connection.execute_batch(TRIGGERS)?;
    connection.execute(
        "INSERT INTO log(origin, size, frontier, one) VALUES (?1, 0, x'', 1)",
        [origin],
    )?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)
}

/// Puts back triggers that somebody dropped.
pub(super) fn restore_triggers(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TRIGGERS)
}

/// Settings of every connection, reading or writing, that hold whatever the file says.
pub(crate) fn distrust(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS))
}

/// Settings of the writer. None of them writes to a file that is in WAL mode already.
pub(super) fn prepare_writer(
    connection: &Connection,
    synchronous: Synchronous,
) -> rusqlite::Result<()> {
    let synchronous = match synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", AUTOCHECKPOINT_PAGES)
}

/// Whether the tables are those of this version; the error says which is not.
pub(crate) fn check(connection: &Connection) -> rusqlite::Result<Result<(), String>> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    if pragma("application_id")? != APPLICATION_ID {
        return Ok(Err("it is an SQLite database, but not a ledger".into()));
    }
    let version = pragma("user_version")?;
    if version != SCHEMA_VERSION {
        return Ok(Err(format!("its tables are of version {version}")));
    }
    let mut find =
        connection.prepare("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1")?;
    for (name, expected) in TABLES {
        let mut rows = find.query([name])?;
        let found: Option<String> = match rows.next()? {
            Some(row) => row.get(0)?,
            None => None,
        };
        // Files from before this table get it when they are opened for writing.
        if name == "subtree" && found.is_none() {
            continue;
        }
        if found.as_deref() != Some(expected) {
            return Ok(Err(format!("its table {name} is not as it was made")));
        }
    }
    Ok(Ok(()))
}
