//! One agent as a query sees it: what the API tells of it, whole or in a line.

use osmoda_core::{
    health::Vitals,
    name::AgentName,
    observed::{ExitStatus, Instance, InstanceState, Observation},
    plan::{Active, Observed},
    spec::{API_VERSION, AgentSpec},
    status::{Assessment, ConditionStatus, ConditionType, assess},
    time::{Mono, Wall},
};
use osmoda_runtime::Runtime;

use super::{
    agent::{AgentState, Moment},
    generations::generation_status,
};
use crate::api::types::{
    AgentObject, AgentStatus, AgentSummary, LastExitStatus, Metadata, NextAction, ProbeStatus,
    ResourceStatus,
};

/// What was seen of an agent, and what that amounts to.
pub(super) struct Look<'a> {
    name: &'a AgentName,
    state: &'a AgentState,
    observed: Observed,
    assessment: Assessment,
    not_enforced: Vec<String>,
    now: Mono,
    wall: Wall,
}

impl<'a> Look<'a> {
    /// Judges what was `observed` at this moment.
    pub fn new(
        name: &'a AgentName,
        state: &'a AgentState,
        observed: Observed,
        moment: Moment<'_>,
        runtime: &impl Runtime,
    ) -> Self {
        let mut assessment = assess(&state.view(name, &observed, moment));
        let desired = state.desire.present();
        let not_enforced = desired
            .map(|desired| not_enforced(&desired.agent.spec, runtime))
            .unwrap_or_default();
        name_what_is_not_enforced(&mut assessment, &not_enforced);
        Self {
            name,
            state,
            observed,
            assessment,
            not_enforced,
            now: moment.now,
            wall: moment.wall,
        }
    }

    /// In a line.
    pub fn summary(self) -> AgentSummary {
        AgentSummary {
            name: self.name.to_string(),
            ready: self.assessment.ready,
            phase: self.assessment.phase,
            restarts: self.state.memory.restarts,
            generation: self.active().map(|active| active.generation.number),
            pid: self.running().and_then(pid),
            uptime_ms: self.running().map(|i| millis_since(self.now, i.started_at)),
            next_action: self.next_action(),
            message: self.assessment.message,
            not_enforced: self.not_enforced,
        }
    }

    /// Whole.
    pub fn object(self) -> AgentObject {
        let (state, now, wall) = (self.state, self.now, self.wall);
        let (running, active) = (self.running(), self.active());
        let desired = state.desire.present();
        let deployed = active.filter(|active| desired.is_some_and(|d| d.digest == active.digest));
        let agent = desired
            .map(|desired| &desired.agent)
            .or(active.map(|active| &active.agent));
        let status = AgentStatus {
            phase: self.assessment.phase,
            ready: self.assessment.ready,
            pid: running.and_then(pid),
            invocation: self.instance().map(|i| i.invocation.to_string()),
            started_at: running.map(|i| back_to_wall(i.started_at, now, wall).to_string()),
            uptime_ms: running.map(|i| millis_since(now, i.started_at)),
            restarts: state.memory.restarts,
            last_exit: last_exit(state),
            generation: generation_status(state, &self.observed.active),
            observed_generation: state.memory.active.as_ref().map_or(0, |g| g.number),
            probes: match (running, &self.observed.vitals) {
                (Some(_), Some(vitals)) => probed(vitals, now, wall),
                _ => Vec::new(),
            },
            resources: running.and(self.observed.vitals.as_ref()).and_then(sampled),
            next_action: self.next_action(),
            incident: state.memory.incident.as_ref().map(|open| open.id.clone()),
            conditions: state.memory.conditions(&self.assessment, wall),
            file: state.file.as_ref().map(|file| file.display().to_string()),
            message: self.assessment.message.clone(),
            not_enforced: self.not_enforced.clone(),
        };
        AgentObject {
            api_version: API_VERSION.to_owned(),
            kind: "Agent".to_owned(),
            metadata: Metadata {
                name: self.name.to_string(),
                labels: agent.map(|agent| agent.labels.clone()).unwrap_or_default(),
                generation: deployed.map_or(0, |active| active.generation.number),
            },
            spec: agent
                .map(|agent| spec_as_written(&agent.manifest))
                .unwrap_or_default(),
            status,
        }
    }

    fn instance(&self) -> Option<&Instance> {
        match &self.observed.instance {
            Observation::Known(instance) => instance.as_ref(),
            Observation::Unknown(_) => None,
        }
    }

    fn running(&self) -> Option<&Instance> {
        let runs = |i: &&Instance| matches!(i.state, InstanceState::Running { .. });
        self.instance().filter(runs)
    }

    fn active(&self) -> Option<&Active> {
        match &self.observed.active {
            Observation::Known(active) => active.as_ref(),
            Observation::Unknown(_) => None,
        }
    }

    fn next_action(&self) -> Option<NextAction> {
        let (state, now) = (self.state, self.now);
        let running = self.running().is_some();
        let (what, at) = match (state.memory.next_start_at, state.hold_until) {
            (Some(at), _) if !running => ("Start", at),
            (_, Some(at)) if at > now => ("Retry", at),
            _ if running && state.memory.incident.is_some() => ("VerifyHealth", state.wake_at?),
            _ if running => ("Prove", proven_at(state)?),
            _ => return None,
        };
        Some(NextAction {
            what: what.to_owned(),
            at: ahead_to_wall(at, now, self.wall).to_string(),
            in_ms: millis_since(at, now),
        })
    }
}

fn pid(running: &Instance) -> Option<u32> {
    match running.state {
        InstanceState::Running { pid } => Some(pid),
        InstanceState::Exited(_) => None,
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

/// When the active generation is found Good, if it stays ready until then.
fn proven_at(state: &AgentState) -> Option<Mono> {
    let (_, ready_since) = state.memory.rollout.probation.as_ref()?.ready?;
    let spec = &state.desire.present()?.agent.spec;
    Some(ready_since.after(spec.rollout.min_ready.get()))
}

/// Milliseconds from one instant to a later one; 0 if it is not later.
pub(super) fn millis_since(later: Mono, earlier: Mono) -> u64 {
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
