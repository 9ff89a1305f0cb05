//! A running main process: how its end is seen, and how it ended.
//!
//! A pidfd becomes readable when the process has ended, reaped or not, whoever's child it is; a
//! grandchild that holds the output open cannot hide that. Order at the end: first the rest of
//! the tree is killed, while the unreaped main process still keeps its pid and session number
//! from being given to others; then its status is read, and at leisure it is reaped.

use std::{
    future::Future,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::ExitStatusExt as _,
    },
    time::Duration,
};

use osmoda_core::{
    heartbeat::EXTENSION_MAX,
    observed::{Exit, ExitStatus},
    spec::Signal,
    time::Clock,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid},
};
use tokio::{
    io::unix::AsyncFd,
    sync::{OnceCell, watch as watch_channel},
    time::Instant,
};

use super::{
    cgroup::{Events, named},
    sys::{
        exit_info::{ExitInfo, exit_info},
        watch::watch,
    },
    tree::Tree,
    usage::Meter,
};
use crate::blocking::spawn_blocking;

/// How long another parent may take to reap an adopted agent before its exit counts as unknown.
const FOREIGN_REAP_WAIT: Duration = Duration::from_millis(50);

/// The main process of a live instance.
pub(crate) struct Process {
    pub pid: u32,
    pub tree: Tree,
    pidfd: AsyncFd<OwnedFd>,
    /// `None`: nobody counts them here.
    oom_kills_before: Option<u64>,
    /// Tell whether something lives in its cgroup.
    events: Option<Events>,
    /// CPU time of its tree, where no cgroup keeps it.
    pub cpu: Meter,
    exit: OnceCell<Exit>,
    /// The stop that is under way, or was last.
    stopping: watch_channel::Sender<Option<Stopping>>,
}

/// How long a stop waits.
#[derive(Clone, Copy)]
struct Stopping {
    /// Until now.
    until: Instant,
    /// At most.
    at_most: Instant,
}

impl Process {
    /// Takes over a process. Has to be called inside a tokio runtime.
    ///
    /// # Errors
    /// The pidfd cannot be watched.
    pub fn new(pid: u32, pidfd: OwnedFd, tree: Tree) -> io::Result<Self> {
        let oom_kills_before = oom_kills(&tree);
        let events = match &tree {
            // Without it, it is opened when it is needed.
            Tree::Cgroup(cgroup) => cgroup.events().ok(),
            Tree::Session(_) => None,
        };
        Ok(Self {
            pid,
            events,
            tree,
            pidfd: watch(pidfd)?,
            oom_kills_before,
            cpu: Meter::default(),
            exit: OnceCell::new(),
            stopping: watch_channel::Sender::new(None),
        })
    }

    /// Resolves once the process has ended; may be dropped at any time.
    pub async fn ended(&self) {
        if let Err(error) = self.pidfd.readable().await {
            // Only a runtime that shuts down refuses to wait, and then there is no next turn.
            tracing::debug!(pid = self.pid, %error, "no longer watching a process");
            std::future::pending::<()>().await;
        }
    }

    /// Begins a stop, before its signal is sent: who is told to end may ask for longer at once.
    /// Of several stops the last one's grace counts.
    pub fn begin_stop(&self, grace: Duration) {
        let began = Instant::now();
        let stopping = Stopping {
            until: began + grace,
            at_most: began + grace.max(EXTENSION_MAX),
        };
        self.stopping.send_replace(Some(stopping));
    }

