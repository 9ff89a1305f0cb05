//! New desired state: what changed, what was refused, and what stays in force.
//!
//! Invariant: a spec that cannot be read, or is not read yet, never stops an agent. Its last
//! valid spec stays in force: the one read before, or, after a restart of the daemon, the one
//! that was acted on last, which its generations still hold.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use osmoda_core::{
    event::{Actor, Event, SpecChange, SpecChanged, SpecRejected},
    name::AgentName,
    plan::Desired,
    spec::Agent,
};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;

use super::{
    NODE_SPEC_KEY, Reconciler,
    agent::{AgentState, Desire},
    journal::Journal,
};
use crate::{
    handle::SpecsRead,
    specs::{Loaded, LoadedAgent, Rejected},
};

/// Most errors of one file that an entry names.
const ERRORS_MAX: usize = 20;

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    pub(super) fn accept_specs(&mut self, read: SpecsRead) {
        match read {
            Ok(loaded) => self.accept_loaded(&loaded),
            Err(why) => self.accept_unreadable(why),
        }
    }

    /// The specs as a whole could not be read: everything stays as it is.
    fn accept_unreadable(&mut self, why: String) {
        let names: Vec<_> = self.agents.keys().cloned().collect();
        for name in &names {
            self.keep_last_valid(name, &why);
        }
        let specs = PathBuf::from(&self.facts.specs);
        self.note_rejected(BTreeMap::from([(specs, (names, vec![why]))]));
    }

    fn accept_loaded(&mut self, loaded: &Loaded) {
        self.specs_read = true;
        for (name, agent) in &loaded.agents {
            self.declare(name, agent);
        }
        let missing: Vec<_> = self
            .agents
            .iter()
            .filter(|(name, _)| !loaded.agents.contains_key(*name))
            .map(|(name, state)| (name.clone(), state.file.clone().unwrap_or_default()))
            .collect();
        let mut refused: BTreeMap<_, _> = loaded
            .rejected
            .iter()
            .map(|rejected| (rejected.file.clone(), (Vec::new(), sentences(rejected))))
            .collect();
        for (name, file) in missing {
            if !loaded.may_declare(&name, &file) {
                self.withdraw(&name);
                continue;
            }
            let of_it = |r: &&Rejected| r.agents.contains(&name) || r.file == file;
            let Some(rejected) = loaded.rejected.iter().find(of_it) else {
                continue;
            };
            if let Some((kept, errors)) = refused.get_mut(&rejected.file) {
                let first = errors
                    .first()
                    .map_or("the spec is not valid", String::as_str);
                self.keep_last_valid(&name, first);
                kept.push(name);
            }
        }
        self.note_rejected(refused);
        self.index_dependents();
        let node = loaded.node.as_ref().map(|loaded| &loaded.node);
        self.system.declare(node);
        self.remember_node(loaded);
    }

    /// Keeps the Node for a daemon that has not read it yet. One that is refused stays in force.
    fn remember_node(&mut self, loaded: &Loaded) {
        let manifest = loaded.node.as_ref().map(|node| Arc::clone(&node.manifest));
        let mut rejected = loaded.rejected.iter();
        let unclear = manifest.is_none() && rejected.any(|one| one.node || one.incomplete);
        if unclear || manifest == self.node_spec {
            return;
        }
        let key = NODE_SPEC_KEY.to_owned();
        match &manifest {
            Some(manifest) => self.turn.put(key, manifest.as_bytes().to_vec()),
            None => self.turn.delete(key),
        }
        self.node_spec = manifest;
    }

    fn declare(&mut self, name: &AgentName, loaded: &LoadedAgent) {
        let agents = &mut self.agents;
        let state = agents.get_or_insert_with(name.clone(), AgentState::default);
        let mut desired = Desired::new(loaded.agent.clone());
        if let Some(known) = state.known_agent(desired.digest) {
            desired.agent = known;
        }
        let previous = match &state.desire {
            Desire::Present(before) => Some(before.digest),
            Desire::Unread => state.memory.acted,
            Desire::Absent => None,
        };
        let digest = desired.digest;
        let file = loaded.file.display().to_string();
        let moved = state.memory.file.as_ref() != Some(&file);
        state.desire = Desire::Present(desired);
        state.file = Some(loaded.file.clone());
        state.recipe.clone_from(&loaded.recipe);
        state.memory.file = Some(file.clone());
        let back = std::mem::take(&mut state.memory.withdrawn);
        state.spec_error = None;
        if previous != Some(digest) {
            let change = if previous.is_some() {
                SpecChange::Changed
            } else {
                SpecChange::Added
            };
            state.try_again(); // a new spec is a new chance
            state.memory.next_start_at = None;
            let body = SpecChanged {
                change,
                digest: Some(digest),
                previous,
                file,
            };
            self.turn
                .note(Some(name), Actor::System, &Event::SpecChanged(body));
        } else if moved || back {
            let encoded = super::accept::encode(&state.memory);
            self.turn.put(super::turn::agent_key(name), encoded);
        }
        self.mark(name.clone());
    }

    fn withdraw(&mut self, name: &AgentName) {
        let Some(state) = self.agents.get_mut(name) else {
            return;
        };
        let previous = match std::mem::replace(&mut state.desire, Desire::Absent) {
            Desire::Absent => return,
            Desire::Present(desired) => Some(desired.digest),
            Desire::Unread => state.memory.acted,
        };
        state.spec_error = None;
        state.try_again();
        state.memory.withdrawn = true;
        let encoded = super::accept::encode(&state.memory);
        self.turn.put(super::turn::agent_key(name), encoded);
        let file = state
            .file
            .as_ref()
            .map(|f| f.display().to_string())
            .unwrap_or_default();
        let body = SpecChanged {
            change: SpecChange::Removed,
            digest: None,
            previous,
            file,
        };
        self.turn
            .note(Some(name), Actor::System, &Event::SpecChanged(body));
        self.mark(name.clone());
    }

    fn keep_last_valid(&mut self, name: &AgentName, why: &str) {
        let Some(state) = self.agents.get_mut(name) else {
            return;
        };
        state.spec_error = Some(why.to_owned());
        if state.desire == Desire::Unread
            && let Some(desired) = state.last_valid(name, &*self.profiles)
        {
            state.desire = Desire::Present(desired);
        }
        self.mark(name.clone());
    }

    /// Supervises with the last valid specs until the specs are read: that may take long where
    /// Nix evaluates them. Gives whom they declare.
    pub fn carry_on(&mut self) -> BTreeMap<AgentName, Arc<Agent>> {
        let mut declared = BTreeMap::new();
        for (name, state) in self.agents.iter_mut() {
            if state.desire != Desire::Unread || state.memory.withdrawn {
                continue;
            }
            if let Some(desired) = state.last_valid(name, &*self.profiles) {
                declared.insert(name.clone(), Arc::clone(&desired.agent));
                state.desire = Desire::Present(desired);
            }
        }
        self.index_dependents();
        self.dirty.extend(declared.keys().cloned());
        declared
    }

    /// Records what is newly refused; the same refusal is not recorded twice in a row.
    fn note_rejected(&mut self, refused: BTreeMap<PathBuf, (Vec<AgentName>, Vec<String>)>) {
        for (file, (kept, errors)) in &refused {
            if self.rejected.get(file) == Some(errors) {
                continue;
            }
            tracing::warn!(file = %file.display(), errors = errors.len(), "spec refused; what was valid before stays in force");
            let body = SpecRejected {
                file: file.display().to_string(),
                kept: kept.iter().map(ToString::to_string).collect(),
                errors: errors.iter().take(ERRORS_MAX).cloned().collect(),
            };
            self.turn
                .note(None, Actor::System, &Event::SpecRejected(body));
        }
        self.rejected = refused
            .into_iter()
            .map(|(file, (_, errors))| (file, errors))
            .collect();
    }
}

fn sentences(rejected: &Rejected) -> Vec<String> {
    rejected.errors.iter().map(ToString::to_string).collect()
}
