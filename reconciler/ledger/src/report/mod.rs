//! A report for an auditor: what a stretch of the ledger holds, and whether all of it is there.
//!
//! The population is every entry between two sizes of the log. Because seq is contiguous, the
//! hashes of every entry were checked, and the roots at both ends are those of checkpoints that
//! the auditor may hold from elsewhere, "all of it" is a statement about numbers and not about
//! trust. What the report says of incidents, kinds and criteria is counted from that population.
//!
//! Where to start: [`report`]. The criteria are in [`criteria`], incidents in [`incidents`].

mod collect;
pub mod criteria;
pub mod incidents;
mod span;

use std::{collections::BTreeMap, path::Path};

use osmoda_core::{digest::Digest, time::Wall};
use serde::Serialize;

use self::{collect::Collected, criteria::Criterion, incidents::Incident};
use crate::{
    anchor::{self, AnchorState},
    error::ReadError,
    reader::Reader,
    timeline::Source,
    verify::{Report, VerifyError, VerifyOptions, verify},
};

pub use self::span::{Bound, CheckpointGiven, Edge};

/// Most incidents that are listed one by one; the figures count all of them.
pub const INCIDENTS_MAX: usize = 10_000;

/// What is found between two ends of a log. Serializes as `ledger report -o json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditReport {
    /// `osmoda/v1`.
    pub api_version: &'static str,
    /// `LedgerReport`.
    pub kind: &'static str,
    /// The ledger is sound, and both ends are what they were said to be.
    pub ok: bool,
    /// Why not, in sentences.
    pub faults: Vec<String>,
    /// What verification of the whole file found.
    pub verification: Report,
    /// Where the period begins: after this many entries.
    pub from: Edge,
    /// Where it ends: this many entries are before the end.
    pub to: Edge,
    /// How many entries there are, and whether they are all.
    pub population: Population,
    /// Entries by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Entries by agent; the empty name is the node's own.
    pub agents: BTreeMap<String, AgentFigures>,
    /// What operators did, by user id and verb.
    pub operators: Vec<OperatorFigures>,
    /// Incidents that began, went on or ended in the period.
    pub incidents: Vec<Incident>,
    /// Figures over all of them.
    pub incident_figures: IncidentFigures,
    /// What vouches for the log outside the node, and what nothing does yet.
    pub anchoring: Anchoring,
    /// Which entries bear on which criterion.
    pub criteria: Vec<Criterion>,
}

/// Whether the period is there as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Population {
    /// Entries in the period.
    pub entries: u64,
    /// Of these, found in the file with contiguous numbers and sound hashes.
    pub present: u64,
    /// Whether that is all of them.
    pub complete: bool,
    /// First seq of the period; absent if it is empty.
    pub first_seq: Option<u64>,
    /// Last seq of the period; absent if it is empty.
    pub last_seq: Option<u64>,
    /// Time of the first entry that has one (RFC 3339).
    pub first_at: Option<String>,
    /// Time of the last entry that has one (RFC 3339).
    pub last_at: Option<String>,
    /// Entries of which only the hash is left, as a later entry says.
    pub without_body: u64,
    /// Entries that were recorded late because the disk did not take them.
    pub late: u64,
    /// Entries that were lost then, as the node itself recorded.
    pub dropped: u64,
    /// Seqs at which the wall clock had been set back.
    pub clock_regressions: Vec<u64>,
}

/// Entries of one agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentFigures {
    /// All.
    pub entries: u64,
    /// Failures that were detected.
    pub failures: u64,
    /// Recoveries that were verified.
    pub recoveries: u64,
}

/// What one user did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorFigures {
    /// User id.
    pub uid: u64,
    /// restart, pause, ...
    pub verb: String,
    /// Commands that were carried out.
    pub accepted: u64,
    /// Commands that were refused.
    pub refused: u64,
}

/// Figures over all incidents of the period.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentFigures {
    /// Began in the period or before, and were open in it.
    pub total: u64,
    /// Ended in verified health.
    pub recovered: u64,
    /// Had no verified end by the end of the period.
    pub open: u64,
    /// Spent their budget.
    pub escalated: u64,
    /// From failure to detection.
    pub time_to_detect: Times,
    /// From failure to the start of what proved healthy.
    pub time_to_restart: Times,
    /// From failure to verified health.
    pub time_to_verify: Times,
    /// Incidents that are not listed one by one.
    pub left_out: u64,
}

