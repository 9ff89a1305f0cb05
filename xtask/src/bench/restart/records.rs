//! What agents of the benchmarks tell: one record each, at the very start of their life.
//!
//! The agent is xtask/bench/agent.c; its arguments are the name of the socket and its number.

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, ensure};
use rustix::{
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt},
    time::{ClockId, clock_gettime},
};

/// Bytes of a record: index, nanoseconds.
const RECORD_BYTES: usize = 16;

/// One life of an agent.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// As this process sees it: an agent in a namespace of its own has another one for itself.
    pub pid: u32,
    /// CLOCK_MONOTONIC at its first act, in nanoseconds.
    pub began: u64,
}

/// Which agent has begun which life.
pub struct Record {
    pub index: usize,
    pub life: Life,
}

/// Where records arrive.
pub struct Records {
    socket: UnixDatagram,
    name: String,
}

/// CLOCK_MONOTONIC in nanoseconds, the clock that the agents read.
pub fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The clock counts from boot: neither part is ever negative.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

impl Records {
    /// A socket of its own, in the abstract namespace.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn listen() -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("osmoda-bench-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).context("naming the socket")?;
        let socket = UnixDatagram::bind_addr(&address).context("binding the socket")?;
        // The kernel says who sent a record, in terms of this process' namespace (unix(7)).
        sockopt::set_socket_passcred(&socket, true).context("asking for senders")?;
        Ok(Self { socket, name })
    }

    /// What the agents' first argument is.
    pub fn socket_name(&self) -> &str {
        &self.name
    }

    /// Whether a record has come that nobody has asked for yet; it is thrown away.
    ///
    /// # Errors
    /// The socket fails.
    pub fn is_any_waiting(&self) -> anyhow::Result<bool> {
        let blocking = |blocking: bool| {
            let set = self.socket.set_nonblocking(!blocking);
            set.context("looking for records")
        };
        blocking(false)?;
        let waiting = self.socket.recv(&mut [0; RECORD_BYTES]).is_ok();
        blocking(true)?;
        Ok(waiting)
    }

    /// The next record, waiting for at most this long.
    ///
    /// # Errors
    /// None came, or what came is none.
    pub fn next(&self, bound: Duration) -> anyhow::Result<Record> {
        let mut bytes = [0; RECORD_BYTES];
        // Zero would mean to wait forever.
        let bound = bound.max(Duration::from_millis(1));
        self.socket
            .set_read_timeout(Some(bound))
            .context("bounding the wait")?;
        let (length, pid) = self.receive(&mut bytes).context("no record")?;
        ensure!(length == RECORD_BYTES, "a record of {length} bytes");
        let field = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(word)
        };
        Ok(Record {
            index: usize::try_from(field(0)).context("an index")?,
            life: Life {
                pid: pid.context("a record without a sender")?,
                began: field(8),
            },
        })
    }

    /// One datagram: its length, and who sent it.
    fn receive(&self, bytes: &mut [u8]) -> std::io::Result<(usize, Option<u32>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(bytes)];
        let received = recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::empty())?;
        let sender = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid.as_raw_nonzero()),
            _ => None,
        });
        let pid = sender.and_then(|pid| u32::try_from(pid.get()).ok());
        Ok((received.bytes, pid))
    }
}
