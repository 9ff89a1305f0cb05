//! The node's own datagram socket, RUNTIME_DIR/notify.
//!
//! It is bound under another name, given its mode and renamed into place, so that there is
//! always one to send to while a daemon follows another. Everybody may send: who it was is told
//! by the kernel, and judged by the reader.

use std::{
    fs, io,
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use osmoda_runtime::native::{Datagram, identify_senders, receive};
use tokio::net::UnixDatagram;

/// Mode of the socket: agents run as any user.
const MODE: u32 = 0o666;

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
    /// Device and inode, so that a successor's file is left alone.
    identity: (u64, u64),
}

impl NotifySocket {
    /// Binds `path`; what lay there is replaced. Has to be called inside a tokio runtime, and by
    /// the one daemon of its directory.
    ///
    /// # Errors
    /// The socket cannot be made there, for example because the path has more than 107 bytes.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixDatagram::bind(&draft)?;
        identify_senders(socket.as_fd())?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(MODE))?;
        let made = fs::symlink_metadata(&draft)?;
        fs::rename(&draft, path)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            identity: (made.dev(), made.ino()),
        })
    }

    /// Resolves once there is something to receive.
    ///
    /// # Errors
    /// The scheduler is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Receives a datagram, if there is one.
    ///
    /// # Errors
    /// Receiving failed for another reason than that there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
        let socket = &self.socket;
        let received = socket.try_io(tokio::io::Interest::READABLE, || {
            receive(socket.as_fd(), buffer)
        });
        match received {
            Ok(datagram) => Ok(Some(datagram)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same, past what the scheduler knows: it may not have heard yet of what has arrived.
    ///
    /// # Errors
    /// As [`NotifySocket::receive`].
    pub fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
        match receive(self.socket.as_fd(), buffer) {
            Ok(datagram) => Ok(Some(datagram)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path); // nobody answers there either way
        }
    }
}
