//! Descriptors that this process was given by whoever executed it.
//!
//! They are known by number only, and a number says nothing of who owns it: so each is
//! duplicated, and the copy is owned from here on.

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
};

/// The first descriptor that is not standard input, output or error.
const FIRST: RawFd = 3;

/// An owned copy of descriptor `number`, which was open when this program began. Neither the
/// copy nor the number itself reaches a program that is executed later.
///
/// # Errors
/// It is not open, or one of the standard ones.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < FIRST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: no memory is touched; a number that is not open is an error. The flag only keeps
    // it from programs that are executed later, whoever owns it.
    let marked = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    if marked == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above; what is open stays so.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, FIRST) };
    if copy == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::{fd::AsRawFd as _, unix::net::UnixStream},
    };

    use super::*;

    #[test]
    fn what_was_given_is_owned_as_a_copy() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let mut copy = UnixStream::from(inherited(far.as_raw_fd()).unwrap());
        drop(far);
        near.write_all(b"x").unwrap();
        let mut byte = [0];
        copy.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn what_was_not_given_is_an_error() {
        for number in [-1, 0, 2, RawFd::MAX] {
            assert!(inherited(number).is_err(), "{number}");
        }
    }
}
