//! The clock, and the kernel's limits on what a daemon may have.

use std::{fs, io, path::Path};

use osmoda_core::time::{Clock as _, Wall};
use osmoda_ledger::Reader;
use osmoda_runtime::{clock::SystemClock, native::survey};
use rustix::{
    fs::inotify,
    process::{Resource, getrlimit},
};

use super::Findings;

/// No host's clock is before this: 2026-01-01, in microseconds since 1970.
const EARLIEST: i64 = 1_767_225_600_000_000;
/// How far the last entry may be ahead of the clock, in microseconds.
const AHEAD_MAX: i64 = 1_000_000;
/// Descriptors of the daemon itself, its connections included.
const FILES_OF_DAEMON: u64 = 512;
/// Descriptors for each agent: its process, its detectors' and what a start holds for a moment.
const FILES_OF_AGENT: u64 = 6;
/// Watches below which others leave none for the specs.
const WATCHES_MIN: u64 = 1024;

pub(super) fn clock(ledger: &Path) -> Findings {
    let now = SystemClock::new().map(|clock| clock.wall());
    judge_clock(now, last_entry(ledger), survey::clock_is_synchronised())
}

/// When the newest entry says that it was written.
fn last_entry(ledger: &Path) -> Option<Wall> {
    let tail = Reader::open(ledger).ok()?.tail(1).ok()?;
    let entry = tail.into_iter().next()?.entry?;
    let entry: serde_json::Value = serde_json::from_slice(&entry).ok()?;
    let time: jiff::Timestamp = entry.get("ts")?.as_str()?.parse().ok()?;
    Some(Wall(time.as_microsecond()))
}

fn judge_clock(
    now: io::Result<Wall>,
    last: Option<Wall>,
    synchronised: io::Result<bool>,
) -> Findings {
    let mut findings = Findings::of("clock");
    let set = "set it, and keep it in step (systemd-timesyncd or chrony)";
    let now = match now {
        Ok(now) => now,
        Err(error) => {
            findings.fail(format!("the clocks cannot be read: {error}"), "mount /proc");
            return findings;
        }
    };
    match last {
        _ if now.0 < EARLIEST => findings.fail(format!("it shows {now}, which is past"), set),
        Some(last) if last.0 > now.0.saturating_add(AHEAD_MAX) => findings.warn(
            format!("it shows {now}, and the ledger's last entry is of {last}: it went back"),
            set,
        ),
        _ => findings.ok(format!("it shows {now}")),
    }
    match synchronised {
        Ok(true) => findings.ok("it is kept in step"),
        Ok(false) => findings.warn(
            "nobody keeps it in step: times in the ledger may be wrong (order and durations are \
             not: they go by the time since boot)",
            "run systemd-timesyncd or chrony",
        ),
        Err(error) => findings.warn(
            format!("whether it is kept in step is unknown: {error}"),
            set,
        ),
    }
    findings
}

pub(super) fn limits(agents: usize) -> Findings {
    let mut findings = Findings::of("limits");
    let files = getrlimit(Resource::Nofile);
    judge_files(&mut findings, files.current, files.maximum, agents);
    let watches = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
    let watches = watches.ok().and_then(|text| text.trim().parse().ok());
    let instance = inotify::init(inotify::CreateFlags::CLOEXEC);
    judge_inotify(
        &mut findings,
        instance.map(|_| ()).map_err(io::Error::from),
        watches,
    );
    findings
}

/// `None`: no limit.
fn judge_files(findings: &mut Findings, soft: Option<u64>, hard: Option<u64>, agents: usize) {
    let agents = agents as u64;
    let needed = FILES_OF_DAEMON.saturating_add(FILES_OF_AGENT.saturating_mul(agents));
    let soft = soft.or(hard).unwrap_or(u64::MAX);
    let message = format!("{soft} open files are allowed from here; {agents} agents need {needed}");
    match soft >= needed {
        true => findings.ok(message),
        false => findings.warn(
            message,
            format!("raise it: LimitNOFILE={needed} or ulimit -n"),
        ),
    }
}

fn judge_inotify(findings: &mut Findings, instance: io::Result<()>, watches: Option<u64>) {
    let remedy = |what: &str| format!("raise the sysctl fs.inotify.{what}");
    match (instance, watches) {
        (Err(error), _) => findings.fail(
            format!("no inotify instance can be had ({error}): changed specs go unseen"),
            remedy("max_user_instances"),
        ),
        (Ok(()), Some(watches)) if watches < WATCHES_MIN => findings.warn(
            format!("only {watches} inotify watches are allowed to a user"),
            remedy("max_user_watches"),
        ),
        (Ok(()), _) => findings.ok("changes of specs are seen at once (inotify)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Level, levels};

    const NOW: Wall = Wall(EARLIEST + 1_000_000_000);

    #[test]
    fn a_clock_that_went_back_or_is_not_kept_warns() {
        let judged = |now: Wall, last, kept| levels(&judge_clock(Ok(now), last, kept));
        let before = Some(Wall(NOW.0 - 5));
        assert_eq!(judged(NOW, before, Ok(true)), [Level::Ok, Level::Ok]);
        assert_eq!(judged(NOW, None, Ok(false)), [Level::Ok, Level::Warn]);
        let ahead = Some(Wall(NOW.0 + 3_600_000_000));
        assert_eq!(judged(NOW, ahead, Ok(true)), [Level::Warn, Level::Ok]);
        assert_eq!(judged(Wall(0), None, Ok(true)), [Level::Fail, Level::Ok]);
        let unknown = Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(judged(NOW, None, unknown), [Level::Ok, Level::Warn]);
        let unreadable = judge_clock(Err(io::ErrorKind::NotFound.into()), None, Ok(true));
        assert_eq!(levels(&unreadable), [Level::Fail]);
    }

    #[test]
    fn files_have_to_suffice_for_all_agents() {
        let judged = |soft, agents| {
            let mut findings = Findings::of("limits");
            judge_files(&mut findings, soft, None, agents);
            levels(&findings)
        };
        assert_eq!(judged(Some(1024), 10), [Level::Ok]);
        assert_eq!(judged(Some(1024), 1000), [Level::Warn]);
        assert_eq!(judged(None, 1_000_000), [Level::Ok]);
    }

    #[test]
    fn specs_need_inotify() {
        let judged = |instance, watches| {
            let mut findings = Findings::of("limits");
            judge_inotify(&mut findings, instance, watches);
            levels(&findings)
        };
        assert_eq!(judged(Ok(()), None), [Level::Ok]);
        assert_eq!(judged(Ok(()), Some(10)), [Level::Warn]);
        assert_eq!(
            judged(Err(io::ErrorKind::Other.into()), None),
            [Level::Fail]
        );
    }
}
