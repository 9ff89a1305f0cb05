//! Profiles in memory, for simulations: the same rules without a disk, and faults on demand.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use osmoda_core::{digest::Digest, name::AgentName, observed::Generation};

use super::{Profiles, superfluous};
use crate::{
    bundle::{BundleError, bundle_path},
    eval::Recipe,
    profile::ProfileError,
    store::{Damage, Fault, Progress, StoreError, Verified, Watch},
};

/// Where bundles pretend to be.
const BUNDLES: &str = "/memory/bundles";

/// [`Profiles`] in memory. Shared by reference; every call is one step for all others.
#[derive(Debug, Default)]
pub struct MemoryProfiles {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    profiles: HashMap<AgentName, Entries>,
    /// Manifests by the path of their bundle.
    bundles: BTreeMap<String, String>,
    /// Changes that will fail, as on a full disk.
    failures: u32,
}

#[derive(Debug, Default)]
struct Entries {
    active: Option<Generation>,
    generations: BTreeMap<u64, Arc<str>>,
}

impl MemoryProfiles {
    /// No agents.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next `count` changes fail with ENOSPC, before anything is changed.
    pub fn fail_next(&self, count: u32) {
        self.state().failures = count;
    }

    /// Spoils a bundle: whoever uses it finds it damaged. Gives whether there is one.
    pub fn damage(&self, generation: &Generation) -> bool {
        match self.state().bundles.get_mut(&*generation.store_path) {
            Some(manifest) => {
                manifest.push('!');
                true
            }
            None => false,
        }
    }

    /// Makes a generation active without a check, as a person with nix-env does. Gives whether
    /// there is one of that number.
    pub fn switch_from_outside(&self, agent: &AgentName, number: u64) -> bool {
        let mut state = self.state();
        let entries = state.profiles.get_mut(agent);
        let Some((entries, to)) = entries.and_then(|e| e.get(number).map(|to| (e, to))) else {
            return false;
        };
        entries.active = Some(to);
        true
    }

    /// Deletes a generation that is not active, as a person with nix-env does. Gives whether
    /// there was one.
    pub fn delete_from_outside(&self, agent: &AgentName, number: u64) -> bool {
        let mut state = self.state();
        let entries = state.profiles.get_mut(agent);
        let Some(entries) = entries.filter(|e| !e.is_active(number)) else {
            return false;
        };
        entries.generations.remove(&number).is_some()
    }

    /// Deletes a bundle though a generation refers to it, as a garbage collection does that
    /// knows of no root. Gives whether there was one.
    pub fn lose(&self, generation: &Generation) -> bool {
        let mut state = self.state();
        state.bundles.remove(&*generation.store_path).is_some()
    }

    /// Removes every damaged bundle, as the message about it asks a person to.
    pub fn remove_damaged(&self) {
        let whole = |path: &String, manifest: &mut String| {
            path.starts_with(&format!("{BUNDLES}/{}-", Digest::of(manifest.as_bytes())))
        };
        self.state().bundles.retain(whole);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for a change that may have to fail.
    fn change(&self, path: &Path) -> Result<MutexGuard<'_, State>, ProfileError> {
        let mut state = self.state();
        if state.failures > 0 {
            state.failures -= 1;
            return Err(ProfileError::Io {
                operation: "write",
                path: path.to_path_buf(),
                source: io::ErrorKind::StorageFull.into(),
            });
        }
        Ok(state)
    }
}

impl State {
    fn read(&self, store_path: &str) -> Result<&str, BundleError> {
        let path = PathBuf::from(store_path);
        let Some(manifest) = self.bundles.get(store_path) else {
            return Err(BundleError::Io {
                operation: "read",
                path,
                source: io::ErrorKind::NotFound.into(),
            });
        };
        let found = Digest::of(manifest.as_bytes());
        if store_path.starts_with(&format!("{BUNDLES}/{found}-")) {
            Ok(manifest)
        } else {
            Err(BundleError::Damaged {
                path,
                why: format!("its digest is {found}"),
                repair: "deploy it again".to_owned(),
            })
        }
    }

    /// Forgets the bundles of an agent that none of its generations refers to.
    fn sweep(&mut self, agent: &AgentName) {
        let entries = self.profiles.get(agent);
        let is_used = |path: &str| {
            let mut paths = entries
                .iter()
                .flat_map(|entries| entries.generations.values());
            paths.any(|used| **used == *path)
        };
        // DIGEST-NAME, below a directory whose name has no hyphen.
        let is_its = |path: &str| {
            path.split_once('-')
                .is_some_and(|(_, name)| name == agent.as_str())
        };
        self.bundles
            .retain(|path, _| !is_its(path) || is_used(path));
    }
}

impl Entries {
    fn list(&self) -> Vec<Generation> {
        let generations = self.generations.iter();
        generations
            .map(|(number, store_path)| Generation {
                number: *number,
                store_path: Arc::clone(store_path),
            })
            .collect()
    }

    fn get(&self, number: u64) -> Option<Generation> {
        self.generations.get(&number).map(|store_path| Generation {
            number,
            store_path: Arc::clone(store_path),
        })
    }

    fn is_active(&self, number: u64) -> bool {
        (self.active.as_ref()).is_some_and(|active| active.number == number)
    }

