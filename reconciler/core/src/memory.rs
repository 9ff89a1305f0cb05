//! What the loop remembers of an agent between turns and across its own restarts.
//!
//! Durable: it is written in the same transaction as the entries that explain it. Everything
//! that can be observed is observed and not remembered.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    health::FaultKind,
    heartbeat::Heartbeat,
    observed::{Exit, Generation, InvocationId},
    plan::micros,
    restart::RestartMemory,
    rollout::RolloutMemory,
    time::{Mono, Wall},
    transitions::Transitions,
};

/// The memory of one agent, shared by its copies until one of them is written to. `Default` is the
/// memory of an agent never seen before.
///
/// A plan is made of a copy, and most plans find nothing to be done: they neither copy what is
/// remembered nor, to see that nothing changed, compare it. Whoever writes on that path looks
/// first whether it is there already: a mutable borrow alone makes the copy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Memory(Arc<Remembered>);

impl Memory {
    /// Whether nothing was written to either of two copies since they were one.
    #[cfg(test)]
    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for Memory {
    type Target = Remembered;

    fn deref(&self) -> &Remembered {
        &self.0
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut Remembered {
        Arc::make_mut(&mut self.0)
    }
}

/// What is remembered of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Remembered {
    /// Digest of the desired manifest that was acted on last (`observedGeneration`).
    pub acted: Option<Digest>,
    /// File that the desired manifest was read from.
    pub file: Option<String>,
    /// It was taken out of the specs: a daemon that has not read them yet leaves it alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub withdrawn: bool,
    /// The generation that osmoda itself made active last, or accepted from a person.
    pub active: Option<Generation>,
    /// The latest instance that was meant to be started.
    pub current: Option<InvocationId>,
    /// The latest instance whose end has been recorded.
    pub accounted: Option<InvocationId>,
    /// The latest instance whose start is known to be complete: its startup probe and READY=1
    /// are not waited for again by a later daemon.
    pub started: Option<InvocationId>,
    /// What the latest instance said of itself that later daemons judge it by: it says so only
    /// once.
    pub said: Option<Said>,
    /// The instance that is to be stopped for a fault that is on record.
    pub condemned: Option<Condemned>,
    /// Backoff and budget.
    pub restart: RestartMemory,
    /// The restart budget was spent, and what follows from it has not been decided yet.
    pub escalation_due: bool,
    /// Verdicts on generations, probation, and the way back.
    pub rollout: RolloutMemory,
    /// Restarts after a failure since the generation changed.
    pub restarts: u64,
    /// Not before this may the next start happen.
    pub next_start_at: Option<Mono>,
    /// It ended and its policy asks for no restart.
    pub finished: Option<Finished>,
    /// An operator asked for a restart that has not been carried out yet.
    pub restart_requested: bool,
    /// Observed and recorded, but not acted on.
    pub paused: Option<Paused>,
    /// The failure that is being recovered from.
    pub incident: Option<Incident>,
    /// How the last instance ended.
    pub last_exit: Option<LastExit>,
    /// Why the last start did not happen; cleared by the next one that does.
    pub last_start_error: Option<StartFailure>,
    /// Actions other than starts that failed in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed_actions: u32,
    /// Digest of the difference that was recorded last; the same one is not recorded twice.
    pub last_diff: Option<Digest>,
    /// When each condition changed its status last.
    pub transitions: Transitions,
}

pub use crate::status::ConditionStatus;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What an instance said of itself on its notify socket that holds until it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// Which.
    pub invocation: InvocationId,
    /// READY=1.
    pub ready: bool,
    /// WATCHDOG_USEC=, in microseconds; `u64::MAX` for none at all.
    pub timeout_us: Option<u64>,
    /// How far EXTEND_TIMEOUT_USEC= reaches.
    pub extended_until: Option<Mono>,
    /// When it said STOPPING=1.
    pub stopping_since: Option<Mono>,
}

impl Said {
    /// What of `heard` outlives the daemon that heard it; `None`: nothing.
    pub fn of(invocation: InvocationId, heard: &Heartbeat) -> Option<Self> {
        let said = Self {
            invocation,
            ready: heard.ready_at.is_some(),
            timeout_us: heard.timeout.map(micros),
            extended_until: heard.extended_until,
            stopping_since: heard.stopping_since,
        };
        (said.heard(Mono(0)) != Heartbeat::default()).then_some(said)
    }

    /// The same, as a daemon knows it that begins to listen at `now`.
    pub fn heard(&self, now: Mono) -> Heartbeat {
        Heartbeat {
            ready_at: self.ready.then_some(now),
            timeout: self.timeout_us.map(Duration::from_micros),
            extended_until: self.extended_until,
            stopping_since: self.stopping_since,
            ..Heartbeat::default()
        }
    }
}

/// An instance that failed while it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condemned {
    /// Which.
    pub invocation: InvocationId,
    /// What is wrong with it.
    pub kind: FaultKind,
    /// It is left running: the agent is paused.
    pub spared: bool,
}

/// How an agent came to its intended end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finished {
    /// Exit code 0.
    Succeeded,
    /// Something else, under policy Never.
    Failed,
    /// Somebody stopped it past osmoda, and its policy respects that.
    Stopped,
}

/// Who paused, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    /// Given by the operator; may be empty.
    pub reason: String,
    /// User id of the operator.
    pub uid: u32,
    /// When.
    pub at: Wall,
}

/// A failure until health is verified again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Its id in the ledger: that of the first instance that failed.
    pub id: String,
    /// When the failure happened, as far as is known.
    pub failed_at: Mono,
    /// When it was noticed.
    pub detected_at: Mono,
}

/// How the last instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastExit {
    /// Code or signal.
    pub exit: Exit,
    /// CamelCase reason for status.
    pub reason: String,
    /// When, for people.
    pub at: Wall,
}

/// Why a start did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartFailure {
    /// What kind of thing is wrong.
    pub kind: StartFailureKind,
    /// For people.
    pub message: String,
}

/// What kind of thing kept an agent from being started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartFailureKind {
    /// A credential cannot be read.
    Credential,
    /// The spec names something that this host does not have.
    Invalid,
    /// What the generation needs is missing or damaged.
    Bundle,
    /// The host could not do it.
    System,
    /// The host is out of something that it needs: processes, descriptors, memory, disk.
    Exhausted,
}

impl StartFailureKind {
    /// Whether it may be otherwise in a moment without anybody's doing.
    pub fn passes(self) -> bool {
        matches!(self, Self::System | Self::Exhausted)
    }
}

impl Remembered {
    /// The instance that was meant to be started never ran: the one before it, whose end is
    /// recorded, is the latest again.
    pub fn never_ran(&mut self) {
        self.current = self.accounted;
    }

    /// Whether `invocation` is to be stopped for a fault.
    pub fn condemned_now(&self, invocation: InvocationId) -> bool {
        self.condemned
            .is_some_and(|condemned| condemned.invocation == invocation && !condemned.spared)
    }

    /// Forgets what a reboot makes meaningless: instants of the old boot, whose last sign of
    /// life was at `last`, and processes that the reboot ended. A reboot is not a failure of any
    /// agent.
    pub fn rebooted(&mut self, last: Mono) {
        self.rollout.rebooted(last);
        self.accounted = self.current;
        self.condemned = None;
        self.restart = RestartMemory::default();
        self.next_start_at = None;
        self.incident = None;
        self.restart_requested = false;
        self.failed_actions = 0;
    }
}
