//! What differs, what would be done, and what agents wrote.

use std::collections::BTreeMap;

use osmoda_core::diff::Difference;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::openapi::schemas;

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
