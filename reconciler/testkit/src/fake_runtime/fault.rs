//! What can go wrong with a runtime, to be ordered from a [`World`](super::World).

use std::time::Duration;

use osmoda_runtime::{StartError, StopError};

/// What happens to a start.
#[derive(Debug)]
pub enum StartFault {
    /// It fails, and nothing was started.
    Fail(StartError),
    /// It takes this long, and then begins.
    HangBefore(Duration),
    /// The instance runs at once, but the answer takes this long: what a daemon that dies in
    /// between leaves behind.
    HangAfter(Duration),
}

/// What happens to a stop.
#[derive(Debug)]
pub enum StopFault {
    /// It fails, and the instance lives on.
    Fail(StopError),
    /// It takes this long before the signal is sent.
    Hang(Duration),
}

/// What happens to the news of an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFault {
    /// Nobody is told; only a resync finds it.
    Lost,
    /// It is told this much later.
    Late(Duration),
    /// It is told twice.
    Doubled,
}
