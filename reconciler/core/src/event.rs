//! What the ledger remembers: the kinds of entry, and their typed bodies.

use serde::{Deserialize, Serialize};

use crate::{
    diff::Difference,
    digest::Digest,
    name::AgentName,
    observed::{Exit, Generation, InvocationId},
    resources::Sample,
    time::Mono,
};

/// Kind of a ledger entry. Adding one is a change of the ledger's format document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum EventKind {
    NodeStarted,
    NodeStopped,
    SpecChanged,
    SpecRejected,
    Diff,
    FailureDetected,
    ActionIntended,
    ActionSucceeded,
    ActionFailed,
    HealthVerified,
    GenerationActivated,
    GenerationGood,
    GenerationBad,
    ClosureVerified,
    RollbackIntended,
    RollbackSucceeded,
    RollbackFailed,
    EscalationExhausted,
    AlertQueued,
    AlertDelivered,
    AlertFailed,
    OperatorCommand,
    OutsideAction,
    Paused,
    Resumed,
    Adopted,
    RecordingDegraded,
    ClockRegressed,
    LogReset,
    AnchorSucceeded,
    AnchorFailed,
    Pruned,
    Redacted,
    KeyRotated,
    CheckpointSigned,
}

/// Who caused an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Actor {
    /// The reconcile loop, on its own.
    Reconciler,
    /// A person or program that called the API.
    Operator {
        /// User id of the caller (SO_PEERCRED).
        uid: u32,
        /// Group id of the caller.
        gid: u32,
        /// Process id of the caller.
        pid: u32,
        /// Command name of the caller (/proc/PID/comm).
        command: String,
    },
    /// The system: boot, shutdown, kernel, service manager.
    System,
}

/// Body of an entry, by kind. Durations carry their unit in the name; instants are not needed,
/// the entry has its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Event {
    NodeStarted(NodeStarted),
    NodeStopped(NodeStopped),
    SpecChanged(SpecChanged),
    SpecRejected(SpecRejected),
    Diff(DiffFound),
    FailureDetected(FailureDetected),
    ActionIntended(ActionIntended),
    ActionSucceeded(ActionSucceeded),
    ActionFailed(ActionFailed),
    HealthVerified(HealthVerified),
    GenerationActivated(GenerationActivated),
    GenerationGood(GenerationGood),
    GenerationBad(GenerationBad),
    ClosureVerified(ClosureVerified),
    RollbackIntended(RollbackIntended),
    RollbackSucceeded(RollbackSucceeded),
    RollbackFailed(RollbackFailed),
    EscalationExhausted(EscalationExhausted),
    OperatorCommand(OperatorCommand),
    OutsideAction(OutsideAction),
    Paused(PauseChange),
    Resumed(PauseChange),
    Adopted(Adopted),
    RecordingDegraded(RecordingDegraded),
    SystemGood(SystemGood),
    SystemBad(SystemBad),
    SystemRollbackIntended(SystemRollbackIntended),
    SystemRollbackSucceeded(SystemRollbackSucceeded),
    SystemRollbackFailed(SystemRollbackFailed),
    SystemExhausted(SystemExhausted),
}

impl Event {
    /// The kind that names this body.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::NodeStarted(_) => EventKind::NodeStarted,
            Self::NodeStopped(_) => EventKind::NodeStopped,
            Self::SpecChanged(_) => EventKind::SpecChanged,
            Self::SpecRejected(_) => EventKind::SpecRejected,
            Self::Diff(_) => EventKind::Diff,
            Self::FailureDetected(_) => EventKind::FailureDetected,
            Self::ActionIntended(_) => EventKind::ActionIntended,
            Self::ActionSucceeded(_) => EventKind::ActionSucceeded,
            Self::ActionFailed(_) => EventKind::ActionFailed,
            Self::HealthVerified(_) => EventKind::HealthVerified,
            Self::GenerationActivated(_) => EventKind::GenerationActivated,
            Self::GenerationGood(_) => EventKind::GenerationGood,
            Self::GenerationBad(_) => EventKind::GenerationBad,
            Self::ClosureVerified(_) => EventKind::ClosureVerified,
            Self::RollbackIntended(_) => EventKind::RollbackIntended,
            Self::RollbackSucceeded(_) => EventKind::RollbackSucceeded,
            Self::RollbackFailed(_) => EventKind::RollbackFailed,
            Self::EscalationExhausted(_) => EventKind::EscalationExhausted,
            Self::OperatorCommand(_) => EventKind::OperatorCommand,
            Self::OutsideAction(_) => EventKind::OutsideAction,
            Self::Paused(_) => EventKind::Paused,
            Self::Resumed(_) => EventKind::Resumed,
            Self::Adopted(_) => EventKind::Adopted,
            Self::RecordingDegraded(_) => EventKind::RecordingDegraded,
            Self::SystemGood(_) => EventKind::GenerationGood,
            Self::SystemBad(_) => EventKind::GenerationBad,
            Self::SystemRollbackIntended(_) => EventKind::RollbackIntended,
            Self::SystemRollbackSucceeded(_) => EventKind::RollbackSucceeded,
            Self::SystemRollbackFailed(_) => EventKind::RollbackFailed,
            Self::SystemExhausted(_) => EventKind::EscalationExhausted,
        }
    }
}

