//! What the process tree of an instance uses.
//!
//! Memory: the cgroup's own account where it has the memory controller, else the sum over the
//! processes of the tree. CPU: the cgroup's account, which needs no controller; without any
//! cgroup, the sum over the processes and the children they have waited for ([`Meter`]).
//!
//! Memory of a process is its proportional share (PSS: a page used by three counts a third for
//! each) of what is not a file's cache, from /proc/PID/smaps_rollup (Linux 4.14,
//! proc_pid_smaps(5)); where that is denied, its resident set without file pages, from
//! /proc/PID/status.

use std::{
    fs, io,
    sync::{Mutex, PoisonError},
};

use osmoda_core::resources::Usage;

use super::{process::Process, procfs, tree::Tree};

/// CPU time of a tree whose processes come and go. It never falls.
///
/// What an ended process has used is in its parent's account once that has waited for it; if an
/// orphan's is in nobody's, the sum falls, and the time of that one interval is not counted.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_sum: u64,
    total: u64,
}

impl Meter {
    /// Takes in the sum over the processes that live now; gives the total.
    fn read(&self, sum: u64) -> u64 {
        // Nothing panics while it is held.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.total = state
            .total
            .saturating_add(sum.saturating_sub(state.last_sum));
        state.last_sum = sum;
        state.total
    }
}

/// Use of the tree of a running main process. Blocks.
///
/// # Errors
/// What the kernel keeps of it cannot be read.
pub(crate) fn read(process: &Process) -> io::Result<Usage> {
    let (memory, cpu_us) = match &process.tree {
        Tree::Cgroup(cgroup) => (cgroup.memory(), Some(cgroup.cpu_us()?)),
        Tree::Session(_) => (None, None),
    };
    if let (Some(memory_bytes), Some(cpu_us)) = (memory, cpu_us) {
        return Ok(Usage {
            memory_bytes,
            cpu_us,
        });
    }
    let pids = process.tree.pids()?;
    Ok(Usage {
        memory_bytes: memory.unwrap_or_else(|| pids.iter().map(|pid| memory_of(*pid)).sum()),
        cpu_us: cpu_us.unwrap_or_else(|| process.cpu.read(cpu_of(&pids))),
    })
}

/// Memory of one process in bytes; 0 for one that has ended.
fn memory_of(pid: u32) -> u64 {
    let kib = |file: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        anonymous_kib(&text)
    };
    let kib = kib("smaps_rollup").or_else(|| kib("status"));
    kib.unwrap_or(0).saturating_mul(1024)
}

/// KiB of what is not a file's, from either file; `None` if it does not say.
fn anonymous_kib(text: &str) -> Option<u64> {
    let field = |name: &str| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value
            .trim()
            .strip_suffix("kB")?
            .trim_end()
            .parse::<u64>()
            .ok()
    };
    let sum = |anonymous, shared| Some(field(anonymous)? + field(shared)?);
    // The parts are told since Linux 5.4 and 4.5; what is older counts file pages as well.
    sum("Pss_Anon", "Pss_Shmem")
        .or_else(|| field("Pss"))
        .or_else(|| sum("RssAnon", "RssShmem"))
        .or_else(|| field("VmRSS"))
}

/// CPU time of these processes and of the children they have waited for, in microseconds.
fn cpu_of(pids: &[u32]) -> u64 {
    let stats = pids.iter().filter_map(|pid| procfs::stat(*pid).ok());
    let ticks: u64 = stats.map(|stat| stat.cpu_ticks).sum();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    ticks.saturating_mul(1_000_000) / per_second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_its_share_of_what_is_not_a_files() {
        let rollup = "\
00400000-7fff rollup
Rss:                1848 kB
Pss:                 900 kB
Pss_Dirty:           116 kB
Pss_Anon:            116 kB
Pss_File:            780 kB
Pss_Shmem:             4 kB
";
        assert_eq!(anonymous_kib(rollup), Some(120));
        assert_eq!(anonymous_kib("Rss: 8 kB\nPss:    7 kB\n"), Some(7));
        let status = "VmRSS:\t    50 kB\nRssAnon:\t    20 kB\nRssFile:\t 25 kB\nRssShmem:\t 5 kB\n";
        assert_eq!(anonymous_kib(status), Some(25));
        assert_eq!(anonymous_kib("VmRSS:\t    50 kB\n"), Some(50));
        assert_eq!(anonymous_kib("Name: a kernel thread\n"), None);
        assert_eq!(anonymous_kib(""), None);
    }

    #[test]
    fn memory_of_this_process_grows_with_what_it_touches() {
        let me = std::process::id();
        let before = memory_of(me);
        let kept = vec![1_u8; 32 << 20];
        let after = memory_of(me);
        assert!(after >= before + (30 << 20), "{before} to {after}");
        drop(kept);
        assert_eq!(memory_of(u32::MAX), 0);
    }

    #[test]
    fn a_meter_counts_on_when_a_process_takes_its_time_along() {
        let meter = Meter::default();
        assert_eq!(meter.read(100), 100);
        assert_eq!(meter.read(150), 150);
        assert_eq!(meter.read(40), 150, "an orphan with 110 of them is gone");
        assert_eq!(meter.read(60), 170);
    }
}
