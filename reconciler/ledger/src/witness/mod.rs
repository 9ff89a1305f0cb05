//! A witness: it remembers the latest checkpoint of each log that it is told to watch, and
//! puts its own signature only under one that grew out of it.
//!
//! Protocol and status codes are those of C2SP tlog-witness, signatures those of C2SP
//! tlog-cosignature (`cosignature/v1`). HTTP is elsewhere; here are the request's bytes, the
//! decision and what is remembered.
//!
//! Invariants:
//! - Of one log a witness never signs two checkpoints of which one did not grow out of the
//!   other. Comparing with what it signed last and replacing that is one transaction.
//! - A cosignature leaves [`Witness::add_checkpoint`] only after what it vouches for is durable.
//! - A witness without memory is no witness: a key whose memory is gone is refused by
//!   [`Memory::open`]'s caller, see [`Memory::exists`].
//!
//! Where to start: [`Witness::add_checkpoint`].

mod memory;
mod request;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    note::{Algorithm, NoteSigner, Signature, VerifierKey},
    proof::verify_consistency,
    report::empty_root,
};

pub use self::{
    memory::{Latest, Memory, MemoryError},
    request::{PROOF_LINES_MAX, REQUEST_MAX, Request},
};

/// Why a checkpoint is not cosigned. The status codes are those of C2SP tlog-witness.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is not what the protocol asks for: 400.
    #[error("{0}")]
    Malformed(String),
    /// The log is none of those that are watched: 404.
    #[error("the log {0} is not watched here")]
    UnknownLog(String),
    /// No key that is trusted for the log signed the checkpoint, or its signature is wrong: 403.
    #[error("{0}")]
    Untrusted(String),
    /// The old size is not that of the latest cosigned checkpoint: 409, with that size.
    #[error("the latest cosigned checkpoint has {0} entries")]
    Conflict(u64),
    /// The checkpoint did not grow out of the latest one, or nothing shows that it did: 422.
    #[error("{0}")]
    Inconsistent(String),
    /// What is remembered cannot be read or written: 503. Nothing was cosigned.
    #[error("the witness cannot remember at the moment")]
    Unavailable,
}

impl Refusal {
    /// HTTP status code.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Untrusted(_) => 403,
            Self::UnknownLog(_) => 404,
            Self::Conflict(_) => 409,
            Self::Inconsistent(_) => 422,
            Self::Unavailable => 503,
        }
    }
}

/// Why a witness cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The witness's key signs notes, not cosignatures.
    #[error("{0} is the key of a log; a witness signs with a key of type cosignature/v1")]
    NoWitnessKey(String),
    /// A log's key is one of a witness.
    #[error("{0} is the key of a witness, not of a log")]
    NoLogKey(String),
}

/// Cosigns checkpoints of known logs.
pub struct Witness {
    signer: NoteSigner,
    logs: BTreeMap<String, Vec<VerifierKey>>,
    memory: Mutex<Memory>,
}

impl Witness {
    /// A witness that signs with `signer` and watches the logs of these keys. A log's origin is
    /// the name of its key; several keys of one name are all trusted for it.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(
        signer: NoteSigner,
        keys: impl IntoIterator<Item = VerifierKey>,
        memory: Memory,
    ) -> Result<Self, SetupError> {
        let own = signer.verifier();
        if own.algorithm() != Algorithm::CosignatureV1 {
            return Err(SetupError::NoWitnessKey(own.name().to_owned()));
        }
        let mut logs: BTreeMap<String, Vec<VerifierKey>> = BTreeMap::new();
        for key in keys {
            if key.algorithm() != Algorithm::Ed25519 {
                return Err(SetupError::NoLogKey(key.name().to_owned()));
            }
            logs.entry(key.name().to_owned()).or_default().push(key);
        }
        Ok(Self {
            signer,
            logs,
            memory: Mutex::new(memory),
        })
    }

    /// Its public key.
    pub fn verifier(&self) -> VerifierKey {
        self.signer.verifier()
    }

    /// The logs that it watches.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.logs.keys().map(String::as_str)
    }

    /// Judges the body of an add-checkpoint request at `now`, in seconds since 1970, and gives
    /// the cosignature. It blocks until that is durable.
    ///
    /// # Errors
    /// [`Refusal`], in the order in which the protocol asks for the checks.
    pub fn add_checkpoint(&self, body: &[u8], now: u64) -> Result<Signature, Refusal> {
        let request = Request::parse(body)?;
        let checkpoint = &request.checkpoint;
        let origin = &checkpoint.origin;
        let keys = self.logs.get(origin);
        let keys = keys.ok_or_else(|| Refusal::UnknownLog(origin.clone()))?;
        let signed = request.note.verify(keys);
        signed.map_err(|error| Refusal::Untrusted(error.to_string()))?;
        if request.old > checkpoint.size {
            let reason = "the old size is larger than that of the checkpoint";
            return Err(Refusal::Malformed(reason.to_owned()));
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let judged = memory.exchange(origin, |latest| {
            judge(&request, latest)?;
            let cosignature = self.signer.signature(request.note.text(), now);
            let mut note = request.trusted_note(keys);
            let added = note.add(cosignature.clone());
            added.map_err(|error| Refusal::Malformed(error.to_string()))?;
            let next = Latest {
                size: checkpoint.size,
                root: checkpoint.root,
                note: note.to_string(),
            };
            Ok((next, cosignature))
        });
        let judged = judged.map_err(|error| {
            tracing::error!(%error, origin, "the witness cannot remember");
            Refusal::Unavailable
        })?;
        if let Err(Refusal::Inconsistent(reason)) = &judged {
            tracing::warn!(origin, reason, note = %request.note, "a log shows two histories");
            memory.keep_evidence(origin, &request.note.to_string(), now);
        }
        judged
    }

    /// The latest checkpoint of a log with the witness's cosignature, for monitors. It is named
    /// by the SHA-256 of its origin, in hex. `None` if it was never cosigned here.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn latest(&self, origin_hash: &str) -> Result<Option<String>, MemoryError> {
        use osmoda_core::digest::Digest;
        let is_named = |origin: &&str| Digest::of(origin.as_bytes()).to_string() == origin_hash;
        let Some(origin) = self.origins().find(is_named) else {
            return Ok(None);
        };
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(memory.latest(origin)?.map(|latest| latest.note))
    }
}

/// Whether a checkpoint may follow what was cosigned last.
fn judge(request: &Request, latest: Option<&Latest>) -> Result<(), Refusal> {
    let Request {
        old,
        proof,
        checkpoint,
        ..
    } = request;
    let known = latest.map_or(0, |latest| latest.size);
    if *old != known {
        return Err(Refusal::Conflict(known));
    }
    let inconsistent = |reason: &str| Err(Refusal::Inconsistent(reason.to_owned()));
    if checkpoint.size == 0 && checkpoint.root != empty_root() {
        return inconsistent("an empty log has the root of the empty tree");
    }
    let Some(latest) = latest.filter(|latest| latest.size > 0) else {
        return match proof.is_empty() {
            true => Ok(()),
            false => inconsistent("there is nothing to be proven about an empty log"),
        };
    };
    let roots = (&latest.root, &checkpoint.root);
    verify_consistency(*old, checkpoint.size, proof, roots.0, roots.1)
        .map_err(|error| Refusal::Inconsistent(error.to_string()))
}