macro_rules! bodies {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    )*};
}

/// What a detector knows of a failure. Bounded: a trajectory has at most
/// [`crate::resources::SAMPLES_MAX`] samples.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultFacts {
    /// What the agent said it was doing (STATUS=, scrubbed).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The error it named itself (ERRNO=, errno(3)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    /// Since when it was reading its configuration again (RELOADING=1, MONOTONIC_USEC=), in
    /// microseconds since boot; absent if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reloading_since_mono_us: Option<Mono>,
    /// Of a hang or a timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<HeartbeatFacts>,
    /// Of a failing probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeFacts>,
    /// Of a leak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryFacts>,
    /// Of a runaway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuFacts>,
}

bodies! {
    /// An instance that somebody ended past osmoda.
    EndedOutside {
        /// Which start of the agent.
        invocation: InvocationId,
        /// How its main process ended.
        exit: Exit,
        /// It stays so, as the restart policy says; else it is started again.
        respected: bool,
    }
    /// A silence.
    HeartbeatFacts {
        /// The last heartbeat, in microseconds since boot; absent if there was none.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_mono_us: Option<Mono>,
        /// Length of the hang when it was found, in microseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        silent_us: Option<u64>,
    }
    /// A probe that failed.
    ProbeFacts {
        /// startup or liveness.
        probe: &'static str,
        /// Failures in a row.
        failures: u32,
        /// The last answer (bounded, scrubbed).
        answer: String,
    }
    /// Memory that reached its threshold, or was about to.
    MemoryFacts {
        /// `resources.memory.high`, in bytes.
        threshold_bytes: u64,
        /// The last samples, oldest first.
        trajectory: Vec<Sample>,
    }
    /// CPU use above its threshold for a whole window.
    CpuFacts {
        /// `resources.cpu.runaway.above`, in percent of one CPU.
        threshold_percent: u32,
        /// `resources.cpu.runaway.for`, in milliseconds.
        window_ms: u64,
        /// The last samples, oldest first.
        trajectory: Vec<Sample>,
    }
    /// The node daemon began its work.
    NodeStarted {
        /// Version of osmoda.
        version: String,
        /// native or systemd.
        runtime: String,
        /// Process id of the daemon.
        pid: u32,
        /// Instances found running.
        adopted: u64,
        /// Whether the machine was booted since the daemon's last entry.
        rebooted: bool,
    }
    /// The node daemon ended in order.
    NodeStopped {
        /// Signal or command.
        reason: String,
        /// Whether agents were left running.
        agents_kept: bool,
    }
    /// The desired state of an agent changed.
    SpecChanged {
        /// Added, Changed or Removed.
        change: SpecChange,
        /// Manifest digest now; absent when removed.
        digest: Option<Digest>,
        /// Manifest digest before; absent when added.
        previous: Option<Digest>,
        /// File it was read from.
        file: String,
    }
    /// A spec was refused; what was valid before stays in force.
    SpecRejected {
        /// File that was refused.
        file: String,
        /// Agents that keep their last valid spec.
        kept: Vec<String>,
        /// `line:column: sentence`, at most 20.
        errors: Vec<String>,
    }
    /// A reconcile found a difference.
    DiffFound {
        /// Digest of the desired manifest; absent if the agent is to be absent.
        desired_digest: Option<Digest>,
        /// Digest of the observed fields.
        observed_digest: Digest,
        /// The differing fields.
        differences: Vec<Difference>,
    }
    /// An agent failed.
    FailureDetected {
        /// CamelCase word: Crashed, OomKilled, Exited, Vanished, ExitUnknown, or a
        /// [`crate::health::FaultKind`].
        reason: &'static str,
        /// For people.
        message: String,
        /// Which start of the agent.
        invocation: Option<InvocationId>,
        /// Generation it ran.
        generation: Option<Generation>,
        /// How its main process ended.
        exit: Option<Exit>,
        /// How long it had run, in milliseconds.
        uptime_ms: Option<u64>,
        /// Time from the end to its detection, in microseconds.
        detected_after_us: u64,
        /// Restarts since the last reset, this one included.
        consecutive: u32,
        /// Wait before the next start, in milliseconds; absent if the policy asks for none.
        restart_after_ms: Option<u64>,
        /// The dependencies that were not ready and explain it: the agent is not blamed.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        because_of: Vec<AgentName>,
        /// The facts of the detector that found it.
        facts: Option<Box<FaultFacts>>,
        /// The end of what it wrote (scrubbed).
        last_output: Vec<String>,
    }
    /// Something is about to be done. Durable before it is done.
    ActionIntended {
        /// What.
        action: ActionKind,
        /// Why: one CamelCase word.
        reason: &'static str,
        /// The instance concerned.
        invocation: Option<InvocationId>,
        /// The generation concerned.
        generation: Option<Generation>,
        /// The manifest concerned.
        digest: Option<Digest>,
    }
    /// It was done. The first cause is its intent.
    ActionSucceeded {
        /// What.
        action: ActionKind,
        /// The instance concerned.
        invocation: Option<InvocationId>,
        /// Main process, of a start.
        pid: Option<u32>,
        /// How the instance ended, of a stop.
        exit: Option<Exit>,
        /// SIGKILL was needed, of a stop.
        killed: bool,
        /// From intent to success, in microseconds.
        took_us: u64,
        /// What a later daemon had to find out, or nothing.
        note: String,
    }
    /// It could not be done. The first cause is its intent.
    ActionFailed {
        /// What.
        action: ActionKind,
        /// The instance concerned.
        invocation: Option<InvocationId>,
        /// What failed, on what, and why.
        message: String,
        /// Wait before the next try, in milliseconds; absent if there is none.
        retry_after_ms: Option<u64>,
    }
    /// The agent is as it should be: recovered, or ended as its policy expects.
    HealthVerified {
        /// Recovered or Completed.
        reason: &'static str,
        /// The instance that is healthy.
        invocation: InvocationId,
        /// From the failure to its detection, in microseconds.
        time_to_detect_us: u64,
        /// From the failure to the start of the instance that proved healthy, in microseconds.
        time_to_restart_us: u64,
        /// From the failure to now, in microseconds.
        time_to_verify_us: u64,
    }
    /// A generation became active.
    GenerationActivated {
        /// Entry of the agent's profile.
        generation: Generation,
        /// Manifest digest.
        digest: Digest,
        /// The one before.
        previous: Option<Generation>,
    }
    /// The active generation stayed ready for minReady: it can be gone back to.
    GenerationGood {
        /// Which.
        generation: Generation,
        /// Manifest digest.
        digest: Digest,
        /// How long it had been ready, in milliseconds.
        ready_for_ms: u64,
    }
    /// A generation failed. It is never activated again but by a person or a changed spec.
    GenerationBad {
        /// Which.
        generation: Generation,
        /// Manifest digest.
        digest: Digest,
        /// CamelCase word: FailedOnProbation, CrashLoop, ProgressDeadlineExceeded or
        /// FailedWhileSuspect.
        reason: &'static str,
        /// For people.
        message: String,
        /// Why it stays active all the same; absent if it is gone back from.
        #[serde(skip_serializing_if = "Option::is_none")]
        stays: Option<&'static str>,
    }
    /// All that a generation needs was hashed again and compared with what Nix noted.
    ClosureVerified {
        /// `System`, if it is one of the machine's.
        scope: Option<&'static str>,
        /// Which.
        generation: Generation,
        /// Why: Proven, OperatorRequest, RollbackFailed or StartRefused.
        reason: &'static str,
        /// Store paths hashed.
        paths: u64,
        /// Bytes hashed.
        bytes: u64,
        /// How long it took, in microseconds.
        took_us: u64,
        /// What is damaged and how to repair it, at most 20; empty: it is whole. What is damaged
        /// is not started or gone back to until it is found whole.
        damage: Vec<String>,
    }
    /// An earlier generation is about to be made active. Durable before it is done.
    RollbackIntended {
        /// From.
        from: Option<Generation>,
        /// To.
        to: Generation,
        /// One CamelCase word.
        reason: &'static str,
    }
    /// It is active. The first cause is its intent.
    RollbackSucceeded {
        /// The generation that is active now.
        to: Generation,
        /// From intent to success, in microseconds.
        took_us: u64,
        /// What a later daemon had to find out, or nothing.
        note: String,
    }
    /// It could not be made active. The first cause is its intent.
    RollbackFailed {
        /// The generation that was to be active.
        to: Generation,
        /// What failed, on what, and why.
        message: String,
    }
    /// There is no further automatic step but the slow retry.
    EscalationExhausted {
        /// RestartBudgetSpent or ProgressDeadlineExceeded.
        reason: &'static str,
        /// Why nothing is gone back to: RollbackOff, NothingToGoBackTo, RolledBackAlready,
        /// RollbackBudgetSpent or NotSuspect.
        no_rollback: &'static str,
        /// Restarts inside the window.
        restarts: u64,
        /// The window, in milliseconds.
        within_ms: u64,
        /// Wait before the next start, in milliseconds.
        restart_after_ms: u64,
    }
    /// Somebody asked for something.
    OperatorCommand {
        /// restart, pause, resume, ...
        verb: String,
        /// What they gave as reason.
        reason: String,
        /// Whether it was allowed.
        accepted: bool,
        /// The attempts that this entry stands for, if more than one: refused ones are put
        /// together.
        #[serde(skip_serializing_if = "Option::is_none")]
        attempts: Option<u64>,
    }
    /// Somebody else changed what osmoda manages.
    OutsideAction {
        /// What was changed: one CamelCase word.
        what: &'static str,
        /// Before.
        from: Option<Generation>,
        /// After.
        to: Option<Generation>,
        /// The instance that was ended, of StoppedOutside and KilledOutside.
        #[serde(skip_serializing_if = "Option::is_none")]
        ended: Option<EndedOutside>,
    }
    /// Reconciling was paused or resumed.
    PauseChange {
        /// Given by the operator.
        reason: String,
        /// All agents, also future ones.
        all: bool,
    }
    /// An instance of an earlier daemon was found running and kept.
    Adopted {
        /// Which start.
        invocation: InvocationId,
        /// Main process.
        pid: u32,
        /// What it runs.
        generation: Generation,
        /// How long it had run, in milliseconds.
        uptime_ms: u64,
    }
    /// The system that runs proved itself: it can be gone back to.
    SystemGood {
        /// Always `System`.
        scope: &'static str,
        /// Entry of the system profile.
        generation: Generation,
        /// Agents that are well under it, and those that were not before it.
        agents: u64,
        /// It was gone back to, and that helped.
        after_rollback: bool,
    }
    /// The system that runs failed. It is never gone forward to but by a person.
    SystemBad {
        /// Always `System`.
        scope: &'static str,
        /// Entry of the system profile; its number is 0 if it is none.
        generation: Generation,
        /// AgentStuck or HealthCheckFailed.
        reason: &'static str,
        /// For people.
        message: String,
        /// Why it is not gone back from; absent if it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        stays: Option<&'static str>,
    }
    /// The machine is about to be switched to an earlier generation. Durable before it is done.
    SystemRollbackIntended {
        /// Always `System`.
        scope: &'static str,
        /// Names the switch, and its unit: `osmoda-switch-ID-1.service`.
        switch: InvocationId,
        /// What runs.
        from: Option<Generation>,
        /// To.
        to: Generation,
        /// One CamelCase word.
        reason: &'static str,
    }
    /// It runs. The first cause is its intent.
    SystemRollbackSucceeded {
        /// Always `System`.
        scope: &'static str,
        /// The generation that runs now.
        to: Generation,
        /// Exit code of its switch-to-configuration: 0, or 4 if some units failed.
        code: Option<i32>,
        /// What is to be known beside that, or nothing.
        note: String,
        /// The last lines of what the switch wrote.
        output: Vec<String>,
    }
    /// It does not run, or not as it should. The first cause is its intent.
    SystemRollbackFailed {
        /// Always `System`.
        scope: &'static str,
        /// The generation that was to run.
        to: Generation,
        /// Exit code of its switch-to-configuration; absent if it came to none.
        code: Option<i32>,
        /// What failed, on what, and why.
        message: String,
        /// The last lines of what the switch wrote.
        output: Vec<String>,
    }
    /// Nothing more is done to the system by itself for this cause.
    SystemExhausted {
        /// Always `System`.
        scope: &'static str,
        /// AgentStuck, HealthCheckFailed or RollbackFailed.
        reason: &'static str,
        /// Why nothing is gone back to: RollbackOff, NothingToGoBackTo, RolledBackAlready or
        /// RollbackBudgetSpent.
        no_rollback: &'static str,
        /// For people.
        message: String,
    }
    /// For some time entries could not be written; they follow, marked late.
    RecordingDegraded {
        /// The error.
        reason: String,
        /// How long, in milliseconds.
        lasted_ms: u64,
        /// Entries that follow late.
        late: u64,
        /// Entries that had to be dropped because too many waited.
        dropped: u64,
    }
}

/// How the desired state of an agent changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum SpecChange {
    Added,
    Changed,
    Removed,
}

/// What osmoda can do to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ActionKind {
    /// Make the bundle of the desired manifest, and have what it needs of the store.
    Build,
    /// Make the desired manifest the active generation.
    Activate,
    /// Start an instance.
    Start,
    /// Stop the instance.
    Stop,
    /// Make a recorded generation active.
    Switch,
    /// Forget an agent that is gone from the specs.
    Remove,
}
