//! Reads Nix' own database: whether a path is valid, without a process.
//!
//! Nix makes no promise about it, so it is read only where its `schema` file says the version
//! that is known here (10, since Nix 2.0); anything else, and any error, means that nix-store is
//! asked instead. Opened read-only, and kept open: who starts an agent waits for the answer.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::PathInfo;
use crate::hash;

/// The version of the layout below.
const SCHEMA: &str = "10";
/// Longest wait for a writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Most memory for pages of it, in KiB: each question looks at two or three.
const CACHE_KIB: i64 = 64;

#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error("cannot read the version of Nix' database")]
    Version(#[source] io::Error),
    #[error("the version of Nix' database is {0:?}")]
    OtherVersion(String),
    #[error("Nix' database is not there")]
    File(#[source] io::Error),
    #[error("cannot read Nix' database")]
    Read(#[from] rusqlite::Error),
    #[error("Nix' database notes {0:?} as a hash")]
    Hash(String),
}

/// Nix' database, open from the first question on. Nothing of Nix' is held up: between questions
/// no transaction is open. Another file in its place is noticed.
#[derive(Debug, Default)]
pub(super) struct Database {
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    file: FileId,
    connection: Connection,
}

/// Device and inode.
type FileId = (u64, u64);

impl Database {
    /// What is noted of a path; `None` if it is not valid.
    pub fn look_up(&self, state_dir: &Path, path: &str) -> Result<Option<PathInfo>, DatabaseError> {
        let dir = state_dir.join("db");
        let version = fs::read_to_string(dir.join("schema")).map_err(DatabaseError::Version)?;
        if version.trim() != SCHEMA {
            return Err(DatabaseError::OtherVersion(version));
        }
        let file = dir.join("db.sqlite");
        let found = fs::metadata(&file).map_err(DatabaseError::File)?;
        let id = (found.dev(), found.ino());
        // Nothing panics while it is held; what a panic would leave is a connection, whole.
        let mut kept = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match kept.take().filter(|open| open.file == id) {
            Some(open) => open,
            None => Open {
                file: id,
                connection: connect(&file)?,
            },
        };
        let answer = ask(&open.connection, path)?;
        *kept = Some(open); // not after an error: the next question opens it anew
        Ok(answer)
    }
}

fn connect(file: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(connection)
}

fn ask(connection: &Connection, path: &str) -> Result<Option<PathInfo>, DatabaseError> {
    let query = "SELECT hash, narSize FROM ValidPaths WHERE path = ?1";
    let found: Option<(String, Option<i64>)> = connection
        .prepare_cached(query)?
        .query_row([path], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((hash, size)) = found else {
        return Ok(None);
    };
    let nar_hash = hash::parse(&hash).ok_or(DatabaseError::Hash(hash))?;
    let nar_size = size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
    Ok(Some(PathInfo { nar_hash, nar_size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database of Nix' layout that knows one path, at `dir/db`.
    fn make(dir: &Path, path: &str) {
        let place = dir.join("db");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("schema"), SCHEMA).unwrap();
        let database = Connection::open(place.join("db.sqlite")).unwrap();
        database.pragma_update(None, "journal_mode", "wal").unwrap();
        let table = "CREATE TABLE ValidPaths (path TEXT UNIQUE, hash TEXT, narSize INTEGER)";
        database.execute_batch(table).unwrap();
        let hash = format!("sha256:{}", "0".repeat(64));
        database
            .execute("INSERT INTO ValidPaths VALUES (?1, ?2, 7)", [path, &hash])
            .unwrap();
    }

    #[test]
    fn what_nix_writes_later_and_another_file_in_its_place_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), "/nix/store/a");
        let database = Database::default();
        let knows = |path: &str| database.look_up(dir.path(), path).unwrap().is_some();
        assert!(knows("/nix/store/a"));
        assert!(!knows("/nix/store/b"));

        let file = dir.path().join("db/db.sqlite");
        let nix = Connection::open(&file).unwrap();
        nix.execute("UPDATE ValidPaths SET path = '/nix/store/b'", [])
            .unwrap();
        assert!(knows("/nix/store/b"));
        assert!(!knows("/nix/store/a"));
        drop(nix);

        fs::rename(dir.path().join("db"), dir.path().join("former")).unwrap();
        make(dir.path(), "/nix/store/c");
        assert!(knows("/nix/store/c"));
        assert!(!knows("/nix/store/b"));

        fs::write(dir.path().join("db/schema"), "11").unwrap();
        let other = database.look_up(dir.path(), "/nix/store/c");
        assert!(matches!(other, Err(DatabaseError::OtherVersion(_))));
    }
}
