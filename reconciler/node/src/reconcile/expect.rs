//! Restarts that are as good as decided: they are prepared before the decision is made.
//!
//! An agent that has just ended is most often started again at once, as it was started before. To
//! prepare that changes nothing and has threads of its own, so it begins before the loop reads
//! what the agent wrote last, decides, and composes the record. If the decision is another one (a
//! backoff, a rollback, a stop), what was prepared is dropped, and nothing is left of it
//! ([`Runtime::prepare`]). The decision itself knows nothing of this: it is made from the same
//! observation in any case.

use std::{collections::BTreeMap, sync::Arc};

use osmoda_core::{
    name::AgentName,
    observed::{Exit, ExitStatus, Generation, Instance, InstanceState, InvocationId, Observation},
    plan::Action,
    spec::{Agent, RestartPolicy},
};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::{Runtime, StartRequest};

use super::{Reconciler, act::Begun, agent::AgentState, journal::Journal};

/// Starts that this turn is likely to decide, being prepared.
pub(super) struct Expected<S>(BTreeMap<AgentName, Start<S>>);

struct Start<S> {
    invocation: InvocationId,
    generation: Generation,
    agent: Arc<Agent>,
    begun: Begun<S>,
}

impl<S> Expected<S> {
    /// The identity that the decision is to give the start of this agent.
    pub fn invocation(&self, agent: &AgentName) -> Option<InvocationId> {
        self.0.get(agent).map(|start| start.invocation)
    }

    /// What was begun for an agent, if it is what was decided.
    pub fn take(&mut self, name: &AgentName, action: &Action) -> Option<Begun<S>> {
        let start = self.0.remove(name)?;
        let Action::Start {
            invocation,
            generation,
            agent,
        } = action
        else {
            return None;
        };
        let same = *invocation == start.invocation
            && *generation == start.generation
            && (Arc::ptr_eq(agent, &start.agent) || **agent == *start.agent);
        same.then_some(start.begun)
    }
}

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// Has the likely restarts of this turn prepared, as many as may be at once.
    pub(super) fn expect(&mut self) -> Expected<R::Prepared> {
        let mut expected = Expected(BTreeMap::new());
        if self.ending.is_some() || self.all_paused.is_some() {
            return expected;
        }
        let dirty = std::mem::take(&mut self.dirty);
        for name in &dirty {
            if self.start_permits.available_permits() == 0 {
                break;
            }
            let state = self.agents.get(name);
            let likely = state.and_then(|state| self.likely_restart(name, state));
            let Some((generation, agent)) = likely else {
                continue;
            };
            let invocation = (self.ids)();
            let begun = self.prepare_request(StartRequest {
                agent: name.clone(),
                invocation,
                generation: generation.clone(),
                spec: Arc::clone(&agent.spec),
            });
            if let Some(begun) = begun {
                let start = Start {
                    invocation,
                    generation,
                    agent,
                    begun,
                };
                expected.0.insert(name.clone(), start);
            }
        }
        self.dirty = dirty;
        expected
    }

    fn likely_restart(
        &self,
        name: &AgentName,
        state: &AgentState,
    ) -> Option<(Generation, Arc<Agent>)> {
        if state.is_held_back() {
            return None;
        }
        let active = state.active.as_ref()?;
        let desired = state.desire.present()?;
        let Observation::Known(Some(instance)) = self.runtime.inspect(name) else {
            return None;
        };
        let ended = state.unrecorded_end(&instance)?;
        let rules = &active.agent.spec.restart;
        let asked_for = match rules.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => ended.status != (ExitStatus::Code { code: 0 }),
            RestartPolicy::Never => false,
        };
        // The first restart is immediate, and so is one after a time in good health.
        let at_once = state.memory.restart.consecutive == 0
            || ended.at.since(instance.started_at) >= rules.backoff.reset_after.get();
        (asked_for && at_once && desired.digest == active.digest)
            .then(|| (active.generation.clone(), Arc::clone(&active.agent)))
    }
}

impl AgentState {
    /// Whether something stands against a start, whatever else may be decided.
    fn is_held_back(&self) -> bool {
        let memory = &self.memory;
        self.in_flight.is_some()
            || self.hold_until.is_some()
            || !self.unmet.is_empty()
            || memory.paused.is_some()
            || memory.condemned.is_some()
            || memory.finished.is_some()
            || memory.next_start_at.is_some()
            || memory.escalation_due
    }

    /// How an instance ended, if that is news.
    fn unrecorded_end<'a>(&self, instance: &'a Instance) -> Option<&'a Exit> {
        match &instance.state {
            InstanceState::Exited(exit) if self.memory.accounted != Some(instance.invocation) => {
                Some(exit)
            }
            _ => None,
        }
    }
}
