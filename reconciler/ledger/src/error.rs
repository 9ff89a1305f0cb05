//! What can go wrong with the store, sorted by what the caller should do about it.

use std::{path::PathBuf, sync::Arc};

use osmoda_core::digest::Digest;
use rusqlite::{ErrorCode, ffi};

use crate::entry::InvalidDraft;

/// Why a commit was not recorded. Nothing of it was, and the store can go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The disk is full. Try again once there is space.
    #[error("the disk that holds the ledger is full")]
    Full(#[source] Arc<rusqlite::Error>),
    /// Reading or writing failed, or somebody else holds the file. Try again.
    #[error("the ledger cannot be written")]
    Io(#[source] Arc<rusqlite::Error>),
    /// The commit itself is wrong; trying again does not help.
    #[error("the ledger refuses the commit")]
    Invalid(#[from] InvalidDraft),
    /// The file is damaged, or another program has written to it. Open it again.
    #[error("the ledger is damaged or was changed by another program")]
    Corrupt(#[source] Arc<rusqlite::Error>),
    /// The writer has been shut down.
    #[error("the ledger has been closed")]
    Closed,
}

impl CommitError {
    /// Whether the same commit may succeed later, without anything else being done.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Io(_))
    }
}

impl From<rusqlite::Error> for CommitError {
    fn from(error: rusqlite::Error) -> Self {
        let severity = Severity::of(&error);
        let error = Arc::new(error);
        match severity {
            Severity::Full => Self::Full(error),
            Severity::Passing => Self::Io(error),
            Severity::Damage => Self::Corrupt(error),
        }
    }
}

/// Why something could not be read from the ledger.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// SQLite could not.
    #[error("the ledger cannot be read")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored value is not what this version writes.
    #[error("the ledger holds what it should not: {0}")]
    Damaged(String),
    /// A store in memory has no file that others could read.
    #[error("the ledger is in memory and has no file")]
    NoFile,
    /// A file beside the ledger could not be written.
    #[error("{operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not now: the disk is full, the file is locked, the directory cannot be written. The
    /// file, if there is one, is left alone.
    #[error("the ledger {path} cannot be opened now")]
    Unavailable {
        /// The ledger.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is not a sound ledger of this user.
    #[error("the ledger {path} is damaged: {damage}")]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// What was found.
        damage: Damage,
    },
    /// The SQLite library has a known fault in its write-ahead log.
    #[error("SQLite {0} is too old: at least 3.51.3 is needed")]
    OldSqlite(String),
}

/// What is wrong with a ledger, and how far it can be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Damage {
    /// What was found, in a sentence.
    pub reason: String,
    /// Origin of the log, if it could be read.
    pub origin: Option<String>,
    /// The last entry before the damage that was seen to be sound.
    pub last_good: Option<LastGood>,
}

/// Where a damaged log was last sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastGood {
    /// Seq of the entry.
    pub seq: u64,
    /// Chain value after it.
    pub chain: Digest,
}

impl Damage {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            origin: None,
            last_good: None,
        }
    }
}

/// What an SQLite error means for the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// There is no space.
    Full,
    /// It may go away by itself.
    Passing,
    /// It will not: the file is not what it should be.
    Damage,
}

impl Severity {
    pub(crate) fn of(error: &rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(failure, _) = error else {
            // A value of the wrong type, a missing row or table: not as this version made it.
            return Self::Damage;
        };
        match failure.extended_code {
            // Read errors stay; what fails to be written may succeed later.
            ffi::SQLITE_IOERR_READ
            | ffi::SQLITE_IOERR_SHORT_READ
            | ffi::SQLITE_IOERR_CORRUPTFS
            | ffi::SQLITE_IOERR_DATA => return Self::Damage,
            _ => {}
        }
        match failure.code {
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::SchemaChanged
            | ErrorCode::Unknown => Self::Damage,
            _ => Self::Passing,
        }
    }
}
