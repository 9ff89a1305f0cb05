//! What agents say of themselves: sd_notify(3) on the node's own socket.
//!
//! A task takes datagrams in as they come, a bounded number at a time; whoever is about to judge
//! a silence or an end takes in first what waits ([`Notify::drain`]). A sender has to be in an
//! agent's process tree, its children and theirs included; all others are ignored and counted.
//!
//! Invariants: datagrams are folded in one after the other, in the order of their arrival; every
//! descriptor is closed once its datagram was, which is what BARRIER=1 waits for.
//!
//! A sender that ends at once is known where the kernel keeps its cgroup (Linux 6.16) or while
//! nobody has reaped it; else its message is counted as a stranger's. libsystemd's
//! sd_notify_barrier(3), which systemd-notify(1) calls, waits until it was taken in.
//!
//! Where to start: [`Notify::run`].

pub mod protocol;
pub mod socket;

use std::{
    collections::BTreeSet,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use osmoda_core::{
    heartbeat::Notice,
    name::AgentName,
    time::{Clock, Mono},
};
use osmoda_runtime::{Runtime, clock::of_monotonic, native::Datagram};

use self::{
    protocol::{MESSAGE_MAX, Malformed, Message, parse},
    socket::NotifySocket,
};
use super::board::{Board, Wake};

/// Most datagrams that are taken in before others have their turn.
const BATCH_MAX: usize = 256;

/// Most datagrams that are taken in at once for somebody who waits: more than a socket's queue
/// holds (net.unix.max_dgram_qlen, 10 by default and 512 under systemd).
const DRAIN_MAX: usize = 1024;

/// Least time between two warnings about ignored notifications.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Pause after an error of the socket itself, which nothing should cause.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Why a notification was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignored {
    /// Its sender is in no agent's tree, or had ended and can no longer be told.
    Stranger,
    /// The kernel did not say who sent it.
    Anonymous,
    /// It was longer than [`MESSAGE_MAX`] bytes, or carried more than could be received.
    Truncated,
    /// It holds a NUL, or BARRIER=1 with something else.
    Malformed,
    /// BARRIER=1 without exactly one descriptor.
    Barrier,
    /// MAINPID= of a process that cannot be the main one; the rest of it was taken in.
    MainPid,
}

impl Ignored {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Stranger,
        Self::Anonymous,
        Self::Truncated,
        Self::Malformed,
        Self::Barrier,
        Self::MainPid,
    ];

    /// One CamelCase word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stranger => "Stranger",
            Self::Anonymous => "Anonymous",
            Self::Truncated => "Truncated",
            Self::Malformed => "Malformed",
            Self::Barrier => "Barrier",
            Self::MainPid => "MainPid",
        }
    }
}

impl From<Malformed> for Ignored {
    fn from(why: Malformed) -> Self {
        match why {
            Malformed::TooLong => Self::Truncated,
            Malformed::Nul | Malformed::BarrierNotAlone => Self::Malformed,
        }
    }
}

/// The listener behind the socket.
pub struct Notify<R> {
    socket: NotifySocket,
    runtime: Arc<R>,
    board: Board,
    clock: Arc<dyn Clock>,
    /// Held while datagrams are folded in.
    desk: Mutex<Desk>,
}

struct Desk {
    buffer: Box<[u8]>,
    /// Agents that the loop is to look at.
    wake: BTreeSet<AgentName>,
    warned_at: Option<Mono>,
    ignored: u64,
    /// Whatever comes now is the next daemon's.
    over: bool,
}

impl<R: Runtime> Notify<R> {
    /// A listener that writes to `board`. The board's loop takes in through it what waits.
    pub fn new(
        socket: NotifySocket,
        runtime: Arc<R>,
        board: Board,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let desk = Desk {
            buffer: vec![0; MESSAGE_MAX].into(), // the kernel tells of any excess
            wake: BTreeSet::new(),
            warned_at: None,
            ignored: 0,
            over: false,
        };
        let this = Arc::new(Self {
            socket,
            runtime,
            board,
            clock,
            desk: Mutex::new(desk),
        });
        let listener = Arc::downgrade(&this);
        this.board.listen_with(move || drain(&listener));
        this
    }

    /// Takes in what waits, and from then on nothing more: it is left to the next daemon, which
    /// gets the socket.
    ///
    /// # Errors
    /// As [`NotifySocket::keep`].
    pub fn hand_over(&self) -> io::Result<OwnedFd> {
        self.drain();
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.over = true;
        self.socket.keep()
    }

