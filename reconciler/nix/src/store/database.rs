//! Reads Nix' own database: whether a path is valid, without a process.
//!
//! Nix makes no promise about it, so it is read only where its `schema` file says the version
//! that is known here (10, since Nix 2.0); anything else, and any error, means that nix-store is
//! asked instead. Opened read-only and for each question anew: nothing of Nix' is held up.

use std::{fs, io, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::PathInfo;
use crate::hash;

/// The version of the layout below.
const SCHEMA: &str = "10";
/// Longest wait for a writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error("cannot read the version of Nix' database")]
    Version(#[source] io::Error),
    #[error("the version of Nix' database is {0:?}")]
    OtherVersion(String),
    #[error("cannot read Nix' database")]
    Read(#[from] rusqlite::Error),
    #[error("Nix' database notes {0:?} as a hash")]
    Hash(String),
}

/// What is noted of a path; `None` if it is not valid.
pub(super) fn look_up(state_dir: &Path, path: &str) -> Result<Option<PathInfo>, DatabaseError> {
    let dir = state_dir.join("db");
    let version = fs::read_to_string(dir.join("schema")).map_err(DatabaseError::Version)?;
    if version.trim() != SCHEMA {
        return Err(DatabaseError::OtherVersion(version));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(dir.join("db.sqlite"), flags)?;
    database.busy_timeout(BUSY_TIMEOUT)?;
    let query = "SELECT hash, narSize FROM ValidPaths WHERE path = ?1";
    let found: Option<(String, Option<i64>)> = database
        .query_row(query, [path], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((hash, size)) = found else {
        return Ok(None);
    };
    let nar_hash = hash::parse(&hash).ok_or(DatabaseError::Hash(hash))?;
    let nar_size = size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
    Ok(Some(PathInfo { nar_hash, nar_size }))
}
