//! Everything that an instance has started, as one thing to signal and to end.
//!
//! With a cgroup that is the kernel's own bookkeeping. Without one, a process belongs to the tree
//! if it is in the session of the main process or was executed with the instance's INVOCATION_ID;
//! one that escapes both is not found, and `doctor` says so.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use osmoda_core::{observed::InvocationId, spec::Signal};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{PidfdFlags, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid},
};

use super::{
    cgroup::{AgentCgroup, kill_through, named},
    procfs,
    sys::spawn::pid,
};

/// Longest wait for processes to end that were sent SIGKILL: one in an uninterruptible system
/// call (a dead network file system) may take longer, and then the next start has to wait.
pub(crate) const END_WAIT: Duration = Duration::from_secs(5);

/// The processes of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
    Cgroup(AgentCgroup),
    Session(Session),
}

/// A tree without a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// Main process, whose pid is also the session's number.
    pub leader: u32,
    /// Whether the number can still mean this session: not if the leader ended unobserved, for
    /// it may have been given to others since.
    pub leader_known: bool,
    /// What its processes carry in their environment.
    pub invocation: InvocationId,
}

impl Tree {
    /// Sends `signal` to every process. Returns their pids.
    pub fn signal(&self, signal: Signal) -> io::Result<Vec<u32>> {
        match self {
            Self::Cgroup(cgroup) => cgroup.signal(signal),
            Self::Session(session) => {
                let signal = named(signal)?;
                let members = session.members()?;
                for member in &members {
                    let _ = pidfd_send_signal(&member.pidfd, signal); // it may just have ended
                }
                Ok(members.iter().map(|member| member.pid).collect())
            }
        }
    }

    /// Kills what lives, without waiting for its end where the kernel takes care of it.
    pub fn kill(&self) -> io::Result<()> {
        match self {
            Self::Cgroup(cgroup) if cgroup.is_populated()? => cgroup.kill(),
            Self::Cgroup(_) => Ok(()),
            Self::Session(session) => session.kill_and_wait(END_WAIT).map(|_| ()),
        }
    }

    /// Kills what lives and waits, blocking, until nothing does. False: it did not end in time.
    pub fn kill_and_wait(&self, limit: Duration) -> io::Result<bool> {
        match self {
            Self::Cgroup(cgroup) => cgroup.kill_and_wait(limit),
            Self::Session(session) => session.kill_and_wait(limit),
        }
    }

    /// Pids of the living.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        match self {
            Self::Cgroup(cgroup) => Ok(cgroup.pids()),
            Self::Session(session) => {
                let members = session.members()?;
                Ok(members.iter().map(|member| member.pid).collect())
            }
        }
    }
}

struct Member {
    pid: u32,
    pidfd: OwnedFd,
}

impl Session {
    /// Living processes of the tree, each held by a pidfd so that its number cannot change hands.
    fn members(&self) -> io::Result<Vec<Member>> {
        let variable = format!("INVOCATION_ID={}", self.invocation);
        let me = std::process::id();
        let found = procfs::pids()?.into_iter().filter(|pid| *pid != me);
        Ok(found
            .filter(|pid| self.contains(*pid, &variable))
            .filter_map(|number| {
                let pidfd = pidfd_open(pid(number)?, PidfdFlags::empty()).ok()?;
                // Looked at again now that it cannot become another process.
                self.contains(number, &variable)
                    .then_some(Member { pid: number, pidfd })
            })
            .collect())
    }

    fn contains(&self, pid: u32, variable: &str) -> bool {
        let Ok(stat) = procfs::stat(pid) else {
            return false;
        };
        let in_session = self.leader_known && stat.session == self.leader;
        !stat.dead && (in_session || procfs::has_variable(pid, variable))
    }

    /// In rounds, because a process may fork while the others are being killed.
    fn kill_and_wait(&self, limit: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let members = self.members()?;
            if members.is_empty() {
                return Ok(true);
            }
            for member in &members {
                kill_through(&member.pidfd)?;
            }
            for member in &members {
                if !ended_by(&member.pidfd, deadline)? {
                    return Ok(false);
                }
                if member.pid != self.leader {
                    reap_orphan(member);
                }
            }
        }
    }
}

/// Waits until the process has ended. False: time was up.
fn ended_by(pidfd: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    let mut end = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    Ok(poll(&mut end, Some(&left))? > 0)
}

/// An orphan becomes a child of the daemon (the subreaper); another's child is not ours to reap.
fn reap_orphan(member: &Member) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let _ = waitid(WaitId::PidFd(member.pidfd.as_fd()), options);
}

/// Reaps ended orphans that were handed to this process as their subreaper.
///
/// Children of the daemon's own session are left alone: whoever started them waits for them. So
/// are `mains`, the agents' main processes.
pub(crate) fn reap_orphans(mains: &[u32]) {
    let me = std::process::id();
    let Ok(own) = procfs::stat(me) else { return };
    for number in procfs::pids().unwrap_or_default() {
        let Ok(stat) = procfs::stat(number) else {
            continue;
        };
        let orphan = stat.dead && stat.parent == me && stat.session != own.session;
        if let (true, false, Some(pid)) = (orphan, mains.contains(&number), pid(number)) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = waitid(WaitId::Pid(pid), options); // somebody may have been faster
        }
    }
}
