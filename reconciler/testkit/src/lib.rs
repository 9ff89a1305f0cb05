//! For tests only: what stands in for the real world, and what the real world is held against.
//!
//! [`fake_runtime`] runs agents in memory on paused time, with faults on order; [`conformance`]
//! is the suite that it and every real runtime pass alike, so that it cannot drift from the
//! truth. [`sim`] plays the real loop against them; [`alone`] lets it run by itself. The program
//! `osmoda-test-agent` misbehaves as told by its arguments.

pub mod alone;
pub mod conformance;
pub mod fake_runtime;
pub mod sim;
