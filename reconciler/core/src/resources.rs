//! Memory and CPU of a process tree over time, and when they ask for a restart.
//!
//! The rules, in full (docs/resources.md explains them to users):
//! - memory at or above `memory.high`: now;
//! - memory that is about to be: now, while there is time for a graceful stop. It is about to be
//!   if all of this holds: it is above [`PROJECT_ABOVE`] of `memory.high`; it grew since the
//!   last sample, and in each of [`PARTS`] parts of the last [`PROJECT_OVER`], without once
//!   falling back by more than [`DIP_MAX`] of that growth; at the smallest slope of those parts
//!   it crosses before a stop begun at the next sample would have to be over; and it has never
//!   in its life fallen back from nearly there (below);
//! - CPU above `cpu.runaway.above` in every interval of a whole window.
//!
//! What looks like a leak and is none:
//! - a program that fills its caches when it starts: nothing is projected before it has been
//!   followed for [`PROJECT_OVER`];
//! - a step, however large: there is a part of the time in which it does not grow;
//! - noise: it falls back within the time;
//! - a garbage collector's sawtooth: a short one falls back within the time. A long one is known
//!   after its first fall ([`FALL_MIN`]): from then on only memory more than half way from its
//!   highest peak to `memory.high` is projected. The first rise of a long one whose peak comes
//!   within a stop's time of `memory.high` cannot be told from a leak;
//! - page cache: it is not in [`Usage::memory_bytes`].

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;

use crate::{
    plan::micros,
    spec::{CpuRunaway, Resources},
    time::Mono,
};

/// Time between two samples of an agent whose memory or CPU is judged.
pub const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// Most samples remembered, and written into a failure's entry.
pub const SAMPLES_MAX: usize = 60;
/// Youngest samples, of which every one is remembered. The others are thinned, so that together
/// they span the instance's whole life.
pub const RECENT: usize = 44;
/// Share of `memory.high` in percent below which nothing is projected.
pub const PROJECT_ABOVE: u64 = 80;
/// How long growth must have lasted before it is projected.
pub const PROJECT_OVER: Duration = Duration::from_secs(20);
/// Parts of that time in each of which it must have grown.
pub const PARTS: u32 = 4;
/// Fall back, in percent of the growth so far, after which it is no steady growth.
pub const DIP_MAX: u64 = 10;
/// Fall from a peak, in percent of `memory.high`, that shows a cycle; less is noise.
pub const FALL_MIN: u64 = 10;

/// What a process tree uses at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Memory in bytes, without file cache that the kernel can drop at once.
    pub memory_bytes: u64,
    /// CPU time used since some moment before the instance was first looked at, in microseconds;
    /// it never falls while the instance lives. Only its differences mean something.
    pub cpu_us: u64,
}

/// One point of a trajectory, as written into the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When: microseconds since boot.
    #[serde(rename = "monoUs")]
    pub at: Mono,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// CPU time in microseconds, as [`Usage::cpu_us`].
    pub cpu_us: u64,
}

/// Samples of one instance, oldest first: the first one, the [`RECENT`] youngest, and between
/// them at most [`SAMPLES_MAX`] in all, about evenly spread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trajectory {
    /// Thinned: two of them are at least `spacing` apart.
    older: VecDeque<Sample>,
    spacing: Duration,
    recent: VecDeque<Sample>,
    runaway_since: Option<Mono>,
    cycle: Cycle,
}

/// Whether memory is known to come back from where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cycle {
    /// Highest since the last fall.
    crest: u64,
    /// Highest from which it fell.
    peak: Option<u64>,
}

/// Why an agent's use asks for a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Memory is at or above the threshold.
    MemoryHigh,
    /// Memory will be, this soon.
    MemoryRising {
        /// Time until the threshold at the present slope.
        crosses_in: Duration,
    },
    /// CPU was above its threshold for the whole window.
    CpuRunaway {
        /// Mean use over the window, in percent of one CPU.
        percent: u64,
    },
}

impl Trajectory {
    /// Adds a sample; one that is not younger than the last is dropped.
    pub fn add(&mut self, rules: &Resources, usage: Usage, at: Mono) {
        let last = self.last().copied();
        if last.is_some_and(|last| last.at >= at) {
            return;
        }
        if let (Some(last), Some(runaway)) = (last, rules.cpu_runaway) {
            let above = percent(usage.cpu_us.saturating_sub(last.cpu_us), at.since(last.at))
                > u64::from(runaway.above.0);
            self.runaway_since = match (above, self.runaway_since) {
                (true, Some(since)) => Some(since),
                (true, None) => Some(last.at),
                (false, _) => None,
            };
        }
        if let Some(high) = rules.memory_high {
            self.cycle.see(usage.memory_bytes, high.0);
        }
        self.recent.push_back(Sample {
            at,
            memory_bytes: usage.memory_bytes,
            cpu_us: usage.cpu_us,
        });
        if self.recent.len() > RECENT
            && let Some(aged) = self.recent.pop_front()
        {
            self.keep_older(aged);
        }
    }

