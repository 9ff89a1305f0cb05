//! A proof that somebody can check without the log: a checkpoint, a place, and the way from
//! the entry's leaf to the checkpoint's root.
//!
//! The text is C2SP tlog-proof, version 1. Whether to believe it is for
//! [`TlogProof::verify`] with the log's key; what was logged is for the caller to have: the
//! exact bytes of the entry, whose [`crate::tlog::leaf`] is asked for. Our own proofs carry
//! these bytes as extra data where they are known, which proves nothing by itself.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use osmoda_core::digest::Digest;

use crate::{
    checkpoint::{Checkpoint, CheckpointError, parse_hash, parse_number},
    note::{NOTE_MAX, Note, NoteError, Verified, VerifierKey},
    proof::{PROOF_MAX, ProofError, verify_inclusion},
};

/// The first line.
const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// Longest text of a proof, in bytes.
pub const TEXT_MAX: usize = NOTE_MAX + 256 * 1024;

/// Why a text is not such a proof, or proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// It is not in the format.
    #[error("line {0} is not what a tlog-proof has there")]
    Malformed(usize),
    /// It is too long.
    #[error("it has more than {TEXT_MAX} bytes or {PROOF_MAX} hashes")]
    TooLong,
    /// Its checkpoint is not a note, or not signed by the key.
    #[error("its checkpoint is not to be believed: {0}")]
    Note(#[from] NoteError),
    /// The note is no checkpoint.
    #[error("its note is no checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint is of another log than the key.
    #[error("its checkpoint is of {0}, and no key of that log was given")]
    Origin(String),
    /// The hashes do not lead from the leaf to the checkpoint's root.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// A proof that can be carried away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// What the maker added; nothing vouches for it.
    pub extra: Option<Vec<u8>>,
    /// The entry's place in the log, from 0.
    pub index: u64,
    /// From the leaf's sibling upwards.
    pub hashes: Vec<Digest>,
    /// The signed checkpoint.
    pub note: Note,
}

impl TlogProof {
    /// Reads the text of a proof.
    ///
    /// # Errors
    /// [`TlogProofError`]: its form only; see [`TlogProof::verify`].
    pub fn parse(text: &[u8]) -> Result<Self, TlogProofError> {
        if text.len() > TEXT_MAX {
            return Err(TlogProofError::TooLong);
        }
        let text = str::from_utf8(text).map_err(|_| TlogProofError::Malformed(1))?;
        let (head, note) = text
            .split_once("\n\n")
            .ok_or(TlogProofError::Malformed(1))?;
        let mut lines = head.split('\n').enumerate().peekable();
        if lines.next().map(|(_, line)| line) != Some(FIRST_LINE) {
            return Err(TlogProofError::Malformed(1));
        }
        let extra = lines.next_if(|(_, line)| line.starts_with("extra "));
        let extra = extra.map(|(at, line)| {
            let bytes = STANDARD.decode(&line["extra ".len()..]);
            bytes.map_err(|_| TlogProofError::Malformed(at + 1))
        });
        let (at, index) = lines.next().ok_or(TlogProofError::Malformed(2))?;
        let index = index.strip_prefix("index ").and_then(parse_number);
        let index = index.ok_or(TlogProofError::Malformed(at + 1))?;
        let mut hashes = Vec::new();
        for (at, line) in lines {
            if hashes.len() == PROOF_MAX {
                return Err(TlogProofError::TooLong);
            }
            hashes.push(parse_hash(line).ok_or(TlogProofError::Malformed(at + 1))?);
        }
        Ok(Self {
            extra: extra.transpose()?,
            index,
            hashes,
            note: Note::parse(note.as_bytes())?,
        })
    }

    /// The checkpoint in the proof.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn checkpoint(&self) -> Result<Checkpoint, CheckpointError> {
        self.note.text().parse()
    }

    /// Checks that the log that `keys` belong to has an entry with `leaf` at
    /// [`TlogProof::index`]. A key belongs to the log whose origin is its name; keys of
    /// witnesses may be among them. Gives the checkpoint and who is known to have signed it.
    ///
    /// # Errors
    /// [`TlogProofError`].
    pub fn verify<'k>(
        &self,
        leaf: &Digest,
        keys: &'k [VerifierKey],
    ) -> Result<(Checkpoint, Vec<Verified<'k>>), TlogProofError> {
        let checkpoint = self.checkpoint()?;
        let signed = self.note.verify(keys)?;
        if !signed
            .iter()
            .any(|signed| signed.key.name() == checkpoint.origin)
        {
            return Err(TlogProofError::Origin(checkpoint.origin));
        }
        let (size, root) = (checkpoint.size, &checkpoint.root);
        verify_inclusion(leaf, self.index, size, &self.hashes, root)?;
        Ok((checkpoint, signed))
    }
}

