//! A transaction as short as they come: its own statements are prepared once for a connection.
//!
//! rusqlite's prepares BEGIN and COMMIT anew each time, and what comes between an intent and the
//! act it is of is time in which an agent is away.

use std::ops::Deref;

use rusqlite::Connection;

/// Writing, until it is committed; dropped before that, nothing was written.
pub(super) struct Writing<'a> {
    connection: &'a Connection,
    open: bool,
}

impl<'a> Writing<'a> {
    /// Begins, as the only one who writes (BEGIN IMMEDIATE).
    ///
    /// # Errors
    /// Somebody else writes, or the file cannot be used.
    pub fn begin(connection: &'a mut Connection) -> rusqlite::Result<Self> {
        let connection = &*connection;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self {
            connection,
            open: true,
        })
    }

    /// Makes what was written durable, as the connection's `synchronous` says.
    ///
    /// # Errors
    /// It is not; then nothing of it is there.
    pub fn commit(mut self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.open = false;
        Ok(())
    }
}

impl Deref for Writing<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        // SQLite has ended it by itself after some errors (lang_transaction.html).
        if self.open
            && !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "a transaction of the ledger cannot be undone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(connection: &Connection) -> i64 {
        connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn only_what_is_committed_is_there() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t(x)").unwrap();
        for commits in [false, true, false, true] {
            let before = rows(&connection);
            let writing = Writing::begin(&mut connection).unwrap();
            writing.execute("INSERT INTO t VALUES (1)", []).unwrap();
            if commits {
                writing.commit().unwrap();
            } else {
                drop(writing);
            }
            assert!(connection.is_autocommit());
            assert_eq!(rows(&connection) - before, i64::from(commits));
        }
    }

    #[test]
    fn one_that_sqlite_has_ended_is_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t(x)").unwrap();
        let writing = Writing::begin(&mut connection).unwrap();
        writing.execute("INSERT INTO t VALUES (1)", []).unwrap();
        writing.execute_batch("ROLLBACK").unwrap();
        assert!(writing.commit().is_err());
        assert_eq!(rows(&connection), 0);
        Writing::begin(&mut connection).unwrap().commit().unwrap();
    }
}
