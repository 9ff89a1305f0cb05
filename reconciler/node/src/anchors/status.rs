//! What the API shows of an anchor.

use serde::{Deserialize, Serialize};

/// One anchor of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnchorStatus {
    /// Its kind and where it is.
    pub name: String,
    /// Entries of the last checkpoint that it took; absent if it never took one.
    pub size: Option<u64>,
    /// When that was (RFC 3339).
    pub at: Option<String>,
    /// Since when it fails (RFC 3339); absent if it works, or was not tried yet.
    pub failing_since: Option<String>,
    /// Why the last try failed.
    pub reason: Option<String>,
    /// It holds another history of this log.
    pub fork: bool,
    /// Tries that failed in a row.
    pub failures: u32,
}
