//! Processor time and wakeups of one process over a stretch of time.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    time::Instant,
};

use anyhow::Context as _;
use serde::Serialize;

use crate::bench::{restart::cost, stats::as_float};

/// What a process used.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Over how long.
    pub seconds: f64,
    /// Of one processor, all threads together.
    pub processor_ms_per_second: f64,
    /// How often a thread of it began to run after it had waited for something.
    pub wakeups_per_second: f64,
}

/// A stretch that has begun.
pub struct Begun {
    pid: u32,
    at: Instant,
    processor_ns: u64,
    waits: BTreeMap<OsString, u64>,
}

/// Begins a stretch.
///
/// # Errors
/// There is no such process.
pub fn begin(pid: u32) -> anyhow::Result<Begun> {
    Ok(Begun {
        pid,
        at: Instant::now(),
        processor_ns: cost::processor_time(&BTreeSet::from([pid]))?,
        waits: waits_of(pid)?,
    })
}

impl Begun {
    /// Ends it.
    ///
    /// # Errors
    /// The process is gone.
    pub fn end(&self) -> anyhow::Result<Usage> {
        let now = begin(self.pid)?;
        let seconds = (now.at - self.at).as_secs_f64();
        let processor_ns = now.processor_ns.saturating_sub(self.processor_ns);
        // A thread that ended meanwhile takes along what it waited in that time, and no more.
        let waited = now.waits.iter().map(|(thread, waits)| {
            let before = self.waits.get(thread).copied().unwrap_or(0);
            waits.saturating_sub(before)
        });
        let wakeups: u64 = waited.sum();
        Ok(Usage {
            seconds,
            processor_ms_per_second: as_float(processor_ns) / 1e6 / seconds,
            wakeups_per_second: as_float(wakeups) / seconds,
        })
    }
}

/// How often each of its threads gave up the processor to wait (voluntary_ctxt_switches of
/// /proc/PID/task/TID/status, proc(5)); each such wait ended with a wakeup.
fn waits_of(pid: u32) -> anyhow::Result<BTreeMap<OsString, u64>> {
    let tasks = format!("/proc/{pid}/task");
    let mut all = BTreeMap::new();
    for task in fs::read_dir(&tasks).with_context(|| format!("reading {tasks}"))? {
        let task = task.with_context(|| format!("reading {tasks}"))?;
        // A thread may end between the listing and the look.
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        if let Some(waits) = waits(&status) {
            all.insert(task.file_name(), waits);
        }
    }
    Ok(all)
}

fn waits(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waits_of_its_own_count() {
        let status = "Threads:\t4\nvoluntary_ctxt_switches:\t42\n\
                      nonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(waits(status), Some(42));
        assert_eq!(waits("nonvoluntary_ctxt_switches:\t7\n"), None);
    }

    #[test]
    fn a_process_is_seen_to_wait_and_to_work() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let waiter = std::thread::spawn(move || receiver.recv());
        let begun = begin(std::process::id()).unwrap();
        assert!(begun.processor_ns > 0);
        while waits_of(begun.pid)
            .unwrap()
            .values()
            .all(|waits| *waits == 0)
        {
            std::thread::yield_now();
        }
        drop(sender);
        assert!(waiter.join().unwrap().is_err());
        assert!(begun.end().unwrap().seconds > 0.0);
    }

    #[test]
    fn a_process_that_is_not_there_is_refused() {
        assert!(begin(u32::MAX).is_err());
    }
}
