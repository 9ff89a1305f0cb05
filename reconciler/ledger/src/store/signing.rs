//! The store signs itself: checkpoints of what is durable, the key that makes them, its change.
//!
//! The log names its keys in entries of kind KeyRotated, `{"previous": VKEY or null, "next":
//! VKEY}`; the first one names the first key. The checkpoint after a change bears the
//! signatures of both keys, and so the old key vouches for the entry that names the new one.

use std::sync::Arc;

use osmoda_core::{
    digest::Digest,
    event::{Actor, EventKind},
};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use serde_json::{Map, json};

use super::{SignedAt, Store};
use crate::{
    anchor,
    checkpoint::Checkpoint,
    entry::{Appended, Commit, Draft, StateChange},
    error::CommitError,
    note::{Note, NoteError, VerifierKey},
    query,
    sign::{Cadence, KEY_STATE, KeyFileError, LogSigner, Signed, SigningOptions, key_file},
};

/// Why the log was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// There is no key, for the reason given.
    #[error("the ledger has no key to sign with: {0}")]
    NoKey(String),
    /// The key's file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The checkpoint or the entry could not be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The note cannot be made.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl From<rusqlite::Error> for SignError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Commit(error.into())
    }
}

impl Store {
    /// Loads or makes the key. A key that cannot be had leaves the log unsigned, and is told by
    /// [`Store::key_problem`]: supervision does not end for it.
    pub(super) fn with_signing(mut self, options: Option<SigningOptions>) -> Self {
        let Some(options) = options else { return self };
        match self.load_signer(options) {
            Ok(signer) => self.signer = Some(signer),
            Err(error) => {
                tracing::error!(%error, "the ledger is not signed");
                self.key_problem = Some(error.to_string());
                return self;
            }
        }
        // What fails now (a full disk) is tried again before the first signature.
        if let Err(error) = self.name_key() {
            tracing::warn!(%error, "the ledger does not name its key yet");
        }
        self
    }

    fn load_signer(&self, options: SigningOptions) -> Result<LogSigner, SignError> {
        let named = named_key(&self.connection)?;
        let keys = key_file::load(&options.key, &self.author.origin, named.as_deref())?;
        let stored = last_stored(&self.connection)?;
        Ok(LogSigner::new(options, keys, stored))
    }

    /// Sees to it that the log names the key that signs it.
    fn name_key(&mut self) -> Result<(), SignError> {
        let Some(next) = self.signer.as_ref().filter(|signer| !signer.named) else {
            return Ok(());
        };
        let next = next.verifier();
        let named = named_key(&self.connection)?;
        if let Some(next) = next.filter(|next| named != Some(next.to_string())) {
            self.commit(&[rotation(named.as_deref(), &next, Actor::System)])?;
        }
        if let Some(signer) = &mut self.signer {
            signer.named = true;
        }
        Ok(())
    }

    /// The public key of the log.
    pub fn key(&self) -> Option<VerifierKey> {
        self.signer.as_ref().and_then(LogSigner::verifier)
    }

    /// Why there is no key although one was asked for.
    pub fn key_problem(&self) -> Option<&str> {
        self.key_problem.as_deref()
    }

    /// The last checkpoint that is stored.
    pub fn last_checkpoint(&self) -> Option<Arc<Signed>> {
        self.signer
            .as_ref()
            .and_then(|signer| signer.stored.clone())
    }

