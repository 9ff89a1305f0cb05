//! The hash of a path as Nix takes it: SHA-256 of its NAR, streamed.
//!
//! The archive is made by nix-nar
//! (format: <https://nix.dev/manual/nix/latest/protocols/nix-archive>), piece by piece; no more
//! of it is in memory. Names must be UTF-8 for that crate; of what is not, Nix
//! itself is asked (see `verify`).

use std::{
    io::{self, Read as _},
    ops::ControlFlow,
    path::Path,
};

use osmoda_core::digest::Digest;

use crate::hash::Hasher;

/// Bytes at a time, of what may be large.
pub(crate) const PIECE: usize = 64 << 10;

/// Bytes at a time, of what is small and waited for. More than the longest name or target of a
/// link, which must fit.
pub(crate) const SMALL_PIECE: usize = 8 << 10;

/// The hash of an archive, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nar {
    pub digest: Digest,
    pub size: u64,
}

#[derive(Debug)]
pub(crate) enum NarError {
    /// Whoever was told of the advance wanted no more.
    Cancelled,
    /// Something could not be read, or is nothing that a NAR can hold.
    Io(io::Error),
}

/// Hashes what is at `path`, links not followed, `piece` bytes at a time. `advanced` is told of
/// each piece's bytes.
pub(crate) fn hash(
    path: &Path,
    piece: usize,
    mut advanced: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<Nar, NarError> {
    let encoder = nix_nar::Encoder::builder(path)
        .internal_buffer_size(piece)
        .build();
    let mut encoder = encoder.map_err(|error| NarError::Io(io::Error::other(error)))?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; piece];
    let mut size = 0;
    loop {
        let count = match encoder.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(NarError::Io(error)),
        };
        hasher.update(&piece[..count]);
        let count = count as u64;
        size += count;
        if advanced(count).is_break() {
            return Err(NarError::Cancelled);
        }
    }
    let digest = hasher.finish();
    Ok(Nar { digest, size })
}
