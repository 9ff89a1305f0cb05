//! Receives datagrams together with who sent them and the descriptors they carry.
//!
//! Source: unix(7), cmsg(3), include/linux/socket.h. No safe binding knows SCM_PIDFD (Linux 6.5
//! and later), and one that passes over it would leak a descriptor with every datagram.
//!
//! Invariant: every descriptor that arrives is owned from here on, so that it is closed whatever
//! is wrong with the rest of its message.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr,
};

use libc::{c_int, c_void};

use crate::Sender;

/// `SO_PASSPIDFD` of include/uapi/asm-generic/socket.h.
const SO_PASSPIDFD: c_int = 76;

/// `SCM_PIDFD` of include/linux/socket.h.
const SCM_PIDFD: c_int = 4;

/// Room for control messages, in bytes: the most descriptors that one message may carry
/// (SCM_MAX_FD, 253), credentials and a pidfd take less than 1200.
const CONTROL_BYTES: usize = 1536;

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// A datagram without its text, which is in the caller's buffer.
#[derive(Debug)]
pub struct Datagram {
    /// Bytes of the text.
    pub length: usize,
    /// The text was longer than the buffer, or there was more than could be passed with it.
    pub truncated: bool,
    /// Who sent it.
    pub sender: Option<Sender>,
    /// What it carries; closed when dropped.
    pub descriptors: Vec<OwnedFd>,
}

/// Has the kernel tell who sends to `socket`: the pid, and from Linux 6.5 on a pidfd, so that a
/// pid that was given to another process is recognised.
///
/// # Errors
/// It is no socket that can do so.
pub fn identify_senders(socket: BorrowedFd<'_>) -> io::Result<()> {
    rustix::net::sockopt::set_socket_passcred(socket, true)?;
    let on: c_int = 1;
    // SAFETY: the kernel reads one int from a live variable. Older kernels refuse, and then the
    // pid has to do.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSPIDFD,
            (&raw const on).cast::<c_void>(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    Ok(())
}

/// Receives one datagram without waiting for it.
///
/// # Errors
/// `WouldBlock`: there is none.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut control = Control([0; CONTROL_BYTES]);
    let mut text = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast::<c_void>(),
        iov_len: buffer.len(),
    };
    // SAFETY: a msghdr of zeroes is valid: no name, no buffers, no flags.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut text;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast::<c_void>();
    header.msg_controllen = CONTROL_BYTES as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header names two live buffers by their lengths, and nothing else.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let Ok(length) = usize::try_from(length) else {
        return Err(io::Error::last_os_error());
    };
    let mut datagram = Datagram {
        length,
        truncated: header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
        sender: None,
        descriptors: Vec::new(),
    };
    let mut pidfd = None;
    // SAFETY: the header was filled in by recvmsg, and its control buffer is still alive.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a header within the buffer, which
        // is aligned for one.
        let found = unsafe { *message };
        // SAFETY: the data follow their header within the buffer.
        let data = unsafe { libc::CMSG_DATA(message) };
        // SAFETY: pure arithmetic.
        let header_length = unsafe { libc::CMSG_LEN(0) } as usize;
        let length = (found.cmsg_len as usize).saturating_sub(header_length);
        match (found.cmsg_level, found.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                // SAFETY: `length` bytes of data lie there, and nobody else owns what they name.
                datagram
                    .descriptors
                    .extend(unsafe { descriptors(data, length) });
            }
            (libc::SOL_SOCKET, SCM_PIDFD) => {
                // SAFETY: as above. A negative number tells why there is none.
                pidfd = unsafe { descriptors(data, length) }.next();
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length >= size_of::<libc::ucred>() => {
                // SAFETY: that many bytes lie there, of plain numbers.
                let credentials = unsafe { ptr::read_unaligned(data.cast::<libc::ucred>()) };
                datagram.sender = u32::try_from(credentials.pid)
                    .ok()
                    .filter(|pid| *pid > 0)
                    .map(|pid| Sender { pid, pidfd: None });
            }
            _ => {}
        }
        // SAFETY: both lie in the buffer that recvmsg has filled in.
        message = unsafe { libc::CMSG_NXTHDR(&raw const header, message) };
    }
    if let Some(sender) = &mut datagram.sender {
        sender.pidfd = pidfd;
    }
    Ok(datagram)
}

/// Takes over the descriptors whose numbers lie at `data`.
///
/// # Safety
/// `length` bytes at `data` can be read while the result is used, and each number in them that is
/// not negative is an open descriptor without another owner.
unsafe fn descriptors(data: *const u8, length: usize) -> impl Iterator<Item = OwnedFd> {
    let numbers = (0..length / size_of::<c_int>()).map(move |index| {
        // SAFETY: the index lies within `length`.
        unsafe { ptr::read_unaligned(data.cast::<c_int>().add(index)) }
    });
    numbers.filter(|number| *number >= 0).map(|number| {
        // SAFETY: the caller's promise.
        unsafe { OwnedFd::from_raw_fd(number) }
    })
}

#[cfg(test)]
mod tests {
    use std::{
        os::{fd::AsFd as _, unix::net::UnixDatagram},
        process::{Command, Stdio},
    };

    use super::*;

    fn pair() -> (UnixDatagram, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        identify_senders(ours.as_fd()).unwrap();
        (ours, theirs)
    }

    #[test]
    fn a_datagram_comes_with_its_sender() {
        let (ours, theirs) = pair();
        theirs.send(b"hello").unwrap();
        let mut buffer = [0; 16];
        let datagram = receive(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..datagram.length], b"hello");
        assert!(!datagram.truncated && datagram.descriptors.is_empty());
        assert_eq!(datagram.sender.unwrap().pid, std::process::id());
        let none = receive(ours.as_fd(), &mut buffer).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_text_that_does_not_fit_is_told() {
        let (ours, theirs) = pair();
        theirs.send(b"12345678").unwrap();
        assert!(receive(ours.as_fd(), &mut [0; 7]).unwrap().truncated);
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that skips says so")]
    fn a_sender_that_is_gone_is_still_known_by_its_pidfd_where_the_kernel_keeps_it() {
        let (ours, theirs) = pair();
        let send = "import os, socket; socket.socket(fileno=os.dup(0)).send(b'x')";
        let mut python = Command::new("python3");
        python
            .args(["-c", send])
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        let Ok(mut child) = python.spawn() else {
            eprintln!("skipped: python3 is not on PATH");
            return;
        };
        assert!(child.wait().unwrap().success());
        let sender = receive(ours.as_fd(), &mut [0; 7]).unwrap().sender.unwrap();
        assert_eq!(sender.pid, child.id());
        let Some(pidfd) = sender.pidfd else {
            eprintln!("skipped: this kernel gives no pidfd of a process that is gone");
            return;
        };
        use crate::native::sys::exit_info::{ExitInfo, exit_info};
        assert_eq!(exit_info(pidfd.as_fd()), ExitInfo::Ended(0));
    }
}
