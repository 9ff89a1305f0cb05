//! One daemon a state directory.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use super::DaemonError;

/// How long a predecessor that is just ending is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Time between two tries.
const RETRY: Duration = Duration::from_millis(20);

/// Held for the daemon's lifetime: flock(2) on STATE/lock, which holds the daemon's pid.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the lock.
    pub async fn take(state: &Path) -> Result<Self, DaemonError> {
        let path = state.join("lock");
        let failed = |error| DaemonError::system(format!("cannot lock {}", path.display()), error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let take = async {
            while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                tokio::time::sleep(RETRY).await;
            }
        };
        if tokio::time::timeout(PATIENCE, take).await.is_err() {
            let mut holder = String::new();
            // Only for the message: an unreadable pid is told as such.
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.is_empty() {
                "unknown"
            } else {
                holder.trim()
            };
            return Err(DaemonError::Taken(format!(
                "{} is in use by another osmoda (pid {holder}); stop it, or name another directory with --state-dir",
                state.display()
            )));
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}
