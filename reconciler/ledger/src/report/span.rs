//! The two ends of a period: how they are asked for, and what they turn out to be.

use osmoda_core::{digest::Digest, time::Wall};
use serde::Serialize;

/// One end of a period, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// The beginning of the log.
    Start,
    /// The end of the log.
    End,
    /// After so many entries.
    Size(u64),
    /// Before the first entry of this time or later.
    Time(Wall),
    /// After the entries that a checkpoint covers.
    Checkpoint(CheckpointGiven),
}

/// A checkpoint that the caller has read, and whose signature it has judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointGiven {
    /// The log that it is of.
    pub origin: String,
    /// Entries that it covers.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Digest,
    /// Names of the keys whose signatures were checked and hold; without a key, none.
    pub signed_by: Vec<String>,
}

/// One end of a period, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Entries before it.
    pub size: u64,
    /// RFC 6962 root over them, computed from the file.
    pub root: Digest,
    /// How it was chosen: Start, End, Size, Time or Checkpoint.
    pub chosen_by: &'static str,
    /// The time that was asked for (RFC 3339).
    pub asked_time: Option<String>,
    /// The root of the checkpoint that was given is the computed one.
    pub matches_checkpoint: Option<bool>,
    /// Keys whose signatures on that checkpoint hold.
    pub signed_by: Vec<String>,
}

impl Bound {
    /// Whether the period's end lies here: before the entry `seq` of time `ts`.
    pub(super) fn is_at(&self, seq: u64, ts: Option<Wall>) -> bool {
        match self {
            Self::Start => seq == 0,
            Self::End => false,
            Self::Size(size) => *size == seq,
            Self::Time(time) => ts.is_some_and(|ts| ts >= *time),
            Self::Checkpoint(given) => given.size == seq,
        }
    }

    pub(super) fn edge(&self, size: u64, root: Digest) -> Edge {
        let (chosen_by, asked_time) = match self {
            Self::Start => ("Start", None),
            Self::End => ("End", None),
            Self::Size(_) => ("Size", None),
            Self::Time(time) => ("Time", Some(time.to_string())),
            Self::Checkpoint(_) => ("Checkpoint", None),
        };
        let given = match self {
            Self::Checkpoint(given) => Some(given),
            _ => None,
        };
        Edge {
            size,
            root,
            chosen_by,
            asked_time,
            matches_checkpoint: given.map(|given| given.size == size && given.root == root),
            signed_by: given
                .map(|given| given.signed_by.clone())
                .unwrap_or_default(),
        }
    }

    /// Why the end that was found is not the one that was asked for, in a sentence.
    pub(super) fn fault(&self, edge: &Edge, origin: &str, size: u64) -> Option<String> {
        match self {
            Self::Size(wanted) if *wanted > size => Some(format!(
                "{wanted} entries were asked for, but the ledger has only {size}"
            )),
            Self::Checkpoint(given) if given.origin != origin => Some(format!(
                "the checkpoint is of the log {}, not of {origin}",
                given.origin
            )),
            Self::Checkpoint(given) if given.size > size => Some(format!(
                "a checkpoint covers {} entries, but the ledger has only {size}: it was cut",
                given.size
            )),
            Self::Checkpoint(given) if edge.matches_checkpoint == Some(false) => Some(format!(
                "the first {} entries are not those of the checkpoint: the ledger was rewritten",
                given.size
            )),
            _ => None,
        }
    }
}
