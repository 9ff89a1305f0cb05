//! Profiles as Nix lays them out, with bundles in the Nix store or below the state directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use osmoda_core::{name::AgentName, observed::Generation};

use super::{Profiles, superfluous};
use crate::{
    bundle::Bundles,
    eval::Recipe,
    profile::{Profile, ProfileError, profiles_in},
    stamp::Stamp,
    store::{NixStore, Verified, Watch},
};

/// The real [`Profiles`]. One daemon owns a bundle directory; the profiles may be changed by
/// others (nix-env) at any time.
#[derive(Debug)]
pub struct SymlinkProfiles {
    profile_dir: PathBuf,
    bundles: Bundles,
    /// Held from the writing of a bundle until a generation refers to it, and while bundles
    /// without a generation are removed.
    writing: Mutex<()>,
    known: Mutex<Known>,
}

/// What the links said, as long as their directory is as it was then: who asks about a thousand
/// agents reads a link again only if one was made, replaced or removed.
#[derive(Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    active: BTreeMap<AgentName, Option<Generation>>,
}

impl SymlinkProfiles {
    /// Profiles in `profile_dir` with bundles in `bundle_dir`; both are created if need be,
    /// with mode 0755 (profiles hold no secret, and nix-env's users look at them) and 0700.
    ///
    /// # Errors
    /// [`ProfileError::Io`] if they cannot be.
    pub fn new(profile_dir: &Path, bundle_dir: &Path) -> Result<Self, ProfileError> {
        Self::open(profile_dir, bundle_dir, None)
    }

    /// As [`SymlinkProfiles::new`], but new bundles are made in `store`, if there is one. Those
    /// in `bundle_dir` stay usable.
    ///
    /// # Errors
    /// As [`SymlinkProfiles::new`]. The store is not asked: [`NixStore::probe`] does that.
    pub fn open(
        profile_dir: &Path,
        bundle_dir: &Path,
        store: Option<NixStore>,
    ) -> Result<Self, ProfileError> {
        Ok(Self {
            profile_dir: directory(profile_dir, 0o755)?,
            bundles: Bundles::new(directory(bundle_dir, 0o700)?, store),
            writing: Mutex::new(()),
            known: Mutex::default(),
        })
    }

    fn profile(&self, agent: &AgentName) -> Profile {
        Profile::new(&self.profile_dir, agent.clone())
    }

