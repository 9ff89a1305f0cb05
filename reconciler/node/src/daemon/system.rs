//! The machine's own generations, where it has any: NixOS.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use osmoda_nix::system::{NixosSwitcher, SystemPaths};

use super::BundlePlace;
use crate::{paths::Paths, reconcile::system::System};

/// The system below `root`, if there is one that runs and this process may switch it.
pub(super) fn of_machine(
    root: &Path,
    paths: &Paths,
    bundles: &BundlePlace,
) -> Option<Arc<dyn System>> {
    let below = |path: PathBuf| match path.strip_prefix("/") {
        Ok(relative) => root.join(relative),
        Err(_) => path,
    };
    let nixos = SystemPaths::nixos(paths.state.join("switches"));
    let system = SystemPaths {
        profiles: below(nixos.profiles),
        current: below(nixos.current),
        booted: below(nixos.booted),
        lock: below(nixos.lock),
        ..nixos
    };
    if !system.current.is_symlink() {
        return None; // not NixOS
    }
    if !rustix::process::geteuid().is_root() {
        tracing::info!(
            "the system's generations are root's to switch; only agents are rolled back"
        );
        return None;
    }
    let store = match bundles {
        BundlePlace::Store(store) => Some(store.clone()),
        BundlePlace::Directory(_) => None,
    };
    tracing::info!(profiles = %system.profiles.display(), "keeping an eye on the system's generation");
    Some(Arc::new(NixosSwitcher::new(system, store)))
}
