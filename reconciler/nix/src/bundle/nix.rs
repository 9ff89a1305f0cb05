//! Bundles in a Nix store: a text whose references are the store paths that the manifest names.
//!
//! ```text
//! /nix/store/HASH-osmoda-AGENT.json     a file; HASH follows from text, references and name
//! ```
//! So its closure is everything the agent runs, and one root, the generation's link, keeps all
//! of it. Why a text and not a derivation: docs/adr/0003-nix-bundles.md. A directory that holds a
//! manifest.json, as a build of somebody's own may give, is read as well.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use osmoda_core::name::AgentName;

use super::{BundleError, MANIFEST_FILE, MANIFEST_MAX, read_limited, text};
use crate::{
    eval::Recipe,
    hash,
    store::{
        Damage, Fault, NixStore, PathInfo, StoreError,
        nar::{self, NarError},
    },
    store_path::StorePath,
};

/// Most bytes of a bundle's NAR: a manifest and what an archive adds to it.
const NAR_MAX: u64 = MANIFEST_MAX as u64 + 4096;

/// The store paths that a manifest names.
pub(super) fn references(store: &NixStore, manifest: &str) -> BTreeSet<StorePath> {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    store.dir().mentioned(manifest, is_there)
}

/// Where the bundle of `manifest` is, or would be.
pub(super) fn path(
    store: &NixStore,
    agent: &AgentName,
    manifest: &str,
) -> Result<StorePath, BundleError> {
    let references = references(store, manifest);
    let path = store.dir().text_path(&name(agent), manifest, &references);
    path.map_err(|error| BundleError::Name {
        agent: agent.to_string(),
        why: error.to_string(),
    })
}

fn name(agent: &AgentName) -> String {
    format!("osmoda-{agent}.json")
}

/// Sees to it that the bundle of `manifest` is in the store, with all that it refers to; builds
/// or fetches what is not there. Blocks for as long as that takes.
pub(super) fn write(
    store: &NixStore,
    agent: &AgentName,
    manifest: &str,
    recipe: Option<&Recipe>,
) -> Result<PathBuf, BundleError> {
    if manifest.len() > MANIFEST_MAX {
        let path = PathBuf::from(store.dir().as_str()).join(name(agent));
        return Err(BundleError::TooLarge { path });
    }
    let known = path(store, agent, manifest)?;
    if store.info(&known)?.is_none() {
        let needed = references(store, manifest);
        if let Some(recipe) = recipe
            && !store.has_all(&needed)?
        {
            build(store, agent, recipe)?;
        }
        store.realise(&needed)?;
        // What has come may have made clear which names the manifest means.
        let references = references(store, manifest);
        let made = store.add_text(&name(agent), manifest, &references)?;
        return checked(store, &made);
    }
    checked(store, &known)
}

/// Builds what the spec mentions of derivations.
fn build(store: &NixStore, agent: &AgentName, recipe: &Recipe) -> Result<(), BundleError> {
    let derivations = recipe.derivations(|program| store.command(program));
    let derivations = derivations.map_err(|source| BundleError::Recipe {
        agent: agent.to_string(),
        source,
    })?;
    Ok(store.build(&derivations)?)
}

fn checked(store: &NixStore, path: &StorePath) -> Result<PathBuf, BundleError> {
    let path = PathBuf::from(store.dir().show(path));
    check(store, &path)?;
    Ok(path)
}

/// The manifest of a bundle, verified against Nix' database.
pub(super) fn read(store: &NixStore, path: &Path) -> Result<String, BundleError> {
    let shown = path.display().to_string();
    let parsed = store.dir().parse(&shown);
    let parsed = parsed.map_err(|_| BundleError::NotABundle(path.to_path_buf()))?;
    let info = store.info(&parsed)?;
    let info = info.ok_or(StoreError::Invalid { path: shown })?;
    verify_nar(path, &info)?;
    let metadata = path.symlink_metadata();
    let metadata = metadata.map_err(|source| BundleError::Io {
        operation: "read",
        path: path.to_path_buf(),
        source,
    })?;
    let bytes = match metadata.is_dir() {
        true => read_limited(path, &path.join(MANIFEST_FILE)),
        false => read_limited(path, path),
    }?;
    text(path, bytes)
}

/// What a person can do about a bundle that is damaged: `--repair-path` knows no source for a
/// text.
pub(super) fn repair(path: &Path) -> String {
    format!(
        "`nix-store --delete --ignore-liveness {}` removes it, and the next deployment of that \
         manifest writes it anew",
        path.display()
    )
}

/// Checks a bundle and that what it refers to is there, without hashing that.
pub(super) fn check(store: &NixStore, path: &Path) -> Result<(), BundleError> {
    let manifest = read(store, path)?;
    for reference in references(store, &manifest) {
        let needed = store.dir().show(&reference);
        if Path::new(&needed).symlink_metadata().is_err() {
            return Err(BundleError::DamagedClosure {
                path: path.to_path_buf(),
                damage: Box::new(Damage::new(needed, Fault::Missing)),
            });
        }
    }
    Ok(())
}

/// Compares the bundle itself - not what it refers to - with what Nix noted of it.
fn verify_nar(path: &Path, info: &PathInfo) -> Result<(), BundleError> {
    if info.nar_size > NAR_MAX {
        return Err(BundleError::NotABundle(path.to_path_buf()));
    }
    let mut left = NAR_MAX;
    let hashed = nar::hash(path, nar::SMALL_PIECE, |count| {
        match left.checked_sub(count) {
            Some(less) => {
                left = less;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        }
    });
    let why = match hashed {
        Ok(nar) if nar.digest == info.nar_hash => return Ok(()),
        Ok(nar) => format!(
            "its hash is {}, and Nix noted {}",
            hash::show(&nar.digest),
            hash::show(&info.nar_hash)
        ),
        Err(NarError::Cancelled) => "it is larger than Nix noted".to_owned(),
        Err(NarError::Io(error)) => error.to_string(),
    };
    Err(BundleError::Damaged {
        path: path.to_path_buf(),
        why,
        repair: repair(path),
    })
}
