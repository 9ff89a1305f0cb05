//! Bundles: what a generation of an agent points to, its rendered manifest.
//!
//! Two places, one contract ([`Bundles`]): the Nix store where one is in use ([`nix`]), and a
//! directory below the state directory ([`directory`]). Which one a path belongs to is seen from
//! the path, so that a profile may hold both, from before and after Nix came to a machine.
//!
//! Invariants: a bundle is named by its content; it appears whole or not at all; one that is
//! damaged, or of which something is known to be damaged, is reported and never used.

mod directory;
mod error;
mod nix;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use osmoda_core::name::AgentName;

pub(crate) use self::directory::bundle_path;
pub use self::error::BundleError;
use crate::{
    eval::Recipe,
    store::{Damage, Fault, NixStore, Progress, StoreError, Verified, Watch},
};

/// The file in a bundle that is a directory.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Most bytes of a manifest.
pub const MANIFEST_MAX: usize = 4 << 20;

/// All bundles of one node.
#[derive(Debug)]
pub(crate) struct Bundles {
    directory: PathBuf,
    store: Option<NixStore>,
    /// What [`Bundles::verify`] last found wrong, by the path of the bundle.
    damaged: Mutex<BTreeMap<PathBuf, Vec<Damage>>>,
}

impl Bundles {
    /// Bundles in `store` if there is one, otherwise in `directory`, which exists.
    pub fn new(directory: PathBuf, store: Option<NixStore>) -> Self {
        Self {
            directory,
            store,
            damaged: Mutex::default(),
        }
    }

    /// Whether new ones are made in a Nix store.
    pub fn are_in_store(&self) -> bool {
        self.store.is_some()
    }

    /// Sees to it that the bundle of `manifest` is there, whole and usable, and gives its path.
    /// What it needs is fetched, and built where `recipe` tells how.
    pub fn write(
        &self,
        agent: &AgentName,
        manifest: &str,
        recipe: Option<&Recipe>,
    ) -> Result<PathBuf, BundleError> {
        let path = match &self.store {
            Some(store) => nix::write(store, agent, manifest, recipe)?,
            None => directory::write_bundle(&self.directory, agent, manifest)?,
        };
        self.refuse_damaged(&path)?;
        Ok(path)
    }

    /// The manifest of a bundle, verified.
    pub fn read(&self, path: &Path) -> Result<String, BundleError> {
        match self.store_of(path)? {
            Some(store) => nix::read(store, path),
            None => directory::read_bundle(path),
        }
    }

    /// Whether an agent may be started from a bundle: it is there, it is what its name says, and
    /// what it needs is there. A few milliseconds.
    pub fn check(&self, path: &Path) -> Result<(), BundleError> {
        match self.store_of(path)? {
            Some(store) => nix::check(store, path)?,
            None => directory::verify_bundle(path)?,
        }
        self.refuse_damaged(path)
    }

    /// Hashes a bundle and all that it needs. What is found damaged is remembered and refused
    /// until it is found whole.
    pub fn verify(&self, path: &Path, watch: &Watch<'_>) -> Result<Verified, BundleError> {
        let Some(store) = self.store_of(path)? else {
            return verify_file(path, watch);
        };
        let parsed = store.dir().parse(&path.display().to_string());
        let parsed = parsed.map_err(|_| BundleError::NotABundle(path.to_path_buf()))?;
        let mut verified = store.verify(&parsed, watch)?;
        for damage in &mut verified.damage {
            if Path::new(&damage.path) == path {
                damage.repair = nix::repair(path);
            }
        }
        match verified.damage.as_slice() {
            [] => self.damaged().remove(path),
            damage => self.damaged().insert(path.to_path_buf(), damage.to_vec()),
        };
        Ok(verified)
    }

