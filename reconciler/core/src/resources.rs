//! Memory and CPU of a process tree over time, and when they ask for a restart.
//!
//! The rules, in full:
//! - memory at or above `memory.high`: now;
//! - memory that is above [`PROJECT_ABOVE`] of `memory.high`, has grown over the last
//!   [`PROJECT_OVER`] without once falling back by more than [`DIP_MAX`] of its growth, and at
//!   the mean slope of that time crosses within the time that a graceful stop may take: now,
//!   while there is still time for it. A sawtooth (a garbage collector's) is no such growth;
//! - CPU above `cpu.runaway.above` in every interval of a whole window.

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
/// Share of `memory.high` in percent below which nothing is projected.
pub const PROJECT_ABOVE: u64 = 80;
/// How long growth must have lasted before it is projected.
pub const PROJECT_OVER: Duration = Duration::from_secs(10);
/// Fall back, in percent of the growth so far, after which it is no steady growth.
pub const DIP_MAX: u64 = 10;

/// What a process tree uses at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Memory in bytes, without file cache that the kernel can drop at once.
    pub memory_bytes: u64,
    /// CPU time used since the instance began, in microseconds.
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
    /// CPU time since the instance began, in microseconds.
    pub cpu_us: u64,
}

/// The last samples of one instance, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trajectory {
    samples: VecDeque<Sample>,
    runaway_since: Option<Mono>,
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
        let last = self.samples.back().copied();
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
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            at,
            memory_bytes: usage.memory_bytes,
            cpu_us: usage.cpu_us,
        });
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = &Sample> + Clone {
        self.samples.iter()
    }

    /// The youngest sample.
    pub fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// CPU use between the last two samples, in percent of one CPU.
    pub fn cpu_percent(&self) -> Option<u64> {
        let mut last = self.samples.iter().rev();
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
            let crosses_in = self.crossing(high).filter(|time| *time <= stop_takes);
            if let Some(crosses_in) = crosses_in {
                return Some(Excess::MemoryRising { crosses_in });
            }
        }
        self.runaway(rules.cpu_runaway?, last)
    }

    /// Time until `high` is reached, if the growth is steady.
    fn crossing(&self, high: u64) -> Option<Duration> {
        let last = self.last()?;
        if last.memory_bytes < high / 100 * PROJECT_ABOVE {
            return None;
        }
        let from = Mono(last.at.0.checked_sub(micros(PROJECT_OVER))?);
        let older = self.samples.iter().rev().find(|sample| sample.at <= from)?;
        let growth = last.memory_bytes.checked_sub(older.memory_bytes)?;
        if growth == 0 {
            return None;
        }
        let recent = self.samples.iter().filter(|sample| sample.at >= older.at);
        let mut peak = 0;
        for sample in recent {
            let dip = sample.memory_bytes.saturating_add(growth * DIP_MAX / 100);
            if dip < peak {
                return None;
            }
            peak = peak.max(sample.memory_bytes);
        }
        let took = u128::from(micros(last.at.since(older.at)));
        let left = u128::from(high - last.memory_bytes);
        let time = left * took / u128::from(growth);
        Some(Duration::from_micros(u64::try_from(time).ok()?))
    }

    fn runaway(&self, rules: CpuRunaway, last: &Sample) -> Option<Excess> {
        let since = self.runaway_since?;
        let lasted = last.at.since(since);
        if lasted < rules.window.get() {
            return None;
        }
        // The window may be longer than what is remembered; its remembered part speaks for it.
        let begin = self.samples.iter().find(|sample| sample.at >= since)?;
        let used = last.cpu_us.saturating_sub(begin.cpu_us);
        let percent = percent(used, last.at.since(begin.at));
        Some(Excess::CpuRunaway { percent })
    }
}

/// CPU time over wall time, in percent.
fn percent(cpu_us: u64, time: Duration) -> u64 {
    let percent = u128::from(cpu_us) * 100 / time.as_micros().max(1);
    u64::try_from(percent).unwrap_or(u64::MAX)
}
