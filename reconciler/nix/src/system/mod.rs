//! System generations: what NixOS runs, booted, and will boot; and switching to a recorded one.
//!
//! [`SystemSwitcher`] is the edge. [`NixosSwitcher`] is real; [`MemorySystem`] is for
//! simulations. One conformance test (tests/system.rs) holds both to the same rules.
//!
//! A switch may restart osmoda itself. So it is never a child of ours: a transient unit runs it
//! and writes its exit code to a file, and whoever asks for the same [`InvocationId`] after a
//! restart is given what became of it ([`SystemSwitcher::resume`]).

mod error;
mod launch;
mod lock;
mod memory;
mod nixos;
mod observe;
mod outcome;

use std::{future::Future, time::Duration};

use osmoda_core::observed::{Generation, InvocationId};

pub use self::{
    error::SwitchError,
    memory::{Fault, MemorySystem, SwitchStep},
    nixos::{NixosSwitcher, SystemPaths},
    observe::{Disagreement, Running, Specialisation, SystemState},
    outcome::{SwitchExit, SwitchOutcome},
};
use crate::store::{Verified, Watch};

/// Longest wait for a switch of somebody else's to end.
pub const LOCK_WAIT: Duration = Duration::from_secs(10 * 60);
/// Longest wait for our own switch to end.
pub const SWITCH_WAIT: Duration = Duration::from_secs(30 * 60);
/// Times that a switch is begun which then finds the lock held.
pub const ATTEMPTS_MAX: u32 = 5;
/// Most lines of a switch's output that are kept.
pub const OUTPUT_LINES_MAX: usize = 40;
/// Most bytes of a switch's output that are kept.
pub const OUTPUT_BYTES_MAX: u64 = 8 << 10;

/// A switch of the system, as its durable intent names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchRequest {
    /// Names the switch over restarts of the daemon; new for each intent.
    pub id: InvocationId,
    /// The recorded pair to go to.
    pub to: Generation,
}

/// What became of a switch that an earlier daemon began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumed {
    /// It ended, and how.
    Ended(SwitchOutcome),
    /// It was never launched. The profile may have been set; that is seen from
    /// [`SystemSwitcher::observe`].
    NotLaunched,
    /// It began and did not run to its end: the machine went down, or somebody killed it. What it did is seen from [`SystemSwitcher::observe`].
    Lost,
}

impl Resumed {
    /// Whether the switch has yet to be begun: nobody did, or somebody else's was under way when
    /// it was tried last.
    pub fn is_to_be_launched(&self) -> bool {
        match self {
            Self::NotLaunched => true,
            Self::Ended(outcome) => outcome.exit == SwitchExit::LockHeld,
            Self::Lost => false,
        }
    }
}

/// Observes and switches the generation of the whole machine.
///
/// Invariants every implementation keeps (and the conformance test checks):
/// - a switch goes to the recorded (number, store path) or nowhere;
/// - it begins only when nobody else's is under way;
/// - dropping a future ends nothing that was launched; its outcome is there for
///   [`SystemSwitcher::resume`] until [`SystemSwitcher::forget`].
///
/// Who calls it makes the intent durable first, and has one switch under way at a time.
pub trait SystemSwitcher: Send + Sync + 'static {
    /// Profile, running and booted system as they are now. Blocking, a few links.
    ///
    /// # Errors
    /// [`SwitchError`] if it could not be read: then nothing is known.
    fn observe(&self) -> Result<SystemState, SwitchError>;

    /// All generations of the system profile, by number. Blocking, a few links.
    ///
    /// # Errors
    /// [`SwitchError`] if they could not be read.
    fn generations(&self) -> Result<Vec<Generation>, SwitchError>;

    /// Whether there is a store that generations can be compared with.
    fn has_store(&self) -> bool;

    /// Hashes all that a generation needs, against Nix' database. Blocking; reads every byte.
    ///
    /// # Errors
    /// [`SwitchError`] if it could not be done, or `watch` cancelled it.
    fn verify(&self, generation: &Generation, watch: &Watch<'_>) -> Result<Verified, SwitchError>;

    /// Waits for the lock, sets the profile, runs the generation's own switch and waits for its
    /// end. How it ended is the outcome, not an error.
    ///
    /// # Errors
    /// [`SwitchError`]: what failed before it was launched (nothing then runs, but the profile
    /// may have been set), or that it did not end within [`SWITCH_WAIT`].
    fn switch_to(
        &self,
        request: &SwitchRequest,
    ) -> impl Future<Output = Result<SwitchOutcome, SwitchError>> + Send;

    /// What became of a switch that an earlier daemon began; waits for it if it still runs.
    ///
    /// # Errors
    /// As [`SystemSwitcher::switch_to`].
    fn resume(&self, id: InvocationId)
    -> impl Future<Output = Result<Resumed, SwitchError>> + Send;

    /// Drops what is kept of a switch whose outcome was recorded.
    ///
    /// # Errors
    /// [`SwitchError::Io`].
    fn forget(&self, id: InvocationId) -> Result<(), SwitchError>;
}
