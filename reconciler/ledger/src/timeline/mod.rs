//! One story from the ledgers of several nodes, and how sure its order is.
//!
//! Within one log the order is that of `seq`. Between logs it is certain only along causes: an
//! entry that names another by log, seq and leaf was written after it, and so was everything
//! that follows it in its own log. A LogReset is such a link, too: it names the last entry that
//! it found sound in the log before it. Everything else is put in order by the nodes' clocks,
//! and every item says which of the three it was.
//!
//! Invariants:
//! - An item never comes before one that is known to have come first. If the logs contradict
//!   each other there, that is a [`Finding`], and the clock decides.
//! - A link counts only if the entry it names has the leaf that it says.
//!
//! Where to start: [`build`]; the order is made in `merge`, files are read in `source`.

mod link;
mod merge;
mod source;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf};

use osmoda_core::{digest::Digest, time::Wall};
use serde::Serialize;
use serde_json::Value;

pub(crate) use self::source::{Read, Source};
use self::{
    link::Facts,
    merge::{Log, Merged, Merger},
};

/// Most items of one timeline; what goes beyond is counted and left out.
pub const ITEMS_MAX: usize = 100_000;
/// Most logs of one timeline.
pub const LOGS_MAX: usize = 64;
/// Most findings that are kept.
const FINDINGS_MAX: usize = 1000;

/// A file to be read, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// A ledger, or a whole export of one.
    pub path: PathBuf,
    /// Entries to be read at most: those that verification found sound.
    pub size: u64,
    /// Why it cannot be trusted, if it was found not to be sound.
    pub fault: Option<String>,
}

/// Which entries are told. Order and certainty are those of the whole logs all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this time or later.
    pub since: Option<Wall>,
    /// Only before this time.
    pub until: Option<Wall>,
    /// Only of this agent.
    pub agent: Option<String>,
    /// Only of this incident.
    pub incident: Option<String>,
}

/// Entries of several logs in one order. Serializes as `ledger timeline -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// Every log is verified, and nothing contradicts anything.
    pub ok: bool,
    /// The logs, in the order of the files.
    pub logs: Vec<LogSummary>,
    /// What happened, first to last.
    pub items: Vec<Item>,
    /// Entries that were asked for but are too many ([`ITEMS_MAX`]): the last ones.
    pub left_out: u64,
    /// What does not fit together.
    pub findings: Vec<Finding>,
}

/// One log of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogSummary {
    /// Name of the log, `NODE/osmoda/LOGID`.
    pub origin: String,
    /// Where it was read from.
    pub file: PathBuf,
    /// Entries that were read.
    pub size: u64,
    /// Every hash of it was checked.
    pub verified: bool,
    /// Why not.
    pub fault: Option<String>,
}

/// One entry in its place.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Index in [`Timeline::logs`].
    pub log: usize,
    /// Its place in that log.
    pub seq: u64,
    /// Its leaf hash.
    pub leaf: Digest,
    /// Why it stands after the item before it.
    pub order: Order,
    /// The last entries of other logs, by their index, that are known to have come before it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub known_before: BTreeMap<usize, u64>,
    /// The entry; null if its body was pruned or redacted.
    pub entry: Value,
}

/// Why an item stands after the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Order {
    /// It is the first.
    First,
    /// Certain: both are of one log.
    Sequence,
    /// Certain: causes lead from the one to the other.
    Cause,
    /// By the nodes' clocks only; it may have been the other way round.
    Clock,
}

/// Something that does not fit together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Index in [`Timeline::logs`].
    pub log: usize,
    /// The entry that says what cannot be.
    pub seq: u64,
    /// What cannot be, in a sentence.
    pub message: String,
}

/// Why there is no timeline.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TimelineError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{first} and {second} are both copies of the log {origin}")]
    SameLog {
        first: PathBuf,
        second: PathBuf,
        origin: String,
    },
    #[error("{0} files are too many for one timeline; at most {LOGS_MAX} are merged")]
    TooMany(usize),
}

