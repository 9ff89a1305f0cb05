//! Whether a place is free, asked before a daemon makes anything.

use std::path::Path;

use crate::native::lock::{LockError, lock};

/// Who holds `directory`, if that is not just a predecessor on its way out. Nothing is made, and
/// nothing is held afterwards.
pub fn holder_of(directory: &Path) -> Option<String> {
    match lock(directory) {
        Err(LockError::Held(holder)) => Some(holder),
        // What is not there, or not to be opened, is left to whoever takes it.
        Ok(_) | Err(LockError::Io(_)) => None,
    }
}
