//! The objects of the API, and so of `-o json`: contracts, versioned by `apiVersion`.

use std::collections::BTreeMap;

use osmoda_core::{
    diff::Difference,
    observed::Generation,
    probe,
    rollout::Verdict,
    status::{Condition, Phase},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::openapi::schemas;
use crate::{alerts::AlertReceiver, anchors::AnchorStatus};

/// Every agent, and the node they run on: `osmoda status -o json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentList {
    /// `osmoda/v1`.
    pub api_version: String,
    /// `AgentList`.
    pub kind: String,
    /// The machine and the daemon.
    pub node: NodeStatus,
    /// Agents, by name.
    pub items: Vec<AgentObject>,
}

/// Every agent: /v1/agents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentItems {
    /// Agents, by name.
    pub items: Vec<AgentObject>,
}

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

/// One agent: what it should be and what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentObject {
    /// `osmoda/v1`.
    pub api_version: String,
    /// `Agent`.
    pub kind: String,
    /// Name and labels.
    pub metadata: Metadata,
    /// `spec` of the desired manifest, as its author wrote it.
    pub spec: serde_json::Value,
    /// What it is.
    pub status: AgentStatus,
}

/// Name and labels of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Number of the desired generation; 0 until it has one.
    pub generation: u64,
}

/// Observed state of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// Where it is in its life.
    #[schema(value_type = schemas::Phase)]
    pub phase: Phase,
    /// It does its work.
    pub ready: bool,
    /// One line for people; may be empty.
    pub message: String,
    /// Main process.
    pub pid: Option<u32>,
    /// `$INVOCATION_ID` of the instance.
    pub invocation: Option<String>,
    /// Start of the instance (RFC 3339).
    pub started_at: Option<String>,
    /// How long it has run, in milliseconds.
    pub uptime_ms: Option<u64>,
    /// Restarts after a failure since the generation changed.
    pub restarts: u64,
    /// How the last instance ended.
    pub last_exit: Option<LastExitStatus>,
    /// Desired, active and last known good generation.
    pub generation: GenerationStatus,
    /// The generation that was acted on last.
    pub observed_generation: u64,
    /// What its probes have found of the instance that runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeStatus>,
    /// Memory and CPU; absent where not measured.
    pub resources: Option<ResourceStatus>,
    /// What happens next by itself.
    pub next_action: Option<NextAction>,
    /// Open incident.
    pub incident: Option<String>,
    /// Aspects of its state.
    #[schema(value_type = Vec<schemas::Condition>)]
    pub conditions: Vec<Condition>,
    /// Fields of its spec that are not enforced on this host, by this runtime, each with the
    /// reason in parentheses.
    pub not_enforced: Vec<String>,
    /// File its spec was read from.
    pub file: Option<String>,
}

/// How the last instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastExitStatus {
    /// Exit code.
    pub code: Option<i32>,
    /// Signal number.
    pub signal: Option<i32>,
    /// CamelCase word.
    pub reason: String,
    /// When (RFC 3339).
    pub at: String,
}

/// Which generations matter to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationStatus {
    /// What the spec asks for; absent until it has a number.
    #[schema(value_type = Option<schemas::Generation>)]
    pub desired: Option<Generation>,
    /// What the profile points to.
    #[schema(value_type = Option<schemas::Generation>)]
    pub active: Option<Generation>,
    /// What was proven last; absent until something was.
    #[schema(value_type = Option<schemas::Generation>)]
    pub last_known_good: Option<Generation>,
    /// What is known of the active one.
    #[schema(value_type = Option<schemas::Verdict>)]
    pub verdict: Option<Verdict>,
    /// What is known of the desired one.
    #[schema(value_type = Option<schemas::Verdict>)]
    pub desired_verdict: Option<Verdict>,
}

/// Every generation of an agent: `osmoda generations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationList {
    /// By number.
    pub items: Vec<GenerationItem>,
}

/// One entry of an agent's profile, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationItem {
    /// Its number.
    pub number: u64,
    /// What its link points to.
    pub store_path: String,
    /// When it became active first (RFC 3339); absent if osmoda never made it active.
    pub created_at: Option<String>,
    /// Good, Bad or Unproven.
    #[schema(value_type = schemas::Verdict)]
    pub verdict: Verdict,
    /// Why it is Bad; else empty.
    pub reason: String,
    /// The profile points to it.
    pub active: bool,
    /// The spec asks for it.
    pub desired: bool,
    /// What a rollback goes to first.
    pub last_known_good: bool,
    /// What hashing all that it needs has shown since the daemon started; absent: not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closure: Option<ClosureStatus>,
}

