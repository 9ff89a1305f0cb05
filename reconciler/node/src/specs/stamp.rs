//! Whether spec files are as they were when they were last read.
//!
//! A change of a file changes its times (stat(2)); one within the same tick of the file system's
//! clock would not show, so a file that changed a moment ago has no stamp, as git does not trust an
//! index entry as young as the index itself. What is written in Nix may import other files, and has
//! none either.

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use osmoda_core::digest::Digest;

use super::files::{Language, SpecsRef, list};

/// What changed within this time may change again unseen. The clock of a file system ticks every
/// 10 ms at the slowest (ext4, xfs, btrfs, tmpfs; CONFIG_HZ), or every 2 s (FAT).
const SETTLED: Duration = Duration::from_secs(3);

/// Names, identities, lengths and times of all spec files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Digest);

impl Stamp {
    /// `None`: what is read of these specs may differ each time.
    pub fn of(specs: &SpecsRef) -> Option<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let settled = |seconds: i64| {
            u64::try_from(seconds).is_ok_and(|at| at + SETTLED.as_secs() < now.as_secs())
        };
        let mut seen = Vec::new();
        for (path, language) in list(specs.path()?).ok()? {
            let stat = fs::metadata(&path).ok()?;
            if language == Language::Nix || !settled(stat.mtime()) || !settled(stat.ctime()) {
                return None;
            }
            seen.extend_from_slice(path.as_os_str().as_bytes());
            seen.push(0); // no path has one
            for number in [stat.dev(), stat.ino(), stat.size()] {
                seen.extend_from_slice(&number.to_ne_bytes());
            }
            for number in [
                stat.mtime(),
                stat.mtime_nsec(),
                stat.ctime(),
                stat.ctime_nsec(),
            ] {
                seen.extend_from_slice(&number.to_ne_bytes());
            }
        }
        Some(Self(Digest::of(&seen)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Waits until what is there is old enough for a stamp.
    fn settled(specs: &SpecsRef) -> Stamp {
        loop {
            match Stamp::of(specs) {
                Some(stamp) => return stamp,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn write(path: &Path) {
        fs::write(path, "kind: Agent\n").unwrap();
    }

    #[test]
    fn files_have_a_stamp_until_one_is_changed_added_replaced_or_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let specs = SpecsRef::Path(directory.path().to_owned());
        write(&path("a.yaml"));
        assert_eq!(Stamp::of(&specs), None, "it is too young");
        let first = settled(&specs);
        assert_eq!(Stamp::of(&specs), Some(first));
        write(&path("a.yaml")); // the same bytes, at another time
        assert_eq!(Stamp::of(&specs), None);
        let second = settled(&specs);
        assert_ne!(second, first);
        fs::rename(path("a.yaml"), path("b.yaml")).unwrap();
        let third = settled(&specs);
        assert_ne!(third, second);
        fs::remove_file(path("b.yaml")).unwrap();
        assert_ne!(settled(&specs), third);
    }

    #[test]
    fn what_may_import_others_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let written_in_nix = SpecsRef::Path(directory.path().join("a.nix"));
        write(&directory.path().join("a.nix"));
        // It is old enough when what was written later is.
        let later = directory.path().join("b.yaml");
        write(&later);
        settled(&SpecsRef::Path(later));
        assert_eq!(Stamp::of(&written_in_nix), None);
        assert_eq!(Stamp::of(&SpecsRef::Flake("x#y".to_owned())), None);
    }
}
