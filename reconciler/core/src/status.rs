//! Phase and conditions: what an agent's state is called, and why.
//!
//! Derived from the same view that the plan is made from, never stored (only the time of a
//! condition's last transition is: `transitions`).

use serde::{Deserialize, Serialize};

use crate::{
    diff::waits_for,
    health::{Health, judge},
    memory::{Finished, Memory, StartFailureKind},
    observed::{Instance, InstanceState, Observation},
    plan::{Bundle, Busy, View},
    rollout::BadReason,
    time::Mono,
};

/// Where an agent is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// To be started, and not yet.
    Pending,
    /// Being started, or its startup probe has not succeeded.
    Starting,
    /// Its main process runs.
    Running,
    /// Being stopped.
    Stopping,
    /// It ended; the next start waits its time.
    Backoff,
    /// It waits for a dependency.
    Held,
    /// It cannot be started as specified, or failed under policy Never.
    Failed,
    /// Exit code 0, or stopped by somebody past osmoda, under policy OnFailure or Never.
    Succeeded,
    /// Observed and recorded, but not acted on.
    Paused,
    /// The runtime could not be asked.
    Unknown,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// Type of a condition (an adjective or participle).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ConditionType {
    Ready,
    Progressing,
    Available,
    Degraded,
    SpecValid,
    CredentialsReady,
    DependenciesReady,
}

impl ConditionType {
    /// All of them, in their order.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Progressing,
        Self::Available,
        Self::Degraded,
        Self::SpecValid,
        Self::CredentialsReady,
        Self::DependenciesReady,
    ];
}

/// Status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// One aspect of an agent's state, as in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect.
    pub r#type: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One CamelCase word.
    pub reason: String,
    /// For people; may be empty.
    pub message: String,
    /// When `status` changed last (RFC 3339).
    pub last_transition_time: String,
}

/// Phase, readiness and why, before times are attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// Where it is in its life.
    pub phase: Phase,
    /// It does its work.
    pub ready: bool,
    /// One line for people: what is going on.
    pub message: String,
    /// All conditions, in the order of [`ConditionType`].
    pub conditions: Vec<Finding>,
    /// When one of them changes though nothing happens.
    pub ripens_at: Option<Mono>,
}

/// A condition without its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which aspect.
    pub r#type: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One CamelCase word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// What the state of an agent is called.
pub fn assess(view: &View<'_>) -> Assessment {
    let health = judge(view);
    let phase = phase(view, &health);
    let ready = health.ready && matches!(phase, Phase::Running | Phase::Paused);
    let message = message(view, phase, &health);
    let finding = |r#type, status: ConditionStatus, reason, message: &str| Finding {
        r#type,
        status,
        reason,
        message: message.to_owned(),
    };
    let ready_status = match phase {
        Phase::Unknown => ConditionStatus::Unknown,
        _ => ready.into(),
    };
    let conditions = vec![
        finding(
            ConditionType::Ready,
            ready_status,
            ready_reason(phase, &health, ready),
            &message,
        ),
        progressing(view, phase),
        available(view, &health, ready),
        degraded(view),
        spec_valid(view),
        credentials_ready(view.memory),
        dependencies_ready(view),
    ];
    Assessment {
        phase,
        ready,
        message,
        conditions,
        ripens_at: available_at(view, &health).filter(|at| ready && *at > view.now),
    }
}

/// A new generation on its way, as a Deployment's; else the agent's own life.
fn progressing(view: &View<'_>, phase: Phase) -> Finding {
    let awaited = awaited_bundle(view);
    let moves = matches!(phase, Phase::Pending | Phase::Starting | Phase::Stopping);
    let (status, reason, message) = match awaited {
        Some(Bundle::Failed { message, .. }) => (false, "BuildFailed", message.clone()),
        Some(_) => (true, "Building", String::new()),
        None => (moves, phase_reason(phase), String::new()),
    };
    Finding {
        r#type: ConditionType::Progressing,
        status: status.into(),
        reason,
        message,
    }
}

