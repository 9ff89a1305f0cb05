//! Who waits for whom: readiness that spreads from an agent to its dependents.

use std::collections::{BTreeMap, BTreeSet};

use osmoda_core::{
    dependency::{Unmet, in_order},
    memory::Finished,
    name::AgentName,
    plan::{Action, AgentPlan, Observed},
};
use osmoda_ledger::Cause;
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;

use super::{Reconciler, journal::Journal};

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// Turns `dependsOn` round, once for each reading of the specs.
    pub(super) fn index_dependents(&mut self) {
        let mut dependents: BTreeMap<AgentName, BTreeSet<AgentName>> = BTreeMap::new();
        for name in self.agents.keys() {
            for dependency in self.dependencies(name) {
                let of_it = dependents.entry(dependency.clone()).or_default();
                of_it.insert(name.clone());
            }
        }
        self.dependents = dependents;
    }

    fn dependencies(&self, name: &AgentName) -> &[AgentName] {
        let desired = self
            .agents
            .get(name)
            .and_then(|state| state.desire.present());
        desired.map_or(&[], |desired| desired.agent.spec.depends_on.as_slice())
    }

    /// The agents in an order in which everybody comes after what it depends on.
    pub(super) fn in_order(&self, observed: &BTreeMap<AgentName, Observed>) -> Vec<AgentName> {
        let order = in_order(observed.keys(), |name| self.dependencies(name));
        order.into_iter().cloned().collect()
    }

    fn unmet(&self, name: &AgentName) -> Vec<Unmet> {
        let dependencies = self.dependencies(name).iter();
        let unmet = dependencies.filter_map(|dependency| {
            let state = self.agents.get(dependency);
            if state.is_some_and(|state| state.serves) {
                return None;
            }
            Some(Unmet {
                agent: dependency.clone(),
                incident: state.and_then(|state| state.explains.clone()),
            })
        });
        unmet.collect()
    }

    /// Notes which of its dependencies an agent has to wait for. Once the last of them is back,
    /// its detectors begin anew: what failed meanwhile is no evidence.
    pub(super) fn look_at_dependencies(&mut self, name: &AgentName, seen: &mut Observed) {
        let unmet = self.unmet(name);
        let Some(state) = self.agents.get_mut(name) else {
            return;
        };
        let back = !state.unmet.is_empty() && unmet.is_empty();
        state.unmet = unmet;
        if back && seen.vitals.is_some() {
            state.following = None;
            self.detect(name, seen);
        }
    }

    /// Takes note of what a plan was made of, and whether the agent may be depended on; if that
    /// changed, its dependents are looked at.
    pub(super) fn note_plan(&mut self, name: &AgentName, seen: &Observed, plan: &AgentPlan) {
        let Some(state) = self.agents.get_mut(name) else {
            return;
        };
        state.note_planned(seen);
        let step = plan.step.as_ref().map(|step| &step.action);
        let ends = matches!(step, Some(Action::Stop { .. } | Action::Remove));
        let stopping = state
            .in_flight
            .as_ref()
            .is_some_and(|flight| matches!(flight.action, Action::Stop { .. }));
        let succeeded = plan.memory.finished == Some(Finished::Succeeded);
        let serves = succeeded || (plan.health.ready && !ends && !stopping);
        let incident = plan.memory.incident.as_ref();
        state.explains = incident.map(|incident| incident.id.clone());
        if std::mem::replace(&mut state.serves, serves) != serves
            && let Some(dependents) = self.dependents.get(name)
        {
            self.dirty.extend(dependents.iter().cloned());
        }
    }

    /// The first entry of every incident that a plan joins: one of a dependency.
    pub(super) fn open_incidents(
        &self,
        plans: &[(AgentName, AgentPlan)],
    ) -> BTreeMap<String, Cause> {
        let mut roots = BTreeMap::new();
        for (name, plan) in plans {
            let before = self.agents.get(name).map(|state| &state.memory.incident);
            let (Some(None), Some(joined)) = (before, &plan.memory.incident) else {
                continue;
            };
            for dependency in self.dependencies(name) {
                if let Some(state) = self.agents.get(dependency)
                    && let Some(incident) = &state.memory.incident
                    && incident.id == joined.id
                    && let Some(root) = &state.incident_root
                {
                    roots.insert(joined.id.clone(), Cause::Known(root.clone()));
                }
            }
        }
        roots
    }
}
