//! Entries of the ledger and what proves them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An entry of the ledger: `osmoda events -o json` and /v1/ledger/entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryObject {
    /// Sequence number, from 0.
    pub seq: u64,
    /// RFC 6962 leaf hash, hex.
    pub leaf: String,
    /// The entry; null if its body was pruned or redacted.
    pub entry: serde_json::Value,
}

/// Entries in the order of the ledger: `osmoda events -o json` and /v1/ledger/entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryList {
    /// The entries asked for.
    pub items: Vec<EntryObject>,
    /// Entries in the ledger: the next one gets this number.
    pub size: u64,
}

/// The end of the ledger: `osmoda ledger head -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerHead {
    /// Origin of the log.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// RFC 6962 root, hex.
    pub root: String,
    /// Chain head, hex.
    pub chain: String,
    /// Newest signed checkpoint; absent until one was signed.
    pub checkpoint: Option<CheckpointStatus>,
    /// Entries that no copy outside this machine vouches for.
    pub unanchored: u64,
}

/// A signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointStatus {
    /// Entries that it covers.
    pub size: u64,
    /// When (RFC 3339).
    pub signed_at: String,
}

/// The newest signed checkpoint: `osmoda ledger checkpoint -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerCheckpoint {
    /// Entries that it covers.
    pub size: u64,
    /// When (RFC 3339).
    pub signed_at: String,
    /// The signed note (C2SP tlog-checkpoint).
    pub note: String,
}

/// The key that signs the ledger: `osmoda ledger key -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerKey {
    /// Its public half (C2SP vkey).
    pub key: String,
    /// The entry that names it, if it has just been made.
    pub seq: Option<u64>,
}

/// Proof that the ledger holds an entry: `osmoda ledger prove -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerProof {
    /// Which.
    pub seq: u64,
    /// The proof (C2SP tlog-proof).
    pub proof: String,
}

/// Bodies that were dropped: `osmoda ledger prune` and `redact` with -o json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerDropped {
    /// The entry that says so.
    pub seq: u64,
    /// The first entry that it is about.
    pub first_seq: u64,
    /// The last one.
    pub last_seq: u64,
    /// No copy is left in the write-ahead log.
    pub log_emptied: bool,
}

impl From<osmoda_ledger::store::Dropped> for LedgerDropped {
    fn from(dropped: osmoda_ledger::store::Dropped) -> Self {
        Self {
            seq: dropped.seq,
            first_seq: dropped.first_seq,
            last_seq: dropped.last_seq,
            log_emptied: dropped.log_emptied,
        }
    }
}
