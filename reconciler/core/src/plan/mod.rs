//! The heart: one agent's desired and observed state in, what to record and to do out.
//!
//! [`plan`] is a pure function and decides alone; those who carry its [`Action`] out make no
//! choices. Invariants (the simulator and the property tests hold them):
//! - nothing is started or stopped while the instance or the active generation is Unknown;
//! - at most one action per agent is under way;
//! - an unchanged view that has been acted on gives an empty plan;
//! - every action has its intent among the records of the same plan.
//!
//! Where to start: [`plan`], whose steps read in the order in which they are decided.

mod account;
mod build;
mod decide;
mod rollout;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::{
    build::{BUILD_RETRY_FIRST, BUILD_RETRY_MAX, Bundle},
    decide::plan,
};
use crate::{
    dependency::Unmet,
    digest::Digest,
    event::{ActionKind, Event},
    health::{Health, Vitals},
    memory::{Memory, Paused},
    name::AgentName,
    observed::{Generation, Instance, InvocationId, Observation},
    spec::{Agent, AgentSpec, Stop},
    time::{Mono, Wall},
};

/// Pause before an observation that failed is tried again.
pub const UNKNOWN_RETRY: std::time::Duration = std::time::Duration::from_secs(2);

/// The desired state of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// As declared.
    pub agent: Arc<Agent>,
    /// SHA-256 of its manifest.
    pub digest: Digest,
}

impl Desired {
    /// What `agent` declares.
    pub fn new(agent: Arc<Agent>) -> Self {
        Self {
            digest: Digest::of(agent.manifest.as_bytes()),
            agent,
        }
    }
}

/// The active entry of an agent's profile, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    /// Number and store path.
    pub generation: Generation,
    /// The manifest found there.
    pub agent: Arc<Agent>,
    /// SHA-256 of that manifest.
    pub digest: Digest,
}

/// What was read of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Its latest instance.
    pub instance: Observation<Option<Instance>>,
    /// The active entry of its profile.
    pub active: Observation<Option<Active>>,
    /// What the detectors know of that instance; `None`: none follows it.
    pub vitals: Option<Vitals>,
    /// The end of what an instance wrote whose end or fault is not on record yet.
    pub last_output: Vec<String>,
}

/// An action that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Busy {
    Activating,
    Starting,
    Stopping,
    Removing,
}

/// Whose turn it is when the node daemon ends and takes its agents along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// An agent that depends on this one still runs.
    Wait,
    /// It may be stopped.
    Now,
}

/// Everything that a decision about one agent depends on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Whose.
    pub name: &'a AgentName,
    /// What it should be; `None`: absent.
    pub desired: Option<&'a Desired>,
    /// What it is.
    pub observed: &'a Observed,
    /// What is remembered.
    pub memory: &'a Memory,
    /// All agents are paused.
    pub all_paused: Option<&'a Paused>,
    /// Why its newest spec was refused.
    pub spec_error: Option<&'a str>,
    /// Its dependencies that are not ready.
    pub unmet: &'a [Unmet],
    /// How far the bundle of what it should be has come.
    pub bundle: &'a Bundle,
    /// The action that is under way.
    pub busy: Option<Busy>,
    /// After a failed action: no other before this.
    pub hold_until: Option<Mono>,
    /// The node daemon is ending and takes its agents along.
    pub shutdown: Option<Shutdown>,
    /// Now.
    pub now: Mono,
    /// Now, for people.
    pub wall: Wall,
    /// Identity for an instance, should one be started; also the source of jitter.
    pub fresh: InvocationId,
}

impl View<'_> {
    /// The pause in force.
    pub fn paused(&self) -> Option<&Paused> {
        self.memory.paused.as_ref().or(self.all_paused)
    }

    /// Whether another generation than the instance's is active: it is on its way out, and what
    /// it does is nothing that the active one could be blamed for.
    pub(crate) fn is_replaced(&self, instance: &Instance) -> bool {
        match &self.observed.active {
            Observation::Known(Some(active)) => active.generation != instance.generation,
            Observation::Known(None) | Observation::Unknown(_) => false,
        }
    }

    /// The rules an ended instance is judged by: those of the generation that is active.
    pub(crate) fn rules(&self) -> Option<&AgentSpec> {
        match (&self.observed.active, self.desired) {
            (Observation::Known(Some(active)), _) => Some(&active.agent.spec),
            (_, Some(desired)) => Some(&desired.agent.spec),
            _ => None,
        }
    }
}

/// What to do. Carries everything that doing it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the manifest as a bundle and make it the active generation.
    Activate {
        /// What to deploy.
        agent: Arc<Agent>,
        /// Its manifest's digest.
        digest: Digest,
        /// How many generations to keep.
        keep: u32,
        /// Numbers of generations that are kept in any case.
        protected: Vec<u64>,
    },
    /// Make a recorded generation active.
    Switch {
        /// The one that is active.
        from: Option<Generation>,
        /// Which.
        to: Generation,
    },
    /// Start an instance.
    Start {
        /// Its identity.
        invocation: InvocationId,
        /// What it runs.
        generation: Generation,
        /// How.
        agent: Arc<Agent>,
    },
    /// Stop an instance.
    Stop {
        /// Which.
        invocation: InvocationId,
        /// How.
        stop: Stop,
    },
    /// Remove profile, bundles and what the runtime remembers.
    Remove,
}

impl Action {
    /// Its kind.
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::Activate { .. } => ActionKind::Activate,
            Self::Switch { .. } => ActionKind::Switch,
            Self::Start { .. } => ActionKind::Start,
            Self::Stop { .. } => ActionKind::Stop,
            Self::Remove => ActionKind::Remove,
        }
    }

    /// The instance that it concerns, if it concerns one.
    pub fn invocation(&self) -> Option<InvocationId> {
        match self {
            Self::Start { invocation, .. } | Self::Stop { invocation, .. } => Some(*invocation),
            Self::Activate { .. } | Self::Switch { .. } | Self::Remove => None,
        }
    }

    /// What the agent is busy with while this is under way.
    pub fn busy(&self) -> Busy {
        match self {
            Self::Activate { .. } | Self::Switch { .. } => Busy::Activating,
            Self::Start { .. } => Busy::Starting,
            Self::Stop { .. } => Busy::Stopping,
            Self::Remove => Busy::Removing,
        }
    }
}

/// An action and why it is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// Why: one CamelCase word.
    pub reason: &'static str,
}

/// A fact to be written, in the order of its happening. Each record is caused by the one
/// before it in the same plan; the first by the open incident, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Kind and body.
    pub event: Event,
    /// The incident it belongs to.
    pub incident: Option<String>,
}

impl Record {
    /// A fact of the incident that `memory` holds open.
    pub(crate) fn of(event: Event, memory: &Memory) -> Self {
        let incident = memory.incident.as_ref().map(|incident| incident.id.clone());
        Self { event, incident }
    }
}

/// The outcome of planning one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPlan {
    /// To be written before anything is done, together with `memory`.
    pub records: Vec<Record>,
    /// What is remembered from now on.
    pub memory: Memory,
    /// Have the bundle of the desired manifest made, once the records are durable: in the
    /// background, beside whatever is done. Its intent is the last record before the step's.
    pub build: bool,
    /// What to do, once the records are durable.
    pub step: Option<Step>,
    /// When to look again, should nothing happen before.
    pub wake_at: Option<Mono>,
    /// When a condition changes though nothing happens, and is to be noted.
    pub ripens_at: Option<Mono>,
    /// What the running instance's state amounts to.
    pub health: Health,
}

/// Whole milliseconds, saturating.
pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whole microseconds, saturating.
pub(crate) fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
