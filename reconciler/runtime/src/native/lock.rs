//! At most one daemon at a time works on a directory of instance notes.
//!
//! The lock is flock(2) on the directory, and it belongs to an open file description that every
//! child inherits and closes by its exec (close-on-exec). So whoever gets the lock knows that
//! each child of a dead predecessor has either executed its program, and therefore left its note
//! before, or is gone. There is no moment in which a started agent is invisible: that is what
//! makes a second instance impossible, whatever state the database is in.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::procfs;

/// How long a predecessor's last child may take to get to its exec.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Pause between tries; flock(2) itself cannot wait with a bound.
const LOCK_RETRY: Duration = Duration::from_millis(5);

/// The lock was not had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("{0}")]
    Held(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Opens and locks `directory` for as long as the descriptor (or a copy in a child) is open.
pub(crate) fn lock(directory: &Path) -> Result<OwnedFd, LockError> {
    lock_within(directory, LOCK_WAIT)
}

fn lock_within(directory: &Path, limit: Duration) -> Result<OwnedFd, LockError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(directory, flags, Mode::empty()).map_err(io::Error::from)?;
    let deadline = Instant::now() + limit;
    loop {
        match flock(&descriptor, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(descriptor),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_RETRY);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held(holder(directory))),
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

/// Who holds the lock, for people: the pid in /proc/locks, which is the process that took it.
fn holder(directory: &Path) -> String {
    let inode = fs::metadata(directory).map(|data| data.ino());
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    match inode.ok().and_then(|inode| pid_of_lock(&locks, inode)) {
        Some(pid) => match procfs::command_name(pid) {
            Some(name) => format!("it is held by {name} (pid {pid})"),
            None => format!("it is held by a child of the former daemon (pid {pid})"),
        },
        None => "it is held by a process that /proc/locks does not show".to_owned(),
    }
}

/// `1: FLOCK  ADVISORY  WRITE 4242 08:01:1337 0 EOF` (proc_locks(5)).
fn pid_of_lock(locks: &str, inode: u64) -> Option<u32> {
    let suffix = format!(":{inode}");
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, _, pid, file, ..] if file.ends_with(&suffix) => pid.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_with_the_holder_and_had_once_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = lock_within(directory.path(), Duration::ZERO).unwrap();
        let refused = lock_within(directory.path(), Duration::ZERO).unwrap_err();
        let me = format!("(pid {})", std::process::id());
        assert!(refused.to_string().contains(&me), "{refused}");
        drop(first);
        assert!(lock_within(directory.path(), Duration::ZERO).is_ok());
    }

    #[test]
    fn only_a_flock_on_the_same_inode_counts() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 08:01:5 0 EOF\n2: FLOCK  ADVISORY  WRITE 9 08:01:5 0 EOF\n";
        assert_eq!(pid_of_lock(locks, 5), Some(9));
        assert_eq!(pid_of_lock(locks, 6), None);
    }
}
