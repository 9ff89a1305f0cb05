//! What one daemon gives to the next besides what is on disk: the notify socket.
//!
//! Programs may connect to it once and for all (the Python package sdnotify does). At SIGUSR2
//! the descriptor stays open while the daemon executes its successor, which finds its number in
//! [`VARIABLE`]. Under systemd it lies in the service manager's store as well
//! (FileDescriptorStoreMax=, sd_notify(3)), which gives it to whoever follows a daemon that died
//! (sd_listen_fds(3)). Where neither works, the socket is bound anew, and only who connected to
//! the old one is not heard.

use std::{
    env,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    path::Path,
    process::Command,
};

use osmoda_runtime::native::inherited;

use super::systemd::ServiceManager;
use crate::detect::notify::socket::NotifySocket;

/// Pid of the daemon that was executed, and the number of the descriptor: `4242:7`.
const VARIABLE: &str = "OSMODA_NOTIFY_DESCRIPTOR";

/// Its name in the service manager's store.
const STORED_AS: &str = "osmoda-notify";

/// First descriptor that a service manager passes (sd_listen_fds(3)).
const LISTEN_FDS_START: RawFd = 3;

/// The variables of sd_listen_fds(3).
const LISTEN: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The socket of an earlier daemon, if one was given to this process. To be called before
/// anything else opens descriptors.
pub fn given() -> Option<OwnedFd> {
    let variable = |name: &str| env::var(name).ok();
    let number = number(std::process::id(), variable)?;
    match inherited(number) {
        Ok(socket) => Some(socket),
        Err(error) => {
            tracing::warn!(number, %error, "the notify socket of the last daemon did not arrive");
            None
        }
    }
}

/// Which descriptor it is, by the environment of process `pid`.
fn number(pid: u32, variable: impl Fn(&str) -> Option<String>) -> Option<RawFd> {
    let ours = |text: &str| text.parse() == Ok(pid);
    if let Some(handed) = variable(VARIABLE)
        && let Some((whose, number)) = handed.split_once(':')
        && ours(whose)
    {
        return number.parse().ok();
    }
    let [whose, count, names] = LISTEN.map(variable);
    let count: usize = whose.filter(|whose| ours(whose)).and(count)?.parse().ok()?;
    let names = names?;
    let place = names
        .split(':')
        .take(count)
        .position(|name| name == STORED_AS)?;
    LISTEN_FDS_START.checked_add(RawFd::try_from(place).ok()?)
}

/// Goes on with the socket that was given, or binds a new one.
///
/// # Errors
/// As [`NotifySocket::bind`].
pub fn socket(given: Option<OwnedFd>, path: &Path) -> std::io::Result<NotifySocket> {
    if let Some(given) = given {
        match NotifySocket::adopt(given, path) {
            Ok(socket) => return Ok(socket),
            Err(error) => tracing::warn!(
                %error,
                "the notify socket of the last daemon is of no use; a new one is bound"
            ),
        }
    }
    NotifySocket::bind(path)
}

/// Asks the service manager to keep the socket for the next daemon. Gives whether it can.
pub fn store(manager: &ServiceManager, share: impl FnOnce() -> std::io::Result<OwnedFd>) {
    let room = env::var("FDSTORE").ok().and_then(|most| most.parse().ok());
    if room.unwrap_or(0_u32) == 0 {
        return;
    }
    match share() {
        Ok(socket) => manager.notify_with(&format!("FDSTORE=1\nFDNAME={STORED_AS}"), &socket),
        Err(error) => tracing::warn!(%error, "the notify socket cannot be stored"),
    }
}

/// Has a program that is executed in this process find the socket.
///
/// # Errors
/// The descriptor cannot be left open.
pub fn hand_on(command: &mut Command, socket: &OwnedFd) -> std::io::Result<()> {
    rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty())?;
    let handed = format!("{}:{}", std::process::id(), socket.as_raw_fd());
    command.env(VARIABLE, handed);
    // Those numbers are closed by now, or somebody else's.
    for stale in LISTEN {
        command.env_remove(stale);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Option<RawFd> {
        number(42, |name| {
            let mut all = variables.iter();
            let (_, value) = all.find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        })
    }

    #[test]
    fn what_was_handed_on_to_this_process_is_found_by_its_number() {
        assert_eq!(found(&[(VARIABLE, "42:7")]), Some(7));
        for other in ["41:7", "42", "42:", ":7", "42:seven", ""] {
            assert_eq!(found(&[(VARIABLE, other)]), None, "{other}");
        }
    }

    #[test]
    fn what_a_service_manager_stored_is_found_by_its_name() {
        let listen = |pid, count, names| {
            found(&[
                ("LISTEN_PID", pid),
                ("LISTEN_FDS", count),
                ("LISTEN_FDNAMES", names),
            ])
        };
        assert_eq!(listen("42", "1", "osmoda-notify"), Some(3));
        assert_eq!(listen("42", "2", "http:osmoda-notify"), Some(4));
        assert_eq!(
            listen("42", "1", "http:osmoda-notify"),
            None,
            "beyond the count"
        );
        assert_eq!(listen("41", "1", "osmoda-notify"), None, "another's");
        assert_eq!(listen("42", "1", "http"), None);
        assert_eq!(found(&[("LISTEN_PID", "42"), ("LISTEN_FDS", "1")]), None);
    }

    #[test]
    fn what_is_handed_on_comes_before_what_was_stored() {
        let both = [
            (VARIABLE, "42:9"),
            ("LISTEN_PID", "42"),
            ("LISTEN_FDS", "1"),
            ("LISTEN_FDNAMES", STORED_AS),
        ];
        assert_eq!(found(&both), Some(9));
    }
}