    /// A copy of the socket, to be kept by the service manager for a daemon that follows.
    ///
    /// # Errors
    /// As [`NotifySocket::keep`].
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.socket.keep()
    }

    /// Takes in what waits now, at most [`DRAIN_MAX`] datagrams.
    pub fn drain(&self) {
        let receive = |buffer: &mut [u8]| self.socket.receive_now(buffer);
        if let Err(error) = self.take_in(DRAIN_MAX, receive) {
            tracing::warn!(%error, "notifications cannot be received");
        }
    }

    /// Takes in whatever comes, until it is dropped.
    pub async fn run(&self) {
        while self.socket.readable().await.is_ok() && !self.is_over() {
            match self.take_in(BATCH_MAX, |buffer| self.socket.receive(buffer)) {
                // A flood: others have their turn, and it goes on.
                Ok(BATCH_MAX) => tokio::task::yield_now().await,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "notifications cannot be received");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.desk
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .over
    }

    /// Folds in up to `most` datagrams; gives their number.
    fn take_in(
        &self,
        most: usize,
        receive: impl Fn(&mut [u8]) -> io::Result<Option<Datagram>>,
    ) -> io::Result<usize> {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = 0;
        let mut result = Ok(());
        while taken < most && !desk.over {
            match receive(&mut desk.buffer) {
                Ok(Some(datagram)) => {
                    taken += 1;
                    if let Err(why) = self.fold(&mut desk, &datagram) {
                        self.ignore(&mut desk, why, &datagram);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        for agent in std::mem::take(&mut desk.wake) {
            self.board.wake(&agent);
        }
        result.map(|()| taken)
    }

    fn fold(&self, desk: &mut Desk, datagram: &Datagram) -> Result<(), Ignored> {
        if datagram.truncated {
            return Err(Ignored::Truncated);
        }
        let text = desk.buffer.get(..datagram.length).unwrap_or_default();
        let sender = datagram.sender.as_ref().ok_or(Ignored::Anonymous)?;
        let (agent, invocation) = self.runtime.owner(sender).ok_or(Ignored::Stranger)?;
        let (mut notices, main_pid, monotonic_us) = match parse(text)? {
            Message::Says {
                notices,
                main_pid,
                monotonic_us,
            } => (notices, main_pid, monotonic_us),
            // Everything before it was folded in; its descriptor is closed with the datagram.
            Message::Barrier if datagram.descriptors.len() == 1 => return Ok(()),
            Message::Barrier => return Err(Ignored::Barrier),
        };
        let now = self.clock.mono();
        for notice in &mut notices {
            if let (Notice::Reloading(since), Some(us)) = (&mut *notice, monotonic_us) {
                *since = Some(of_monotonic(us));
            }
            let notice = &*notice;
            let wake = self
                .board
                .hear(&agent, invocation, |heartbeat| heartbeat.hear(notice, now));
            if wake == Wake::Loop {
                desk.wake.insert(agent.clone());
            }
            if let Notice::Extend(by) = notice {
                self.runtime.extend_stop(&agent, invocation, *by);
            }
        }
        if let Some(pid) = main_pid {
            let changed = self.runtime.set_main_pid(&agent, invocation, pid);
            if let Err(error) = changed {
                tracing::debug!(%agent, pid, %error, "the main process stays the same");
                return Err(Ignored::MainPid);
            }
            desk.wake.insert(agent);
        }
        Ok(())
    }

    /// Counts, and warns now and then.
    fn ignore(&self, desk: &mut Desk, why: Ignored, datagram: &Datagram) {
        self.board.ignore(why);
        desk.ignored += 1;
        let now = self.clock.mono();
        let lately = |at: Mono| now.since(at) < WARN_EVERY;
        if desk.warned_at.is_some_and(lately) {
            return;
        }
        let pid = datagram.sender.as_ref().map(|sender| sender.pid);
        let (reason, count) = (why.word(), desk.ignored);
        tracing::warn!(reason, pid, count, "ignoring notifications");
        desk.warned_at = Some(now);
        desk.ignored = 0;
    }
}

/// Takes in what waits, unless the listener has gone.
pub fn drain<R: Runtime>(listener: &Weak<Notify<R>>) {
    if let Some(listener) = listener.upgrade() {
        listener.drain();
    }
}
