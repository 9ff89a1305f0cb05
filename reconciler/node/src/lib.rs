//! The node daemon of osmoda: the one reconcile loop, and what feeds it.
//!
//! Where to start: [`reconcile`] is the loop; [`daemon`] puts it together with the real
//! runtime, ledger, profiles, spec watch and API; [`handle`] is how others speak to it.

pub mod alerts;
pub mod anchors;
pub mod api;
pub mod daemon;
pub mod detect;
pub mod doctor;
pub mod error;
pub mod handle;
pub mod metrics;
pub mod paths;
pub mod reconcile;
pub mod specs;
mod web;
pub mod witness;
