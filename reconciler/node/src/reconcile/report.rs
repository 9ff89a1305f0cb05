//! Answers to queries: status, diff and plan as the API shows them.

use std::collections::BTreeMap;

use osmoda_core::{
    diff::{self, diff},
    health::Vitals,
    name::AgentName,
    observed::{ExitStatus, InstanceState, InvocationId, Limits, Observation},
    plan::{Action, Desired, Observed, View},
    project::{Projected, project},
    spec::{API_VERSION, AgentSpec},
    status::{Assessment, ConditionStatus, ConditionType, assess},
    time::{Mono, Wall},
};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;

use super::{
    Reconciler,
    agent::{AgentState, Desire, Moment},
    generations::generation_status,
    journal::Journal,
};
use crate::{
    api::types::{
        AgentDiff, AgentList, AgentObject, AgentStatus, DiffReport, LastExitStatus, LedgerStatus,
        Metadata, NextAction, NodeStatus, PlanReport, PlanStep, ProbeStatus, ResourceStatus,
        SpecErrorStatus,
    },
    specs::Loaded,
};

/// Queries draw nothing at random: what they show is a projection.
const NO_DRAW: InvocationId = InvocationId([0; 16]);

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    pub(super) fn report_status(&mut self) -> AgentList {
        let names: Vec<_> = self.agents.keys().cloned().collect();
        AgentList {
            api_version: API_VERSION.to_owned(),
            kind: "AgentList".to_owned(),
            node: self.report_node(),
            items: names
                .iter()
                .filter_map(|name| self.report_agent(name))
                .collect(),
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

    fn moment(&self) -> (Mono, Wall) {
        (self.clock.mono(), self.clock.wall())
    }

    pub(super) fn report_agent(&mut self, name: &AgentName) -> Option<AgentObject> {
        let (now, wall) = self.moment();
        let all_paused = self.all_paused.clone();
        let state = self.agents.get_mut(name)?;
        let observed = state.observe(
            name,
            &*self.runtime,
            &*self.profiles,
            self.detectors.board(),
        );
        let moment = Moment {
            now,
            wall,
            all_paused: all_paused.as_ref(),
            shutdown: None,
            fresh: NO_DRAW,
            builds: self.profiles.may_build(),
        };
        let mut assessment = assess(&state.view(name, &observed, moment));
        let spec = state.desire.present().map(|desired| &desired.agent.spec);
        let missing = spec.map(|spec| not_enforced(spec, &*self.runtime));
        name_what_is_not_enforced(&mut assessment, &missing.unwrap_or_default());
        let conditions = state.memory.conditions(&assessment, wall);
        let instance = match &observed.instance {
            Observation::Known(instance) => instance.as_ref(),
            Observation::Unknown(_) => None,
        };
        let running = instance.filter(|i| matches!(i.state, InstanceState::Running { .. }));
        let active = match &observed.active {
            Observation::Known(active) => active.as_ref(),
            Observation::Unknown(_) => None,
        };
        let desired = state.desire.present();
        let deployed = active
            .filter(|active| desired.is_some_and(|desired| desired.digest == active.digest))
            .map(|active| active.generation.clone());
        let started_at = running.map(|i| back_to_wall(i.started_at, now, wall).to_string());
        let agent = desired
            .map(|d| &d.agent)
            .or(active.map(|active| &active.agent));
        Some(AgentObject {
            api_version: API_VERSION.to_owned(),
            kind: "Agent".to_owned(),
            metadata: Metadata {
                name: name.to_string(),
                labels: agent.map(|agent| agent.labels.clone()).unwrap_or_default(),
                generation: deployed.as_ref().map_or(0, |generation| generation.number),
            },
            spec: agent
                .map(|agent| spec_as_written(&agent.manifest))
                .unwrap_or_default(),
            status: AgentStatus {
                phase: assessment.phase,
                ready: assessment.ready,
                message: assessment.message,
                pid: running.and_then(|i| match i.state {
                    InstanceState::Running { pid } => Some(pid),
                    InstanceState::Exited(_) => None,
                }),
                invocation: instance.map(|i| i.invocation.to_string()),
                started_at,
                uptime_ms: running.map(|i| millis_since(now, i.started_at)),
                restarts: state.memory.restarts,
                last_exit: last_exit(state),
                generation: generation_status(state, &observed.active),
                observed_generation: state.memory.active.as_ref().map_or(0, |g| g.number),
                probes: match (running, &observed.vitals) {
                    (Some(_), Some(vitals)) => probed(vitals, now, wall),
                    _ => Vec::new(),
                },
                resources: running.and(observed.vitals.as_ref()).and_then(sampled),
                next_action: next_action(state, running.is_some(), now, wall),
                incident: state
                    .memory
                    .incident
                    .as_ref()
                    .map(|incident| incident.id.clone()),
                conditions,
                not_enforced: desired
                    .map(|d| not_enforced(&d.agent.spec, &*self.runtime))
                    .unwrap_or_default(),
                file: state.file.as_ref().map(|file| file.display().to_string()),
            },
        })
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
        let (now, wall) = self.moment();
        for (name, desired) in desired
            .iter()
            .filter(|(name, _)| !self.agents.contains_key(*name))
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
            let moment = Moment {
                now,
                wall,
                all_paused: None,
                shutdown: None,
                fresh: NO_DRAW,
                builds: self.profiles.may_build(),
            };
            describe_steps(&mut steps, name, &state.view(name, &observed, moment));
        }
        PlanReport { steps }
    }

    fn each_view(&mut self, mut show: impl FnMut(&AgentName, &View<'_>)) {
        let (now, wall) = self.moment();
        let all_paused = self.all_paused.as_ref();
        for (name, state) in &mut self.agents {
            if state.desire == Desire::Unread {
                continue;
            }
            let observed = state.observe(
                name,
                &*self.runtime,
                &*self.profiles,
                self.detectors.board(),
            );
            let moment = Moment {
                now,
                wall,
                all_paused,
                shutdown: None,
                fresh: NO_DRAW,
                builds: self.profiles.may_build(),
            };
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

/// What the probes have found.
fn probed(vitals: &Vitals, now: Mono, wall: Wall) -> Vec<ProbeStatus> {
    let all = [&vitals.startup, &vitals.readiness, &vitals.liveness];
    let told = all.into_iter().flatten().map(|state| ProbeStatus {
        probe: state.kind.field().to_owned(),
        result: state.verdict.into(),
        since: back_to_wall(state.since, now, wall).to_string(),
        run: state.run,
        message: state.message.clone(),
    });
    told.collect()
}

/// What the detectors saw last, of an agent that they sample.
fn sampled(vitals: &Vitals) -> Option<ResourceStatus> {
    let last = vitals.usage.last()?;
    let percent = vitals.usage.cpu_percent();
    Some(ResourceStatus {
        memory_bytes: Some(last.memory_bytes),
        cpu_percent: percent.map(|percent| u32::try_from(percent).unwrap_or(u32::MAX)),
    })
}

/// A spec that holds in part only is still valid, and its condition says which part does not.
fn name_what_is_not_enforced(assessment: &mut Assessment, missing: &[String]) {
    let mut conditions = assessment.conditions.iter_mut();
    let valid = conditions
        .find(|c| c.r#type == ConditionType::SpecValid && c.status == ConditionStatus::True);
    if let (Some(valid), false) = (valid, missing.is_empty()) {
        valid.reason = "NotFullyEnforced";
        valid.message = missing.join(", ");
    }
}

/// What of the spec this runtime does not enforce on this host, each with the reason.
fn not_enforced(spec: &AgentSpec, runtime: &impl Runtime) -> Vec<String> {
    let here = runtime.unenforced(spec).into_iter();
    here.map(|(field, why)| format!("{field} ({why})"))
        .collect()
}

fn spec_as_written(manifest: &str) -> serde_json::Value {
    // The manifest was canonical JSON when it was made.
    let mut manifest: serde_json::Value = serde_json::from_str(manifest).unwrap_or_default();
    manifest
        .get_mut("spec")
        .map(serde_json::Value::take)
        .unwrap_or_default()
}

fn last_exit(state: &AgentState) -> Option<LastExitStatus> {
    let last = state.memory.last_exit.as_ref()?;
    let (code, signal) = match last.exit.status {
        ExitStatus::Code { code } => (Some(code), None),
        ExitStatus::Signal { signal, .. } => (None, Some(signal)),
        ExitStatus::Unknown => (None, None),
    };
    Some(LastExitStatus {
        code,
        signal,
        reason: last.reason.clone(),
        at: last.at.to_string(),
    })
}

fn next_action(state: &AgentState, running: bool, now: Mono, wall: Wall) -> Option<NextAction> {
    let (what, at) = match (state.memory.next_start_at, state.hold_until) {
        (Some(at), _) if !running => ("Start", at),
        (_, Some(at)) if at > now => ("Retry", at),
        _ if running && state.memory.incident.is_some() => ("VerifyHealth", state.wake_at?),
        _ if running => ("Prove", proven_at(state)?),
        _ => return None,
    };
    Some(NextAction {
        what: what.to_owned(),
        at: ahead_to_wall(at, now, wall).to_string(),
        in_ms: millis_since(at, now),
    })
}

/// When the active generation is found Good, if it stays ready until then.
fn proven_at(state: &AgentState) -> Option<Mono> {
    let (_, ready_since) = state.memory.rollout.probation.as_ref()?.ready?;
    let spec = &state.desire.present()?.agent.spec;
    Some(ready_since.after(spec.rollout.min_ready.get()))
}

fn millis_since(later: Mono, earlier: Mono) -> u64 {
    u64::try_from(later.since(earlier).as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The wall time of an instant that has passed, by the distance of today's clocks.
fn back_to_wall(at: Mono, now: Mono, wall: Wall) -> Wall {
    Wall(wall.0.saturating_sub(micros(now.since(at))))
}

/// The wall time of an instant to come.
fn ahead_to_wall(at: Mono, now: Mono, wall: Wall) -> Wall {
    Wall(wall.0.saturating_add(micros(at.since(now))))
}
