//! What the machine and the daemon are.

use std::collections::BTreeMap;

use osmoda_core::{observed::Generation, rollout::Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::openapi::schemas;
use crate::{alerts::AlertReceiver, anchors::AnchorStatus};

/// The API answers: /healthz.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alive {
    /// Always true.
    pub alive: bool,
}

/// The reconcile loop turns: /readyz.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// Always true; a loop that does not turn is an [`ErrorObject`].
    pub ready: bool,
}

/// The machine and the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Name in the ledger.
    pub name: String,
    /// Version of the daemon.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// native or systemd.
    pub runtime: String,
    /// Where the desired state is read from.
    pub specs: String,
    /// The daemon has begun and is still reading them: the last valid ones are in force.
    #[serde(default)]
    pub reading_specs: bool,
    /// How long the daemon has run, in milliseconds.
    pub uptime_ms: u64,
    /// Whether all agents are paused, and why.
    pub paused: Option<String>,
    /// The machine's own generation; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemStatus>,
    /// The audit ledger.
    pub ledger: LedgerStatus,
    /// Who is told of what happens, and whether messages get through.
    #[serde(default)]
    pub alerts: Vec<AlertReceiver>,
    /// Errors of the newest specs, by file; what was valid before is in force.
    pub spec_errors: Vec<SpecErrorStatus>,
    /// Datagrams to the notify socket that this daemon did not take in, by reason: Stranger,
    /// Anonymous, Truncated, Malformed, Barrier or MainPid.
    #[serde(default)]
    pub ignored_notifications: BTreeMap<String, u64>,
}

/// The machine's own generation: what runs, what will be booted, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemStatus {
    /// /run/current-system; its number is 0 if it is no generation of the system profile.
    #[schema(value_type = Option<schemas::Generation>)]
    pub current: Option<Generation>,
    /// What the system profile points to.
    #[schema(value_type = Option<schemas::Generation>)]
    pub next_boot: Option<Generation>,
    /// /run/booted-system.
    pub booted: Option<String>,
    /// What is known of what runs.
    #[schema(value_type = Option<schemas::Verdict>)]
    pub verdict: Option<Verdict>,
    /// Why it is Bad.
    pub reason: Option<String>,
    /// What was proven last.
    #[schema(value_type = Option<schemas::Generation>)]
    pub last_known_good: Option<Generation>,
    /// Where a switch that is under way leads.
    #[schema(value_type = Option<schemas::Generation>)]
    pub switching_to: Option<Generation>,
    /// In what these disagree, the gravest first.
    pub disagreements: Vec<String>,
}

/// A spec file that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpecErrorStatus {
    /// File.
    pub file: String,
    /// `line:column: sentence`.
    pub errors: Vec<String>,
}

/// The audit ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerStatus {
    /// Origin of the log.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// RFC 6962 root, hex.
    pub root: String,
    /// Chain head, hex.
    pub chain: String,
    /// Why entries cannot be written at the moment; they are kept and follow.
    pub degraded: Option<String>,
    /// Entries that nothing outside this machine vouches for.
    #[serde(default)]
    pub unanchored: u64,
    /// What carries checkpoints away from the machine.
    #[serde(default)]
    pub anchors: Vec<AnchorStatus>,
}
