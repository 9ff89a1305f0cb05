//! NixOS' own lock of a switch: flock(2) on /run/nixos/switch-to-configuration.lock.
//!
//! switch-to-configuration takes it without waiting and exits with code 11 if it is held. The
//! file is never removed while the machine is up.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use tokio::time::Instant;

use super::{LOCK_WAIT, SwitchError};

/// Time between tries: a switch takes seconds.
const LOCK_RETRY: Duration = Duration::from_millis(250);

/// A held lock, given back when dropped.
#[derive(Debug)]
pub(super) struct SwitchLock {
    /// Closing it unlocks.
    _file: File,
}

impl SwitchLock {
    /// Waits for the lock at `path` until `deadline`.
    pub async fn acquire(path: &Path, deadline: Instant) -> Result<Self, SwitchError> {
        let failed = |operation, source| SwitchError::Io {
            operation,
            path: path.to_path_buf(),
            source,
        };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|error| failed("make the directory of", error))?;
        }
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed("open", error))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(failed("lock", error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(SwitchError::Locked {
                        path: path.to_path_buf(),
                        waited: LOCK_WAIT,
                    });
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_RETRY).await,
            }
        }
    }
}