impl fmt::Display for TlogProof {
    /// The text that [`TlogProof::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash.0))?;
        }
        write!(f, "\n{}", self.note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        note::{Algorithm, NoteSigner},
        tlog::{Frontier, leaf, node},
    };

    /// The example of C2SP tlog-proof.md, with its shortened data made whole.
    const PUBLISHED: &str = "c2sp.org/tlog-proof@v1\n\
        extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6\n\
        index 73894\n\
        gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n\
        B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n\
        EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=\n\
        RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=\n\
        AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=\n\
        \n\
        example.com/fancylog\n\
        109482\n\
        sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n\
        \n\
        \u{2014} example.com/fancylog hI2DJwAA\n\
        \u{2014} witness1.example mJirIgAA\n";

    #[test]
    fn the_published_form_is_read_and_printed_alike() {
        let proof = TlogProof::parse(PUBLISHED.as_bytes()).unwrap();
        assert_eq!((proof.index, proof.hashes.len()), (73894, 5));
        assert_eq!(proof.checkpoint().unwrap().size, 109_482);
        assert_eq!(proof.to_string(), PUBLISHED);
        let extra = PUBLISHED.lines().nth(1).unwrap();
        let bare = PUBLISHED.replace(&format!("{extra}\n"), "");
        let proof = TlogProof::parse(bare.as_bytes()).unwrap();
        assert_eq!(proof.extra, None);
        assert_eq!(proof.to_string(), bare);
    }

    #[test]
    fn other_forms_are_refused_at_their_line() {
        let hash = "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n";
        let bad = |from: &str, to: &str| TlogProof::parse(PUBLISHED.replace(from, to).as_bytes());
        for (from, to, line) in [
            ("proof@v1", "proof@v2", 1),
            ("extra YWdl", "extra !!!!", 2),
            ("index 73894", "index 073894", 3),
            ("index 73894\n", "", 3),
            ("B95lDa8R", "B95l\nDa8R", 5),
            ("c2sp.org/tlog-proof@v1\n", "", 1),
        ] {
            assert_eq!(
                bad(from, to),
                Err(TlogProofError::Malformed(line)),
                "{from}"
            );
        }
        assert_eq!(
            bad(hash, &hash.repeat(PROOF_MAX + 1)),
            Err(TlogProofError::TooLong)
        );
        let unsigned = PUBLISHED.split("\u{2014}").next().unwrap();
        let found = TlogProof::parse(unsigned.as_bytes());
        assert_eq!(found, Err(TlogProofError::Note(NoteError::NoSignatures)));
    }

    #[test]
    fn only_the_right_leaf_place_root_and_key_are_believed() {
        let (first, second) = (leaf(b"one"), leaf(b"two"));
        let mut tree = Frontier::default();
        [first, second].into_iter().for_each(|leaf| tree.push(leaf));
        assert_eq!(tree.root(), node(&first, &second));
        let log = NoteSigner::from_seed("log.example", Algorithm::Ed25519, &[1; 32]).unwrap();
        let other = NoteSigner::from_seed("other.example", Algorithm::Ed25519, &[2; 32]).unwrap();
        let text = Checkpoint::new("log.example", 2, tree.root()).to_string();
        let mut note = Note::new(text).unwrap();
        log.sign(&mut note, 0).unwrap();
        other.sign(&mut note, 0).unwrap();
        let proof = TlogProof {
            extra: None,
            index: 1,
            hashes: vec![first],
            note,
        };
        let keys = [log.verifier()];
        let (checkpoint, signed) = proof.verify(&second, &keys).unwrap();
        assert_eq!((checkpoint.size, signed.len()), (2, 1));
        let mismatch = Err(TlogProofError::Proof(ProofError::Mismatch));
        assert_eq!(proof.verify(&first, &keys), mismatch);
        let moved = TlogProof {
            index: 0,
            ..proof.clone()
        };
        assert_eq!(moved.verify(&second, &keys), mismatch);
        // A witness's name alone, or another log's, is not the log's.
        let others = [other.verifier()];
        let origin = Err(TlogProofError::Origin("log.example".into()));
        assert_eq!(proof.verify(&second, &others), origin);
        assert!(matches!(
            proof.verify(&second, &[]),
            Err(TlogProofError::Note(_))
        ));
    }
}
