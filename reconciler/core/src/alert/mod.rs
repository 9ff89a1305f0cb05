//! What people are told of: which entries of the ledger cause an alert, how urgent it is, to whom
//! it goes, and when a next try to deliver it comes.
//!
//! Nothing here knows a provider or a network: [`judge()`] turns the facts of an entry into a
//! [`Signal`], a [`Desk`] (one for each receiver) decides what that means for its receiver, and
//! [`patience`] how long a message is tried. Invariants:
//! - a dedup key is triggered at most once; a severity that rises has a key of its own, since
//!   providers do not wake anybody for a key that is already open;
//! - what was not triggered is never resolved, and what was triggered is resolved once;
//! - in a storm what is too much is counted and named in one message, never lost in silence.
//!
//! Where to start: [`judge()`], then [`Desk::take`].

mod desk;
mod judge;
pub mod patience;
#[cfg(test)]
mod tests;

pub use desk::{Desk, Filter, Open, Order, Post, Stamp};
pub use judge::{Change, Fact, Signal, Subject, judge};
