//! The daemon's own side of the service manager's notification protocol (sd_notify(3)).
//!
//! Without `$NOTIFY_SOCKET` all of this does nothing.

use std::{
    env,
    io::IoSlice,
    mem::MaybeUninit,
    os::{fd::AsFd, unix::net::UnixDatagram},
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// The way to the service manager.
#[derive(Debug)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
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
