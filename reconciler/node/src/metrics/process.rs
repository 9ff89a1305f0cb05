//! What the daemon itself uses, under the names that every Prometheus client library gives.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};

/// The daemon's own process; what cannot be read is absent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OwnProcess {
    /// Resident memory, in bytes.
    pub resident_bytes: Option<u64>,
    /// User and system time, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Open file descriptors.
    pub descriptors: Option<u64>,
}

/// Reads /proc/self (proc_pid_stat(5), proc_pid_statm(5)).
pub fn read() -> OwnProcess {
    OwnProcess {
        resident_bytes: resident(),
        cpu_seconds: cpu(),
        descriptors: fs::read_dir("/proc/self/fd")
            .ok()
            // The directory that is being read is one of them.
            .map(|found| (found.count() as u64).saturating_sub(1)),
    }
}

fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

/// Fields 14 and 15; the command name, field 2, may hold anything, and the last `)` ends it.
fn cpu() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut ticks = rest.split_ascii_whitespace().skip(11);
    let user: u64 = ticks.next()?.parse().ok()?;
    let system: u64 = ticks.next()?.parse().ok()?;
    Some((user + system) as f64 / clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_uses() {
        let own = read();
        assert!(own.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(own.cpu_seconds.is_some_and(|seconds| seconds >= 0.0));
        assert!(own.descriptors.is_some_and(|count| count >= 3));
    }
}
