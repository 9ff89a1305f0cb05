//! Puts the entries of several logs in one order: causality first, then the clock.
//!
//! Every log is read from its front. An entry is free when all that it names of the other logs
//! has been given out; among the free ones the earliest clock goes first. What is known to
//! have come before an entry is kept as a vector clock (one seq for each log), so "certain" is
//! a comparison of two numbers, however long the logs are.

use std::collections::BTreeMap;

use super::{
    link::{Identity, Link},
    source::Read,
};

/// A log that is read from its first entry on.
pub(crate) trait Log {
    type Error;

    fn origin(&self) -> &str;

    fn next(&mut self) -> Result<Option<Read>, Self::Error>;

    /// Whether the entry `seq`, which has been read already, is the one that is meant.
    fn is(&self, seq: u64, identity: &Identity) -> Result<bool, Self::Error>;
}

/// For each log the last of its entries that is known to have come before.
type Known = Vec<Option<u64>>;

/// An entry that was given out.
#[derive(Debug)]
pub(crate) struct Merged {
    /// Index of its log.
    pub log: usize,
    pub entry: Read,
    /// What it says that cannot be.
    pub findings: Vec<String>,
}

/// Gives out entries in order.
pub(crate) struct Merger<L> {
    lanes: Vec<Lane<L>>,
    begun: bool,
}

struct Lane<L> {
    log: L,
    /// The entry that comes next.
    head: Option<Read>,
    /// Entries that were given out.
    given: u64,
    /// Of the entry that was given out last.
    known: Known,
    /// Every value that `known` had for other logs, and from which entry on.
    history: Vec<(u64, Known)>,
}

impl<L: Log> Merger<L> {
    pub(crate) fn new(logs: Vec<L>) -> Self {
        let known = vec![None; logs.len()];
        let lane = |log| Lane {
            log,
            head: None,
            given: 0,
            known: known.clone(),
            history: Vec::new(),
        };
        Self {
            lanes: logs.into_iter().map(lane).collect(),
            begun: false,
        }
    }

    /// The next entry of all logs; the error comes with the index of its log.
    pub(crate) fn next(&mut self) -> Result<Option<Merged>, (usize, L::Error)> {
        if !self.begun {
            self.begun = true;
            for index in 0..self.lanes.len() {
                self.advance(index)?;
            }
        }
        let waiting = || (0..self.lanes.len()).filter(|index| self.lanes[*index].head.is_some());
        let earliest = |indices: &mut dyn Iterator<Item = usize>| {
            indices.min_by_key(|index| (self.time(*index), *index))
        };
        let free = earliest(&mut waiting().filter(|index| self.is_free(*index)));
        // Nothing is free: the logs contradict each other, and only the clock is left.
        let Some(chosen) = free.or_else(|| earliest(&mut waiting())) else {
            return Ok(None);
        };
        self.give(chosen)
    }

    /// How many entries of each log were given out.
    pub(crate) fn read(&self) -> Vec<u64> {
        self.lanes.iter().map(|lane| lane.given).collect()
    }

    /// Whether the entry that `log` gave out last is known to come after `seq` of `other`.
    pub(crate) fn knows(&self, log: usize, other: usize, seq: u64) -> bool {
        self.lanes[log].known[other].is_some_and(|known| known >= seq)
    }

    /// For other logs, the last entry known to come before the one that `log` gave out last.
    pub(crate) fn known_before(&self, log: usize) -> BTreeMap<usize, u64> {
        let known = self.lanes[log].known.iter().enumerate();
        let others = known.filter(|(other, _)| *other != log);
        others
            .filter_map(|(other, seq)| Some((other, (*seq)?)))
            .collect()
    }

    fn advance(&mut self, index: usize) -> Result<(), (usize, L::Error)> {
        let next = self.lanes[index].log.next();
        self.lanes[index].head = next.map_err(|error| (index, error))?;
        Ok(())
    }

    /// Microseconds since 1970; a dropped body sorts with what came before it in its log.
    fn time(&self, index: usize) -> i64 {
        let head = self.lanes[index].head.as_ref();
        let ts = head.and_then(|head| head.facts.ts);
        ts.map_or(i64::MIN, |ts| ts.0)
    }

    fn lane_of(&self, origin: &str) -> Option<usize> {
        self.lanes
            .iter()
            .position(|lane| lane.log.origin() == origin)
    }

    /// Links of the head to other logs that are here, with the index of each.
    fn links(&self, index: usize) -> Vec<(usize, Link)> {
        let links = self.lanes[index]
            .head
            .iter()
            .flat_map(|head| &head.facts.links);
        links
            .filter_map(|link| Some((self.lane_of(&link.log)?, link.clone())))
            .filter(|(other, _)| *other != index)
            .collect()
    }

    fn is_given(&self, (other, link): &(usize, Link)) -> bool {
        link.seq < self.lanes[*other].given
    }

    fn is_free(&self, index: usize) -> bool {
        // What a log will never give out is not waited for.
        let will_come = |(other, _): &(usize, Link)| self.lanes[*other].head.is_some();
        let links = self.links(index);
        links
            .iter()
            .all(|link| self.is_given(link) || !will_come(link))
    }

    fn give(&mut self, index: usize) -> Result<Option<Merged>, (usize, L::Error)> {
        let mut findings = Vec::new();
        let mut known = self.lanes[index].known.clone();
        for link in self.links(index) {
            let (other, Link { log, seq, is }) = &link;
            if !self.is_given(&link) {
                findings.push(match self.lanes[*other].head {
                    Some(_) => format!("names entry {seq} of {log}, which cannot have come first"),
                    None => format!("names entry {seq} of {log}, which this copy does not reach"),
                });
                continue;
            }
            let same = self.lanes[*other].log.is(*seq, is);
            if !same.map_err(|error| (*other, error))? {
                findings.push(format!(
                    "names entry {seq} of {log} by another hash: one of the two logs was rewritten"
                ));
                continue;
            }
            join(&mut known, &self.lanes[*other].known_at(*seq));
            known[*other] = known[*other].max(Some(*seq));
        }
        let lane = &mut self.lanes[index];
        let Some(entry) = lane.head.take() else {
            return Ok(None); // never: only a log with a next entry is chosen
        };
        if known != lane.known {
            lane.history.push((entry.seq, known.clone()));
        }
        known[index] = Some(entry.seq);
        lane.known = known;
        lane.given = entry.seq + 1;
        self.advance(index)?;
        Ok(Some(Merged {
            log: index,
            entry,
            findings,
        }))
    }
}

impl<L> Lane<L> {
    /// What was known of other logs when `seq` was written.
    fn known_at(&self, seq: u64) -> Known {
        let until = self.history.partition_point(|(from, _)| *from <= seq);
        match until.checked_sub(1) {
            Some(last) => self.history[last].1.clone(),
            None => vec![None; self.known.len()],
        }
    }
}

fn join(known: &mut Known, more: &Known) {
    for (known, more) in known.iter_mut().zip(more) {
        *known = (*known).max(*more);
    }
}
