//! The objects of the API, and so of `-o json`: contracts, versioned by `apiVersion`.

mod agent;
mod commands;
mod generations;
mod ledger;
mod node;
mod reports;

pub use self::{agent::*, commands::*, generations::*, ledger::*, node::*, reports::*};
