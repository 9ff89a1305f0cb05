//! How a process ended that somebody else has waited for, and where it was: the PIDFD_GET_INFO
//! ioctl.
//!
//! Source: include/uapi/linux/pidfd.h. Linux 6.15 and later keep the wait status of a reaped
//! process for as long as a pidfd of it is open; older kernels refuse the question.

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// `struct pidfd_info` as first published (PIDFD_INFO_SIZE_VER0, 64 bytes).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// `_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)` with the first structure's size.
const PIDFD_GET_INFO: u64 = (3 << 30) | (64 << 16) | (0xFF << 8) | 11;

/// Asked for, and set in the answer if `exit_code` is there.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// Asked for, and set in the answer if `cgroup_id` is there.
const PIDFD_INFO_CGROUPID: u64 = 1 << 2;

/// What the kernel knows of the end of a process.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::native) enum ExitInfo {
    /// Its wait status, as waitpid(2) would have given it.
    Ended(i32),
    /// Not reaped yet; ask again once the pidfd hangs up.
    NotYet,
    /// This kernel does not tell.
    Unsupported,
}

/// Asks how the process behind `pidfd` ended.
pub(in crate::native) fn exit_info(pidfd: BorrowedFd<'_>) -> ExitInfo {
    match ask(pidfd, PIDFD_INFO_EXIT) {
        None => ExitInfo::Unsupported,
        Some(info) if info.mask & PIDFD_INFO_EXIT == 0 => ExitInfo::NotYet,
        Some(info) => ExitInfo::Ended(info.exit_code),
    }
}

/// The cgroup of the process behind `pidfd`, or its last one if it has ended: the inode number
/// of its directory. `None`: this kernel does not tell.
pub(in crate::native) fn cgroup_id(pidfd: BorrowedFd<'_>) -> Option<u64> {
    let info = ask(pidfd, PIDFD_INFO_CGROUPID | PIDFD_INFO_EXIT)?;
    (info.mask & PIDFD_INFO_CGROUPID != 0).then_some(info.cgroup_id)
}

fn ask(pidfd: BorrowedFd<'_>, mask: u64) -> Option<PidfdInfo> {
    let mut info = PidfdInfo {
        mask,
        ..PidfdInfo::default()
    };
    // SAFETY: the descriptor is open for the length of the borrow, and the kernel writes at most
    // the 64 bytes whose number is part of the request into a live structure of that size.
    let answer = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) };
    (answer == 0).then_some(info)
}

#[cfg(test)]
mod tests {
    use std::{os::fd::AsFd as _, process::Command};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that skips says so")]
    fn the_status_of_a_process_that_others_reaped_is_known_where_the_kernel_keeps_it() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "read x; exit 7"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let alive = exit_info(pidfd.as_fd());
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(7));
        match alive {
            ExitInfo::Unsupported => eprintln!("skipped: this kernel has no PIDFD_GET_INFO"),
            other => {
                assert_eq!(other, ExitInfo::NotYet);
                let after = exit_info(pidfd.as_fd());
                assert!(
                    matches!(after, ExitInfo::Ended(0x700) | ExitInfo::Unsupported),
                    "{after:?}"
                );
            }
        }
    }
}