    /// Signs the log as it stands and stores that. Writes no entry.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn checkpoint(&mut self) -> Result<Arc<Signed>, SignError> {
        self.sign()?;
        self.store_checkpoint()?;
        self.last_checkpoint()
            .ok_or_else(|| SignError::NoKey("the log is empty".into()))
    }

    /// Makes a new key, has the log name it, and has the old one vouch for that.
    ///
    /// # Errors
    /// [`SignError`]. If it is [`SignError::Commit`], the new key may be in use already, and
    /// is after the next checkpoint.
    pub fn rotate_key(&mut self, actor: Actor) -> Result<(VerifierKey, Appended), SignError> {
        self.name_key()?;
        let origin = self.author.origin.clone();
        let signer = self
            .signer
            .as_ref()
            .ok_or_else(|| no_key(&self.key_problem))?;
        let previous = signer.verifier().map(|key| key.to_string());
        let next = signer.next_key(&origin)?;
        let key = next.verifier();
        let done = self.commit(&[rotation(previous.as_deref(), &key, actor)])?;
        if let Some(signer) = &mut self.signer {
            signer.adopt(next);
        }
        self.checkpoint()?;
        let appended = done.into_iter().flatten().next();
        let appended = appended.ok_or(CommitError::Closed)?;
        Ok((key, appended))
    }

    /// Signs what is durable, in memory. It is stored with the next commit, or by
    /// [`Store::store_checkpoint`].
    pub(crate) fn sign(&mut self) -> Result<(), SignError> {
        self.name_key()?;
        let now = self.author.clock.wall();
        match &mut self.signer {
            Some(signer) => {
                let (origin, tree) = (&self.author.origin, &self.position.frontier);
                Ok(signer.sign(origin, tree, crate::entry::clamp(now))?)
            }
            None => Err(no_key(&self.key_problem)),
        }
    }

    /// Entries that an anchor vouches for, as the state says.
    pub(crate) fn anchored(&self) -> u64 {
        let rows = query::state(&self.connection, anchor::STATE_PREFIX).unwrap_or_default();
        anchor::anchored_size(&anchor::read_all(&rows), self.position.frontier.size())
    }

    /// Whether a checkpoint was signed and is not stored yet.
    pub(crate) fn has_pending_checkpoint(&self) -> bool {
        let pending = |signer: &LogSigner| signer.pending.is_some();
        self.signer.as_ref().is_some_and(pending)
    }

    /// Stores the checkpoint that was signed, if there is one.
    pub(crate) fn store_checkpoint(&mut self) -> Result<(), CommitError> {
        if !self.has_pending_checkpoint() {
            return Ok(());
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        insert(&transaction, self.signer.as_ref())?;
        transaction.commit()?;
        if let Some(signer) = &mut self.signer {
            signer.settle();
        }
        Ok(())
    }

    /// Entries that no checkpoint covers, and when they are to be signed; `None` without a key.
    pub(crate) fn unsigned(&self) -> Option<(u64, Cadence)> {
        let signer = self.signer.as_ref()?;
        let size = self.position.frontier.size();
        Some((size - signer.signed_size().min(size), signer.cadence))
    }

    /// Signs at another pace from now on.
    pub(crate) fn set_cadence(&mut self, cadence: Cadence) {
        if let Some(signer) = &mut self.signer {
            signer.cadence = cadence;
        }
    }

    /// Says that the log is alive although nothing happens.
    pub(crate) fn append_heartbeat(&mut self) -> Result<(), CommitError> {
        let last = self.last_checkpoint().map(|signed| signed.at());
        let mut body = Map::new();
        body.insert("lastSize".into(), json!(last.as_ref().map(|at| at.size)));
        let signed_at = last.map(|at: SignedAt| at.signed_at);
        body.insert("lastSignedAt".into(), json!(signed_at));
        self.commit(&[own_entry(EventKind::CheckpointSigned, body, Actor::System)])?;
        Ok(())
    }
}

fn no_key(problem: &Option<String>) -> SignError {
    let unasked = "it was opened without one";
    SignError::NoKey(problem.as_deref().unwrap_or(unasked).to_owned())
}

/// Adds the checkpoint that waits to be stored.
pub(super) fn insert(transaction: &Connection, signer: Option<&LogSigner>) -> rusqlite::Result<()> {
    let Some(signed) = signer.and_then(|signer| signer.pending.as_ref()) else {
        return Ok(());
    };
    let size = signed.checkpoint.size;
    transaction
        .prepare_cached("INSERT INTO checkpoint(size, signed_at, note) VALUES (?1, ?2, ?3)")?
        .execute(params![size, signed.signed_at, signed.note])?;
    Ok(())
}

/// The commit by which the log names a key.
fn rotation(previous: Option<&str>, next: &VerifierKey, actor: Actor) -> Commit {
    let mut body = Map::new();
    body.insert("next".into(), json!(next.to_string()));
    body.insert("previous".into(), json!(previous));
    let mut commit = own_entry(EventKind::KeyRotated, body, actor);
    commit.state.push(StateChange::Put {
        key: KEY_STATE.into(),
        value: next.to_string().into_bytes(),
    });
    commit
}

/// A commit of one entry that the ledger writes about itself.
pub(super) fn own_entry(
    kind: EventKind,
    body: Map<String, serde_json::Value>,
    actor: Actor,
) -> Commit {
    Commit {
        entries: vec![Draft {
            kind,
            agent: None,
            incident: None,
            causes: Vec::new(),
            actor,
            body,
        }],
        state: Vec::new(),
    }
}

/// The key that the log names last.
fn named_key(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let select = "SELECT value FROM state WHERE key = ?1";
    let value: Option<Vec<u8>> = connection
        .query_row(select, [KEY_STATE], |row| row.get(0))
        .optional()?;
    Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The last checkpoint of the file. One that cannot be read is left to `verify`; the size alone
/// says what is signed.
fn last_stored(connection: &Connection) -> rusqlite::Result<Option<Signed>> {
    let row = query::last_checkpoint(connection, None)?;
    Ok(row.map(|(at, note)| {
        let read = Note::parse(note.as_bytes()).ok();
        let checkpoint = read.and_then(|note| note.text().parse::<Checkpoint>().ok());
        let unread = Checkpoint::new(String::new(), at.size, Digest([0; 32]));
        Signed {
            checkpoint: checkpoint
                .filter(|read| read.size == at.size)
                .unwrap_or(unread),
            signed_at: at.signed_at,
            note,
        }
    }))
}
