//! Processes below this one: found through /proc, and ended with nothing left over.
//!
//! A supervisor that is measured or shown starts processes of its own, some in sessions of
//! their own. [`adopt_orphans`] keeps them all below this process, whatever dies in between, so
//! that [`end_descendants`] finds every one. Only descendants are ever ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};

/// How long killed processes may take to disappear.
const END_BOUND: Duration = Duration::from_secs(10);

/// Pause between two looks at /proc while waiting for processes to disappear.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// A signal has come, and the process is about to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes this process the one to which orphaned descendants fall (PR_SET_CHILD_SUBREAPER,
/// prctl(2)).
///
/// # Errors
/// The kernel refuses.
pub fn adopt_orphans() -> anyhow::Result<()> {
    set_child_subreaper(Some(rustix::process::getpid())).context("becoming the subreaper")
}

/// On SIGINT, SIGTERM or SIGHUP: ends every descendant, then this process with 128 + signal.
///
/// # Errors
/// The handlers cannot be installed.
pub fn end_descendants_on_signal() -> anyhow::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])
        .context("installing the handlers of signals")?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            INTERRUPTED.store(true, Ordering::Release);
            end_descendants(std::process::id());
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// To be called before an error is believed: where a signal has come, what failed are its
/// victims. Then this does not return, and the process ends as the signal asks.
pub fn give_way_to_signal() {
    while INTERRUPTED.load(Ordering::Acquire) {
        std::thread::park();
    }
}

/// Every process below `root`, without it. Zombies are not counted: they are dead.
pub fn descendants(root: u32) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut zombies = BTreeSet::new();
    for (pid, stat) in all_stats() {
        children.entry(stat.parent).or_default().push(pid);
        if stat.zombie {
            zombies.insert(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut pending = vec![root];
    while let Some(pid) = pending.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                pending.push(*child);
            }
        }
    }
    &found - &zombies
}

/// The words that a process was started with (proc_pid_cmdline(5)), also those within one
/// argument; none of one that is gone.
pub fn words(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    let words = line.split(|c: char| c == '\0' || c.is_whitespace());
    words.map(str::to_owned).collect()
}

/// The working directory of a process (proc_pid_cwd(5)); `None` if it is gone.
pub fn directory(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Whether a process with this id runs; a zombie does not.
pub fn is_alive(pid: u32) -> bool {
    read_stat(pid).is_some_and(|stat| !stat.zombie)
}

/// Kills everything below `root` until nothing is left or the bound is reached; returns what
/// remains. Parents first, so that no supervisor lives to restart what was killed.
pub fn end_descendants(root: u32) -> BTreeSet<u32> {
    let start = Instant::now();
    loop {
        let left = descendants(root);
        if left.is_empty() || start.elapsed() > END_BOUND {
            return left;
        }
        for pid in &left {
            kill(*pid, Signal::STOP);
        }
        for pid in descendants(root).union(&left) {
            kill(*pid, Signal::KILL);
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// Waits until none of these processes runs; returns what is left at the bound.
pub fn wait_for_end(pids: &BTreeSet<u32>, bound: Duration) -> BTreeSet<u32> {
    let start = Instant::now();
    loop {
        let left: BTreeSet<u32> = pids.iter().copied().filter(|pid| is_alive(*pid)).collect();
        if left.is_empty() || start.elapsed() > bound {
            return left;
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// Sends a signal; a process that is gone is no error here.
pub fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = to_pid(pid) {
        // Gone already, or no longer ours: either way there is nothing to do.
        let _ = kill_process(pid, signal);
    }
}

/// Takes the exit status of those of these processes that fell to this one, so that they leave
/// the table. Not for a [`std::process::Child`], which must learn of its end itself.
pub fn reap(pids: &BTreeSet<u32>) {
    for pid in pids.iter().filter_map(|pid| to_pid(*pid)) {
        // Not our child: its parent reaps it.
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// Takes the exit status of killed processes that fell to this one, waiting for the death of
/// each: a zombie that nobody takes would still have its number.
pub fn reap_killed(pids: impl IntoIterator<Item = u32>) {
    for pid in pids.into_iter().filter_map(to_pid) {
        // Not our child: its parent reaps it.
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
}

fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

struct Stat {
    parent: u32,
    zombie: bool,
}

fn all_stats() -> Vec<(u32, Stat)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, read_stat(pid)?)))
        .collect()
}

/// The fields of /proc/PID/stat that matter here (proc_pid_stat(5)): state and ppid.
fn read_stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The command name may hold spaces and parentheses; it ends at the last ')'.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let zombie = matches!(fields.next()?, "Z" | "X");
    Some(Stat {
        parent: fields.next()?.parse().ok()?,
        zombie,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_command_name_with_parentheses_does_not_hide_the_parent() {
        let stat = parse_stat("42 (a) S 7) Z 41 42 42 0").unwrap();
        assert_eq!(stat.parent, 41);
        assert!(stat.zombie);
    }

    #[test]
    fn grandchildren_in_another_session_are_found_and_ended() {
        let mut child = Command::new("sh")
            .args(["-c", "setsid sleep 1000 & wait"])
            .spawn()
            .unwrap();
        let start = Instant::now();
        while descendants(child.id()).is_empty() && start.elapsed() < END_BOUND {
            std::thread::yield_now();
        }
        let below = descendants(child.id());
        assert_eq!(below.len(), 1);
        assert!(end_descendants(child.id()).is_empty());
        assert!(below.iter().all(|pid| !is_alive(*pid)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
