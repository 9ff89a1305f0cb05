//! Follows a log row by row and says at which one it stops being what it claims.
//!
//! Used by `verify` for a whole file or an export, and by the store for its tail at start.
//! The order of the checks is the order of what they rest on: the place, the bytes, the leaf
//! of the bytes, the chain over the leaves, and last the meaning of the fields.

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
    next: u64,
    chain: Digest,
    /// Grows with the rows that it does not hold yet.
    frontier: Frontier,
    last_ts: Option<Wall>,
    open_intents: BTreeMap<u64, Digest>,
    clock_regressions: Vec<u64>,
    /// First to last seq of runs of rows without body that nothing has explained yet.
    unexplained: BTreeMap<u64, u64>,
    without_body: u64,
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
            next,
            chain,
            frontier,
            last_ts: None,
            open_intents: BTreeMap::new(),
            clock_regressions: Vec::new(),
            unexplained: BTreeMap::new(),
            without_body: 0,
        }
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
        if row.body.is_some_and(|body| tlog::leaf(body) != leaf) {
            return Err(RowFault::Leaf);
        }
        let chain = tlog::chain_next(&self.chain, &leaf);
        if chain != claimed {
            return Err(RowFault::Chain);
        }
        match row.body {
            Some(body) => self.entry(body, leaf)?,
            None => self.no_body(),
        }
        self.chain = chain;
        if self.next >= self.frontier.size() {
            self.frontier.push(leaf);
        }
        self.next += 1;
        Ok(())
    }

    fn entry(&mut self, body: &[u8], leaf: Digest) -> Result<(), RowFault> {
        let entry = Envelope::parse(body).map_err(RowFault::Envelope)?;
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
            _ => {}
        }
        if self.last_ts.is_some_and(|last| went_back(last, entry.ts)) {
            self.clock_regressions.push(self.next);
        }
        self.last_ts = Some(entry.ts);
        Ok(())
    }

    fn close_intent(&mut self, outcome: &Envelope<'_>) {
        let Some(cause) = outcome.first_cause() else {
            return;
        };
        let named = self.open_intents.get(&cause.seq);
        let same = named.is_some_and(|leaf| leaf.to_string() == cause.leaf);
        if same && cause.log == self.origin {
            self.open_intents.remove(&cause.seq);
        }
    }

    fn no_body(&mut self) {
        self.without_body += 1;
        match self.unexplained.last_entry() {
            Some(mut run) if *run.get() + 1 == self.next => {
                run.insert(self.next);
            }
            _ => {
                self.unexplained.insert(self.next, self.next);
            }
        }
    }

    /// An entry says that the bodies from `first` to `last` were dropped. It can only speak
    /// of entries before it.
    fn explain(&mut self, first: u64, last: u64) {
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