    /// Keeps a sample that is no longer recent if it is far enough from the one before; where
    /// there is no room, every second one goes and the distance doubles.
    fn keep_older(&mut self, aged: Sample) {
        let before = self.older.back().map(|before| aged.at.since(before.at));
        if before.is_some_and(|distance| distance < self.spacing) {
            return;
        }
        self.older.push_back(aged);
        if self.older.len() <= SAMPLES_MAX - RECENT {
            return;
        }
        let mut nth = 0_usize;
        self.older.retain(|_| {
            nth += 1;
            nth % 2 == 1 // the first one stays
        });
        self.spacing = self.spacing.max(SAMPLE_EVERY).saturating_mul(2);
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = &Sample> + Clone {
        self.older.iter().chain(&self.recent)
    }

    /// The youngest sample.
    pub fn last(&self) -> Option<&Sample> {
        self.recent.back()
    }

    /// CPU use between the last two samples, in percent of one CPU.
    pub fn cpu_percent(&self) -> Option<u64> {
        let mut last = self.samples().rev();
        let (new, old) = (last.next()?, last.next()?);
        Some(percent(
            new.cpu_us.saturating_sub(old.cpu_us),
            new.at.since(old.at),
        ))
    }

    /// Whether the use asks for a restart; `stop_takes`: how long a graceful stop may take.
    pub fn judge(&self, rules: &Resources, stop_takes: Duration) -> Option<Excess> {
        let last = self.last()?;
        if let Some(high) = rules.memory_high.map(|size| size.0) {
            if last.memory_bytes >= high {
                return Some(Excess::MemoryHigh);
            }
            let in_time = |time: &Duration| *time <= stop_takes.saturating_add(SAMPLE_EVERY);
            let crosses_in = self.crossing(high).filter(in_time);
            if let Some(crosses_in) = crosses_in {
                return Some(Excess::MemoryRising { crosses_in });
            }
        }
        self.runaway(rules.cpu_runaway?, last)
    }

    /// Time until `high` is reached, if the growth is steady.
    fn crossing(&self, high: u64) -> Option<Duration> {
        let last = self.last()?;
        if last.memory_bytes < share(high, PROJECT_ABOVE) || self.cycle.reaches(last, high) {
            return None;
        }
        let before = self.samples().rev().nth(1)?;
        if last.memory_bytes <= before.memory_bytes {
            return None;
        }
        let crosses_in = self.crossing_at_slowest(high, last)?;
        let older = self.back_then(last, PROJECT_OVER)?;
        let dip_max = share(last.memory_bytes.checked_sub(older.memory_bytes)?, DIP_MAX);
        let mut peak = 0;
        for sample in self.samples().filter(|sample| sample.at >= older.at) {
            if sample.memory_bytes.saturating_add(dip_max) < peak {
                return None;
            }
            peak = peak.max(sample.memory_bytes);
        }
        Some(crosses_in)
    }

    /// Time until `high` is reached at the slope of the slowest of the parts.
    fn crossing_at_slowest(&self, high: u64, last: &Sample) -> Option<Duration> {
        let mut slowest = Duration::ZERO;
        let mut end = last;
        for part in 1..=PARTS {
            let begin = self.back_then(last, PROJECT_OVER * part / PARTS)?;
            let growth = end.memory_bytes.checked_sub(begin.memory_bytes)?;
            let took = u128::from(micros(end.at.since(begin.at)));
            let left = u128::from(high.saturating_sub(last.memory_bytes));
            let time = (left * took).checked_div(u128::from(growth))?;
            slowest = slowest.max(Duration::from_micros(u64::try_from(time).ok()?));
            end = begin;
        }
        Some(slowest)
    }

    /// The youngest sample that is at least this much older than `last`.
    fn back_then(&self, last: &Sample, ago: Duration) -> Option<&Sample> {
        let at = Mono(last.at.0.checked_sub(micros(ago))?);
        self.samples().rev().find(|sample| sample.at <= at)
    }

    fn runaway(&self, rules: CpuRunaway, last: &Sample) -> Option<Excess> {
        let since = self.runaway_since?;
        let lasted = last.at.since(since);
        if lasted < rules.window.get() {
            return None;
        }
        // Thinned away, perhaps; the first that is left of the window speaks for it.
        let begin = self.samples().find(|sample| sample.at >= since)?;
        let used = last.cpu_us.saturating_sub(begin.cpu_us);
        let percent = percent(used, last.at.since(begin.at));
        Some(Excess::CpuRunaway { percent })
    }
}

impl Cycle {
    /// Follows one more sample. A fall of less than [`FALL_MIN`] of `high` is noise.
    fn see(&mut self, memory: u64, high: u64) {
        if memory.saturating_add(share(high, FALL_MIN)) < self.crest {
            self.peak = self.peak.max(Some(self.crest));
            self.crest = memory;
        }
        self.crest = self.crest.max(memory);
    }

    /// Whether it has come back from about here before: from more than half way to `high`, going
    /// by the highest peak.
    fn reaches(&self, last: &Sample, high: u64) -> bool {
        self.peak.is_some_and(|peak| {
            let half_way = peak.saturating_add(high.saturating_sub(peak) / 2);
            last.memory_bytes <= half_way
        })
    }
}

/// `percent` of `whole`, without overflow.
fn share(whole: u64, percent: u64) -> u64 {
    let share = u128::from(whole) * u128::from(percent) / 100;
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// CPU time over wall time, in percent.
fn percent(cpu_us: u64, time: Duration) -> u64 {
    let percent = u128::from(cpu_us) * 100 / time.as_micros().max(1);
    u64::try_from(percent).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
