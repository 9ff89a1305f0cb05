//! Why a profile could not be read or changed, and whether trying again helps.

use std::{io, path::PathBuf};

use crate::bundle::BundleError;

/// Why a profile could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// A link or directory could not be read or written.
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
    /// Somebody else held the lock for longer than [`super::LOCK_WAIT`].
    #[error("{path} is held by another process")]
    Locked {
        /// The lock's file.
        path: PathBuf,
    },
    /// Where the profile's link should be, there is something that is no link.
    #[error("{path} is not a symbolic link; it is in the way of a profile")]
    NotALink {
        /// The profile.
        path: PathBuf,
    },
    /// There is no generation of that number.
    #[error("profile {profile} has no generation {number}")]
    NoSuchGeneration {
        /// The profile.
        profile: PathBuf,
        /// The number asked for.
        number: u64,
    },
    /// The number now belongs to something else than was recorded.
    #[error("generation {number} of profile {profile} is {found}, not {expected}")]
    TargetChanged {
        /// The profile.
        profile: PathBuf,
        /// The number asked for.
        number: u64,
        /// What was recorded.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The active generation is never deleted.
    #[error("generation {number} of profile {profile} is active and cannot be deleted")]
    Active {
        /// The profile.
        profile: PathBuf,
        /// Its active generation.
        number: u64,
    },
    /// Numbers have come to [`super::NUMBER_MAX`], or somebody makes links faster than we can.
    #[error("profile {profile} has no free number for a new generation")]
    NoNumber {
        /// The profile.
        profile: PathBuf,
    },
    /// A target must be an absolute path in UTF-8.
    #[error("{target} cannot be a generation of profile {profile}: it must be absolute and UTF-8")]
    BadTarget {
        /// The profile.
        profile: PathBuf,
        /// What was to be set.
        target: PathBuf,
    },
    /// The bundle could not be written or used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl ProfileError {
    /// Whether trying again later can help without a person's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Locked { .. } => true,
            Self::Bundle(error) => error.is_retryable(),
            Self::NotALink { .. }
            | Self::NoSuchGeneration { .. }
            | Self::TargetChanged { .. }
            | Self::Active { .. }
            | Self::NoNumber { .. }
            | Self::BadTarget { .. } => false,
        }
    }
}
