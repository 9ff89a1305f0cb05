//! What was deployed, and what became of it.

use osmoda_core::rollout::Verdict;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::openapi::schemas;

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