/// Whether all that a generation needs is as Nix noted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClosureStatus {
    /// How far it is known.
    pub state: ClosureState,
    /// Store paths hashed.
    pub paths: u64,
    /// Of so many.
    pub paths_total: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Of so many, as far as Nix knows.
    pub bytes_total: u64,
    /// What is damaged and how to repair it, or why it could not be hashed.
    pub damage: Vec<String>,
}

/// What is known of a closure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ClosureState {
    /// It is being hashed, or waits for another.
    UnderWay,
    /// Every path is what Nix noted.
    Whole,
    /// Something is not.
    Damaged,
    /// It could not be hashed.
    Unknown,
}

/// Body of a rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RollbackRequest {
    /// The number of the generation; absent: the newest Good one other than the active one.
    pub to: Option<u64>,
}

/// What the answers to one probe of the running instance amount to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeStatus {
    /// startup, readiness or liveness. A liveness probe that gates the start is startup until
    /// that is complete.
    pub probe: String,
    /// Success, Failure, or Unknown: a startup probe that has not decided.
    pub result: ProbeResult,
    /// When the result became what it is (RFC 3339).
    pub since: String,
    /// Equal answers in a row, the last one included; 0 before the first.
    pub run: u32,
    /// Why the last answer was a failure, or what it warned of (bounded, scrubbed); else empty.
    pub message: String,
}

/// What the answers to a probe amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs)]
pub enum ProbeResult {
    Unknown,
    Success,
    Failure,
}

impl From<probe::Verdict> for ProbeResult {
    fn from(verdict: probe::Verdict) -> Self {
        match verdict {
            probe::Verdict::Unknown => Self::Unknown,
            probe::Verdict::Success => Self::Success,
            probe::Verdict::Failure => Self::Failure,
        }
    }
}

/// Use of resources by an agent's process tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU since the measurement before, in percent of one CPU; absent at the first one.
    pub cpu_percent: Option<u32>,
}

/// What happens next by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextAction {
    /// What.
    pub what: String,
    /// When (RFC 3339).
    pub at: String,
    /// In how many milliseconds; 0 if it is due.
    pub in_ms: u64,
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

/// Desired against observed: `osmoda status --diff -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiffReport {
    /// No agent differs.
    pub in_sync: bool,
    /// Agents with their differences; an agent in sync has none.
    pub agents: Vec<AgentDiff>,
    /// Differences of the system's generation.
    pub system: BTreeMap<String, String>,
}

/// Differences of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentDiff {
    /// Name.
    pub name: String,
    /// The fields that differ.
    #[schema(value_type = Vec<schemas::Difference>)]
    pub differences: Vec<Difference>,
}

/// What a reconcile would do now: `osmoda plan -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// In the order in which they would be taken, agent by agent.
    pub steps: Vec<PlanStep>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// Whose.
    pub agent: String,
    /// Activate, Start, Stop, Remove.
    pub action: String,
    /// Why.
    pub reason: String,
    /// State before, for people.
    pub from: String,
    /// State after, for people.
    pub to: String,
    /// When, in milliseconds from now; 0: at once.
    pub in_ms: u64,
}

/// Answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// Always true; a refusal is an [`ErrorObject`].
    pub accepted: bool,
    /// Ledger entry that records the command; absent while recording is degraded.
    pub seq: Option<u64>,
}

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

/// Output of an agent: `osmoda logs -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogText {
    /// Whose.
    pub agent: String,
    /// Of the instance before the latest one.
    pub previous: bool,
    /// Oldest first; bytes that are not UTF-8 are replaced.
    pub lines: Vec<String>,
}

/// One line of output as it comes: an event of `?follow=1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Without its end of line.
    pub line: String,
}

/// Body of a pause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PauseRequest {
    /// Why, for those who come after; may be empty.
    #[schema(max_length = 1024)]
    pub reason: String,
}

/// Body of a prune.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PruneRequest {
    /// RFC 3339: entries from before then lose their bodies.
    #[schema(format = DateTime)]
    pub before: String,
}

/// Body of a redaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedactRequest {
    /// Which entry.
    #[schema(maximum = 9_223_372_036_854_775_807u64)]
    pub seq: u64,
    /// Why, for those who come after; may be empty.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub reason: String,
}

/// An error: stable code, message, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorObject {
    /// Stable CamelCase word: NotFound, Forbidden, InvalidRequest, Conflict, Unavailable, Internal.
    pub code: String,
    /// What failed, on what, and why.
    pub message: String,
    /// What to do next; may be empty.
    pub hint: String,
}
