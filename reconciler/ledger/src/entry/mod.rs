//! What callers ask to be recorded, and how it becomes the bytes of an entry.
//!
//! A [`Draft`] holds what only the caller knows, and whoever brings it writes what follows from
//! that ([`prepared`]); the store adds seq, id, times, boot and node (`write`). [`Envelope`] is the
//! way back: the fields that verification and queries need, borrowed from checked bytes.

mod envelope;
mod fit;
mod prepared;
mod stamp;
#[cfg(test)]
mod tests;
mod write;

use osmoda_core::{
    digest::Digest,
    event::{Actor, EventKind},
    name::AgentName,
    time::Wall,
};
use serde::Serialize;
use serde_json::{Map, Value};

pub use envelope::{Envelope, EnvelopeError};
pub(crate) use prepared::{Prepared, beginning};
pub(crate) use stamp::{clamp, parse as parse_time};
pub(crate) use write::{Context, write};

/// Version of the entry format, the field `v`.
pub const ENTRY_VERSION: u64 = 1;
/// Most causes of one entry.
pub const MAX_CAUSES: usize = 128;
/// Longest command name of an actor, in bytes; longer ones are cut.
pub const MAX_COMMAND: usize = 256;
/// Longest id of an incident, in bytes.
pub const MAX_INCIDENT: usize = 64;
/// Longest origin, in bytes.
pub const MAX_ORIGIN: usize = 128;

/// An entry as its author knows it.
///
/// The body is brought within the byte rules rather than refused: a string over 16 KiB becomes
/// `{"cut": FIRST_PART, "length": BYTES, "sha256": HEX}` (length and hash are those of the
/// whole string, after scrubbing), and so does a whole body that makes the entry longer than
/// 64 KiB even with its strings cut shorter. Decimals and integers beyond ±(2^53−1) become
/// strings. Characters of keys that are not ASCII become `\u{HEX}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What happened.
    pub kind: EventKind,
    /// To whom; `None` if it concerns the node.
    pub agent: Option<AgentName>,
    /// The incident it belongs to.
    pub incident: Option<IncidentRef>,
    /// What led to it, at most [`MAX_CAUSES`]; the outcome of an intent names that one first.
    pub causes: Vec<Cause>,
    /// Who caused it.
    pub actor: Actor,
    /// The facts, by kind.
    pub body: Map<String, Value>,
}

/// Which incident a draft belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IncidentRef {
    /// It opens one: the incident's id is the entry's own.
    Own,
    /// That of an earlier draft of the same commit, by its index.
    InCommit(usize),
    /// One that was opened before: the `incident` of an [`Appended`].
    Known(String),
}

/// An entry that led to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// An earlier draft of the same commit, by its index.
    InCommit(usize),
    /// An entry of this log or of another node's.
    Known(EntryRef),
}

/// Names an entry for ever: where it is, and what it hashes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EntryRef {
    /// Origin of its log: `NODE/osmoda/LOGID`.
    pub log: String,
    /// Its place in that log, from 0.
    pub seq: u64,
    /// Its leaf hash.
    pub leaf: Digest,
}

/// What is written in one transaction: entries, and the state that follows from them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Commit {
    /// In this order, one directly after the other.
    pub entries: Vec<Draft>,
    /// Applied in this order. Values are stored as they are, *not* scrubbed.
    pub state: Vec<StateChange>,
}

/// A change of the state that is kept beside the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum StateChange {
    /// Sets or replaces.
    Put { key: String, value: Vec<u8> },
    /// Removes, if it is there.
    Delete { key: String },
}

/// An entry that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// How others refer to it.
    pub reference: EntryRef,
    /// UUIDv7.
    pub id: String,
    /// The incident it belongs to.
    pub incident: Option<String>,
    /// Its `ts`.
    pub ts: Wall,
}

/// Why a draft cannot become an entry. These are mistakes of the caller, not of its data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("draft {draft} of the commit {fault}")]
pub struct InvalidDraft {
    /// Index in [`Commit::entries`].
    pub draft: usize,
    /// What is wrong with it.
    pub fault: DraftFault,
}

/// What is wrong with a draft.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum DraftFault {
    #[error("refers to draft {0}, which is not before it")]
    Forward(usize),
    #[error("belongs to the incident of draft {0}, which has none")]
    NoIncident(usize),
    #[error("has {0} causes; at most {MAX_CAUSES} are allowed")]
    Causes(usize),
    #[error("names an incident of {0} bytes; 1 to {MAX_INCIDENT} are allowed")]
    Incident(usize),
    #[error("names a log of {0} bytes; 1 to {MAX_ORIGIN} are allowed")]
    Log(usize),
    #[error("is one of {0}; at most {MAX_ENTRIES_PER_COMMIT} are allowed")]
    Commit(usize),
    #[error("cannot be written as canonical JSON: {0}")]
    Canonical(String),
}

/// Most entries of one commit.
pub const MAX_ENTRIES_PER_COMMIT: usize = 16 * 1024;
