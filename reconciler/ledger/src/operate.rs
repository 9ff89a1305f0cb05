//! What operators ask of the ledger itself: sign now, change the key, drop bodies.
//!
//! Everything here blocks until it is durable; call it from where blocking is allowed. It runs
//! on the writer's thread between commits, in small steps, so that no commit waits long.

use std::sync::Arc;

use osmoda_core::{event::Actor, time::Wall};

use crate::{
    entry::Appended,
    error::CommitError,
    note::VerifierKey,
    sign::{Cadence, Signed},
    store::{DropError, Dropped, SignError, prunable},
    writer::Ledger,
};

/// Most times that emptying the write-ahead log is tried; a reader that holds it is waited for
/// by SQLite itself, a second each time.
const EMPTY_TRIES: u32 = 3;

impl Ledger {
    /// Signs the log as it stands.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn checkpoint(&self) -> Result<Arc<Signed>, SignError> {
        self.with_store(|store| store.checkpoint()).ok_or(CLOSED)?
    }

    /// The public key of the log.
    ///
    /// # Errors
    /// [`SignError::NoKey`] says why there is none.
    pub fn key(&self) -> Result<VerifierKey, SignError> {
        let asked = self.with_store(|store| {
            let problem = store.key_problem().unwrap_or("it was opened without one");
            store
                .key()
                .ok_or_else(|| SignError::NoKey(problem.to_owned()))
        });
        asked.ok_or(CLOSED)?
    }

    /// Makes a new key; the old one vouches for it. Gives the new one and the entry.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn rotate_key(&self, actor: Actor) -> Result<(VerifierKey, Appended), SignError> {
        self.with_store(|store| store.rotate_key(actor))
            .ok_or(CLOSED)?
    }

    /// Signs at another pace from now on.
    pub fn set_cadence(&self, cadence: Cadence) {
        // A ledger that was closed signs no more.
        let _ = self.with_store(move |store| store.set_cadence(cadence));
    }

    /// Drops the bodies of all entries before the first that is not older than `before`.
    ///
    /// # Errors
    /// [`DropError`].
    pub fn prune(&self, before: Wall, actor: Actor) -> Result<Dropped, DropError> {
        let range = prunable(&self.reader()?, before)?;
        let begun = self.with_store(move |store| store.begin_prune(range, before, actor));
        let appended = begun.ok_or(CommitError::Closed)??;
        self.finish_dropping(&appended, range)
    }

    /// Drops the body of the entry `seq`.
    ///
    /// # Errors
    /// [`DropError`].
    pub fn redact(&self, seq: u64, reason: String, actor: Actor) -> Result<Dropped, DropError> {
        let begun = self.with_store(move |store| store.begin_redact(seq, &reason, actor));
        let appended = begun.ok_or(CommitError::Closed)??;
        self.finish_dropping(&appended, (seq, seq))
    }

    /// Goes on with what a crash has interrupted, if anything.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn resume_dropping(&self) -> Result<(), CommitError> {
        let begun = self.with_store(|store| store.is_dropping());
        if begun.ok_or(CommitError::Closed)?? {
            while self
                .with_store(|store| store.drop_more())
                .ok_or(CommitError::Closed)??
            {}
            self.empty_wal()?;
        }
        Ok(())
    }

    fn finish_dropping(
        &self,
        appended: &Appended,
        (first_seq, last_seq): (u64, u64),
    ) -> Result<Dropped, DropError> {
        while self
            .with_store(|store| store.drop_more())
            .ok_or(CommitError::Closed)??
        {}
        Ok(Dropped {
            seq: appended.reference.seq,
            first_seq,
            last_seq,
            log_emptied: self.empty_wal()?,
        })
    }

    fn empty_wal(&self) -> Result<bool, CommitError> {
        for _ in 0..EMPTY_TRIES {
            if self
                .with_store(|store| store.empty_wal())
                .ok_or(CommitError::Closed)??
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

const CLOSED: SignError = SignError::Commit(CommitError::Closed);
