//! New desired state: what changed, what was refused, and what stays in force.
//!
//! Invariant: a spec that cannot be read never stops an agent. Its last valid spec stays in
//! force: the one read before, or, after a restart of the daemon, the one in its active
//! generation.

use std::{collections::BTreeMap, path::PathBuf};

use osmoda_core::{
    event::{Actor, Event, SpecChange, SpecChanged, SpecRejected},
    name::AgentName,
    observed::Observation,
    plan::Desired,
};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;

use super::{Reconciler, agent::Desire, journal::Journal};
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
    }

    fn declare(&mut self, name: &AgentName, loaded: &LoadedAgent) {
        let state = self.agents.entry(name.clone()).or_default();
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
        } else if moved {
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
        if state.desire == Desire::Unread {
            let observed = state.observe(
                name,
                &*self.runtime,
                &*self.profiles,
                self.detectors.board(),
            );
            if let Observation::Known(Some(active)) = observed.active {
                state.desire = Desire::Present(Desired {
                    agent: active.agent,
                    digest: active.digest,
                });
            }
        }
        self.mark(name.clone());
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
