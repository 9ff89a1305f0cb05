//! Where the bundles of new generations are made: in the Nix store if one is usable.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use osmoda_nix::{profiles::SymlinkProfiles, store::NixStore};

use super::DaemonError;
use crate::{error::chain, paths::Paths};

/// Where bundles of new generations are to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BundlesChoice {
    /// In the Nix store if one is usable.
    #[default]
    Auto,
    /// In the Nix store, or not at all.
    Store,
    /// In the state directory.
    Directory,
}

/// What a choice comes to on this host.
#[derive(Debug, Clone)]
pub enum BundlePlace {
    /// A Nix store.
    Store(NixStore),
    /// The state directory; why, if a store would have been better.
    Directory(Option<String>),
}

impl BundlePlace {
    /// Looks what can be used; with a store, puts a tiny text into it. Blocks, for as long as Nix
    /// needs.
    ///
    /// # Errors
    /// A sentence for people if a store is demanded and none is usable.
    pub fn find(choice: BundlesChoice) -> Result<Self, String> {
        if choice == BundlesChoice::Directory {
            return Ok(Self::Directory(None));
        }
        let found = NixStore::from_env().and_then(|store| store.probe().map(|()| store));
        match (found, choice) {
            (Ok(store), _) => Ok(Self::Store(store)),
            (Err(error), BundlesChoice::Store) => Err(chain(&error)),
            (Err(error), _) => Ok(Self::Directory(Some(chain(&error)))),
        }
    }

    /// The agents' profiles, with bundles in that place.
    pub(super) fn profiles(self, paths: &Paths) -> Result<SymlinkProfiles, DaemonError> {
        let directory = bundle_directory(paths);
        match &self {
            Self::Directory(Some(why)) => {
                tracing::info!(bundles = %directory.display(), reason = %why, "no Nix store: bundles are kept in the state directory");
            }
            place => tracing::info!(bundles = %place, "bundles of new generations"),
        }
        let store = match self {
            Self::Store(store) => Some(store),
            Self::Directory(_) => None,
        };
        SymlinkProfiles::open(&paths.profiles, &directory, store)
            .map_err(|error| DaemonError::system("cannot open the agents' profiles", error))
    }
}

impl fmt::Display for BundlePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(store) => write!(f, "the Nix store {}", store.dir().as_str()),
            Self::Directory(_) => f.write_str("the state directory"),
        }
    }
}

fn bundle_directory(paths: &Paths) -> PathBuf {
    Path::new(&paths.state).join("bundles")
}
