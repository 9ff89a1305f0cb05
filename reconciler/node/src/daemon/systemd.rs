//! The daemon's own side of the service manager's notification protocol (sd_notify(3)).
//!
//! Without `$NOTIFY_SOCKET` all of this does nothing.

use std::{
    env,
    io::IoSlice,
    mem::MaybeUninit,
    os::{fd::AsFd, unix::net::UnixDatagram},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// The way to the service manager.
#[derive(Debug)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
}

/// Longest time that a daemon may take to begin before the service manager's own bounds hold.
const BEGINNING_MAX: Duration = Duration::from_secs(600);
/// Longest time between two words to the service manager meanwhile.
const BEGINNING_EVERY: Duration = Duration::from_secs(5);

/// The time until the daemon is ready.
#[derive(Debug)]
pub struct Beginning {
    /// Nothing is ever sent: that it is gone is the news.
    _over: mpsc::Sender<()>,
}

impl ServiceManager {
    /// Connects to `$NOTIFY_SOCKET`, if there is one. A socket that cannot be reached is
    /// reported and then ignored: agents matter more than being known as started.
    pub fn connect() -> Self {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else {
            return Self { socket: None };
        };
        let connected = UnixDatagram::unbound().and_then(|socket| {
            connect(&socket, path.as_encoded_bytes())?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => Self {
                socket: Some(socket),
            },
            Err(error) => {
                tracing::warn!(socket = ?path, error = %error, "the service manager cannot be notified");
                Self { socket: None }
            }
        }
    }

    /// Sends assignments such as `READY=1`, one per line.
    pub fn notify(&self, state: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(state.as_bytes()) {
            tracing::warn!(error = %error, "the service manager was not notified");
        }
    }

    /// The same with a descriptor, such as `FDSTORE=1` wants one.
    pub fn notify_with(&self, state: &str, descriptor: &impl AsFd) {
        let Some(socket) = &self.socket else { return };
        let descriptors = [descriptor.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let text = [IoSlice::new(state.as_bytes())];
        if let Err(error) = sendmsg(socket, &text, &mut control, SendFlags::NOSIGNAL) {
            tracing::warn!(error = %error, "the service manager was not given a descriptor");
        }
    }

    /// Keeps the service manager patient until the daemon can answer for its loop: a large ledger
    /// or a slow disk is no hang. For at most [`BEGINNING_MAX`], and until it is dropped.
    pub fn begin(&self) -> Beginning {
        let (over, is_over) = mpsc::channel::<()>();
        let socket = self
            .socket
            .as_ref()
            .and_then(|socket| socket.try_clone().ok());
        let every = self.watchdog_interval().unwrap_or(BEGINNING_EVERY);
        let every = every.min(BEGINNING_EVERY);
        if let Some(socket) = socket {
            let patience = every.saturating_mul(4).as_micros();
            let say = format!("WATCHDOG=1\nEXTEND_TIMEOUT_USEC={patience}");
            thread::spawn(move || {
                let until = Instant::now() + BEGINNING_MAX;
                while Instant::now() < until {
                    // A manager that cannot be told will find out by itself.
                    let _ = socket.send(say.as_bytes());
                    if is_over.recv_timeout(every) != Err(mpsc::RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            });
        }
        Beginning { _over: over }
    }

    /// Half of the time after which the service manager takes silence for a hang: how often to
    /// send `WATCHDOG=1`.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        let ours = match env::var("WATCHDOG_PID") {
            Ok(pid) => pid == std::process::id().to_string(),
            Err(_) => true,
        };
        let timeout: u64 = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
        (ours && timeout > 0).then(|| Duration::from_micros(timeout / 2))
    }
}

/// A path, or, after `@`, a name in the abstract namespace (unix(7)).
fn connect(socket: &UnixDatagram, address: &[u8]) -> std::io::Result<()> {
    use std::os::{
        linux::net::SocketAddrExt as _,
        unix::{ffi::OsStrExt as _, net::SocketAddr},
    };
    let address = match address.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(address))?,
    };
    socket.connect_addr(&address)
}
