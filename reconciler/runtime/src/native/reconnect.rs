//! Has agents that connected once to the notify socket heard by the daemon that follows one that
//! was killed.
//!
//! Where nobody kept the socket of the last daemon open, what is connected to it leads nowhere, and
//! a program that connects once (Python's package sdnotify does) does not notice. The kernel gives
//! whoever may trace a process a copy of its descriptors (pidfd_getfd(2)); through that copy the
//! agent's own socket is connected to the socket that is bound now, and the agent goes on using it.
//!
//! Invariant: only a datagram socket of an agent's own tree is touched, without a name by which
//! anybody could send to it, and whose peer has the name of our socket. One whose sending has
//! failed already has no peer any more and could be anything: it is left alone.

use std::{
    fs, io,
    os::{
        fd::{OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
    path::Path,
};

use osmoda_core::name::AgentName;
use rustix::{
    net::{AddressFamily, SocketType, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use super::{NativeRuntime, table::Latest};

/// Most processes of an agent that are looked at.
const PROCESSES_MAX: usize = 256;
/// Most descriptors of a process that are looked at.
const DESCRIPTORS_MAX: usize = 1024;

impl NativeRuntime {
    /// Connects to the notify socket what agents had connected to the one before it, which was
    /// bound as `bound_as`. Gives the agents that have such sockets.
    pub fn reconnect_senders(&self, bound_as: &Path) -> Vec<AgentName> {
        let Some(path) = &self.shared.options.notify_socket else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for latest in self.shared.table.all_latest() {
            let agent = &latest.instance.agent;
            match reconnect_tree(&latest, path, bound_as) {
                Ok(0) => {}
                Ok(_) => found.push(agent.clone()),
                Err(error) => {
                    tracing::info!(%agent, %error, "whether it connected to the notify socket once cannot be seen");
                }
            }
        }
        found
    }
}

/// Gives the number of sockets that were connected anew.
fn reconnect_tree(latest: &Latest, path: &Path, bound_as: &Path) -> io::Result<usize> {
    if latest.process.is_none() {
        return Ok(0);
    }
    let mut count = 0;
    for pid in latest.tree.pids()?.into_iter().take(PROCESSES_MAX) {
        match reconnect_process(pid, path, bound_as) {
            Ok(more) => count += more,
            // It has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn reconnect_process(pid: u32, path: &Path, bound_as: &Path) -> io::Result<usize> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let number = number.ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(number, PidfdFlags::empty())?;
    let mut count = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.take(DESCRIPTORS_MAX) {
        let entry = entry?;
        let is_socket = fs::read_link(entry.path()).is_ok_and(|target| {
            target
                .as_os_str()
                .as_encoded_bytes()
                .starts_with(b"socket:")
        });
        let descriptor = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let (true, Some(descriptor)) = (is_socket, descriptor)
            && let Some(socket) = sender(&process, descriptor, [path, bound_as])?
        {
            socket.connect(path)?;
            count += 1;
        }
    }
    Ok(count)
}

/// A copy of the descriptor, if it is a socket that sends to one of these names and is itself
/// without one.
fn sender(
    process: &OwnedFd,
    descriptor: RawFd,
    names: [&Path; 2],
) -> io::Result<Option<UnixDatagram>> {
    let copy = match pidfd_getfd(process, descriptor, PidfdGetfdFlags::empty()) {
        Ok(copy) => copy,
        Err(rustix::io::Errno::BADF) => return Ok(None), // closed meanwhile
        Err(error) => return Err(error.into()),
    };
    let unix = sockopt::socket_domain(&copy)? == AddressFamily::UNIX;
    if !unix || sockopt::socket_type(&copy)? != SocketType::DGRAM {
        return Ok(None);
    }
    let socket = UnixDatagram::from(copy);
    let unnamed = socket.local_addr()?.is_unnamed();
    let ours = |name: &Path| names.contains(&name);
    let sends_to_us = (socket.peer_addr()).is_ok_and(|peer| peer.as_pathname().is_some_and(ours));
    Ok(Some(socket).filter(|_| unnamed && sends_to_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this process has connected anew, and whether `socket` now leads to `next`.
    fn reconnected(place: &Path, bound_as: &Path) -> usize {
        reconnect_process(std::process::id(), place, bound_as).unwrap()
    }

    #[test]
    fn who_connected_to_a_socket_that_is_gone_reaches_the_next_one_and_nobody_else_is_touched() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("notify");
        let draft = directory.path().join("notify.new");
        let bind = || {
            let socket = UnixDatagram::bind(&draft).unwrap();
            fs::rename(&draft, &place).unwrap();
            socket
        };
        let first = bind();
        let other = UnixDatagram::bind(directory.path().join("other")).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(&place).unwrap();
        let elsewhere = UnixDatagram::unbound().unwrap();
        elsewhere.connect(directory.path().join("other")).unwrap();
        let named = UnixDatagram::bind(directory.path().join("named")).unwrap();
        named.connect(&place).unwrap();
        let failed = UnixDatagram::unbound().unwrap();
        failed.connect(&place).unwrap();
        drop(first);
        assert!(failed.send(b"lost").is_err());
        let next = bind();
        next.set_nonblocking(true).unwrap();
        assert_eq!(reconnected(&place, &draft), 1);
        sender.send(b"heard").unwrap();
        assert_eq!(next.recv(&mut [0; 16]).unwrap(), 5);
        elsewhere.send(b"there").unwrap();
        assert_eq!(other.recv(&mut [0; 16]).unwrap(), 5);
        assert!(named.send(b"nowhere").is_err());
        assert!(failed.send(b"nowhere").is_err());
        assert!(next.recv(&mut [0; 16]).is_err(), "and that is all");
    }
}
