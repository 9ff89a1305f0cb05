//! What an auditor does with ledger files: one timeline of several, a report on one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "shared with the ledger's other tests")]
#[path = "ledger/support.rs"]
mod support;

#[path = "auditor/reports.rs"]
mod reports;
#[path = "auditor/timelines.rs"]
mod timelines;
