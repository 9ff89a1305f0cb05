//! What is asked for, and the answer to it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of a rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RollbackRequest {
    /// The number of the generation; absent: the newest Good one other than the active one.
    pub to: Option<u64>,
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
