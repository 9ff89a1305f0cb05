//! Why the store could not be asked or changed, and whether trying again helps.

use std::{io, time::Duration};

/// Why the store could not be asked or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store to work with.
    #[error("there is no usable Nix store: {0}")]
    NotUsable(String),
    /// A command of Nix could not be run.
    #[error("cannot run {command}")]
    Run {
        /// Its name.
        command: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was run and refused.
    #[error("{command} could not {what}: {message}")]
    Refused {
        /// Its name.
        command: &'static str,
        /// What was wanted.
        what: String,
        /// What it said; at most [`super::MESSAGE_MAX`] bytes.
        message: String,
    },
    /// It took too long.
    #[error("{command} took longer than {} s to {what} and was stopped", limit.as_secs())]
    Timeout {
        /// Its name.
        command: &'static str,
        /// What was wanted.
        what: String,
        /// Its bound.
        limit: Duration,
    },
    /// It answered what osmoda does not understand.
    #[error("{command} gave an answer that cannot be read when it was to {what}: {answer:?}")]
    Answer {
        /// Its name.
        command: &'static str,
        /// What was wanted.
        what: String,
        /// The beginning of it.
        answer: String,
    },
    /// Store paths that are needed are not there and could not be fetched.
    #[error(
        "{} could not be fetched: {message}; build what gives {}, or copy it here with \
         `nix copy` or `nix-store --import`, then deploy again",
        .paths.join(" and "), if .paths.len() == 1 { "it" } else { "them" }
    )]
    Unavailable {
        /// Which; at least one.
        paths: Vec<String>,
        /// What Nix said, at most [`super::MESSAGE_MAX`] bytes.
        message: String,
    },
    /// What a spec mentions could not be built.
    #[error("what the spec mentions could not be built: {message}")]
    Build {
        /// What Nix said, at most [`super::MESSAGE_MAX`] bytes.
        message: String,
    },
    /// Nix does not know the path, so nothing is sure of what lies there.
    #[error("{path} is not valid to Nix; `nix-store --realise {path}` fetches it if it can be")]
    Invalid {
        /// The store path.
        path: String,
    },
    /// Whoever asked wanted no more of it.
    #[error("checking {path} was cancelled")]
    Cancelled {
        /// The store path.
        path: String,
    },
    /// A root for the garbage collector could not be made.
    #[error("cannot protect {link} from the garbage collector")]
    Root {
        /// The link that should be a root.
        link: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// Whether trying again later can help without a person's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Run { source, .. } => source.kind() != io::ErrorKind::NotFound,
            Self::Refused { .. }
            | Self::Timeout { .. }
            | Self::Unavailable { .. }
            | Self::Build { .. }
            | Self::Cancelled { .. }
            | Self::Root { .. } => true,
            Self::NotUsable(_) | Self::Answer { .. } | Self::Invalid { .. } => false,
        }
    }
}