    /// As [`crate::profile::Profile::set`].
    fn set(&mut self, store_path: &str) -> Generation {
        let highest = self.generations.last_key_value();
        let number = match highest {
            Some((number, target)) if **target == *store_path => *number,
            Some((number, _)) => number + 1,
            None => 1,
        };
        let generation = Generation {
            number,
            store_path: store_path.into(),
        };
        let target = Arc::clone(&generation.store_path);
        self.generations.insert(number, target);
        self.active = Some(generation.clone());
        generation
    }
}

fn profile_path(agent: &AgentName) -> PathBuf {
    Path::new("/memory/profiles").join(agent.as_str())
}

impl Profiles for MemoryProfiles {
    fn active(&self, agent: &AgentName) -> Result<Option<Generation>, ProfileError> {
        let state = self.state();
        let entries = state.profiles.get(agent);
        Ok(entries.and_then(|entries| entries.active.clone()))
    }

    fn list(&self, agent: &AgentName) -> Result<Vec<Generation>, ProfileError> {
        let state = self.state();
        Ok(state.profiles.get(agent).map_or(Vec::new(), Entries::list))
    }

    fn prepare(
        &self,
        agent: &AgentName,
        manifest: &str,
        _: Option<&Recipe>,
    ) -> Result<String, ProfileError> {
        let path = bundle_path(Path::new(BUNDLES), agent, manifest);
        let mut state = self.change(&path)?;
        let store_path = path.display().to_string();
        if state.bundles.contains_key(&store_path) {
            state.read(&store_path)?;
        } else {
            let manifest = manifest.to_owned();
            state.bundles.insert(store_path.clone(), manifest);
        }
        Ok(store_path)
    }

    fn activate(&self, agent: &AgentName, manifest: &str) -> Result<Generation, ProfileError> {
        let path = bundle_path(Path::new(BUNDLES), agent, manifest);
        let mut state = self.change(&path)?;
        let store_path = path.display().to_string();
        if state.bundles.contains_key(&store_path) {
            state.read(&store_path)?;
        }
        state
            .bundles
            .insert(store_path.clone(), manifest.to_owned());
        let entries = state.profiles.entry(agent.clone()).or_default();
        match &entries.active {
            Some(active) if *active.store_path == *store_path => Ok(active.clone()),
            _ => Ok(entries.set(&store_path)),
        }
    }

    fn manifest(&self, generation: &Generation) -> Result<String, ProfileError> {
        Ok(self.state().read(&generation.store_path)?.to_owned())
    }

    fn check(&self, generation: &Generation) -> Result<(), ProfileError> {
        Ok(self.state().read(&generation.store_path).map(drop)?)
    }

    fn verify(&self, generation: &Generation, watch: &Watch<'_>) -> Result<Verified, ProfileError> {
        let mut verified = Verified {
            paths: 1,
            ..Verified::default()
        };
        let path = &*generation.store_path;
        match self.state().bundles.get(path) {
            None => verified.damage = vec![Damage::new(path.to_string(), Fault::Invalid)],
            Some(manifest) => {
                verified.bytes = manifest.len() as u64;
                let found = Digest::of(manifest.as_bytes());
                if !path.starts_with(&format!("{BUNDLES}/{found}-")) {
                    let why = "its digest has changed".to_owned();
                    verified.damage = vec![Damage::new(path.to_string(), Fault::Unreadable(why))];
                }
            }
        }
        let progress = Progress {
            paths: 1,
            paths_total: 1,
            bytes: verified.bytes,
            bytes_total: verified.bytes,
        };
        match watch(progress) {
            ControlFlow::Continue(()) => Ok(verified),
            ControlFlow::Break(()) => {
                let path = path.to_owned();
                Err(BundleError::Store(StoreError::Cancelled { path }).into())
            }
        }
    }

    fn switch(&self, agent: &AgentName, to: &Generation) -> Result<(), ProfileError> {
        let profile = profile_path(agent);
        let mut state = self.change(&profile)?;
        let number = to.number;
        let found = state
            .profiles
            .get(agent)
            .and_then(|entries| entries.get(number));
        let Some(found) = found else {
            return Err(ProfileError::NoSuchGeneration { profile, number });
        };
        if found != *to {
            return Err(ProfileError::TargetChanged {
                profile,
                number,
                expected: to.store_path.to_string(),
                found: found.store_path.to_string(),
            });
        }
        state.read(&to.store_path)?;
        state.profiles.entry(agent.clone()).or_default().active = Some(to.clone());
        Ok(())
    }

    fn prune(
        &self,
        agent: &AgentName,
        keep: u32,
        protected: &[u64],
    ) -> Result<Vec<u64>, ProfileError> {
        let mut state = self.change(&profile_path(agent))?;
        let Some(entries) = state.profiles.get_mut(agent) else {
            return Ok(Vec::new());
        };
        let numbers = superfluous(
            &entries.list(),
            entries.active.as_ref().map(|active| active.number),
            keep,
            protected,
        );
        entries
            .generations
            .retain(|number, _| !numbers.contains(number));
        state.sweep(agent);
        Ok(numbers)
    }

    fn remove(&self, agent: &AgentName) -> Result<(), ProfileError> {
        let mut state = self.change(&profile_path(agent))?;
        state.profiles.remove(agent);
        state.sweep(agent);
        Ok(())
    }

    fn agents(&self) -> Result<Vec<AgentName>, ProfileError> {
        let mut agents: Vec<_> = self.state().profiles.keys().cloned().collect();
        agents.sort();
        Ok(agents)
    }
}
