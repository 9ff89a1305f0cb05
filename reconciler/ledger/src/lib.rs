//! Under construction.
pub mod canonical;
pub mod check;
pub mod tlog;
