//! What the ledger remembers: the kinds of entry, and their typed bodies.

use serde::{Deserialize, Serialize};

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
