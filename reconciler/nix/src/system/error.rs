//! Why a system could not be observed or switched, and whether trying again helps.

use std::{io, path::PathBuf, time::Duration};

use crate::{profile::ProfileError, store::StoreError};

/// Why a system could not be observed or switched.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// A link or file could not be read or written.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Somebody else's switch did not end.
    #[error("another switch of the system holds {path} for more than {} s", waited.as_secs())]
    Locked {
        /// NixOS' lock.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The generation has nothing that could be run.
    #[error("{path} cannot be switched to: {why}")]
    NotASystem {
        /// Its store path.
        path: String,
        /// Why not.
        why: String,
    },
    /// There is nothing to compare a generation with.
    #[error("{0} cannot be verified: no Nix store is in use here (--bundles)")]
    NoStore(String),
    /// The service manager did not start the switch.
    #[error("cannot start the unit {unit}: {message}")]
    Launch {
        /// Its name.
        unit: String,
        /// What was said.
        message: String,
    },
    /// It takes too long; it is not stopped.
    #[error(
        "the unit {unit} has not ended after {} s and is left running; look with \
         `systemctl status {unit}`", waited.as_secs()
    )]
    StillRunning {
        /// Its name.
        unit: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The system profile could not be read or set.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The store path is not valid, or Nix could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SwitchError {
    /// Whether trying again later can help without a person's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Locked { .. } | Self::Launch { .. } => true,
            Self::Profile(error) => error.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            Self::NotASystem { .. } | Self::NoStore(_) | Self::StillRunning { .. } => false,
        }
    }
}
