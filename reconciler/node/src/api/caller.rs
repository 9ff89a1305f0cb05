//! Who is at the other end of a connection.
//!
//! The kernel answers for uid, gid and pid (SO_PEERCRED, unix(7)); the rest is read from /proc
//! once, at accept. A process id alone is not an identity, since the kernel reuses it: the
//! process's start time goes with it, and [`Caller::is_still_there`] compares both before the
//! caller may act. Between connect and accept an id could in theory be reused by a process that
//! started before accept; that takes a full turn of the kernel's id counter in that moment.

use std::fs;

use osmoda_core::event::Actor;

/// Most bytes kept of a command name; the kernel keeps 15.
const COMMAND_BYTES_MAX: usize = 64;

/// The process that connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Effective user id at connect(2).
    pub uid: u32,
    /// Effective group id at connect(2).
    pub gid: u32,
    /// Process id; 0 if it lies outside our pid namespace.
    pub pid: u32,
    /// Supplementary groups; empty if the process could not be read.
    pub groups: Vec<u32>,
    /// Command name (/proc/PID/comm); `?` if the process could not be read.
    pub command: String,
    /// Start time in clock ticks since boot; absent if the process could not be read.
    started: Option<u64>,
}

impl Caller {
    /// Reads who `uid`, `gid`, `pid` is.
    pub fn of(uid: u32, gid: u32, pid: u32) -> Self {
        let mut caller = Self {
            uid,
            gid,
            pid,
            groups: Vec::new(),
            command: "?".to_owned(),
            started: None,
        };
        let Some(started) = start_time(pid) else {
            return caller;
        };
        let command = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        let (effective, groups) = credentials(pid).unwrap_or_default();
        let same_process = start_time(pid) == Some(started);
        if same_process && effective == Some(uid) {
            caller.command = printable(&command);
            caller.groups = groups;
            caller.started = Some(started);
        }
        caller
    }

    /// Whether the process that connected still exists and is the same one.
    pub fn is_still_there(&self) -> bool {
        self.started.is_some() && start_time(self.pid) == self.started
    }

    /// As the ledger names it.
    pub fn actor(&self) -> Actor {
        Actor::Operator {
            uid: self.uid,
            gid: self.gid,
            pid: self.pid,
            command: self.command.clone(),
        }
    }
}

/// Field 22 of /proc/PID/stat (proc_pid_stat(5)). The command name, field 2, may hold anything,
/// also `)`; the last one ends it.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Effective user id and supplementary groups (proc_pid_status(5)).
fn credentials(pid: u32) -> Option<(Option<u32>, Vec<u32>)> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let numbers = |label| {
        let line = status.lines().find_map(|line| line.strip_prefix(label));
        line.unwrap_or_default()
            .split_ascii_whitespace()
            .filter_map(|n| n.parse().ok())
    };
    Some((numbers("Uid:").nth(1), numbers("Groups:").collect()))
}

fn printable(command: &[u8]) -> String {
    let text = String::from_utf8_lossy(command);
    let clean = text
        .trim_end_matches('\n')
        .chars()
        .filter(|c| !c.is_control());
    let mut kept = String::new();
    for letter in clean {
        if kept.len() + letter.len_utf8() > COMMAND_BYTES_MAX {
            break;
        }
        kept.push(letter);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn myself() -> Caller {
        let uid = rustix::process::geteuid().as_raw();
        Caller::of(uid, rustix::process::getegid().as_raw(), std::process::id())
    }

    #[test]
    fn a_living_caller_is_known_by_name_and_start() {
        let me = myself();
        let comm = fs::read_to_string("/proc/self/comm").unwrap();
        assert!(me.is_still_there());
        assert!(!me.command.is_empty() && me.command != "?", "{comm}");
    }

    #[test]
    fn a_reused_process_id_is_another_caller() {
        let mut other = myself();
        other.started = other.started.map(|ticks| ticks + 1);
        assert!(!other.is_still_there());
    }

    #[test]
    fn a_caller_that_ended_or_was_never_seen_is_not_there() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let gone = Caller::of(0, 0, pid);
        assert_eq!((gone.is_still_there(), gone.command.as_str()), (false, "?"));
        assert!(!Caller::of(0, 0, 0).is_still_there());
    }

    #[test]
    fn a_process_of_another_user_than_the_kernel_named_is_not_believed() {
        let uid = rustix::process::geteuid().as_raw();
        let doubtful = Caller::of(uid + 1, 0, std::process::id());
        assert_eq!(
            (doubtful.is_still_there(), doubtful.command.as_str()),
            (false, "?")
        );
    }

    #[test]
    fn a_command_name_is_kept_short_and_free_of_control_characters() {
        assert_eq!(printable(b"a\x1b[31mb\n"), "a[31mb");
        assert_eq!(
            printable("ä".repeat(99).as_bytes()).len(),
            COMMAND_BYTES_MAX
        );
    }
}
