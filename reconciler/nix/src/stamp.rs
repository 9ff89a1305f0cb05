//! Whether a file is as it was, or a directory's names and what its links point to.
//!
//! A change of a file changes its times (stat(2)). So does, for a directory, the making, replacing
//! and removing of what is in it; and a symbolic link is never changed in place. A change within
//! the same tick of the file system's clock would not show, so what changed a moment ago has no
//! stamp, as git does not trust an index entry as young as the index itself.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What changed within this time may change again unseen. The clock of a file system
/// ticks every 10 ms at the slowest (ext4, xfs, btrfs, tmpfs; CONFIG_HZ), or every 2 s (FAT).
const SETTLED: Duration = Duration::from_secs(3);

/// A file or directory as it was at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None`: it changed a moment ago, by this machine's clock, or cannot be looked at.
    pub fn of(path: &Path) -> Option<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let stat = fs::metadata(path).ok()?;
        let stamp = Self {
            device: stat.dev(),
            inode: stat.ino(),
            modified: (stat.mtime(), stat.mtime_nsec()),
            changed: (stat.ctime(), stat.ctime_nsec()),
        };
        let settled = |(seconds, _)| {
            u64::try_from(seconds).is_ok_and(|at| at + SETTLED.as_secs() < now.as_secs())
        };
        (settled(stamp.modified) && settled(stamp.changed)).then_some(stamp)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::FileTimes, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_directory_that_has_just_changed_has_no_stamp() {
        let directory = tempfile::tempdir().unwrap();
        symlink("a-1-link", directory.path().join("a")).unwrap();
        assert_eq!(Stamp::of(directory.path()), None);
        // Even if somebody dates it back: that shows in the time of change.
        let old = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(1000));
        let opened = fs::File::open(directory.path()).unwrap();
        opened.set_times(old).unwrap();
        assert_eq!(Stamp::of(directory.path()), None);
    }

    #[test]
    fn a_directory_that_rests_has_the_same_stamp_and_a_missing_one_has_none() {
        let root = Path::new("/proc/self");
        assert_eq!(Stamp::of(&root.join("nothing")), None);
        // Nobody makes names in /sys while a machine runs as it does.
        let resting = Path::new("/sys/kernel");
        assert!(Stamp::of(resting).is_some());
        assert_eq!(Stamp::of(resting), Stamp::of(resting));
    }
}
