//! Closures hashed in the background: whether all that a generation needs is what Nix noted.
//!
//! When a generation of a store becomes Good, when a rollback to one failed, and when an operator
//! asks. One after the other, for each reads every byte. Damage is on record and remembered: what
//! is not whole is not started or gone back to until it is found whole.
//! Where to start: [`Reconciler::hash_closure`].

use std::{
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
    store::{Progress, Verified},
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

/// A closure that was hashed.
#[derive(Debug)]
pub struct Hashed {
    agent: AgentName,
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
        let since = self.clock.mono();
        let Some(state) = self.agents.get_mut(name) else {
            return;
        };
        let before = match state.closures.get(&generation.store_path) {
            Some(Closure::UnderWay(_)) => return,
            Some(Closure::Hashed(verified)) => Some(verified.clone()),
            Some(Closure::Unknown(_)) | None => None,
        };
        let progress = Arc::new(Mutex::new(Progress::default()));
        let under_way = Closure::UnderWay(Arc::clone(&progress));
        state
            .closures
            .insert(generation.store_path.clone(), under_way);
        let (profiles, offload) = (Arc::clone(&self.profiles), self.offload);
        let permits = Arc::clone(&self.closure_permits);
        let agent = name.clone();
        self.closures.spawn(async move {
            let permit = permits.acquire_owned().await;
            let of = generation.clone();
            let verify = move || {
                let watch = |now: Progress| {
                    *progress.lock().unwrap_or_else(PoisonError::into_inner) = now;
                    ControlFlow::Continue(())
                };
                profiles.verify(&of, &watch)
            };
            let verified = offload.run(verify).await;
            drop(permit);
            Hashed {
                agent,
                generation,
                reason,
                since,
                before,
                result: verified.and_then(|verified| verified.map_err(|error| chain(&error))),
            }
        });
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
        let Some(state) = self.agents.get_mut(&hashed.agent) else {
            return;
        };
        let path = hashed.generation.store_path.clone();
        let verified = match hashed.result {
            Ok(verified) => verified,
            Err(why) => {
                tracing::warn!(agent = %hashed.agent, path, reason = %why, "a closure could not be verified");
                state.closures.insert(path, Closure::Unknown(why));
                return;
            }
        };
        let damage = verified.damage.iter().map(ToString::to_string);
        let damage: Vec<String> = damage.take(DAMAGE_MAX).collect();
        for line in damage
            .iter()
            .filter(|_| hashed.before.as_ref() != Some(&verified))
        {
            tracing::error!(agent = %hashed.agent, generation = hashed.generation.number, reason = %line, "damaged");
        }
        let record = Record {
            event: Event::ClosureVerified(ClosureVerified {
                generation: hashed.generation.clone(),
                reason: hashed.reason,
                paths: verified.paths,
                bytes: verified.bytes,
                took_us: u64::try_from(took).unwrap_or(u64::MAX),
                damage,
            }),
            incident: None,
        };
        let is_whole = verified.damage.is_empty();
        let is_news = hashed.reason != START_REFUSED || hashed.before.as_ref() != Some(&verified);
        state.closures.insert(path, Closure::Hashed(verified));
        if is_news {
            self.turn.records(&hashed.agent, None, &[record]);
        }
        self.change_memory(&hashed.agent, |memory| {
            memory.rollout.verified(&hashed.generation, is_whole);
        });
    }

    /// A start was refused since its generation is not usable: damage that is known is looked
    /// for again, so that a repair is enough to bring the agent back.
    pub(super) fn hash_refused(&mut self, name: &AgentName, generation: Generation) {
        let state = self.agents.get(name);
        let known = state.and_then(|state| state.closures.get(&generation.store_path));
        if matches!(known, Some(Closure::Hashed(known)) if !known.damage.is_empty()) {
            self.hash_closure(name, generation, START_REFUSED);
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