    /// Makes a generation's link a root, and sees to it that what it protects is there: a
    /// collector may have come between the writing of a bundle and this.
    pub fn protect(
        &self,
        agent: &AgentName,
        manifest: &str,
        link: &Path,
        path: &Path,
    ) -> Result<(), BundleError> {
        let Some(store) = self.store_of(path)? else {
            return Ok(());
        };
        let parsed = store.dir().parse(&path.display().to_string());
        let parsed = parsed.map_err(|_| BundleError::NotABundle(path.to_path_buf()))?;
        store.add_root(link, &parsed)?;
        if store.info(&parsed)?.is_none() {
            nix::write(store, agent, manifest, None)?;
        }
        Ok(())
    }

    /// Removes an agent's bundles in the directory that `is_used` does not want. In a store that
    /// is the collector's work.
    pub fn sweep(
        &self,
        agent: &AgentName,
        is_used: impl Fn(&Path) -> bool,
    ) -> Result<(), BundleError> {
        directory::remove_unused(&self.directory, agent, is_used).map(drop)
    }

    /// The store that a path is in; `None` if it is in a directory.
    fn store_of(&self, path: &Path) -> Result<Option<&NixStore>, BundleError> {
        match &self.store {
            Some(store) if store.dir().holds(path) => Ok(Some(store)),
            _ if crate::store_path::StoreDir::default().holds(path) => {
                Err(BundleError::NoStore(path.to_path_buf()))
            }
            _ => Ok(None),
        }
    }

    /// Refuses a bundle, found whole just now, of whose closure damage is known.
    fn refuse_damaged(&self, path: &Path) -> Result<(), BundleError> {
        let damaged = self.damaged();
        let known = damaged.get(path).map_or(&[][..], Vec::as_slice);
        match known.iter().find(|damage| Path::new(&damage.path) != path) {
            None => Ok(()),
            Some(damage) => Err(BundleError::DamagedClosure {
                path: path.to_path_buf(),
                damage: Box::new(damage.clone()),
            }),
        }
    }

    /// A panic elsewhere leaves the map as it was.
    fn damaged(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Vec<Damage>>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bundle in a directory needs nothing else.
fn verify_file(path: &Path, watch: &Watch<'_>) -> Result<Verified, BundleError> {
    let shown = path.display().to_string();
    let (bytes, damage) = match directory::read_bundle(path) {
        Ok(manifest) => (manifest.len() as u64, None),
        Err(BundleError::Damaged { why, repair, .. }) => {
            (0, Some((Fault::Unreadable(why), repair)))
        }
        Err(error) => return Err(error),
    };
    let progress = Progress {
        paths: 1,
        paths_total: 1,
        bytes,
        bytes_total: bytes,
    };
    if watch(progress).is_break() {
        return Err(StoreError::Cancelled { path: shown }.into());
    }
    let damage = damage.map(|(fault, repair)| Damage {
        path: shown,
        fault,
        repair,
    });
    Ok(Verified {
        paths: 1,
        bytes,
        damage: damage.into_iter().collect(),
    })
}

/// What a manifest usually fits in, in bytes: it is then read at once.
const USUAL_BYTES: usize = 4096;

/// The content of a bundle's file, no more than [`MANIFEST_MAX`] bytes of it.
fn read_limited(bundle: &Path, file: &Path) -> Result<Vec<u8>, BundleError> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    let limit = MANIFEST_MAX as u64 + 1;
    File::open(file)
        .and_then(|f| f.take(limit).read_to_end(&mut bytes))
        .map_err(|source| BundleError::Io {
            operation: "read",
            path: file.to_path_buf(),
            source,
        })?;
    if bytes.len() > MANIFEST_MAX {
        let path = bundle.to_path_buf();
        return Err(BundleError::TooLarge { path });
    }
    Ok(bytes)
}

fn text(bundle: &Path, bytes: Vec<u8>) -> Result<String, BundleError> {
    String::from_utf8(bytes).map_err(|_| BundleError::NotText(bundle.to_path_buf()))
}

#[cfg(test)]
mod tests;
