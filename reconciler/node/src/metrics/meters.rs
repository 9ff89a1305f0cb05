//! What the loop counts as it goes: small numbers behind one lock that nobody holds for long.
//!
//! The loop writes once a turn, after it has acted, and at its few events of interest; a reading
//! copies everything and formats it elsewhere.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use osmoda_core::{
    event::{ActionKind, Event},
    name::AgentName,
    observed::InvocationId,
};

use super::histogram::{Histogram, RECOVERY_BOUNDS_US, TURN_BOUNDS_US};

/// The reason of a start that follows an incident whose failure this daemon has not seen.
const UNKNOWN_REASON: &str = "Unknown";

/// What a turn saw of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The instance that runs.
    pub running: Option<InvocationId>,
    /// It does its work.
    pub ready: bool,
    /// Number of the active generation; 0: none.
    pub generation: u64,
    /// A failure is not yet followed by verified health.
    pub incident: bool,
    /// It is paused, alone or with all.
    pub paused: bool,
}

/// What waits at the end of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depths {
    /// Events of the runtime.
    pub events: usize,
    /// Actions that were begun and have not ended.
    pub actions: usize,
    /// Entries that cannot be written at the moment.
    pub entries: usize,
    /// Agents that are to be looked at in the next turn.
    pub dirty: usize,
}

/// What is known of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct AgentMeters {
    pub seen: Seen,
    pub restarts: BTreeMap<&'static str, u64>,
    pub failures: BTreeMap<&'static str, u64>,
    /// Reason of the failure that the next start answers.
    failed: Option<&'static str>,
    /// Reason of the restart that was begun.
    restarting: Option<&'static str>,
}

/// All that was counted.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    pub agents: BTreeMap<AgentName, AgentMeters>,
    pub detection: Histogram,
    pub restart: Histogram,
    pub recovery: Histogram,
    pub turns: Histogram,
    pub depths: Depths,
}

/// The loop's counters.
#[derive(Debug)]
pub struct Meters(Mutex<Counted>);

impl Default for Meters {
    fn default() -> Self {
        Self(Mutex::new(Counted {
            agents: BTreeMap::new(),
            detection: Histogram::new(RECOVERY_BOUNDS_US),
            restart: Histogram::new(RECOVERY_BOUNDS_US),
            recovery: Histogram::new(RECOVERY_BOUNDS_US),
            turns: Histogram::new(TURN_BOUNDS_US),
            depths: Depths::default(),
        }))
    }
}

impl Meters {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        // Numbers that a panic left half-counted are still numbers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn is over: what it saw, what waits now, and how long it took.
    pub fn turn(&self, seen: Vec<(AgentName, Seen)>, depths: Depths, took: Duration) {
        let mut counted = self.counted();
        for (name, seen) in seen {
            counted.agents.entry(name).or_default().seen = seen;
        }
        counted.depths = depths;
        counted.turns.observe(took);
    }

    /// Takes in what is put on record of an agent.
    pub fn note(&self, agent: &AgentName, event: &Event) {
        match event {
            Event::FailureDetected(failure) => {
                let mut counted = self.counted();
                let agent = counted.agents.entry(agent.clone()).or_default();
                *agent.failures.entry(failure.reason).or_default() += 1;
                agent.failed = Some(failure.reason);
            }
            Event::ActionIntended(intent) if intent.action == ActionKind::Start => {
                let mut counted = self.counted();
                let agent = counted.agents.entry(agent.clone()).or_default();
                agent.restarting = match intent.reason {
                    "Desired" => None,
                    "Restart" => Some(agent.failed.take().unwrap_or(UNKNOWN_REASON)),
                    other => Some(other),
                };
            }
            Event::ActionSucceeded(done) if done.action == ActionKind::Start => {
                let mut counted = self.counted();
                let agent = counted.agents.entry(agent.clone()).or_default();
                if let Some(reason) = agent.restarting.take() {
                    *agent.restarts.entry(reason).or_default() += 1;
                }
            }
            Event::HealthVerified(verified) if verified.reason == "Recovered" => {
                let mut counted = self.counted();
                counted.detection.observe_us(verified.time_to_detect_us);
                counted.restart.observe_us(verified.time_to_restart_us);
                counted.recovery.observe_us(verified.time_to_verify_us);
            }
            _ => {}
        }
    }

    /// An agent is gone, and with it what was counted of it.
    pub fn forget(&self, agent: &AgentName) {
        self.counted().agents.remove(agent);
    }

    /// A copy of all.
    pub(super) fn read(&self) -> Counted {
        self.counted().clone()
    }
}
