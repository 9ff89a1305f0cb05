//! What an agent is, whole and in a line.

use std::collections::BTreeMap;

use osmoda_core::{
    observed::Generation,
    probe,
    rollout::Verdict,
    status::{Condition, Phase},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::node::NodeStatus;
use crate::api::openapi::schemas;

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

/// What the table of `osmoda status` shows, and no more: /v1/summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusSummary {
    /// `osmoda/v1`.
    pub api_version: String,
    /// `StatusSummary`.
    pub kind: String,
    /// The machine and the daemon.
    pub node: NodeStatus,
    /// A line for each agent, by name.
    pub items: Vec<AgentSummary>,
}

/// One agent in a line: each field is that of its [`AgentStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentSummary {
    /// Name.
    pub name: String,
    /// It does its work.
    pub ready: bool,
    /// Where it is in its life.
    #[schema(value_type = schemas::Phase)]
    pub phase: Phase,
    /// Restarts after a failure since the generation changed.
    pub restarts: u64,
    /// Number of the active generation; absent while it has none.
    pub generation: Option<u64>,
    /// Main process.
    pub pid: Option<u32>,
    /// How long it has run, in milliseconds.
    pub uptime_ms: Option<u64>,
    /// One line for people; may be empty.
    pub message: String,
    /// What happens next by itself.
    pub next_action: Option<NextAction>,
    /// Fields of its spec that are not enforced on this host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_enforced: Vec<String>,
}

impl From<AgentObject> for AgentSummary {
    fn from(agent: AgentObject) -> Self {
        let status = agent.status;
        Self {
            name: agent.metadata.name,
            ready: status.ready,
            phase: status.phase,
            restarts: status.restarts,
            generation: status.generation.active.map(|active| active.number),
            pid: status.pid,
            uptime_ms: status.uptime_ms,
            message: status.message,
            next_action: status.next_action,
            not_enforced: status.not_enforced,
        }
    }
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
