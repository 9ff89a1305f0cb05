//! Follows a log row by row and says at which one it stops being what it claims.
//!
//! Used by `verify` for a whole file or an export, and by the store for its tail at start.
//! The order of the checks is the order of what they rest on: the place, the bytes, the leaf
//! of the bytes, the chain over the leaves, and last the meaning of the fields.
//!
//! Each row holds the chain value after it, so a stretch of rows can be followed from the value
//! that the row before it claims: if every stretch is sound, and the first begins where the log
//! begins, so is the whole. [`Audit::absorb`] joins two such stretches.

use std::collections::BTreeMap;

use osmoda_core::{digest::Digest, time::Wall};
use serde::Deserialize;

use crate::{
    entry::{Envelope, EnvelopeError},
    tlog::{self, Frontier},
};

/// A wall clock that goes back by more than this is recorded and reported, in microseconds.
pub(crate) const CLOCK_SLACK_US: i64 = 1_000_000;

/// Why a row is not what should be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RowFault {
    #[error("entry {expected} is missing; the next one has seq {found}")]
    Gap { expected: u64, found: i64 },
    #[error("its {0} is not 32 bytes")]
    Length(&'static str),
    #[error("its leaf is not the hash of its body")]
    Leaf,
    #[error("its chain value does not follow from the one before and its leaf")]
    Chain,
    #[error(transparent)]
    Envelope(EnvelopeError),
    #[error("its body says seq {0}")]
    Seq(u64),
    #[error("its body is missing and no later entry says that it was pruned or redacted")]
    Missing,
}

/// Body of a KeyRotated entry: the key that signs the log from here on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct NamedKey {
    #[serde(skip)]
    pub seq: u64,
    pub next: String,
}

/// Body of a Pruned entry: the bodies of these entries, both included, were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pruned {
    first_seq: u64,
    last_seq: u64,
}

/// Body of a Redacted entry: the body of this entry was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Redacted {
    seq: u64,
}

/// One row of a log, as it is stored.
pub(crate) struct Row<'a> {
    pub seq: i64,
    pub body: Option<&'a [u8]>,
    pub leaf: &'a [u8],
    pub chain: &'a [u8],
}

/// What was seen of a log so far.
pub(crate) struct Audit {
    origin: String,
    /// The first row that it is about.
    from: u64,
    next: u64,
    chain: Digest,
    /// Grows with the rows that it does not hold yet.
    frontier: Frontier,
    /// Time of the first entry that has a body, and its seq.
    first_ts: Option<(Wall, u64)>,
    last_ts: Option<Wall>,
    open_intents: BTreeMap<u64, Digest>,
    /// Outcomes of intents before `from`: seq and leaf of each.
    closed_before: Vec<(u64, Digest)>,
    /// Explanations of missing bodies before `from`: first and last seq of each.
    explained_before: Vec<(u64, u64)>,
    keys: Vec<NamedKey>,
    clock_regressions: Vec<u64>,
    /// First to last seq of runs of rows without body that nothing has explained yet.
    unexplained: BTreeMap<u64, u64>,
    without_body: u64,
    /// Its tree is not that of the log.
    alone: bool,
}

impl Audit {
    /// From the beginning of the log.
    pub(crate) fn new(origin: &str) -> Self {
        Self::from(origin, 0, tlog::chain_start(origin), Frontier::default())
    }

    /// From the entry `next` on, believing that `chain` is the value before it. `frontier`
    /// may already hold later rows than `next`; those are not appended to it again.
    pub(crate) fn from(origin: &str, next: u64, chain: Digest, frontier: Frontier) -> Self {
        Self {
            origin: origin.to_owned(),
            from: next,
            next,
            chain,
            frontier,
            first_ts: None,
            last_ts: None,
            open_intents: BTreeMap::new(),
            closed_before: Vec::new(),
            explained_before: Vec::new(),
            keys: Vec::new(),
            clock_regressions: Vec::new(),
            unexplained: BTreeMap::new(),
            without_body: 0,
            alone: false,
        }
    }

    /// Of a stretch that begins at `next`, where the chain value is claimed to be `chain`; its
    /// tree is that of the stretch alone.
    pub(crate) fn stretch(origin: &str, next: u64, chain: Digest) -> Self {
        Self {
            alone: true,
            ..Self::from(origin, next, chain, Frontier::default())
        }
    }

