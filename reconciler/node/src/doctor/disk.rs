//! The disk below the state directory: room, kind of file system, and how long it takes to make
//! an entry durable.

use std::{
    fs, io,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::{fstatfs, statvfs};

use super::{Findings, permissions::existing};

/// Room below which the ledger will soon not be written, in bytes.
const ROOM_FAIL: u64 = 16 << 20;
/// Room below which it is time to make some, in bytes.
const ROOM_WARN: u64 = 512 << 20;
/// Files that can still be made, below which it is time to make room for more.
const FILES_WARN: u64 = 10_000;
/// Writes that are timed.
const WRITES: usize = 9;
/// Bytes of each: a page of SQLite's write-ahead log.
const WRITE_BYTES: usize = 4096;
/// Time of a durable write that lengthens every restart noticeably.
const SYNC_WARN: Duration = Duration::from_millis(20);

const STATE: &str = "name another place with --state-dir";

pub(super) fn disk(state: &Path) -> Findings {
    let mut findings = Findings::of("disk");
    let place = existing(state);
    match statvfs(place) {
        Ok(stat) => {
            let room = stat.f_bavail.saturating_mul(stat.f_frsize);
            // A file system without a table of files counts none at all.
            let files = (stat.f_files > 0).then_some(stat.f_favail);
            judge_room(&mut findings, place, room, files);
        }
        Err(error) => findings.fail(format!("{}: {error}", place.display()), STATE),
    }
    match fs::File::open(place).map(|directory| fstatfs(&directory)) {
        Ok(Ok(stat)) => judge_kind(&mut findings, place, stat.f_type as u64),
        Ok(Err(error)) => findings.warn(format!("{}: {error}", place.display()), STATE),
        Err(error) => findings.warn(format!("{}: {error}", place.display()), STATE),
    }
    judge_sync(&mut findings, place, time_of_sync(place));
    findings
}

fn judge_room(findings: &mut Findings, place: &Path, room: u64, files: Option<u64>) {
    let message = format!("{} MiB are free below {}", room >> 20, place.display());
    let remedy = "make room: what cannot be recorded waits in memory, and is lost with the daemon";
    match room {
        0..ROOM_FAIL => findings.fail(message, remedy),
        ROOM_FAIL..ROOM_WARN => findings.warn(message, remedy),
        _ => findings.ok(message),
    }
    if let Some(files) = files.filter(|files| *files < FILES_WARN) {
        let message = format!(
            "only {files} more files can be made below {}",
            place.display()
        );
        findings.warn(
            message,
            "remove some, or use a file system with more inodes",
        );
    }
}

/// By the magic number of statfs(2).
fn judge_kind(findings: &mut Findings, place: &Path, magic: u64) {
    let shown = place.display();
    let kept = match magic & 0xFFFF_FFFF {
        0x0102_1994 | 0x8584_58F6 => "tmpfs: the ledger is gone with the next boot",
        0x6969 => "NFS: locks and durability are those of its server",
        0xFF53_4D42 | 0xFE53_4D42 => "SMB: locks and durability are those of its server",
        0x794C_7630 => "an overlay: the ledger may go with its container",
        _ => return findings.ok(format!("{shown} is on a file system that lasts")),
    };
    findings.warn(
        format!("{shown} is on {kept}"),
        "put the state directory on a local disk (--state-dir)",
    );
}

fn judge_sync(findings: &mut Findings, place: &Path, time: io::Result<Duration>) {
    match time {
        Ok(time) => {
            let message = format!(
                "a write is durable after {:.1} ms",
                time.as_secs_f64() * 1e3
            );
            match time > SYNC_WARN {
                false => findings.ok(message),
                true => findings.warn(
                    format!("{message}: each restart waits for one"),
                    "use a faster disk for the state directory (--state-dir)",
                ),
            }
        }
        Err(error) => findings.warn(
            format!(
                "how long a write takes cannot be tried in {}: {error}",
                place.display()
            ),
            "run as who will run the daemon",
        ),
    }
}

/// Median time until a page is durable.
fn time_of_sync(place: &Path) -> io::Result<Duration> {
    let path = place.join(format!(".osmoda-doctor-{}", std::process::id()));
    let mut file = fs::File::create_new(&path)?;
    // Gone from here on whatever comes; its blocks live as long as it is open.
    fs::remove_file(&path)?;
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let begun = Instant::now();
        file.write_all(&[0; WRITE_BYTES])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[WRITES / 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Level, levels};

    fn judged(judge: impl FnOnce(&mut Findings)) -> Vec<Level> {
        let mut findings = Findings::of("disk");
        judge(&mut findings);
        levels(&findings)
    }

    #[test]
    fn little_room_warns_and_none_fails() {
        let place = Path::new("/var");
        let room = |bytes| judged(|f| judge_room(f, place, bytes, None));
        assert_eq!(room(1 << 40), [Level::Ok]);
        assert_eq!(room(100 << 20), [Level::Warn]);
        assert_eq!(room(0), [Level::Fail]);
        let few_files = judged(|f| judge_room(f, place, 1 << 40, Some(7)));
        assert_eq!(few_files, [Level::Ok, Level::Warn]);
    }

    #[test]
    fn what_does_not_last_warns() {
        let kind = |magic| judged(|f| judge_kind(f, Path::new("/var"), magic));
        assert_eq!(kind(0xEF53), [Level::Ok], "ext4");
        assert_eq!(kind(0x0102_1994), [Level::Warn], "tmpfs");
        assert_eq!(kind(0x6969), [Level::Warn], "NFS");
    }

    #[test]
    fn a_slow_disk_warns() {
        let sync = |time| judged(|f| judge_sync(f, Path::new("/var"), time));
        assert_eq!(sync(Ok(Duration::from_millis(1))), [Level::Ok]);
        assert_eq!(sync(Ok(Duration::from_millis(50))), [Level::Warn]);
        assert_eq!(
            sync(Err(io::ErrorKind::PermissionDenied.into())),
            [Level::Warn]
        );
    }

    #[test]
    fn trying_a_disk_leaves_nothing_behind() {
        let place = tempfile::tempdir().unwrap();
        assert!(time_of_sync(place.path()).is_ok());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        assert!(time_of_sync(Path::new("/nonexistent")).is_err());
    }
}