/// The bundle that a new spec waits for.
fn awaited_bundle<'a>(view: &View<'a>) -> Option<&'a Bundle> {
    let desired = view.desired?.digest;
    let deployed = matches!(&view.observed.active, Observation::Known(Some(_)));
    let refused = view.memory.rollout.bad(desired).is_some();
    let waits = !refused && (view.memory.acted != Some(desired) || !deployed);
    (waits && !view.bundle.is_usable()).then_some(view.bundle)
}

/// Ready for `rollout.minReady`, as a Deployment's availableReplicas are for minReadySeconds.
fn available(view: &View<'_>, health: &Health, ready: bool) -> Finding {
    let (status, reason) = match available_at(view, health) {
        _ if !ready => (ConditionStatus::False, "NotReady"),
        Some(at) if at <= view.now => (ConditionStatus::True, "MinimumReadyReached"),
        _ => (ConditionStatus::False, "MinimumReadyNotReached"),
    };
    Finding {
        r#type: ConditionType::Available,
        status,
        reason,
        message: String::new(),
    }
}

/// When it will have been ready for long enough, if it stays so.
fn available_at(view: &View<'_>, health: &Health) -> Option<Mono> {
    let needed = view.rules()?.rollout.min_ready.get();
    Some(health.ready_since?.after(needed))
}

fn degraded(view: &View<'_>) -> Finding {
    let (reason, message) = match view.memory.restart.exhausted {
        true => (
            "RestartBudgetSpent",
            "restarts go on slowly; see `osmoda events`",
        ),
        false => ("WithinBudget", ""),
    };
    Finding {
        r#type: ConditionType::Degraded,
        status: view.memory.restart.exhausted.into(),
        reason,
        message: message.to_owned(),
    }
}

fn phase(view: &View<'_>, health: &Health) -> Phase {
    if matches!(view.observed.instance, Observation::Unknown(_)) {
        return Phase::Unknown;
    }
    match view.busy {
        Some(Busy::Stopping) => return Phase::Stopping,
        Some(Busy::Starting) => return Phase::Starting,
        Some(Busy::Activating | Busy::Removing) | None => {}
    }
    if view.paused().is_some() {
        return Phase::Paused;
    }
    if view.running().is_some() {
        return match (view.desired, health.started) {
            (None, _) => Phase::Stopping,
            (Some(_), true) => Phase::Running,
            (Some(_), false) => Phase::Starting,
        };
    }
    match (view.memory.finished, &view.memory.last_start_error) {
        (Some(Finished::Succeeded | Finished::Stopped), _) => Phase::Succeeded,
        (Some(Finished::Failed), _) => Phase::Failed,
        (None, Some(failure)) if !failure.kind.passes() => Phase::Failed,
        (None, _) if !view.unmet.is_empty() => Phase::Held,
        (None, _) if view.memory.next_start_at.is_some_and(|at| at > view.now) => Phase::Backoff,
        (None, _) => Phase::Pending,
    }
}

fn message(view: &View<'_>, phase: Phase, health: &Health) -> String {
    let memory = view.memory;
    if let Observation::Unknown(why) = &view.observed.instance {
        return format!("its state cannot be read: {why}");
    }
    if let Observation::Unknown(why) = &view.observed.active {
        return format!("its generation cannot be read: {why}");
    }
    if let Some(paused) = view.paused() {
        let reason = if paused.reason.is_empty() {
            "no reason given"
        } else {
            &paused.reason
        };
        return format!("paused by uid {}: {reason}", paused.uid);
    }
    if let Some(Bundle::Failed { message, .. }) = awaited_bundle(view) {
        return format!("the new generation cannot be made: {message}");
    }
    if view.running().is_some() {
        return match (&view.spec_error, &health.waiting) {
            (Some(_), None) => "the last valid spec stays in force".to_owned(),
            (_, Some((_, why))) => why.clone(),
            (None, None) => gone_back(view).or_else(|| says(view)).unwrap_or_default(),
        };
    }
    if phase == Phase::Held {
        return waits_for(view.unmet).unwrap_or_default();
    }
    if awaited_bundle(view).is_some() && view.observed.active == Observation::Known(None) {
        return "what it needs of the Nix store is being fetched".to_owned();
    }
    if let Some(failure) = &memory.last_start_error {
        return failure.message.clone();
    }
    if memory.finished == Some(Finished::Stopped) {
        return format!(
            "stopped outside osmoda, which its policy respects; `osmoda restart {}` starts it",
            view.name
        );
    }
    match &memory.last_exit {
        Some(last) => format!("{}: {}", last.reason, last.exit.status),
        None => String::new(),
    }
}