    /// Waits for its end for as long as the stop that was begun allows. False: time was up.
    pub async fn ended_in_grace(&self) -> bool {
        let mut stopping = self.stopping.subscribe();
        loop {
            let until = stopping.borrow_and_update().map(|stop| stop.until);
            let until = until.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                () = self.ended() => return true,
                Ok(()) = stopping.changed() => {}
                () = tokio::time::sleep_until(until) => return false,
            }
        }
    }

    /// Has a stop that is under way wait at least this much longer, within its bound.
    pub fn extend_stop(&self, by: Duration) {
        let asked = Instant::now() + by.min(EXTENSION_MAX);
        self.stopping.send_if_modified(|stopping| {
            let Some(stop) = stopping else { return false };
            let until = asked.min(stop.at_most).max(stop.until);
            let later = until > stop.until;
            stop.until = until;
            later
        });
    }

    /// Reaps it, once it has ended and its exit is known or nobody asks for it.
    pub fn reap(&self) {
        reap(self.pidfd.get_ref());
    }

    /// Whether the process has ended, by a look at it now.
    pub fn has_ended(&self) -> bool {
        wait_for(self.pidfd.get_ref(), PollFlags::IN, Duration::ZERO)
    }

    /// Kills the rest of the tree and learns how the process ended; waits for its end first.
    /// Everybody who asks gets the same answer, and asking may be given up at any time.
    pub async fn exit(&self, clock: &dyn Clock) -> Exit {
        self.ended().await;
        let exit = self.exit.get_or_init(|| self.conclude(clock));
        exit.await.clone()
    }

    /// Its end, found out by `find_out` for all who ask. `None`: it could not be.
    pub async fn end_told_by<F>(&self, find_out: impl FnOnce() -> F) -> Option<Exit>
    where
        F: Future<Output = Option<Exit>>,
    {
        let found = || async { find_out().await.ok_or(()) };
        self.exit.get_or_try_init(found).await.ok().cloned()
    }

    async fn conclude(&self, clock: &dyn Clock) -> Exit {
        let at = clock.mono();
        let killed = match (&self.tree, &self.events) {
            (Tree::Cgroup(cgroup), Some(events)) => cgroup.kill_living(events),
            (Tree::Cgroup(_), None) => self.tree.kill(),
            (Tree::Session(_), _) => {
                let tree = self.tree.clone();
                let kill = spawn_blocking(move || tree.kill()).await;
                kill.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
        };
        if let Err(error) = killed {
            // The next start looks again, and does not go on while something is left.
            tracing::warn!(pid = self.pid, %error, "cannot kill the rest of a process tree");
        }
        let status = match status(self.pidfd.get_ref(), WaitIdOptions::NOWAIT) {
            Some(status) => status,
            None => self.foreign_status().await,
        };
        Exit {
            status,
            at,
            oom_killed: (self.oom_kills_before)
                .is_some_and(|before| oom_kills(&self.tree) > Some(before)),
            outside: None,
        }
    }

    /// How a process ended that is not our child: the kernel tells once its parent has reaped it.
    async fn foreign_status(&self) -> ExitStatus {
        let pidfd = self.pidfd.get_ref();
        if exit_info(pidfd.as_fd()) == ExitInfo::NotYet
            && let Ok(copy) = pidfd.try_clone()
        {
            let waited =
                spawn_blocking(move || wait_for(&copy, PollFlags::empty(), FOREIGN_REAP_WAIT));
            let _ = waited.await; // whether it came is asked below
        }
        match exit_info(pidfd.as_fd()) {
            ExitInfo::Ended(status) => decode(status),
            ExitInfo::NotYet | ExitInfo::Unsupported => ExitStatus::Unknown,
        }
    }

    /// Sends a signal to the main process alone; one that has ended is a success.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.pidfd.get_ref(), named(signal)?) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Process {
    /// One whose exit is known is reaped at the latest now. Any other may still be asked how it
    /// ended, by whoever takes it over.
    fn drop(&mut self) {
        if self.exit.initialized() {
            self.reap();
        }
    }
}

fn oom_kills(tree: &Tree) -> Option<u64> {
    match tree {
        Tree::Cgroup(cgroup) => cgroup.oom_kills(),
        Tree::Session(_) => None,
    }
}

/// Reaps an ended child. `None`: it is not our child.
pub(crate) fn reap(pidfd: &OwnedFd) -> Option<ExitStatus> {
    status(pidfd, WaitIdOptions::empty())
}

fn status(pidfd: &OwnedFd, how: WaitIdOptions) -> Option<ExitStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | how;
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), options).ok()??;
    Some(from_wait(&status))
}

fn from_wait(status: &WaitIdStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Code { code },
        (None, Some(signal)) => ExitStatus::Signal {
            signal,
            core_dumped: status.dumped(),
        },
        (None, None) => ExitStatus::Unknown,
    }
}

/// A wait status as waitpid(2) gives it.
fn decode(status: i32) -> ExitStatus {
    let status = std::process::ExitStatus::from_raw(status);
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code { code },
        (None, Some(signal)) => ExitStatus::Signal {
            signal,
            core_dumped: status.core_dumped(),
        },
        (None, None) => ExitStatus::Unknown,
    }
}

/// Waits for any of `events`, or a hangup, on a pidfd. False: time was up.
pub(crate) fn wait_for(pidfd: &OwnedFd, events: PollFlags, limit: Duration) -> bool {
    let mut poll_one = [PollFd::from_borrowed_fd(pidfd.as_fd(), events)];
    Timespec::try_from(limit)
        .is_ok_and(|limit| poll(&mut poll_one, Some(&limit)).is_ok_and(|ready| ready > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_is_a_code_or_a_signal() {
        assert_eq!(decode(0x700), ExitStatus::Code { code: 7 });
        let signal = |core_dumped| ExitStatus::Signal {
            signal: 11,
            core_dumped,
        };
        assert_eq!(decode(11), signal(false));
        assert_eq!(decode(11 | 0x80), signal(true));
    }
}
