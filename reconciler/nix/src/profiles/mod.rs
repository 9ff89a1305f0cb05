//! What the reconcile loop needs of generations: to know them, switch them, and make new ones.
//!
//! [`Profiles`] is the edge. [`SymlinkProfiles`] is real: links as Nix lays them out
//! ([`crate::profile`]) to bundles ([`crate::bundle`]) in the Nix store, or without one in a
//! directory. [`MemoryProfiles`] is for simulations. One conformance test (tests/profiles.rs)
//! holds all of them to the same rules.

mod memory;
mod symlink;

use osmoda_core::{name::AgentName, observed::Generation};

pub use self::{memory::MemoryProfiles, symlink::SymlinkProfiles};
use crate::{
    eval::Recipe,
    profile::ProfileError,
    store::{Verified, Watch},
};

/// The generations of all agents of one node.
///
/// Invariants every implementation keeps (and the conformance test checks):
/// - a generation's number and store path belong together until it is deleted;
/// - whatever fails, an agent has the active generation it had, or the one asked for;
/// - the active generation is never deleted but by [`Profiles::remove`];
/// - a bundle is there as long as a generation refers to it, and is never used damaged.
///
/// Blocking: each call reads and writes a few links and syncs them, but [`Profiles::prepare`]
/// may have to build or fetch, for up to [`crate::store::BUILD_TIMEOUT`] and
/// [`crate::store::REALISE_TIMEOUT`], and [`Profiles::verify`] reads
/// all that an agent needs.
pub trait Profiles: Send + Sync + 'static {
    /// The active generation as it is now, whoever made it so; `None` if there is none.
    ///
    /// # Errors
    /// [`ProfileError`] if it could not be read: then nothing is known.
    fn active(&self, agent: &AgentName) -> Result<Option<Generation>, ProfileError>;

    /// All generations, by number.
    ///
    /// # Errors
    /// [`ProfileError`] if they could not be read.
    fn list(&self, agent: &AgentName) -> Result<Vec<Generation>, ProfileError>;

    /// Whether [`Profiles::prepare`] may take long, so that it is done in the background before
    /// [`Profiles::activate`].
    fn may_build(&self) -> bool {
        false
    }

    /// Writes the manifest's bundle, so that [`Profiles::activate`] of the same manifest is a
    /// matter of milliseconds: what the manifest needs of the Nix store and is not there is
    /// fetched, or built where `recipe` tells how (condition Progressing, reason Building). No
    /// generation changes. Gives the bundle's path.
    ///
    /// # Errors
    /// [`ProfileError::Bundle`]; retryable if what is missing may be had later.
    fn prepare(
        &self,
        agent: &AgentName,
        manifest: &str,
        recipe: Option<&Recipe>,
    ) -> Result<String, ProfileError>;

    /// Writes the manifest's bundle, as [`Profiles::prepare`] does, and makes it the active
    /// generation: the one that is active if it already is that, the highest if that is it,
    /// otherwise a new one.
    ///
    /// # Errors
    /// [`ProfileError`]; then the active generation is what it was.
    fn activate(&self, agent: &AgentName, manifest: &str) -> Result<Generation, ProfileError>;

    /// The manifest of a generation, verified.
    ///
    /// # Errors
    /// [`ProfileError::Bundle`] if its bundle is gone or damaged.
    fn manifest(&self, generation: &Generation) -> Result<String, ProfileError>;

    /// Whether an agent may be started from a generation: its bundle is there, valid, what its
    /// name says, not known to be damaged, and what it names is there. To be asked before each
    /// start; milliseconds.
    ///
    /// # Errors
    /// [`ProfileError::Bundle`] says what is wrong and how to repair it.
    fn check(&self, generation: &Generation) -> Result<(), ProfileError>;

    /// Hashes all that a generation needs. What is found damaged is refused by every other call
    /// until it is found whole; the damage found is the answer, not an error.
    ///
    /// # Errors
    /// [`ProfileError::Bundle`] if it could not be done, or `watch` cancelled it.
    fn verify(&self, generation: &Generation, watch: &Watch<'_>) -> Result<Verified, ProfileError>;

    /// Makes a recorded generation active, after [`Profiles::check`].
    ///
    /// # Errors
    /// [`ProfileError::NoSuchGeneration`], [`ProfileError::TargetChanged`] if the number now
    /// means something else, [`ProfileError::Bundle`]; then the active generation is what it was.
    fn switch(&self, agent: &AgentName, to: &Generation) -> Result<(), ProfileError>;

    /// Deletes all but the newest `keep` generations, the active one and those whose numbers are
    /// `protected`, and the bundles that no generation refers to any more. Gives the numbers
    /// deleted, in order.
    ///
    /// # Errors
    /// [`ProfileError`]; some may be gone.
    fn prune(
        &self,
        agent: &AgentName,
        keep: u32,
        protected: &[u64],
    ) -> Result<Vec<u64>, ProfileError>;

    /// Removes all of an agent: its profile and its bundles. One that is not there is a success.
    ///
    /// # Errors
    /// [`ProfileError`]; some may be gone.
    fn remove(&self, agent: &AgentName) -> Result<(), ProfileError>;

    /// All agents that have a generation, in order of name.
    ///
    /// # Errors
    /// [`ProfileError`] if they could not be read.
    fn agents(&self) -> Result<Vec<AgentName>, ProfileError>;
}

/// The numbers that [`Profiles::prune`] deletes of `generations` (by number).
fn superfluous(
    generations: &[Generation],
    active: Option<u64>,
    keep: u32,
    protected: &[u64],
) -> Vec<u64> {
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let older = generations.len().saturating_sub(keep);
    generations[..older]
        .iter()
        .map(|generation| generation.number)
        .filter(|number| Some(*number) != active && !protected.contains(number))
        .collect()
}
