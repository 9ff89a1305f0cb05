//! Registers a pidfd with tokio, which calls that unsafe for any type that could swap descriptors.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Makes the readiness of `descriptor` something to await. Panics outside a tokio runtime.
///
/// # Errors
/// The kernel's event queue takes no more.
pub(in crate::native) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd keeps the same open descriptor from here until AsyncFd drops it, and no
    // code gets mutable access to it.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }
        .map_err(|error| error.into_parts().1)
}
