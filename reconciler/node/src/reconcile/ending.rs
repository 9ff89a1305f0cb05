//! The end of the daemon: whose turn it is to be stopped, and when it is over.

use osmoda_core::{
    event::{Actor, Event, NodeStopped},
    name::AgentName,
    observed::{InstanceState, Observation},
    plan::Shutdown,
};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;

use super::{Reconciler, journal::Journal};

/// The daemon is ending.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub reason: String,
    pub keep_agents: bool,
    pub over: bool,
}

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// Whose turn it is to be stopped, while the daemon ends: those first that nobody needs.
    pub(super) fn shutdown_turn(&self, name: &AgentName) -> Option<Shutdown> {
        self.ending.as_ref().filter(|ending| !ending.keep_agents)?;
        let needed = self.agents.iter().any(|(other, state)| {
            let needs = state
                .desire
                .present()
                .is_some_and(|d| d.agent.spec.depends_on.contains(name));
            // Its process may have ended, and the rest of its tree still be on its way out.
            needs && (state.in_flight.is_some() || self.is_running(other))
        });
        Some(if needed {
            Shutdown::Wait
        } else {
            Shutdown::Now
        })
    }

    fn is_running(&self, name: &AgentName) -> bool {
        match self.runtime.inspect(name) {
            Observation::Known(Some(instance)) => {
                matches!(instance.state, InstanceState::Running { .. })
            }
            Observation::Known(None) => false,
            Observation::Unknown(_) => true,
        }
    }

    pub(super) async fn end_if_done(&mut self) {
        let Some(ending) = self.ending.clone().filter(|ending| self.may_end(ending)) else {
            return;
        };
        let mut turn = std::mem::take(&mut self.turn);
        let body = NodeStopped {
            reason: ending.reason.clone(),
            agents_kept: ending.keep_agents,
        };
        turn.note(None, Actor::System, &Event::NodeStopped(body));
        self.commit(turn).await;
        if !ending.keep_agents {
            // Nothing of them runs: their cgroups and credentials have served.
            for name in self.agents.keys() {
                self.runtime.forget(name);
            }
        }
        self.ending = Some(Ending {
            over: true,
            ..ending
        });
    }

    fn may_end(&self, ending: &Ending) -> bool {
        let busy = self.agents.values().any(|state| state.in_flight.is_some());
        let running = || self.agents.keys().any(|name| self.is_running(name));
        !busy && (ending.keep_agents || !running())
    }
}
