//! Under construction.
pub mod canonical;
pub mod check;
pub mod entry;
pub mod scrub;
pub mod tlog;
