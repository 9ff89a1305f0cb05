//! The pure core of osmoda: what an agent should be, what it is, and what to do about it.
//!
//! Nothing in this crate does I/O, reads a clock, or draws a random number: time and
//! identifiers come in as arguments, decisions go out as values. That is what lets the
//! simulator replay a year of failures in a second, and what makes a plan explainable.
//!
//! Where to start: [`spec`] is what users write, [`observed`] what the runtime reports,
//! [`plan`] compares the two, [`event`] is what the ledger remembers.

pub mod alert;
pub mod dependency;
pub mod diff;
pub mod digest;
pub mod event;
pub mod health;
pub mod heartbeat;
pub mod memory;
pub mod name;
pub mod observed;
pub mod outcome;
pub mod plan;
pub mod probe;
pub mod project;
pub mod resources;
pub mod restart;
pub mod rollout;
pub mod sign;
pub mod spec;
pub mod status;
pub mod system;
pub mod time;
pub mod transitions;
pub mod units;