    /// Takes over a stretch that begins where this one ends. Its first row must have the place
    /// in the tree that a perfect subtree of the stretch's size could have.
    pub(crate) fn absorb(&mut self, later: Self) {
        for (seq, leaf) in &later.closed_before {
            self.close(*seq, *leaf);
        }
        for (first, last) in &later.explained_before {
            self.explain(*first, *last);
        }
        if let Some((ts, seq)) = later.first_ts {
            if self.last_ts.is_some_and(|last| went_back(last, ts)) {
                self.clock_regressions.push(seq);
            }
            self.first_ts = self.first_ts.or(later.first_ts);
        }
        self.last_ts = later.last_ts.or(self.last_ts);
        self.clock_regressions.extend(later.clock_regressions);
        self.open_intents.extend(later.open_intents);
        for (first, last) in later.unexplained {
            self.add_unexplained(first, last);
        }
        self.keys.extend(later.keys);
        self.without_body += later.without_body;
        self.frontier.append(&later.frontier);
        self.chain = later.chain;
        self.next = later.next;
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// [`RowFault`]; the audit then stands where it was before the row.
    pub(crate) fn row(&mut self, row: &Row<'_>) -> Result<(), RowFault> {
        if u64::try_from(row.seq) != Ok(self.next) {
            return Err(RowFault::Gap {
                expected: self.next,
                found: row.seq,
            });
        }
        let leaf = digest(row.leaf).ok_or(RowFault::Length("leaf"))?;
        let claimed = digest(row.chain).ok_or(RowFault::Length("chain value"))?;
        let entry = row.body.map(Envelope::parse_and_hash);
        if entry.as_ref().is_some_and(|(_, hash)| *hash != leaf) {
            return Err(RowFault::Leaf);
        }
        let chain = tlog::chain_next(&self.chain, &leaf);
        if chain != claimed {
            return Err(RowFault::Chain);
        }
        match entry {
            Some((entry, _)) => self.entry(entry.map_err(RowFault::Envelope)?, leaf)?,
            None => self.no_body(),
        }
        self.chain = chain;
        if self.next - self.tree_from() >= self.frontier.size() {
            self.frontier.push(leaf);
        }
        self.next += 1;
        Ok(())
    }

    fn entry(&mut self, entry: Envelope<'_>, leaf: Digest) -> Result<(), RowFault> {
        if entry.seq != self.next {
            return Err(RowFault::Seq(entry.seq));
        }
        match entry.kind {
            "ActionIntended" | "RollbackIntended" => {
                self.open_intents.insert(self.next, leaf);
            }
            "ActionSucceeded" | "ActionFailed" | "RollbackSucceeded" | "RollbackFailed" => {
                self.close_intent(&entry);
            }
            "Pruned" => {
                if let Some(pruned) = entry.body_as::<Pruned>() {
                    self.explain(pruned.first_seq, pruned.last_seq);
                }
            }
            "Redacted" => {
                if let Some(redacted) = entry.body_as::<Redacted>() {
                    self.explain(redacted.seq, redacted.seq);
                }
            }
            "KeyRotated" => {
                if let Some(named) = entry.body_as::<NamedKey>() {
                    self.keys.push(NamedKey {
                        seq: self.next,
                        ..named
                    });
                }
            }
            _ => {}
        }
        if self.last_ts.is_some_and(|last| went_back(last, entry.ts)) {
            self.clock_regressions.push(self.next);
        }
        self.first_ts = self.first_ts.or(Some((entry.ts, self.next)));
        self.last_ts = Some(entry.ts);
        Ok(())
    }

    fn close_intent(&mut self, outcome: &Envelope<'_>) {
        let Some(cause) = outcome.first_cause() else {
            return;
        };
        if cause.log != self.origin {
            return;
        }
        match cause.seq < self.from {
            true => self.closed_before.push((cause.seq, cause.leaf)),
            false => self.close(cause.seq, cause.leaf),
        }
    }

    /// An outcome names the intent `seq`, and what it hashes to.
    fn close(&mut self, seq: u64, leaf: Digest) {
        if self.open_intents.get(&seq) == Some(&leaf) {
            self.open_intents.remove(&seq);
        }
    }

    fn no_body(&mut self) {
        self.without_body += 1;
        self.add_unexplained(self.next, self.next);
    }

    fn add_unexplained(&mut self, first: u64, last: u64) {
        match self.unexplained.last_entry() {
            Some(mut run) if *run.get() + 1 == first => {
                run.insert(last);
            }
            _ => {
                self.unexplained.insert(first, last);
            }
        }
    }

    /// An entry says that the bodies from `first` to `last` were dropped. It can only speak
    /// of entries before it.
    fn explain(&mut self, first: u64, last: u64) {
        if first < self.from {
            self.explained_before.push((first, last));
        }
        let touched: Vec<_> = self
            .unexplained
            .range(..=last)
            .filter(|(_, to)| **to >= first)
            .map(|(from, to)| (*from, *to))
            .collect();
        for (from, to) in touched {
            self.unexplained.remove(&from);
            if from < first {
                self.unexplained.insert(from, first - 1);
            }
            if to > last {
                self.unexplained.insert(last + 1, to);
            }
        }
    }

    /// Seq of the first leaf in its tree.
    fn tree_from(&self) -> u64 {
        if self.alone { self.from } else { 0 }
    }

    /// The keys that the log has named, oldest first.
    pub(crate) fn keys(&self) -> &[NamedKey] {
        &self.keys
    }

    /// The first row whose missing body nothing explains; asked after the last row.
    pub(crate) fn first_unexplained(&self) -> Option<u64> {
        self.unexplained.keys().next().copied()
    }

    /// Seq that the next row must have: how many rows were found sound, from the beginning.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn chain(&self) -> Digest {
        self.chain
    }

    pub(crate) fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    pub(crate) fn last_ts(&self) -> Option<Wall> {
        self.last_ts
    }

    /// Intents without an outcome, oldest first.
    pub(crate) fn open_intents(&self) -> Vec<u64> {
        self.open_intents.keys().copied().collect()
    }

    /// Entries whose time lies before that of the entry before them.
    pub(crate) fn clock_regressions(&self) -> &[u64] {
        &self.clock_regressions
    }

    /// Rows whose body was dropped.
    pub(crate) fn without_body(&self) -> u64 {
        self.without_body
    }
}

/// Whether a clock that showed `last` and shows `now` was set back by more than the slack.
pub(crate) fn went_back(last: Wall, now: Wall) -> bool {
    last.0.saturating_sub(now.0) > CLOCK_SLACK_US
}

fn digest(bytes: &[u8]) -> Option<Digest> {
    bytes.try_into().ok().map(Digest)
}
