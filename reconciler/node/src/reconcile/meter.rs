//! What the loop counts of itself and of what it sees, for /metrics.

use osmoda_core::{
    name::AgentName,
    observed::{InstanceState, Observation},
    plan::{AgentPlan, Observed},
    time::Mono,
};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;

use super::{Reconciler, journal::Journal};
use crate::metrics::{Depths, Seen};

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// Keeps what this turn sees of an agent that no turn saw before, until it has acted.
    pub(super) fn meter(&mut self, name: &AgentName, observed: &Observed, plan: &AgentPlan) {
        let running = match &observed.instance {
            Observation::Known(Some(instance)) => Some(instance)
                .filter(|instance| matches!(instance.state, InstanceState::Running { .. }))
                .map(|instance| instance.invocation),
            Observation::Known(None) | Observation::Unknown(_) => None,
        };
        let generation = match &observed.active {
            Observation::Known(Some(active)) => active.generation.number,
            Observation::Known(None) | Observation::Unknown(_) => 0,
        };
        let Some(state) = self.agents.get_mut(name) else {
            return;
        };
        let seen = Seen {
            running,
            ready: running.is_some() && state.serves,
            generation,
            incident: plan.memory.incident.is_some(),
            paused: plan.memory.paused.is_some() || self.all_paused.is_some(),
        };
        if state.metered.replace(seen) != Some(seen) {
            self.seen.push((name.clone(), seen));
        }
    }

    /// The turn that began at `since` has acted: tells what it saw and how long it took.
    pub(super) fn meter_turn(&mut self, since: Mono) {
        let depths = Depths {
            events: self.events.len(),
            actions: self.under_way.len(),
            entries: self.recorder.waiting(),
            dirty: self.dirty.len(),
        };
        let took = self.clock.mono().since(since);
        let seen = std::mem::take(&mut self.seen);
        self.meters.turn(seen, depths, took);
    }
}