    /// A panic elsewhere left at most a bundle without a generation.
    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Self::writing`] if new bundles are swept. Those in a store are not, and to make one
    /// may take long: no agent waits for another's.
    fn writing_to_directory(&self) -> Option<MutexGuard<'_, ()>> {
        (!self.bundles.are_in_store()).then(|| self.writing())
    }

    /// Removes the agent's bundles that none of its generations refers to. `writing` is held.
    fn sweep(&self, agent: &AgentName) -> Result<(), ProfileError> {
        let used: BTreeSet<PathBuf> = self
            .list(agent)?
            .into_iter()
            .map(|generation| generation.path().into())
            .collect();
        Ok(self.bundles.sweep(agent, |path| used.contains(path))?)
    }
}

/// Creates a directory and gives its absolute path, for links must not depend on where we are.
fn directory(path: &Path, mode: u32) -> Result<PathBuf, ProfileError> {
    let failed = |operation| {
        move |source| ProfileError::Io {
            operation,
            path: path.to_path_buf(),
            source,
        }
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(mode);
    builder.create(path).map_err(failed("create"))?;
    path.canonicalize().map_err(failed("find"))
}

impl Profiles for SymlinkProfiles {
    fn active(&self, agent: &AgentName) -> Result<Option<Generation>, ProfileError> {
        let Some(stamp) = Stamp::of(&self.profile_dir) else {
            return self.profile(agent).active();
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.stamp != Some(stamp) {
            *known = Known {
                stamp: Some(stamp),
                active: BTreeMap::new(),
            };
        }
        if let Some(active) = known.active.get(agent) {
            return Ok(active.clone());
        }
        let active = self.profile(agent).active()?;
        known.active.insert(agent.clone(), active.clone());
        Ok(active)
    }

    fn list(&self, agent: &AgentName) -> Result<Vec<Generation>, ProfileError> {
        self.profile(agent).list()
    }

    fn may_build(&self) -> bool {
        self.bundles.are_in_store()
    }

    fn prepare(
        &self,
        agent: &AgentName,
        manifest: &str,
        recipe: Option<&Recipe>,
    ) -> Result<String, ProfileError> {
        let _writing = self.writing_to_directory();
        let path = self.bundles.write(agent, manifest, recipe)?;
        Ok(path.display().to_string())
    }

    fn activate(&self, agent: &AgentName, manifest: &str) -> Result<Generation, ProfileError> {
        let _writing = self.writing_to_directory();
        let path = self.bundles.write(agent, manifest, None)?;
        let profile = self.profile(agent);
        match profile.active()? {
            Some(active) if active.path() == path => Ok(active),
            _ => profile.set_after(&path, |link| {
                Ok(self.bundles.protect(agent, manifest, link, &path)?)
            }),
        }
    }

    fn manifest(&self, generation: &Generation) -> Result<String, ProfileError> {
        Ok(self.bundles.read(generation.path())?)
    }

    fn check(&self, generation: &Generation) -> Result<(), ProfileError> {
        Ok(self.bundles.check(generation.path())?)
    }

    fn verify(&self, generation: &Generation, watch: &Watch<'_>) -> Result<Verified, ProfileError> {
        Ok(self.bundles.verify(generation.path(), watch)?)
    }

    fn switch(&self, agent: &AgentName, to: &Generation) -> Result<(), ProfileError> {
        let path = to.path();
        let profile = self.profile(agent);
        // Of a generation that is not there, its missing bundle is not the news.
        if profile.list()?.contains(to) {
            self.bundles.check(path)?;
        }
        profile.switch_to(to.number, path)
    }

    fn prune(
        &self,
        agent: &AgentName,
        keep: u32,
        protected: &[u64],
    ) -> Result<Vec<u64>, ProfileError> {
        let _writing = self.writing();
        let profile = self.profile(agent);
        let active = profile.active()?.map(|generation| generation.number);
        let numbers = superfluous(&profile.list()?, active, keep, protected);
        let deleted = if numbers.is_empty() {
            numbers
        } else {
            profile.delete(&numbers)?
        };
        self.sweep(agent)?;
        Ok(deleted)
    }

    fn remove(&self, agent: &AgentName) -> Result<(), ProfileError> {
        let _writing = self.writing();
        self.profile(agent).remove()?;
        self.sweep(agent)
    }

    fn agents(&self) -> Result<Vec<AgentName>, ProfileError> {
        profiles_in(&self.profile_dir)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::remove_file,
        os::unix::fs::symlink,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn what_is_known_of_a_directory_at_rest_ends_with_any_change_in_it() {
        let place = tempfile::tempdir().unwrap();
        let [links, bundles] = ["profiles", "bundles"].map(|name| place.path().join(name));
        let profiles = SymlinkProfiles::new(&links, &bundles).unwrap();
        let agent = AgentName::new("a").unwrap();
        for number in [1, 2] {
            symlink(
                format!("/b{number}"),
                links.join(format!("a-{number}-link")),
            )
            .unwrap();
        }
        symlink("a-1-link", links.join("a")).unwrap();
        let active = || profiles.active(&agent).unwrap().map(|active| active.number);
        let is_known = || profiles.known.lock().unwrap().active.contains_key(&agent);
        assert_eq!((active(), is_known()), (Some(1), false));
        let bound = Instant::now() + Duration::from_secs(60);
        while Stamp::of(&links).is_none() {
            assert!(Instant::now() < bound, "the directory never comes to rest");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!((active(), is_known()), (Some(1), true));
        // As nix-env does, behind the daemon's back.
        symlink("a-2-link", links.join("new")).unwrap();
        std::fs::rename(links.join("new"), links.join("a")).unwrap();
        assert_eq!(active(), Some(2));
        remove_file(links.join("a")).unwrap();
        assert_eq!(active(), None);
    }
}
