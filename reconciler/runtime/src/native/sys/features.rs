//! Asks the kernel for things that change nothing, to learn whether it has them.
//!
//! A kernel's version does not tell: distributions port features back, and a container's seccomp
//! filter takes them away.

use std::io;

/// `CLONE_INTO_CGROUP` of include/uapi/linux/sched.h.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A descriptor that nobody has: the largest number there is.
const NO_DESCRIPTOR: u64 = i32::MAX as u64;

/// Whether a child can be born in a cgroup (clone3(2), Linux 5.7). The cgroup that is asked for
/// does not exist, so no child is made; a kernel that knows the flag complains about that.
///
/// # Errors
/// What the kernel says instead.
pub(in crate::native) fn clone_into_cgroup() -> io::Result<()> {
    let mut args = libc::clone_args {
        flags: CLONE_INTO_CGROUP,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: NO_DESCRIPTOR,
    };
    let size = size_of::<libc::clone_args>();
    // SAFETY: the structure is live and of the size that is named. No child can come of it, for
    // its cgroup is a descriptor that is not open; and if one did, it would be a plain fork that
    // goes on below with a copy of everything.
    let answer = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) };
    let error = io::Error::last_os_error();
    match answer {
        // SAFETY: _exit ends this process and nothing else.
        0 => unsafe { libc::_exit(0) },
        -1 if error.raw_os_error() == Some(libc::EBADF) => Ok(()),
        -1 => Err(error),
        _ => Err(io::Error::other("a child was made in no cgroup")),
    }
}

/// Whether descriptors can be closed all at once (close_range(2), Linux 5.9).
///
/// # Errors
/// What the kernel says instead.
pub(in crate::native) fn close_range() -> io::Result<()> {
    // SAFETY: descriptor numbers end at i32::MAX, so this range holds none.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether the wall clock is kept in step by somebody (adjtimex(2)): NTP, PTP or the host.
///
/// # Errors
/// The kernel does not tell.
pub(in crate::native) fn clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: a timex of zeroes is valid: no mode, nothing is adjusted.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes into a live structure of its own layout.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_changes_nothing() {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        for _ in 0..3 {
            // Whatever this kernel says is an answer; the point is that we are still whole.
            let answers = [clone_into_cgroup().is_ok(), close_range().is_ok()];
            assert_eq!(
                answers,
                [clone_into_cgroup().is_ok(), close_range().is_ok()]
            );
            assert!(clock_is_synchronised().is_ok());
        }
        assert_eq!(open(), before);
    }
}
