//! Why a bundle cannot be written or used, and whether trying again helps.

use std::{io, path::PathBuf};

use super::{MANIFEST_FILE, MANIFEST_MAX};
use crate::{
    eval::EvalError,
    store::{Damage, StoreError},
};

/// Why a bundle cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file could not be read or written.
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
    /// The content is not what the name says, or what Nix noted of it.
    #[error("the bundle {path} is damaged: {why}; {repair}")]
    Damaged {
        /// The bundle.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What a person can do about it.
        repair: String,
    },
    /// Something that the manifest needs is damaged.
    #[error("the bundle {path} cannot be used: {damage}")]
    DamagedClosure {
        /// The bundle.
        path: PathBuf,
        /// The first thing that is damaged; it says how to repair it.
        damage: Box<Damage>,
    },
    /// The path is neither named like a bundle nor one in the Nix store.
    #[error("{0} is not a bundle")]
    NotABundle(PathBuf),
    /// The manifest is too large.
    #[error("the manifest of {path} has more than {MANIFEST_MAX} bytes")]
    TooLarge {
        /// The bundle.
        path: PathBuf,
    },
    /// The manifest is not text.
    #[error("the manifest of {0} is not UTF-8")]
    NotText(PathBuf),
    /// It is in the Nix store, and there is no Nix any more.
    #[error("the bundle {0} is in a Nix store, and no Nix store is in use here")]
    NoStore(PathBuf),
    /// A bundle in the store needs a name that the store takes.
    #[error("{MANIFEST_FILE} of {agent} cannot be named in the Nix store: {why}")]
    Name {
        /// Whose.
        agent: String,
        /// Why not.
        why: String,
    },
    /// What its spec has built cannot be told.
    #[error("cannot tell what the spec of {agent} has to have built")]
    Recipe {
        /// Whose.
        agent: String,
        /// Why not.
        #[source]
        source: EvalError,
    },
    /// The store could not be asked or changed, or does not have what is needed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BundleError {
    /// Whether trying again later can help without a person's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::Store(error) => error.is_retryable(),
            Self::Recipe { source, .. } => source.is_retryable(),
            Self::Damaged { .. }
            | Self::DamagedClosure { .. }
            | Self::NotABundle(_)
            | Self::TooLarge { .. }
            | Self::NotText(_)
            | Self::NoStore(_)
            | Self::Name { .. } => false,
        }
    }
}
