//! What is not believed of a disk that has failed.
//!
//! fsync(2) tells of a failure once, to whoever asks first. ext4 whose journal broke, because its
//! commit record could not be written, goes on taking writes into places that a file already has,
//! and calls them durable; but how long the file is was in the transaction that is lost, and after
//! the next mount they are behind its end. It sees that its journal is broken when something about
//! its own structure is to change. So after a failure nothing is called durable until the file
//! system has made such a change durable.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    sync::Arc,
};

use rusqlite::ErrorCode;

use super::{open::sync_directory, reset::beside};
use crate::error::CommitError;

/// Ends the name of the file that is made and removed for it.
const SUFFIX: &str = "-probe";

/// Whether the disk has failed since it was last seen to work.
#[derive(Debug, Default)]
pub(super) struct Doubt(bool);

impl Doubt {
    /// Whether an error is one of the disk's. A full disk is none: what still fits is written.
    pub fn consider(&mut self, error: &CommitError) {
        if let CommitError::Io(error) = error {
            self.0 |= error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
        }
    }

    /// As [`Doubt::consider`].
    pub fn consider_io(&mut self, error: &io::Error) {
        self.0 |= error.kind() != io::ErrorKind::StorageFull;
    }

    /// If there is doubt, has the file system that holds `path` make a change durable.
    ///
    /// # Errors
    /// It cannot: [`CommitError::Io`] or [`CommitError::Full`], and the doubt stays.
    pub fn settle(&mut self, path: Option<&Path>) -> Result<(), CommitError> {
        if let Some(path) = path.filter(|_| self.0) {
            change(path).map_err(refusal)?;
        }
        self.0 = false;
        Ok(())
    }
}

/// Makes a file beside this one, makes it durable, and removes it.
fn change(path: &Path) -> io::Result<()> {
    let probe = beside(path, SUFFIX);
    let made = File::create(&probe)
        .and_then(|mut file| file.write_all(&[0]).and_then(|()| file.sync_all()))
        .and_then(|()| sync_directory(path));
    match fs::remove_file(&probe) {
        Err(error) if made.is_ok() => Err(error),
        _ => made,
    }
}

/// An error of the file system, as if SQLite had met it.
fn refusal(error: io::Error) -> CommitError {
    let (code, extended_code) = match error.kind() {
        io::ErrorKind::StorageFull => (ErrorCode::DiskFull, rusqlite::ffi::SQLITE_FULL),
        _ => (
            ErrorCode::SystemIoFailure,
            rusqlite::ffi::SQLITE_IOERR_FSYNC,
        ),
    };
    let said = format!("after a failure the disk still makes no change durable: {error}");
    let failure = rusqlite::ffi::Error {
        code,
        extended_code,
    };
    let error = Arc::new(rusqlite::Error::SqliteFailure(failure, Some(said)));
    match code {
        ErrorCode::DiskFull => CommitError::Full(error),
        _ => CommitError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use osmoda_core::time::{Clock, Mono, Wall};

    use super::*;
    use crate::{
        entry::{Commit, StateChange},
        store::{OpenOptions, Store},
    };

    struct Noon;

    impl Clock for Noon {
        fn mono(&self) -> Mono {
            Mono(0)
        }

        fn wall(&self) -> Wall {
            Wall(43_200_000_000)
        }

        fn boot_id(&self) -> &str {
            "boot"
        }
    }

    /// An error of SQLite's with this extended code.
    fn error(code: i32) -> CommitError {
        let failure = rusqlite::ffi::Error::new(code);
        rusqlite::Error::SqliteFailure(failure, None).into()
    }

    #[test]
    fn after_a_failure_nothing_goes_on_until_a_change_was_made_durable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let probe = directory.path().join("ledger.db-probe");
        let mut doubt = Doubt::default();
        doubt.consider(&error(rusqlite::ffi::SQLITE_IOERR_FSYNC));
        fs::create_dir(&probe).unwrap(); // no file can be made there
        for _ in 0..2 {
            let refused = doubt.settle(Some(&path)).unwrap_err();
            assert!(matches!(&refused, CommitError::Io(_)), "{refused:?}");
            assert!(refused.is_retryable());
        }
        fs::remove_dir(&probe).unwrap();
        doubt.settle(Some(&path)).unwrap();
        assert!(!probe.exists());
        fs::create_dir(&probe).unwrap();
        doubt.settle(Some(&path)).unwrap(); // nothing is asked without doubt
    }

    #[test]
    fn only_failures_of_the_disk_raise_doubt() {
        let path = Path::new("/dev/null/no such place/ledger.db");
        let settles = |raise: &dyn Fn(&mut Doubt)| -> bool {
            let mut doubt = Doubt::default();
            raise(&mut doubt);
            doubt.settle(Some(path)).is_ok()
        };
        for harmless in [rusqlite::ffi::SQLITE_FULL, rusqlite::ffi::SQLITE_BUSY] {
            assert!(settles(&|doubt| doubt.consider(&error(harmless))));
        }
        assert!(settles(
            &|doubt| doubt.consider_io(&io::ErrorKind::StorageFull.into())
        ));
        assert!(!settles(
            &|doubt| doubt.consider(&error(rusqlite::ffi::SQLITE_IOERR_WRITE))
        ));
        assert!(!settles(
            &|doubt| doubt.consider_io(&io::Error::from_raw_os_error(5))
        ));
    }

    #[test]
    fn a_store_in_doubt_acknowledges_nothing_and_goes_on_when_the_disk_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let clock = Arc::new(Noon);
        let mut store = Store::open(&path, OpenOptions::new("n", clock)).unwrap();
        let state = StateChange::Delete { key: "k".into() };
        let commit = Commit {
            entries: Vec::new(),
            state: vec![state],
        };
        let commit = std::slice::from_ref(&commit);
        store.commit(commit).unwrap();
        let failed = error(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        let wrote: Result<(), _> = store.writing(|_| Err(failed));
        assert!(wrote.is_err());
        let probe = directory.path().join("ledger.db-probe");
        fs::create_dir(&probe).unwrap();
        assert!(store.commit(commit).is_err());
        assert!(store.move_wal().is_err());
        fs::remove_dir(&probe).unwrap();
        store.commit(commit).unwrap();
        store.move_wal().unwrap();
    }
}
