//! Judges checkpoints: those that the file holds, and those that somebody kept elsewhere.
//!
//! A checkpoint counts if the log has that root at that size and a key that is trusted signed
//! it. Trusted are the keys that were given; if none were, the first one that the log names.
//! From then on each key vouches for the next: the first checkpoint after the entry that names
//! a key must bear the signatures of both, and from there on only the new one is asked for.

use std::collections::BTreeMap;

use osmoda_core::digest::Digest;

use crate::{
    audit::NamedKey,
    checkpoint::Checkpoint,
    entry::parse_time,
    note::{Note, VerifierKey},
    store::SignedAt,
};

/// A checkpoint as it is stored.
pub(super) struct Stored {
    pub at: SignedAt,
    pub note: String,
}

/// What is known of keys and checkpoints so far.
pub(super) struct Judge<'o> {
    origin: String,
    given: &'o [VerifierKey],
    trusted: Vec<VerifierKey>,
    /// Keys that the log names and that nobody has vouched for yet.
    named: Vec<(u64, VerifierKey)>,
    /// Every key that was ever trusted.
    known: Vec<VerifierKey>,
    /// Checkpoints from outside, by size, whose root is still to be compared.
    outside: BTreeMap<u64, Vec<(usize, Checkpoint)>>,
    last: Option<SignedAt>,
    count: u64,
}

impl<'o> Judge<'o> {
    /// For the log `origin`, with keys and checkpoints from outside.
    ///
    /// # Errors
    /// What is wrong with a checkpoint from outside, in a sentence.
    pub(super) fn new(
        origin: &str,
        given: &'o [VerifierKey],
        notes: &[Note],
    ) -> Result<Self, String> {
        let mut outside: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (index, note) in notes.iter().enumerate() {
            let read: Result<Checkpoint, _> = note.text().parse();
            let checkpoint =
                read.map_err(|error| format!("a given checkpoint is none: {error}"))?;
            if checkpoint.origin != origin {
                let other = checkpoint.origin;
                return Err(format!(
                    "a given checkpoint is of {other:?}, not of this log"
                ));
            }
            outside
                .entry(checkpoint.size)
                .or_default()
                .push((index, checkpoint));
        }
        let own = given.iter().filter(|key| key.name() == origin);
        Ok(Self {
            origin: origin.to_owned(),
            given,
            trusted: own.cloned().collect(),
            named: Vec::new(),
            known: given.to_vec(),
            outside,
            last: None,
            count: 0,
        })
    }

    /// Sizes from `after` to `until` at which checkpoints from outside want to know the root.
    pub(super) fn sizes(&self) -> Vec<u64> {
        self.outside.keys().copied().collect()
    }

    /// The log names these keys.
    pub(super) fn hear(&mut self, keys: &[NamedKey]) {
        for named in keys {
            // One that cannot be read vouches for nothing, and nothing is signed with it.
            let Ok(key) = named.next.parse::<VerifierKey>() else {
                continue;
            };
            if key.name() != self.origin {
                continue;
            }
            if self.trusted.is_empty() && self.given.is_empty() {
                self.trusted.push(key.clone());
                self.known.push(key);
            } else {
                self.named.push((named.seq, key));
            }
        }
    }

    /// Judges a stored checkpoint; `root` is the log's at its size.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub(super) fn stored(&mut self, stored: Stored, root: &Digest) -> Result<(), String> {
        let size = stored.at.size;
        let fail = |why: String| Err(format!("the stored checkpoint of {size} entries {why}"));
        let note = match Note::parse(stored.note.as_bytes()) {
            Ok(note) => note,
            Err(error) => return fail(format!("is no note: {error}")),
        };
        let said: Checkpoint = match note.text().parse() {
            Ok(said) => said,
            Err(error) => return fail(format!("is none: {error}")),
        };
        if said != Checkpoint::new(&*self.origin, size, *root) {
            return fail("says something else than the entries do".into());
        }
        if parse_time(stored.at.signed_at.as_bytes()).is_none() {
            return fail("has no proper time".into());
        }
        let new = self.named.iter().rposition(|(seq, _)| *seq < size);
        let asked: Vec<VerifierKey> = {
            let new = new.map(|index| &self.named[index].1);
            self.trusted.iter().chain(new).cloned().collect()
        };
        let signed = match note.verify(&asked) {
            Ok(signed) => signed,
            Err(error) => return fail(format!("is not signed by a key that is trusted: {error}")),
        };
        let by = |key: &VerifierKey| signed.iter().any(|signed| signed.key == key);
        if !self.trusted.iter().any(by) {
            let named = self
                .named
                .iter()
                .map(|(seq, _)| seq.to_string())
                .collect::<Vec<_>>();
            let named = named.join(", ");
            return fail(format!(
                "is signed only by the key that entry {named} names, for which no trusted key \
                 vouches; if you know that key, give it"
            ));
        }
        if let Some(index) = new {
            let (seq, key) = self.named[index].clone();
            if !by(&key) {
                return fail(format!("is not signed by the key that entry {seq} names"));
            }
            self.named.drain(..=index);
            self.trusted = vec![key.clone()];
            self.known.push(key);
        }
        self.last = Some(stored.at);
        self.count += 1;
        Ok(())
    }

    /// Compares the checkpoints from outside of `size` entries with the log's root there.
    ///
    /// # Errors
    /// That they differ, in a sentence.
    pub(super) fn reached(&mut self, size: u64, root: &Digest) -> Result<(), String> {
        let others = self.outside.remove(&size).unwrap_or_default();
        match others
            .iter()
            .all(|(_, checkpoint)| checkpoint.root == *root)
        {
            true => Ok(()),
            false => Err(format!(
                "it is not the log that the given checkpoint of {size} entries was signed for: \
                 what came before was changed"
            )),
        }
    }

    /// At the end of the log: every checkpoint from outside was reached, and signed by a key
    /// of the log.
    ///
    /// # Errors
    /// What is missing, in a sentence.
    pub(super) fn finish(&self, size: u64, notes: &[Note]) -> Result<(), String> {
        if let Some(beyond) = self.outside.keys().next_back() {
            return Err(format!(
                "it has {size} entries, and the given checkpoint was signed for {beyond}: its \
                 end was cut off"
            ));
        }
        for note in notes {
            if let Err(error) = note.verify(&self.known) {
                return Err(format!(
                    "a given checkpoint is not signed by a key of the log: {error}"
                ));
            }
        }
        Ok(())
    }

    /// The last stored checkpoint that is right.
    pub(super) fn last(&self) -> Option<&SignedAt> {
        self.last.as_ref()
    }

    /// How many stored checkpoints are right.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The key that signs now, if one is trusted.
    pub(super) fn key(&self) -> Option<String> {
        self.trusted.last().map(ToString::to_string)
    }
}
