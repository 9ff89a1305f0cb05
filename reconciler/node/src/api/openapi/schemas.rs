//! Schemas of what is sent and taken, derived from the types.
//!
//! The types of osmoda-core do not know of this format; where an object holds one, the field
//! says which of the types below stands for it. A test compares both.

use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};

use crate::{
    alerts::{AlertItem, AlertList, AlertReceiver, AlertTest},
    anchors::AnchorStatus,
    api::{limits, types},
};

/// Where an agent is in its life.
#[derive(ToSchema)]
#[allow(dead_code)]
pub enum Phase {
    Pending,
    Starting,
    Running,
    Stopping,
    Backoff,
    Held,
    Failed,
    Succeeded,
    Paused,
    Unknown,
}

/// What a message about an alert changes.
#[derive(ToSchema)]
#[allow(dead_code)]
pub enum Change {
    Trigger,
    Resolve,
    ResolveAgent,
    Note,
}

/// How urgent an alert is.
#[derive(ToSchema)]
#[allow(dead_code)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// Which aspect of an agent's state a condition is about.
#[derive(ToSchema)]
#[allow(dead_code)]
pub enum ConditionType {
    Ready,
    Progressing,
    Available,
    Degraded,
    SpecValid,
    CredentialsReady,
    DependenciesReady,
}

/// Whether a condition holds.
#[derive(ToSchema)]
#[allow(dead_code)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// One aspect of an agent's state, as in Kubernetes.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code)]
pub struct Condition {
    /// Which aspect.
    r#type: ConditionType,
    /// Whether it holds.
    status: ConditionStatus,
    /// One CamelCase word.
    reason: String,
    /// For people; may be empty.
    message: String,
    /// When `status` changed last (RFC 3339).
    last_transition_time: String,
}

/// An entry of an agent's profile: its number and what its link points to.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code)]
pub struct Generation {
    /// From 1.
    number: u64,
    /// An absolute path.
    store_path: String,
}

/// What is known of a generation's worth.
#[derive(ToSchema)]
#[allow(dead_code)]
pub enum Verdict {
    Unproven,
    Good,
    Bad,
}

/// A field whose desired and observed values differ.
#[derive(ToSchema)]
#[allow(dead_code)]
pub struct Difference {
    /// Name of the field, dotted.
    path: String,
    /// What it should be.
    desired: String,
    /// What was read.
    observed: String,
    /// Why they differ, for people; may be empty.
    reason: String,
}

#[derive(OpenApi)]
#[openapi(components(schemas(
    types::AgentList,
    types::AgentItems,
    types::StatusSummary,
    types::AgentSummary,
    types::AgentObject,
    types::GenerationList,
    types::DiffReport,
    types::PlanReport,
    types::Accepted,
    types::EntryObject,
    types::EntryList,
    types::LedgerHead,
    types::LedgerCheckpoint,
    types::LedgerKey,
    types::LedgerProof,
    types::LedgerDropped,
    types::LogText,
    types::LogLine,
    types::Alive,
    types::Ready,
    types::PauseRequest,
    types::RollbackRequest,
    types::PruneRequest,
    types::RedactRequest,
    types::ErrorObject,
    AnchorStatus,
    AlertList,
    AlertReceiver,
    AlertItem,
    AlertTest,
    Change,
    Severity,
)))]
struct Derived;

/// Every schema, by name.
pub fn all() -> Value {
    let document = serde_json::to_value(Derived::openapi()).unwrap_or_default();
    let mut schemas = document["components"]["schemas"].clone();
    schemas["Nothing"] = json!({
        "type": "object",
        "description": "Nothing to say: an empty body, or an empty object.",
        "additionalProperties": false,
    });
    schemas["Manifests"] = json!({
        "type": "array",
        "description": "Manifests of agents; docs/manifest.schema.json describes each.",
        "maxItems": limits::MANIFESTS_MAX,
        "items": {
            "type": "object",
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "properties": {
                "apiVersion": {"const": "osmoda/v1"},
                "kind": {"const": "Agent"},
                "metadata": {"type": "object"},
                "spec": {"type": "object"},
            },
            "additionalProperties": false,
        },
    });
    schemas
}
