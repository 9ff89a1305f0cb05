//! Closures hashed in the background: whether all that a generation needs is what Nix noted.
//!
//! Of agents and of the machine: when a generation of a store becomes Good, when a rollback to one
//! failed, and when an operator asks. One after the other, for each reads every byte. Damage is on record and remembered: what
//! is not whole is not started or gone back to until it is found whole.
//! Where to start: [`Reconciler::hash_closure`] and [`Reconciler::hash_system`].

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use osmoda_core::{
    event::{ClosureVerified, Event},
    name::AgentName,
    observed::Generation,
    plan::Record,
    time::Mono,
};
use osmoda_nix::{
    profiles::Profiles,
    store::{Progress, Verified, Watch},
};
use osmoda_runtime::Runtime;
use tokio::task::JoinError;

use super::{Reconciler, journal::Journal};
use crate::{
    api::types::{ClosureState, ClosureStatus},
    error::chain,
};

/// Most damaged paths that an entry names.
const DAMAGE_MAX: usize = 20;

/// What is known of a closure.
#[derive(Debug, Clone)]
pub enum Closure {
    /// It is being hashed, or waits for another.
    UnderWay(Arc<Mutex<Progress>>),
    /// It was hashed.
    Hashed(Verified),
    /// It could not be; why, for people.
    Unknown(String),
}

/// What is known of closures, by store path.
pub(super) type Closures = BTreeMap<Arc<str>, Closure>;

/// A closure that was hashed.
#[derive(Debug)]
pub struct Hashed {
    /// Whose; `None`: the machine's.
    agent: Option<AgentName>,
    generation: Generation,
    reason: &'static str,
    since: Mono,
    /// What was known before.
    before: Option<Verified>,
    result: Result<Verified, String>,
}

/// A start was refused for damage that is known: it may have been repaired by now.
const START_REFUSED: &str = "StartRefused";

