//! A commit as far as its author can write it.
//!
//! One thread writes for all, and what it does for one commit the others wait for. So what needs
//! nothing of the log, scrubbing and writing the bodies, is done by whoever brings the commit.

use std::borrow::Cow;

use super::{Commit, Draft, DraftFault, InvalidDraft, write};
use crate::scrub::Scrubber;

/// Room for the first part of a usual entry, in bytes.
const USUAL: usize = 384;

/// A commit and the first parts of its entries.
pub(crate) struct Prepared<'c> {
    commit: Cow<'c, Commit>,
    /// The first parts, one after the other.
    beginnings: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl<'c> Prepared<'c> {
    /// Writes what can be written. A secret that is learned after this is not found in it.
    ///
    /// # Errors
    /// A body that cannot be written.
    pub fn new(commit: Cow<'c, Commit>, scrubber: &Scrubber) -> Result<Self, InvalidDraft> {
        let count = commit.entries.len();
        let mut beginnings = Vec::with_capacity(count * USUAL);
        let mut ends = Vec::with_capacity(count);
        for (index, draft) in commit.entries.iter().enumerate() {
            write::begin(&mut beginnings, draft, scrubber).map_err(|fault| InvalidDraft {
                draft: index,
                fault,
            })?;
            ends.push(beginnings.len());
        }
        Ok(Self {
            commit,
            beginnings,
            ends,
        })
    }

    /// What was to be recorded.
    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// The drafts, each with the first part of its entry.
    pub fn drafts(&self) -> impl Iterator<Item = (&Draft, &[u8])> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let parts = starts
            .zip(&self.ends)
            .map(|(start, end)| &self.beginnings[*start..*end]);
        self.commit.entries.iter().zip(parts)
    }
}

/// The first part of the entry of one draft.
///
/// # Errors
/// A body that cannot be written.
pub(crate) fn beginning(draft: &Draft, scrubber: &Scrubber) -> Result<Vec<u8>, DraftFault> {
    let mut out = Vec::with_capacity(USUAL);
    write::begin(&mut out, draft, scrubber)?;
    Ok(out)
}