/// Merges `inputs`, keeping no more of them in memory than what is told.
///
/// # Errors
/// [`TimelineError`]; a contradiction between the logs is a [`Finding`] and no error.
pub fn build(inputs: &[Input], filter: &Filter) -> Result<Timeline, TimelineError> {
    if inputs.len() > LOGS_MAX {
        return Err(TimelineError::TooMany(inputs.len()));
    }
    let mut sources = Vec::new();
    for input in inputs {
        let source =
            Source::open(&input.path, input.size).map_err(|error| unreadable(input, error))?;
        sources.push(source);
    }
    refuse_copies(inputs, &sources)?;
    let logs = inputs.iter().zip(&sources).map(summary).collect();
    let mut telling = Telling::new(filter, logs);
    let mut merger = Merger::new(sources);
    loop {
        match merger.next() {
            Ok(Some(merged)) => telling.take(merged, &merger),
            Ok(None) => break,
            Err((log, error)) => return Err(unreadable(&inputs[log], error)),
        }
    }
    for (log, read) in merger.read().into_iter().enumerate() {
        telling.timeline.logs[log].size = read;
    }
    Ok(telling.done())
}

fn unreadable(
    input: &Input,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> TimelineError {
    TimelineError::Read {
        path: input.path.clone(),
        source: source.into(),
    }
}

fn refuse_copies(inputs: &[Input], sources: &[Source]) -> Result<(), TimelineError> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, source) in sources.iter().enumerate() {
        if let Some(first) = seen.insert(source.origin(), index) {
            return Err(TimelineError::SameLog {
                first: inputs[first].path.clone(),
                second: inputs[index].path.clone(),
                origin: source.origin().to_owned(),
            });
        }
    }
    Ok(())
}

fn summary((input, source): (&Input, &Source)) -> LogSummary {
    LogSummary {
        origin: source.origin().to_owned(),
        file: input.path.clone(),
        size: 0,
        verified: input.fault.is_none(),
        fault: input.fault.clone(),
    }
}

/// Chooses what is told.
struct Telling<'a> {
    filter: &'a Filter,
    timeline: Timeline,
}

impl<'a> Telling<'a> {
    fn new(filter: &'a Filter, logs: Vec<LogSummary>) -> Self {
        let timeline = Timeline {
            ok: true,
            logs,
            items: Vec::new(),
            left_out: 0,
            findings: Vec::new(),
        };
        Self { filter, timeline }
    }

    fn take<L: Log>(&mut self, merged: Merged, merger: &Merger<L>) {
        let (log, seq) = (merged.log, merged.entry.seq);
        for message in merged.findings {
            if self.timeline.findings.len() < FINDINGS_MAX {
                self.timeline.findings.push(Finding { log, seq, message });
            }
        }
        if !self.filter.lets_through(&merged.entry.facts) {
            return;
        }
        if self.timeline.items.len() >= ITEMS_MAX {
            self.timeline.left_out += 1;
            return;
        }
        let order = match self.timeline.items.last() {
            None => Order::First,
            Some(last) if last.log == log => Order::Sequence,
            Some(last) if merger.knows(log, last.log, last.seq) => Order::Cause,
            Some(_) => Order::Clock,
        };
        let parsed = merged.entry.body.as_deref().map(serde_json::from_slice);
        self.timeline.items.push(Item {
            log,
            seq,
            leaf: merged.entry.leaf,
            order,
            known_before: merger.known_before(log),
            entry: parsed.and_then(Result::ok).unwrap_or_default(),
        });
    }

    fn done(mut self) -> Timeline {
        let verified = self.timeline.logs.iter().all(|log| log.verified);
        self.timeline.ok = verified && self.timeline.findings.is_empty();
        self.timeline
    }
}

impl Filter {
    fn lets_through(&self, facts: &Facts) -> bool {
        let time = |bound: &Option<Wall>, fits: fn(Wall, Wall) -> bool| match (bound, facts.ts) {
            (None, _) => true,
            (Some(bound), Some(ts)) => fits(ts, *bound),
            // A body that was dropped has no time; it lies where its neighbours lie.
            (Some(_), None) => false,
        };
        let same =
            |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        time(&self.since, |ts, since| ts >= since)
            && time(&self.until, |ts, until| ts < until)
            && same(&self.agent, &facts.agent)
            && same(&self.incident, &facts.incident)
    }
}
