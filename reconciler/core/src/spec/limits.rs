//! The bounds of every field: named, with their unit, in one place.
//!
//! A bound is there for a reason: the kernel has it (argument and path lengths, process ids),
//! a format has it (DNS labels, Kubernetes labels), or a value beyond it can only be a mistake
//! that would hurt (a probe every microsecond, a memory limit of 512 bytes).

use std::ops::RangeInclusive;

use crate::units::{ByteSize, CpuPercent, Period};

/// Deepest nesting of maps and lists in a document; the deepest valid spec uses 6.
pub const MAX_DEPTH: usize = 32;
/// Most errors reported for one document; the rest is counted as one.
pub const MAX_ERRORS: usize = 100;

/// Longest argument or environment string in bytes (MAX_ARG_STRLEN without its NUL, execve(2)).
pub const MAX_ARGUMENT_BYTES: usize = 131_071;
/// Most arguments of a command.
pub const MAX_ARGUMENTS: usize = 4096;
/// Longest path in bytes (PATH_MAX without its NUL, path_resolution(7)).
pub const MAX_PATH_BYTES: usize = 4095;
/// Longest file name in bytes (NAME_MAX).
pub const MAX_FILE_NAME_BYTES: usize = 255;
/// Longest user or group name in bytes (LOGIN_NAME_MAX without its NUL).
pub const MAX_USER_NAME_BYTES: usize = 255;
/// Longest URL in bytes.
pub const MAX_URL_BYTES: usize = 2048;
/// Longest host or node name in bytes (RFC 1123).
pub const MAX_HOST_BYTES: usize = 253;
/// Most entries of a map or list of settings (environment, labels, headers, dependsOn, alerts).
pub const MAX_ENTRIES: usize = 1024;
/// Longest name part or value of a label, in bytes (Kubernetes).
pub const MAX_LABEL_BYTES: usize = 63;
/// Longest prefix of a label's key, in bytes (Kubernetes).
pub const MAX_LABEL_PREFIX_BYTES: usize = 253;

const fn periods(from: Period, to: Period) -> RangeInclusive<Period> {
    RangeInclusive::new(from, to)
}

const MILLISECOND: Period = Period::millis(1);
const TICK: Period = Period::millis(10);
const HOUR: Period = Period::secs(3600);
const DAY: Period = Period::secs(86_400);
const YEAR: Period = Period::secs(365 * 86_400);

/// `heartbeat.timeout`: 10 ms to 1 day.
pub const HEARTBEAT_TIMEOUT: RangeInclusive<Period> = periods(TICK, DAY);
/// `initialDelay` of a probe: 0 to 1 hour.
pub const PROBE_DELAY: RangeInclusive<Period> = periods(Period::secs(0), HOUR);
/// `period` and `retryInterval` of a probe: 10 ms to 1 day.
pub const PROBE_INTERVAL: RangeInclusive<Period> = periods(TICK, DAY);
/// `timeout` of a probe: 1 ms to 1 hour.
pub const PROBE_TIMEOUT: RangeInclusive<Period> = periods(MILLISECOND, HOUR);
/// `successThreshold` and `failureThreshold` of a probe.
pub const PROBE_THRESHOLD: RangeInclusive<u32> = 1..=10_000;
/// HTTP status codes (RFC 9110 section 15).
pub const HTTP_STATUS: RangeInclusive<u16> = 100..=599;
/// TCP ports; 0 is not one to connect to.
pub const PORT: RangeInclusive<u16> = 1..=65_535;

/// `resources.memory`: 1 MiB to 1 PiB; less is a forgotten unit.
pub const MEMORY: RangeInclusive<ByteSize> =
    RangeInclusive::new(ByteSize(1 << 20), ByteSize(1 << 50));
/// `resources.cpu`: 1 % to 1024 CPUs.
pub const CPU: RangeInclusive<CpuPercent> = RangeInclusive::new(CpuPercent(1), CpuPercent(102_400));
/// `resources.cpu.runaway.for`: 1 s to 1 day.
pub const CPU_WINDOW: RangeInclusive<Period> = periods(Period::secs(1), DAY);
/// `resources.tasksMax`: up to the kernel's PID_MAX_LIMIT (2^22).
pub const TASKS: RangeInclusive<u64> = 1..=4_194_304;

/// `restart.backoff.initial`: 1 ms to 1 day.
pub const BACKOFF_INITIAL: RangeInclusive<Period> = periods(MILLISECOND, DAY);
/// `restart.backoff.max`: 1 ms to 1 day.
pub const BACKOFF_MAX: RangeInclusive<Period> = periods(MILLISECOND, DAY);
/// `restart.backoff.resetAfter`: 1 ms to 1 year.
pub const BACKOFF_RESET: RangeInclusive<Period> = periods(MILLISECOND, YEAR);
/// `restart.backoff.factor` in thousandths: 1 to 100.
pub const BACKOFF_FACTOR_MILLI: RangeInclusive<u32> = 1000..=100_000;
/// `restart.backoff.jitter` in thousandths: 0 to 1.
pub const BACKOFF_JITTER_MILLI: RangeInclusive<u32> = 0..=1000;
/// `restart.maxRestarts`; 0 escalates at the first failure.
pub const MAX_RESTARTS: RangeInclusive<u32> = 0..=10_000;
/// `restart.within`: 1 s to 1 year.
pub const RESTART_WINDOW: RangeInclusive<Period> = periods(Period::secs(1), YEAR);
/// `stop.gracePeriod`: 0 (SIGKILL at once after the signal) to 1 day.
pub const GRACE_PERIOD: RangeInclusive<Period> = periods(Period::secs(0), DAY);

/// `rollout.progressDeadline`: 10 ms to 1 day.
pub const PROGRESS_DEADLINE: RangeInclusive<Period> = periods(TICK, DAY);
/// `rollout.minReady`: 0 to 1 day.
pub const MIN_READY: RangeInclusive<Period> = periods(Period::secs(0), DAY);
/// `rollout.suspectFor`: 0 to 1 year.
pub const SUSPECT_FOR: RangeInclusive<Period> = periods(Period::secs(0), YEAR);
/// `rollout.historyLimit`: generations kept.
pub const HISTORY_LIMIT: RangeInclusive<u32> = 1..=1000;

/// `rollback.budget` of a Node; 0 allows none.
pub const ROLLBACK_BUDGET: RangeInclusive<u32> = 0..=1000;
/// `rollback.per` of a Node: 1 s to 1 year.
pub const ROLLBACK_WINDOW: RangeInclusive<Period> = periods(Period::secs(1), YEAR);
/// `ledger.checkpointEvery`: 10 ms to 1 day.
pub const CHECKPOINT_EVERY: RangeInclusive<Period> = periods(TICK, DAY);
