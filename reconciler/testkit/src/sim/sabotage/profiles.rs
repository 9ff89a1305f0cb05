//! Profiles that show the monitor what is done to them, and can be sabotaged.

use std::sync::Arc;

use osmoda_core::{name::AgentName, observed::Generation};
use osmoda_nix::{
    eval::Recipe,
    profile::ProfileError,
    profiles::{MemoryProfiles, Profiles},
    store::{Verified, Watch},
};

use super::{super::monitor::Monitor, Sabotage};

/// The loop's view of profiles.
pub struct WatchedProfiles {
    pub(in super::super) honest: Arc<MemoryProfiles>,
    pub(in super::super) monitor: Monitor,
    pub(in super::super) how: Sabotage,
}

impl WatchedProfiles {
    /// Does something to an agent's profile under the monitor's eyes.
    fn watch<T>(
        &self,
        agent: &AgentName,
        act: impl FnOnce(&MemoryProfiles) -> Result<T, ProfileError>,
    ) -> Result<T, ProfileError> {
        let before = self.monitor.changes(agent);
        let done = act(&self.honest);
        self.monitor.changed(agent, &before);
        done
    }

    fn below(&self, agent: &AgentName) -> Option<Generation> {
        let active = self.honest.active(agent).ok()??;
        let listed = self.honest.list(agent).ok()?;
        let mut below = listed.into_iter().rev();
        below.find(|generation| generation.number < active.number)
    }
}

impl Profiles for WatchedProfiles {
    fn active(&self, agent: &AgentName) -> Result<Option<Generation>, ProfileError> {
        self.honest.active(agent)
    }

    fn list(&self, agent: &AgentName) -> Result<Vec<Generation>, ProfileError> {
        self.honest.list(agent)
    }

    fn prepare(
        &self,
        agent: &AgentName,
        manifest: &str,
        recipe: Option<&Recipe>,
    ) -> Result<String, ProfileError> {
        self.honest.prepare(agent, manifest, recipe)
    }

    fn activate(&self, agent: &AgentName, manifest: &str) -> Result<Generation, ProfileError> {
        self.watch(agent, |honest| honest.activate(agent, manifest))
    }

    fn manifest(&self, generation: &Generation) -> Result<String, ProfileError> {
        self.honest.manifest(generation)
    }

    fn check(&self, generation: &Generation) -> Result<(), ProfileError> {
        self.honest.check(generation)
    }

    fn verify(&self, generation: &Generation, watch: &Watch<'_>) -> Result<Verified, ProfileError> {
        self.honest.verify(generation, watch)
    }

    fn switch(&self, agent: &AgentName, to: &Generation) -> Result<(), ProfileError> {
        let below = self.below(agent);
        let from = self.honest.active(agent)?;
        match (self.how, below, from) {
            (Sabotage::GoesBackBelow, Some(below), _) => {
                self.watch(agent, |honest| honest.switch(agent, &below))
            }
            (Sabotage::ReactivatesBad, _, Some(from)) => {
                self.watch(agent, |honest| honest.switch(agent, to))?;
                self.watch(agent, |honest| honest.switch(agent, &from))
            }
            _ => self.watch(agent, |honest| honest.switch(agent, to)),
        }
    }

    fn prune(
        &self,
        agent: &AgentName,
        keep: u32,
        protected: &[u64],
    ) -> Result<Vec<u64>, ProfileError> {
        self.watch(agent, |honest| honest.prune(agent, keep, protected))
    }

    fn remove(&self, agent: &AgentName) -> Result<(), ProfileError> {
        self.watch(agent, |honest| honest.remove(agent))
    }

    fn agents(&self) -> Result<Vec<AgentName>, ProfileError> {
        self.honest.agents()
    }
}
