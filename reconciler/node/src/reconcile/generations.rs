//! Generations as people see them, and the operator's way back.

use osmoda_core::{
    name::AgentName,
    observed::{Generation, Observation},
    plan::Desired,
    rollout::{BadReason, GoingBack, Verdict},
};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;

use super::{Reconciler, agent::AgentState, closure::Closure, journal::Journal};
use crate::{
    api::types::{GenerationItem, GenerationList, GenerationStatus},
    error::chain,
    handle::CommandError,
};

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// Every generation of an agent; `None`: there is no such agent.
    pub(super) fn report_generations(
        &self,
        name: &AgentName,
    ) -> Option<Result<GenerationList, String>> {
        let state = self.agents.get(name)?;
        let listed = self.profiles.list(name);
        let active = self.profiles.active(name);
        let (listed, active) = match (listed, active) {
            (Ok(listed), Ok(active)) => (listed, active),
            (Err(error), _) | (_, Err(error)) => return Some(Err(chain(&error))),
        };
        let items = listed
            .iter()
            .map(|generation| item(state, generation, active.as_ref()));
        Some(Ok(GenerationList {
            items: items.collect(),
        }))
    }

    /// Where an operator's rollback goes, once it is known that it can go there.
    pub(super) fn way_back(
        &self,
        name: &AgentName,
        to: Option<u64>,
    ) -> Result<GoingBack, CommandError> {
        let Some(state) = self.agents.get(name) else {
            return Err(CommandError::NoSuchAgent(name.clone()));
        };
        let impossible = |why: String| Err(CommandError::Impossible(why));
        let active = match self.profiles.active(name) {
            Ok(active) => active,
            Err(error) => return impossible(chain(&error)),
        };
        let found = match to {
            None => state
                .memory
                .rollout
                .good_other_than(active.as_ref())
                .cloned(),
            Some(number) => match self.profiles.list(name) {
                Ok(listed) => listed.into_iter().find(|g| g.number == number),
                Err(error) => return impossible(chain(&error)),
            },
        };
        match (found, to) {
            (Some(to), _) if active.as_ref() == Some(&to) => {
                impossible(format!("generation {} of {name} is active", to.number))
            }
            (Some(to), _) => Ok(GoingBack { to, because: None }),
            (None, Some(number)) => impossible(format!("{name} has no generation {number}")),
            (None, None) => impossible(format!(
                "{name} has no other generation that is known to be good"
            )),
        }
    }
}

fn item(
    state: &AgentState,
    generation: &Generation,
    active: Option<&Generation>,
) -> GenerationItem {
    let rollout = &state.memory.rollout;
    let tried = rollout.of(generation);
    let desired = state.desire.present().map(|desired| desired.digest);
    let reason = tried.and_then(|tried| tried.reason);
    GenerationItem {
        number: generation.number,
        store_path: generation.store_path.to_string(),
        created_at: tried.map(|tried| tried.activated_at.to_string()),
        verdict: tried.map_or(Verdict::Unproven, |tried| tried.verdict),
        reason: reason.map_or("", BadReason::word).to_owned(),
        active: active == Some(generation),
        desired: tried.is_some_and(|tried| Some(tried.digest) == desired),
        last_known_good: rollout.last_known_good() == Some(generation),
        closure: state
            .closures
            .get(&*generation.store_path)
            .map(Closure::status),
    }
}

/// Which generations matter to an agent, and what is known of them.
pub(super) fn generation_status(
    state: &AgentState,
    active: &Observation<Option<osmoda_core::plan::Active>>,
) -> GenerationStatus {
    let rollout = &state.memory.rollout;
    let active = match active {
        Observation::Known(active) => active.as_ref(),
        Observation::Unknown(_) => None,
    };
    let digest = state.desire.present().map(|Desired { digest, .. }| *digest);
    let deployed = active.filter(|active| Some(active.digest) == digest);
    let mut newest = rollout.tried.iter().rev();
    let desired = newest.find(|tried| Some(tried.digest) == digest);
    let known = active.and_then(|active| rollout.of(&active.generation));
    GenerationStatus {
        desired: deployed
            .map(|active| &active.generation)
            .or(desired.map(|tried| &tried.generation))
            .cloned(),
        active: active.map(|active| active.generation.clone()),
        last_known_good: rollout.last_known_good().cloned(),
        verdict: known.map(|tried| tried.verdict),
        desired_verdict: desired.map(|tried| tried.verdict),
    }
}
