//! The body of an add-checkpoint request, read and written (C2SP tlog-witness).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use osmoda_core::digest::Digest;

use super::Refusal;
use crate::{
    checkpoint::{Checkpoint, parse_hash, parse_number},
    note::{Note, VerifierKey},
};

/// Longest request body, in bytes: a proof, and a note with many signatures.
pub const REQUEST_MAX: usize = 64 * 1024;
/// Most lines of a consistency proof, by the protocol.
pub const PROOF_LINES_MAX: usize = 63;

/// What a log asks a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Size of the checkpoint that the log believes the witness cosigned last.
    pub old: u64,
    /// That the new tree begins with the old one.
    pub proof: Vec<Digest>,
    /// The new checkpoint, signed.
    pub note: Note,
    /// What it says.
    pub checkpoint: Checkpoint,
}

impl Request {
    /// Puts a request together.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] if the note is no checkpoint.
    pub fn new(old: u64, proof: Vec<Digest>, note: Note) -> Result<Self, Refusal> {
        let checkpoint = note.text().parse().map_err(malformed)?;
        Ok(Self {
            old,
            proof,
            note,
            checkpoint,
        })
    }

    /// Reads a request body.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] that says what is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        if body.len() > REQUEST_MAX {
            return Err(malformed(format!(
                "the request is longer than {REQUEST_MAX} bytes"
            )));
        }
        let text = str::from_utf8(body).map_err(|_| malformed("the request is not UTF-8"))?;
        let parts = text.split_once("\n\n");
        let (head, note) = parts.ok_or_else(|| malformed("there is no empty line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.and_then(parse_number);
        let old = old.ok_or_else(|| malformed("the first line is not `old` and a size"))?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == PROOF_LINES_MAX {
                return Err(malformed(format!(
                    "the proof has more than {PROOF_LINES_MAX} lines"
                )));
            }
            let hash = parse_hash(line);
            proof.push(hash.ok_or_else(|| malformed("a line of the proof is no hash"))?);
        }
        let note = Note::parse(note.as_bytes()).map_err(malformed)?;
        Self::new(old, proof, note)
    }

    /// The note with the signatures of these keys only.
    pub(super) fn trusted_note(&self, keys: &[VerifierKey]) -> Note {
        let mut note = self.note.clone();
        note.keep(|signature| keys.iter().any(|key| key.is_named_by(signature)));
        note
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        for hash in &self.proof {
            writeln!(f, "{}", STANDARD.encode(hash.0))?;
        }
        write!(f, "\n{}", self.note)
    }
}

fn malformed(reason: impl ToString) -> Refusal {
    Refusal::Malformed(reason.to_string())
}