/// Durations, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// How many were measured.
    pub count: u64,
    /// Half of them were at most this long.
    pub median_us: Option<u64>,
    /// 95 of 100 were at most this long (nearest rank).
    pub p95_us: Option<u64>,
    /// The longest.
    pub max_us: Option<u64>,
}

/// What vouches for the log outside the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Anchoring {
    /// Entries of the whole log that at least one anchor has taken, as the node noted.
    pub anchored: u64,
    /// Entries of the whole log after that: nothing outside the node vouches for them yet.
    pub unanchored: u64,
    /// Each anchor.
    pub anchors: Vec<AnchorState>,
    /// The file can say nothing of anchors: it is an export, or was never told of any.
    pub unknown: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file cannot be verified at all.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The file cannot be read.
    #[error("cannot read the ledger")]
    Read(#[from] ReadError),
    /// The ends are the wrong way round.
    #[error("the period ends before it begins: from {from} entries to {to}")]
    Backwards {
        /// Size at the beginning.
        from: u64,
        /// Size at the end.
        to: u64,
    },
}

/// Verifies the ledger or export at `path` and reports on what lies between `from` and `to`.
/// `progress` is told now and then how many entries were verified, and of how many.
///
/// # Errors
/// [`ReportError`]; a ledger that is not sound gives a report with `ok: false`.
pub fn report(
    path: &Path,
    from: &Bound,
    to: &Bound,
    progress: impl FnMut(u64, u64),
) -> Result<AuditReport, ReportError> {
    let verification = verify(path, &VerifyOptions::default(), progress)?;
    if !verification.ok {
        let reason = verification.reason.clone().unwrap_or_default();
        let faults = vec![format!("the ledger is not sound: {reason}")];
        return Ok(assemble(
            verification,
            Collected::default(),
            Anchoring::default(),
            faults,
        ));
    }
    let source = Source::open(path, verification.size)?;
    let collected = collect::collect(source, from, to)?;
    if collected.from.size > collected.to.size {
        return Err(ReportError::Backwards {
            from: collected.from.size,
            to: collected.to.size,
        });
    }
    let origin = verification.origin.as_deref().unwrap_or_default();
    let faults = [(from, &collected.from), (to, &collected.to)]
        .iter()
        .filter_map(|(bound, edge)| bound.fault(edge, origin, verification.size))
        .collect();
    let anchoring = anchoring(path, verification.size)?;
    Ok(assemble(verification, collected, anchoring, faults))
}

fn assemble(
    verification: Report,
    collected: Collected,
    anchoring: Anchoring,
    faults: Vec<String>,
) -> AuditReport {
    AuditReport {
        api_version: "osmoda/v1",
        kind: "LedgerReport",
        ok: faults.is_empty(),
        faults,
        verification,
        from: collected.from,
        to: collected.to,
        population: collected.population,
        criteria: criteria::criteria(&collected.kinds),
        kinds: collected.kinds,
        agents: collected.agents,
        operators: collected.operators,
        incidents: collected.incidents,
        incident_figures: collected.figures,
        anchoring,
    }
}

/// What the state beside the log says of anchors; an export has none.
fn anchoring(path: &Path, size: u64) -> Result<Anchoring, ReadError> {
    let rows = match Reader::open(path).and_then(|reader| reader.state(anchor::STATE_PREFIX)) {
        Ok(rows) => rows,
        // An export is no database.
        Err(ReadError::Sqlite(_)) => BTreeMap::new(),
        Err(other) => return Err(other),
    };
    let anchors = anchor::read_all(&rows);
    let anchored = anchor::anchored_size(&anchors, size);
    Ok(Anchoring {
        anchored,
        unanchored: size - anchored,
        unknown: anchors.is_empty(),
        anchors,
    })
}

impl Times {
    /// Over these durations.
    pub(crate) fn of(mut all: Vec<u64>) -> Self {
        all.sort_unstable();
        let rank = |percent: usize| {
            let rank = (all.len() * percent).div_ceil(100);
            all.get(rank.saturating_sub(1)).copied()
        };
        Self {
            count: all.len() as u64,
            median_us: rank(50),
            p95_us: rank(95),
            max_us: all.last().copied(),
        }
    }
}

/// RFC 3339 in UTC.
pub(crate) fn shown(time: Option<Wall>) -> Option<String> {
    time.map(|time| time.to_string())
}

/// The digest of nothing, for an edge that was not reached.
pub(crate) fn empty_root() -> Digest {
    Digest::of(b"")
}