/// The generation that became Good with these records.
pub(super) fn proven(records: &[Record]) -> Option<Generation> {
    records.iter().find_map(|record| match &record.event {
        Event::GenerationGood(good) => Some(good.generation.clone()),
        _ => None,
    })
}

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// A generation became Good. Without a store its bundle is all there is to it, and that is
    /// looked at before each start anyway.
    pub(super) fn hash_proven(&mut self, name: &AgentName, generation: Generation) {
        if self.profiles.may_build() {
            self.hash_closure(name, generation, "Proven");
        }
    }

    /// Hashes all that a generation needs, unless that is under way.
    pub(super) fn hash_closure(
        &mut self,
        name: &AgentName,
        generation: Generation,
        reason: &'static str,
    ) {
        let profiles = Arc::clone(&self.profiles);
        let verify = move |of: &Generation, watch: &Watch<'_>| {
            let verified = profiles.verify(of, watch);
            verified.map_err(|error| chain(&error))
        };
        self.hash(Some(name), generation, reason, verify);
    }

    /// The same for a generation of the machine.
    pub(super) fn hash_system(&mut self, generation: Generation, reason: &'static str) {
        if let Some(edge) = self.system.edge().cloned() {
            let verify = move |of: &Generation, watch: &Watch<'_>| edge.verify(of, watch);
            self.hash(None, generation, reason, verify);
        }
    }

    fn hash(
        &mut self,
        agent: Option<&AgentName>,
        generation: Generation,
        reason: &'static str,
        verify: impl FnOnce(&Generation, &Watch<'_>) -> Result<Verified, String> + Send + 'static,
    ) {
        let since = self.clock.mono();
        let Some(known) = self.known_closures(agent) else {
            return;
        };
        let before = match known.get(&*generation.store_path) {
            Some(Closure::UnderWay(_)) => return,
            Some(Closure::Hashed(verified)) => Some(verified.clone()),
            Some(Closure::Unknown(_)) | None => None,
        };
        let progress = Arc::new(Mutex::new(Progress::default()));
        let under_way = Closure::UnderWay(Arc::clone(&progress));
        known.insert(Arc::clone(&generation.store_path), under_way);
        let (offload, permits) = (self.offload, Arc::clone(&self.closure_permits));
        let agent = agent.cloned();
        self.closures.spawn(async move {
            let permit = permits.acquire_owned().await;
            let of = generation.clone();
            let verify = move || {
                let watch = |now: Progress| {
                    *progress.lock().unwrap_or_else(PoisonError::into_inner) = now;
                    ControlFlow::Continue(())
                };
                verify(&of, &watch)
            };
            let verified = offload.run(verify).await;
            drop(permit);
            Hashed {
                agent,
                generation,
                reason,
                since,
                before,
                result: verified.and_then(|verified| verified),
            }
        });
    }

    /// What is known of an agent's closures, or of the machine's.
    fn known_closures(&mut self, agent: Option<&AgentName>) -> Option<&mut Closures> {
        match agent {
            Some(name) => Some(&mut self.agents.get_mut(name)?.closures),
            None => Some(&mut self.system.closures),
        }
    }

    /// Takes in what hashing a closure came to.
    pub(super) fn accept_hashed(&mut self, ended: Result<Hashed, JoinError>) {
        let hashed = match ended {
            Ok(hashed) => hashed,
            Err(error) => {
                // What may panic runs on a thread of its own and is an outcome.
                tracing::error!(reason = %error, "hashing a closure came to no end");
                return;
            }
        };
        let took = self.clock.mono().since(hashed.since).as_micros();
        let agent = hashed.agent.as_ref();
        let whose = agent.map_or("the system", AgentName::as_str);
        let Some(known) = self.known_closures(agent) else {
            return;
        };
        let path = Arc::clone(&hashed.generation.store_path);
        let verified = match hashed.result {
            Ok(verified) => verified,
            Err(why) => {
                tracing::warn!(of = whose, path = %path, reason = %why, "a closure could not be verified");
                known.insert(path, Closure::Unknown(why));
                return;
            }
        };
        let damage = verified.damage.iter().map(ToString::to_string);
        let damage: Vec<String> = damage.take(DAMAGE_MAX).collect();
        for line in damage
            .iter()
            .filter(|_| hashed.before.as_ref() != Some(&verified))
        {
            tracing::error!(of = whose, generation = hashed.generation.number, reason = %line, "damaged");
        }
        let event = Event::ClosureVerified(ClosureVerified {
            scope: agent.is_none().then_some("System"),
            generation: hashed.generation.clone(),
            reason: hashed.reason,
            paths: verified.paths,
            bytes: verified.bytes,
            took_us: u64::try_from(took).unwrap_or(u64::MAX),
            damage,
        });
        let is_whole = verified.damage.is_empty();
        let is_news = hashed.reason != START_REFUSED || hashed.before.as_ref() != Some(&verified);
        known.insert(path, Closure::Hashed(verified));
        let Some(agent) = agent else {
            self.turn.system_records(None, &[event]);
            self.change_system(|memory| memory.verified(&hashed.generation, is_whole));
            return;
        };
        if is_news {
            let incident = None;
            self.turn
                .records(agent, None, &[Record { event, incident }]);
        }
        self.change_memory(agent, |memory| {
            memory.rollout.verified(&hashed.generation, is_whole);
        });
    }

    /// A start was refused since its generation is not usable: damage that is known is looked
    /// for again, so that a repair is enough to bring the agent back.
    pub(super) fn hash_refused(&mut self, name: &AgentName, generation: Generation) {
        let state = self.agents.get(name);
        let known = state.and_then(|state| state.closures.get(&*generation.store_path));
        if matches!(known, Some(Closure::Hashed(known)) if !known.damage.is_empty()) {
            self.hash_closure(name, generation, START_REFUSED);
        }
    }

    /// Has every generation of the machine hashed.
    pub(super) fn hash_all_systems(&mut self) {
        let listed = self.system.edge().map(|edge| edge.generations());
        match listed {
            Some(Ok(listed)) => {
                for generation in listed {
                    self.hash_system(generation, "OperatorRequest");
                }
            }
            Some(Err(why)) => {
                tracing::warn!(reason = %why, "the system's generations cannot be listed");
            }
            None => {}
        }
    }

    /// Has every generation of an agent hashed.
    pub(super) fn hash_all(&mut self, name: &AgentName) {
        match self.profiles.list(name) {
            Ok(listed) => {
                for generation in listed {
                    self.hash_closure(name, generation, "OperatorRequest");
                }
            }
            Err(error) => {
                tracing::warn!(agent = %name, reason = %chain(&error), "generations cannot be listed");
            }
        }
    }
}

impl Closure {
    /// As the API shows it.
    pub(super) fn status(&self) -> ClosureStatus {
        let of = |state, progress: Progress, damage| ClosureStatus {
            state,
            paths: progress.paths,
            paths_total: progress.paths_total,
            bytes: progress.bytes,
            bytes_total: progress.bytes_total,
            damage,
        };
        match self {
            Self::UnderWay(progress) => {
                let now = *progress.lock().unwrap_or_else(PoisonError::into_inner);
                of(ClosureState::UnderWay, now, Vec::new())
            }
            Self::Hashed(verified) => {
                let state = match verified.damage.is_empty() {
                    true => ClosureState::Whole,
                    false => ClosureState::Damaged,
                };
                let damage = verified.damage.iter().map(ToString::to_string);
                let all = Progress {
                    paths: verified.paths,
                    paths_total: verified.paths,
                    bytes: verified.bytes,
                    bytes_total: verified.bytes,
                };
                of(state, all, damage.collect())
            }
            Self::Unknown(why) => {
                let none = Progress::default();
                of(ClosureState::Unknown, none, vec![why.clone()])
            }
        }
    }
}
