//! What a supervisor costs while nothing happens: memory and processor time, from /proc.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::{time::ClockId, unistd::Pid};

use super::{fleet::Fleet, records::monotonic};
use crate::bench::stats::as_float;

/// How long a fleet is left alone before its cost is taken.
const SETTLE: Duration = Duration::from_secs(2);

/// How long the processor time of an idle supervisor is watched.
const IDLE_WINDOW: Duration = Duration::from_secs(5);

/// Memory of the supervisor's processes as the proportional set size (smaps_rollup, proc(5)),
/// in bytes, once the fleet has settled.
///
/// # Errors
/// /proc cannot be read.
pub fn settled_memory(fleet: &Fleet<'_>) -> anyhow::Result<u64> {
    wait_until_age(fleet, SETTLE);
    fleet.supervisor_pids().into_iter().map(pss).sum()
}

/// Processor time of the supervisor's processes while nothing happens, in milliseconds for each
/// second.
///
/// # Errors
/// /proc cannot be read, or the supervisor's processes changed meanwhile.
pub fn idle_processor(fleet: &Fleet<'_>) -> anyhow::Result<f64> {
    wait_until_age(fleet, SETTLE);
    let pids = fleet.supervisor_pids();
    let (used_before, at) = (processor_time(&pids)?, monotonic());
    pause(IDLE_WINDOW);
    let used = processor_time(&pids)?.saturating_sub(used_before);
    let seconds = as_float(monotonic() - at) / 1e9;
    Ok(as_float(used) / 1e6 / seconds)
}

/// Waits until the youngest agent has lived this long.
pub fn wait_until_age(fleet: &Fleet<'_>, age: Duration) {
    pause(age.saturating_sub(fleet.age()));
}

/// Lets time pass: the measurement is about what happens in it.
pub fn pause(time: Duration) {
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()) {
        std::thread::sleep(left);
    }
}

/// Proportional set size of one process, in bytes.
///
/// # Errors
/// It is gone, or belongs to somebody else.
pub fn pss(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let kibibytes = parse_pss(&text).with_context(|| format!("no Pss in {path}"))?;
    Ok(kibibytes * 1024)
}

fn parse_pss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Nanoseconds on a processor, of all threads that they have or had (clock_getcpuclockid(3);
/// exact, unlike the ticks of stat, and a thread that ends takes nothing along).
///
/// # Errors
/// A process is gone.
pub fn processor_time(pids: &BTreeSet<u32>) -> anyhow::Result<u64> {
    let mut total = Duration::ZERO;
    for pid in pids {
        let read = || {
            let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(*pid)?))?;
            anyhow::Ok(Duration::from(clock.now()?))
        };
        total += read().with_context(|| format!("reading the processor time of {pid}"))?;
    }
    Ok(u64::try_from(total.as_nanos())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_rollup() {
        let text = "00400000-7fff r--p 0 00:00 0 [rollup]\nRss:    900 kB\nPss:    123 kB\n\
                    Pss_Dirty: 7 kB\n";
        assert_eq!(parse_pss(text), Some(123));
    }

    #[test]
    fn this_process_has_used_some_time() {
        let own = BTreeSet::from([std::process::id()]);
        assert!(processor_time(&own).unwrap() > 0);
    }
}
