//! Under construction.
mod audit;
pub mod canonical;
pub mod check;
pub mod entry;
pub mod error;
pub mod ids;
pub mod query;
pub mod scrub;
pub mod store;
pub mod tlog;
