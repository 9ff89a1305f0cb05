//! The lock of a profile, as nix-env(1) takes it: flock(2) on `NAME.lock`.
//!
//! Nix removes the file when it is done. Whoever waited for the lock then holds one on a file
//! that nobody else will open again; so Nix writes a byte into a file that it has removed, and
//! whoever finds the locked file not empty begins anew (`PathLocks` in Nix' pathlocks.cc).
//! Additionally the file at that path is compared with the one that is locked: a remover that
//! dies before it writes the byte does no harm.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{ProfileError, failed};

/// Longest wait for whoever else works on the profile; nix-env takes milliseconds.
pub const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Time between tries. (A blocking flock(2) could not be given up.)
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// A held lock; given back, and its file removed, when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Waits for the lock at `path`, up to [`LOCK_WAIT`].
    pub fn acquire(path: &Path) -> Result<Self, ProfileError> {
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            if let Some(lock) = Self::attempt(path).map_err(failed("lock", path))? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(ProfileError::Locked {
                    path: path.to_path_buf(),
                });
            }
            thread::sleep(LOCK_RETRY);
        }
    }

    fn attempt(path: &Path) -> io::Result<Option<Self>> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let path = path.to_path_buf();
        Ok(is_current(&path, &file)?.then_some(Self { path, file }))
    }
}

/// Whether the locked file is still the one that others will open.
fn is_current(path: &Path, file: &File) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => {
            let same = there.ino() == held.ino() && there.dev() == held.dev();
            if same && held.len() > 0 {
                // Marked as removed, yet there: a remover died between its two steps, in the
                // order opposite to ours. Nobody could ever take it; so it goes.
                fs::remove_file(path)?;
            }
            Ok(same && held.len() == 0)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while still locked, then marked, as Nix does. If either fails, the next one
        // takes the file that is there.
        if fs::remove_file(&self.path).is_ok() {
            self.file.write_all(b"d").ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn the_file_goes_with_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        let lock = Lock::acquire(&path).unwrap();
        assert!(path.exists());
        assert!(Lock::attempt(&path).unwrap().is_none());
        drop(lock);
        assert!(!path.exists());
        assert!(Lock::attempt(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_on_a_removed_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        let file = File::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!is_current(&path, &file).unwrap());
        File::create(&path).unwrap();
        assert!(!is_current(&path, &file).unwrap());
    }

    #[test]
    fn a_file_marked_as_removed_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        fs::write(&path, "d").unwrap();
        let lock = Lock::acquire(&path).unwrap();
        assert_eq!(lock.file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        let inside = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = Lock::acquire(&path).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(!path.exists());
    }
}
