//! The node's own datagram socket, RUNTIME_DIR/notify.
//!
//! It is bound under another name, given its mode and renamed into place, so that there is
//! always one to send to while a daemon follows another. Everybody may send: who it was is told
//! by the kernel, and judged by the reader.
//!
//! A sender that connected once is connected to this socket and to no other that is bound to the
//! same name later. So the socket itself is handed on from daemon to daemon where that can be
//! ([`NotifySocket::adopt`]), and its file stays ([`NotifySocket::keep`]); where it cannot, the
//! runtime connects such senders anew, as far as they can be told.

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
            net,
        },
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use osmoda_runtime::native::{Datagram, identify_senders, receive};
use rustix::net::{SocketType, sockopt};
use tokio::net::UnixDatagram;

/// Mode of the socket: agents run as any user.
const MODE: u32 = 0o666;

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
    /// The next daemon has the socket, or will have.
    kept: AtomicBool,
    /// Device and inode, so that a successor's file is left alone.
    identity: (u64, u64),
    /// It is not the one that an earlier daemon listened on.
    anew: bool,
}

impl NotifySocket {
    /// Binds `path`; what lay there is replaced. Has to be called inside a tokio runtime, and by
    /// the one daemon of its directory.
    ///
    /// # Errors
    /// The socket cannot be made there, for example because the path has more than 107 bytes.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let draft = draft(path);
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
            kept: AtomicBool::new(false),
            identity: (made.dev(), made.ino()),
            anew: true,
        })
    }

    /// Goes on with the socket of an earlier daemon: what waits in its queue is still heard. Has
    /// to be called as [`NotifySocket::bind`].
    ///
    /// # Errors
    /// It is another socket than that of `path`, or nothing leads to it any more.
    pub fn adopt(socket: OwnedFd, path: &Path) -> io::Result<Self> {
        if sockopt::socket_type(&socket)? != SocketType::DGRAM {
            return Err(io::Error::other("it takes no datagrams"));
        }
        let socket = net::UnixDatagram::from(socket);
        if socket.local_addr()?.as_pathname() != Some(&draft(path)) {
            return Err(io::Error::other("it belongs to another directory"));
        }
        let found = fs::symlink_metadata(path)?;
        if !found.file_type().is_socket() {
            return Err(io::Error::other("its file was replaced"));
        }
        socket.set_nonblocking(true)?;
        identify_senders(socket.as_fd())?;
        Ok(Self {
            socket: UnixDatagram::from_std(socket)?,
            path: path.to_owned(),
            kept: AtomicBool::new(false),
            identity: (found.dev(), found.ino()),
            anew: false,
        })
    }

    /// The name under which it was bound, if it was bound anew: who had connected to the one before
    /// it is not heard.
    pub fn bound_anew_as(&self) -> Option<PathBuf> {
        self.anew.then(|| draft(&self.path))
    }

    /// A copy of the socket for the next daemon. From now on its file stays when this one goes.
    ///
    /// # Errors
    /// There are too many open descriptors.
    pub fn keep(&self) -> io::Result<OwnedFd> {
        let copy = self.socket.as_fd().try_clone_to_owned()?;
        self.kept.store(true, Ordering::Relaxed);
        Ok(copy)
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

/// The name under which the socket of `path` is bound first, and which it keeps for itself.
fn draft(path: &Path) -> PathBuf {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    PathBuf::from(draft)
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        if self.kept.load(Ordering::Relaxed) {
            return;
        }
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path); // nobody answers there either way
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &NotifySocket) -> Option<usize> {
        let datagram = socket.receive_now(&mut [0; 16]).unwrap();
        datagram.map(|datagram| datagram.length)
    }

    #[tokio::test]
    async fn who_connected_once_reaches_the_daemon_that_adopts_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let first = NotifySocket::bind(&path).unwrap();
        let sender = net::UnixDatagram::unbound().unwrap();
        sender.connect(&path).unwrap();
        let handed = first.keep().unwrap();
        sender.send(b"in between").unwrap();
        drop(first);
        let next = NotifySocket::adopt(handed, &path).unwrap();
        assert_eq!(received(&next), Some(10), "what waited");
        sender.send(b"later").unwrap();
        assert_eq!(received(&next), Some(5));
        net::UnixDatagram::unbound()
            .unwrap()
            .send_to(b"new", &path)
            .unwrap();
        assert_eq!(received(&next), Some(3), "its file is still there");
        drop(next);
        assert!(!path.exists(), "the last one takes it along");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_the_one_of_this_place_is_not_adopted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let elsewhere = NotifySocket::bind(&directory.path().join("other")).unwrap();
        let handed = || elsewhere.keep().unwrap();
        assert!(
            NotifySocket::adopt(handed(), &path).is_err(),
            "another place"
        );
        let (stream, _other) = net::UnixStream::pair().unwrap();
        assert!(NotifySocket::adopt(stream.into(), &path).is_err());
        let orphan = NotifySocket::bind(&path).unwrap();
        let handed = orphan.keep().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(
            NotifySocket::adopt(handed, &path).is_err(),
            "nothing leads to it"
        );
    }
}
