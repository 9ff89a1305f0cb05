//! The log's own key, and when it signs.
//!
//! - [`key_file`]: where the key lies, made at the first start, never shown.
//! - [`cadence`]: when a checkpoint is due. Pure.
//! - `desk`: the writer's hand in it.
//! - [`LogSigner`]: makes checkpoints of the log as it stands, and changes keys.
//!
//! Invariants: what is signed is durable already, so that no crash can take back what a
//! checkpoint says; a commit is never held back for a signature, which is made after commits
//! were answered and stored with the next one.

pub mod cadence;
pub(crate) mod desk;
pub mod key_file;

use std::{path::PathBuf, sync::Arc};

use osmoda_core::time::Wall;

use crate::{
    checkpoint::Checkpoint,
    note::{Note, NoteError, NoteSigner, VerifierKey},
    store::SignedAt,
    tlog::Frontier,
};

pub use cadence::Cadence;
pub use key_file::KeyFileError;

/// Key of the state table that holds the vkey of the key that the log names as its own.
pub(crate) const KEY_STATE: &str = "ledger/key";

/// How a log signs itself.
#[derive(Debug, Clone)]
pub struct SigningOptions {
    /// The file of its private key; made if there is none.
    pub key: PathBuf,
    /// When checkpoints are due.
    pub cadence: Cadence,
}

/// A checkpoint that the log has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// When (RFC 3339).
    pub signed_at: String,
    /// The signed note, as it is given away.
    pub note: String,
}

impl Signed {
    /// In short.
    pub fn at(&self) -> SignedAt {
        SignedAt {
            size: self.checkpoint.size,
            signed_at: self.signed_at.clone(),
        }
    }
}

/// The keys in use: one, or two while one follows the other.
pub(crate) struct LogSigner {
    file: PathBuf,
    keys: Vec<NoteSigner>,
    /// When it signs.
    pub cadence: Cadence,
    /// The log names the key that signs.
    pub named: bool,
    /// Signed, and not stored yet.
    pub pending: Option<Arc<Signed>>,
    /// The last one that is stored.
    pub stored: Option<Arc<Signed>>,
}

impl LogSigner {
    /// `keys` as [`key_file::load`] gives them, which are in `file`.
    pub(crate) fn new(
        options: SigningOptions,
        keys: Vec<NoteSigner>,
        stored: Option<Signed>,
    ) -> Self {
        Self {
            file: options.key,
            cadence: options.cadence,
            keys,
            named: false,
            pending: None,
            stored: stored.map(Arc::new),
        }
    }

    /// The key that signs from now on.
    pub(crate) fn verifier(&self) -> Option<VerifierKey> {
        self.keys.last().map(NoteSigner::verifier)
    }

    /// How far the log is signed.
    pub(crate) fn signed_size(&self) -> u64 {
        let last = self.pending.as_ref().or(self.stored.as_ref());
        last.map_or(0, |signed| signed.checkpoint.size)
    }

    /// Signs the log as it stands, unless that was done.
    pub(crate) fn sign(
        &mut self,
        origin: &str,
        tree: &Frontier,
        now: Wall,
    ) -> Result<(), NoteError> {
        if tree.size() == self.signed_size() {
            return Ok(());
        }
        let checkpoint = Checkpoint::new(origin, tree.size(), tree.root());
        let mut note = Note::new(checkpoint.to_string())?;
        for key in &self.keys {
            key.sign(&mut note, 0)?;
        }
        self.pending = Some(Arc::new(Signed {
            checkpoint,
            signed_at: now.to_string(),
            note: note.to_string(),
        }));
        Ok(())
    }

    /// The pending checkpoint is durable now. If it sealed a change of keys, the old key has
    /// done its duty.
    pub(crate) fn settle(&mut self) {
        let Some(stored) = self.pending.take() else {
            return;
        };
        self.stored = Some(stored);
        if self.keys.len() < 2 {
            return;
        }
        match key_file::promote(&self.file) {
            Ok(()) => drop(self.keys.drain(..self.keys.len() - 1)),
            Err(error) => tracing::error!(%error, "the old key of the ledger stays in use"),
        }
    }

    /// Makes a new key beside the old one. It is in use when the log names it: see
    /// [`LogSigner::adopt`].
    pub(crate) fn next_key(&self, origin: &str) -> Result<NoteSigner, KeyFileError> {
        key_file::make_next(&self.file, origin)
    }

    /// From now on both keys sign, until a checkpoint with both is stored.
    pub(crate) fn adopt(&mut self, next: NoteSigner) {
        self.keys.push(next);
    }
}
