//! The Unix socket: taking its place without a moment in which the wrong people could connect.
//!
//! A socket is bound under another name, given its mode, and renamed into place. What lay there
//! before is replaced only if nobody answers on it; a live daemon is named instead.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use super::ApiError;

/// Mode of the socket: its owner and its group may connect.
const MODE: u32 = 0o660;

/// A bound socket; its file goes with it.
#[derive(Debug)]
pub struct Listener {
    pub(super) inner: UnixListener,
    path: PathBuf,
    /// Device and inode, so that a successor's file is left alone.
    identity: (u64, u64),
}

impl Listener {
    /// Binds `path` with mode 0660. Its directory must exist.
    ///
    /// # Errors
    /// [`ApiError::Taken`] if a process answers there, [`ApiError::NotASocket`] if something
    /// else lies there, [`ApiError::Bind`] for the rest.
    pub fn bind(path: &Path) -> Result<Self, ApiError> {
        let failed = |source| ApiError::Bind {
            path: path.to_owned(),
            source,
        };
        make_room(path)?;
        let draft = draft_name(path);
        remove_if_there(&draft).map_err(failed)?;
        let inner = UnixListener::bind(&draft).map_err(failed)?;
        let placed = place(&draft, path);
        if placed.is_err() {
            remove_if_there(&draft).map_err(failed)?;
        }
        let identity = placed.map_err(failed)?;
        inner.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            inner,
            path: path.to_owned(),
            identity,
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Group of the socket's file: its members may read.
    pub(super) fn group(&self) -> io::Result<u32> {
        Ok(fs::metadata(&self.path)?.gid())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket could not be removed");
        }
    }
}

fn draft_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn place(draft: &Path, path: &Path) -> io::Result<(u64, u64)> {
    fs::set_permissions(draft, fs::Permissions::from_mode(MODE))?;
    let made = fs::symlink_metadata(draft)?;
    fs::rename(draft, path)?;
    Ok((made.dev(), made.ino()))
}

/// Makes sure that nobody is served at `path` now.
fn make_room(path: &Path) -> Result<(), ApiError> {
    let failed = |source| ApiError::Bind {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ApiError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(stream) => Err(ApiError::Taken {
            path: path.to_owned(),
            holder: holder(&stream),
        }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Who listens at the other end, for people. On the connecting side SO_PEERCRED names the
/// process that called listen(2) (unix(7)).
fn holder(stream: &UnixStream) -> String {
    let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else {
        return "an unknown process".to_owned();
    };
    let pid = peer.pid.as_raw_nonzero();
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(command) => format!("pid {pid} ({})", command.trim_end()),
        Err(_) => format!("pid {pid}"),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_open_to_its_owner_and_group_only_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("osmoda.sock");
        let listener = Listener::bind(&path).unwrap();
        let found = fs::symlink_metadata(&path).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o660);
        assert!(found.file_type().is_socket());
        drop(listener);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("osmoda.sock");
        drop(UnixListener::bind(&path).unwrap()); // its file stays: nobody answers there
        assert!(path.exists());
        let listener = Listener::bind(&path).unwrap();
        assert!(UnixStream::connect(listener.path()).is_ok());
    }

    #[test]
    fn a_live_socket_is_left_alone_and_its_holder_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("osmoda.sock");
        let _first = Listener::bind(&path).unwrap();
        let error = Listener::bind(&path).unwrap_err();
        let who = format!("pid {}", std::process::id());
        assert!(matches!(&error, ApiError::Taken { holder, .. } if holder.starts_with(&who)));
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn what_is_no_socket_is_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("osmoda.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Listener::bind(&path),
            Err(ApiError::NotASocket { .. })
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_successors_socket_outlives_its_predecessor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("osmoda.sock");
        let old = Listener::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let new = Listener::bind(&path).unwrap();
        drop(old);
        assert!(UnixStream::connect(new.path()).is_ok());
    }
}