/// That what runs is not what is desired, since that is Bad.
fn gone_back(view: &View<'_>) -> Option<String> {
    let Observation::Known(Some(active)) = &view.observed.active else {
        return None;
    };
    let bad = view.memory.rollout.bad(view.desired?.digest)?;
    let why = bad.reason.map_or("Bad", BadReason::word);
    (bad.generation != active.generation).then(|| {
        format!(
            "generation {} is bad ({why}): generation {} stays until the spec changes",
            bad.generation.number, active.generation.number
        )
    })
}

/// What an instance that is well says of itself.
fn says(view: &View<'_>) -> Option<String> {
    let heartbeat = &view.observed.vitals.as_ref()?.heartbeat;
    let status = &heartbeat.status;
    Some(match (heartbeat.reloading_since, status.as_str()) {
        (None, _) => status.clone(),
        (Some(_), "") => "reloading".to_owned(),
        (Some(_), status) => format!("reloading: {status}"),
    })
}

fn ready_reason(phase: Phase, health: &Health, ready: bool) -> &'static str {
    match &health.waiting {
        _ if ready => "Running",
        Some((reason, _)) => reason,
        None => phase_reason(phase),
    }
}

fn phase_reason(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Starting => "Starting",
        Phase::Running => "Running",
        Phase::Stopping => "Stopping",
        Phase::Backoff => "Backoff",
        Phase::Held => "Held",
        Phase::Failed => "Failed",
        Phase::Succeeded => "Succeeded",
        Phase::Paused => "Paused",
        Phase::Unknown => "Unobservable",
    }
}

fn spec_valid(view: &View<'_>) -> Finding {
    let (status, reason, message) = match &view.spec_error {
        Some(error) => (ConditionStatus::False, "Invalid", (*error).to_owned()),
        None => (ConditionStatus::True, "Valid", String::new()),
    };
    Finding {
        r#type: ConditionType::SpecValid,
        status,
        reason,
        message,
    }
}

fn dependencies_ready(view: &View<'_>) -> Finding {
    let has_some = view.rules().is_some_and(|spec| !spec.depends_on.is_empty());
    let (status, reason) = match (view.unmet, has_some) {
        ([], true) => (ConditionStatus::True, "AllReady"),
        ([], false) => (ConditionStatus::True, "NoDependencies"),
        _ => (ConditionStatus::False, "NotReady"),
    };
    Finding {
        r#type: ConditionType::DependenciesReady,
        status,
        reason,
        message: waits_for(view.unmet).unwrap_or_default(),
    }
}

fn credentials_ready(memory: &Memory) -> Finding {
    let missing = memory
        .last_start_error
        .as_ref()
        .filter(|failure| failure.kind == StartFailureKind::Credential);
    let (status, reason, message) = match missing {
        Some(failure) => (
            ConditionStatus::False,
            "Unreadable",
            failure.message.clone(),
        ),
        None => (ConditionStatus::True, "Readable", String::new()),
    };
    Finding {
        r#type: ConditionType::CredentialsReady,
        status,
        reason,
        message,
    }
}

impl View<'_> {
    /// The instance, if its main process runs as far as is known.
    pub fn running(&self) -> Option<(&Instance, u32)> {
        match &self.observed.instance {
            Observation::Known(Some(instance)) => match instance.state {
                InstanceState::Running { pid } => Some((instance, pid)),
                InstanceState::Exited(_) => None,
            },
            _ => None,
        }
    }
}
