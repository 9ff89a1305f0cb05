//! Answers to queries: status, diff and plan as the API shows them.

use std::collections::BTreeMap;

use osmoda_core::{
    diff::{self, diff},
    memory::Paused,
    name::AgentName,
    observed::{InvocationId, Limits, Observation},
    plan::{Action, Desired, Observed, View},
    project::{Projected, project},
    spec::API_VERSION,
};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;

use super::{
    Reconciler,
    agent::{AgentState, Desire, Moment},
    journal::Journal,
    look::{Look, millis_since},
};
use crate::{
    api::types::{
        AgentDiff, AgentList, AgentObject, DiffReport, LedgerStatus, NodeStatus, PlanReport,
        PlanStep, SpecErrorStatus, StatusSummary,
    },
    specs::Loaded,
};

/// Queries draw nothing at random: what they show is a projection.
const NO_DRAW: InvocationId = InvocationId([0; 16]);

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    pub(super) fn report_status(&mut self) -> AgentList {
        let mut items = Vec::with_capacity(self.agents.len());
        self.each_look(|look| items.push(look.object()));
        AgentList {
            api_version: API_VERSION.to_owned(),
            kind: "AgentList".to_owned(),
            node: self.report_node(),
            items,
        }
    }

    pub(super) fn report_summary(&mut self) -> StatusSummary {
        let mut items = Vec::with_capacity(self.agents.len());
        self.each_look(|look| items.push(look.summary()));
        StatusSummary {
            api_version: API_VERSION.to_owned(),
            kind: "StatusSummary".to_owned(),
            node: self.report_node(),
            items,
        }
    }

    fn each_look(&mut self, mut show: impl FnMut(Look<'_>)) {
        let all_paused = self.all_paused.clone();
        let moment = self.query_moment(all_paused.as_ref());
        for (name, state) in self.agents.iter_mut() {
            let board = self.detectors.board();
            let observed = state.observe(name, &*self.runtime, &*self.profiles, board);
            show(Look::new(name, state, observed, moment, &*self.runtime));
        }
    }

    fn report_node(&self) -> NodeStatus {
        let head = self.recorder.journal.head();
        let specs = |(file, errors): (&std::path::PathBuf, &Vec<String>)| SpecErrorStatus {
            file: file.display().to_string(),
            errors: errors.clone(),
        };
        NodeStatus {
            name: self.facts.name.clone(),
            version: self.facts.version.clone(),
            pid: self.facts.pid,
            runtime: self.facts.runtime.clone(),
            specs: self.facts.specs.clone(),
            reading_specs: !self.specs_read && self.rejected.is_empty(),
            uptime_ms: millis_since(self.clock.mono(), self.started_at),
            paused: self.all_paused.as_ref().map(|paused| paused.reason.clone()),
            system: self.report_system(),
            ledger: LedgerStatus {
                origin: head.origin,
                size: head.size,
                root: head.root.to_string(),
                chain: head.chain.to_string(),
                degraded: self.recorder.degraded().map(str::to_owned),
                unanchored: head.unanchored,
                anchors: self.recorder.journal.anchors(),
            },
            alerts: self.recorder.journal.alerts(),
            spec_errors: self.rejected.iter().map(specs).collect(),
            ignored_notifications: (self.detectors.board().ignored().into_iter())
                .map(|(why, count)| (why.word().to_owned(), count))
                .collect(),
        }
    }

    fn query_moment<'a>(&self, all_paused: Option<&'a Paused>) -> Moment<'a> {
        Moment {
            now: self.clock.mono(),
            wall: self.clock.wall(),
            all_paused,
            shutdown: None,
            fresh: NO_DRAW,
            builds: self.profiles.may_build(),
        }
    }

    pub(super) fn report_agent(&mut self, name: &AgentName) -> Option<AgentObject> {
        let all_paused = self.all_paused.clone();
        let moment = self.query_moment(all_paused.as_ref());
        let state = self.agents.get_mut(name)?;
        let board = self.detectors.board();
        let observed = state.observe(name, &*self.runtime, &*self.profiles, board);
        Some(Look::new(name, state, observed, moment, &*self.runtime).object())
    }

    pub(super) fn report_diff(&mut self, limits: &BTreeMap<AgentName, Limits>) -> DiffReport {
        let mut agents = Vec::new();
        self.each_view(|name, view| {
            let mut differences = diff(view);
            if let Some(limits) = limits.get(name) {
                differences.extend(diff::limits(view, limits));
            }
            agents.push(AgentDiff {
                name: name.to_string(),
                differences,
            });
        });
        DiffReport {
            in_sync: agents.iter().all(|agent| agent.differences.is_empty()),
            agents,
            system: self.system_differences(),
        }
    }

    pub(super) fn report_plan(&mut self, specs: Option<&Loaded>) -> PlanReport {
        let mut steps = Vec::new();
        let Some(loaded) = specs else {
            self.each_view(|name, view| describe_steps(&mut steps, name, view));
            return PlanReport { steps };
        };
        let desired: BTreeMap<_, _> = loaded
            .agents
            .iter()
            .map(|(name, agent)| (name.clone(), Desired::new(agent.agent.clone())))
            .collect();
        self.each_view(|name, view| {
            let view = View {
                desired: desired.get(name),
                ..*view
            };
            describe_steps(&mut steps, name, &view);
        });
        let moment = self.query_moment(None);
        for (name, desired) in desired
            .iter()
            .filter(|(name, _)| !self.agents.contains_key(name))
        {
            let state = AgentState {
                desire: Desire::Present(desired.clone()),
                ..AgentState::default()
            };
            let observed = Observed {
                instance: Observation::Known(None),
                active: Observation::Known(None),
                vitals: None,
                last_output: Vec::new(),
            };
            describe_steps(&mut steps, name, &state.view(name, &observed, moment));
        }
        PlanReport { steps }
    }

    fn each_view(&mut self, mut show: impl FnMut(&AgentName, &View<'_>)) {
        let all_paused = self.all_paused.clone();
        let moment = self.query_moment(all_paused.as_ref());
        for (name, state) in self.agents.iter_mut() {
            if state.desire == Desire::Unread {
                continue;
            }
            let board = self.detectors.board();
            let observed = state.observe(name, &*self.runtime, &*self.profiles, board);
            show(name, &state.view(name, &observed, moment));
        }
    }
}

fn describe_steps(steps: &mut Vec<PlanStep>, name: &AgentName, view: &View<'_>) {
    for Projected { step, at } in project(view).steps {
        let (from, to) = match &step.action {
            Action::Activate { .. } => (active_name(view), "a new generation".to_owned()),
            Action::Switch { to, .. } => (active_name(view), format!("generation {}", to.number)),
            Action::Start { .. } => ("stopped".to_owned(), "running".to_owned()),
            Action::Stop { .. } => ("running".to_owned(), "stopped".to_owned()),
            Action::Remove => ("present".to_owned(), "absent".to_owned()),
        };
        steps.push(PlanStep {
            agent: name.to_string(),
            action: format!("{:?}", step.action.kind()),
            reason: step.reason.to_owned(),
            from,
            to,
            in_ms: millis_since(at, view.now),
        });
    }
}

fn active_name(view: &View<'_>) -> String {
    match &view.observed.active {
        Observation::Known(Some(active)) => format!("generation {}", active.generation.number),
        Observation::Known(None) => "no generation".to_owned(),
        Observation::Unknown(_) => "unknown".to_owned(),
    }
}
