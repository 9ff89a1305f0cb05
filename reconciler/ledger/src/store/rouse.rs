//! Has the disk awake by the time it is needed.
//!
//! After a rest a disk answers its first request late: an SSD has to leave its power state, the
//! thread that serves a virtual machine's disk has to be woken. Whoever knows that a commit is
//! about to come says so, and the disk is asked for a block meanwhile. On a virtual disk the
//! commit after a rest then takes 250 instead of 395 µs; one that comes at once gains nothing.
//!
//! The block is that of a file without a name, which ends with this process. It is none of the
//! ledger's: SQLite's locks on a file are lost when a process closes any descriptor of it
//! (fcntl(2)).

use std::{
    fs::File,
    io, mem,
    num::NonZeroU64,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::fs::{Advice, Mode, OFlags, fadvise, open};

use super::open::directory_of;

/// A page of the cache, at least, on most machines.
const BLOCK: usize = 4096;

/// For how long a disk that was asked is taken to be awake.
const AWAKE: Duration = Duration::from_millis(20);

/// A block on the ledger's disk that nobody needs.
#[derive(Debug)]
pub(crate) struct Rouser {
    file: File,
    /// When it was last asked for.
    asked: Mutex<Instant>,
}

impl Rouser {
    /// Writes the block beside the ledger at `path`.
    ///
    /// # Errors
    /// The file system has no files without names, or no room. Then commits after a rest take a
    /// little longer.
    pub fn beside(path: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(open(directory_of(path), flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all_at(&[0; BLOCK], 0)?;
        // What is not on the disk yet stays in the cache, and would be read from there.
        file.sync_data()?;
        Ok(Self {
            file,
            asked: Mutex::new(Instant::now()),
        })
    }

    /// Has the kernel begin to read the block from the disk (posix_fadvise(2)), unless it just has,
    /// and does not wait for it. Whatever goes wrong, the commit will say what ails the disk.
    pub fn rouse(&self) {
        let now = Instant::now();
        let before = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            mem::replace(&mut *asked, now)
        };
        if now.saturating_duration_since(before) >= AWAKE {
            self.ask();
        }
    }

    fn ask(&self) {
        let whole = NonZeroU64::new(BLOCK as u64);
        let _ = fadvise(&self.file, 0, whole, Advice::DontNeed);
        let _ = fadvise(&self.file, 0, whole, Advice::WillNeed);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::io::Errno;

    use super::*;

    /// Bytes that this thread has had read from disks (proc_pid_io(5)).
    fn read_so_far() -> u64 {
        let text = fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("read_bytes: "));
        line.unwrap().parse().unwrap()
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that skips says so")]
    fn the_disk_is_asked_each_time_and_nothing_is_left_beside_the_ledger() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let rouser = match Rouser::beside(&path) {
            // What open(2) says where O_TMPFILE is not known.
            Err(error)
                if let Some(Errno::OPNOTSUPP | Errno::ISDIR) = Errno::from_io_error(&error) =>
            {
                eprintln!("skipped: {error} on the file system of {}", path.display());
                return;
            }
            other => other.unwrap(),
        };
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let on_a_disk = rustix::fs::fstatfs(&rouser.file).unwrap().f_type != TMPFS;
        for _ in 0..3 {
            let before = read_so_far();
            rouser.ask();
            if on_a_disk {
                assert!(read_so_far() > before);
                // Once it is there it can be dropped, and asked for again.
                assert_eq!(rouser.file.read_at(&mut [0; BLOCK], 0).unwrap(), BLOCK);
            } else {
                eprintln!("skipped in part: {} is in memory", path.display());
            }
        }
    }

    /// f_type of tmpfs (statfs(2)).
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;

    #[test]
    fn without_a_place_there_is_none() {
        assert!(Rouser::beside(Path::new("/nonexistent/ledger.db")).is_err());
    }
}
