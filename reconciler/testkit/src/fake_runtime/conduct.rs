//! How a fake agent behaves towards its detectors: what it answers to probes, how it speaks on
//! its notify socket, what it uses.
//!
//! A conduct is ordered for one instance, which a restart cures, or for the agent, whose every
//! instance behaves so until the next order. What the command itself says
//! ([`super::script`]) comes first.

use std::time::Duration;

use osmoda_core::{resources::Usage, spec::ProbeCheck, time::Mono};

/// Memory of a fake agent that behaves, in bytes.
pub const MODEST: u64 = 64 << 20;

/// What a probe asks about. HTTP probes name it by their path; everything else is liveness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Aspect {
    Startup,
    Readiness,
    Liveness,
}

impl Aspect {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];

    /// The path that asks for it.
    pub fn path(self) -> &'static str {
        match self {
            Self::Startup => "/startup",
            Self::Readiness => "/ready",
            Self::Liveness => "/live",
        }
    }

    /// What `check` asks about.
    pub fn of(check: &ProbeCheck) -> Self {
        let ProbeCheck::HttpGet { path, .. } = check else {
            return Self::Liveness;
        };
        let asked = Self::ALL.into_iter().find(|aspect| aspect.path() == path);
        asked.unwrap_or(Self::Liveness)
    }
}

/// How a probe is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answering {
    /// With a success.
    #[default]
    Well,
    /// With a failure, at once.
    Ill,
    /// Not within the probe's timeout.
    Late,
    /// Never: the checker itself is stuck.
    Stuck,
    /// The checker panics.
    Panics,
    /// Well and ill in turn, each for this long.
    Flaps(Duration),
}

impl Answering {
    /// Whether it is answered with a success at `now`.
    pub fn is_well(self, now: Mono) -> bool {
        match self {
            Self::Well => true,
            Self::Flaps(each) => (u128::from(now.0) / each.as_micros().max(1)).is_multiple_of(2),
            Self::Ill | Self::Late | Self::Stuck | Self::Panics => false,
        }
    }
}

/// How it speaks, and shows signs of life in its output or its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speech {
    /// READY=1 soon after its start, and a heartbeat several times in its timeout.
    #[default]
    Regular,
    /// READY=1, and no heartbeat.
    Silent,
    /// Not a word.
    NeverReady,
    /// Regular, but only this long after its start.
    ReadyAfter(Duration),
    /// A long call: no heartbeat, but EXTEND_TIMEOUT_USEC in time.
    Extends,
}

/// What it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Using {
    /// Always the same.
    Fixed(Usage),
    /// More memory by this many bytes a second.
    Leaks(u64),
    /// Memory that rises to `peak` bytes and falls back, over and over.
    Sawtooth {
        /// Highest.
        peak: u64,
        /// From one fall to the next.
        every: Duration,
    },
    /// One whole CPU.
    RunsAway,
}

impl Default for Using {
    fn default() -> Self {
        Self::Fixed(Usage {
            memory_bytes: MODEST,
            cpu_us: 0,
        })
    }
}

impl Using {
    /// What is used after behaving so for `time`.
    pub fn after(self, time: Duration) -> Usage {
        let modest = |memory_bytes| Usage {
            memory_bytes,
            cpu_us: 0,
        };
        let grown = |bytes: u128| modest(MODEST + u64::try_from(bytes).unwrap_or(u64::MAX / 2));
        match self {
            Self::Fixed(usage) => usage,
            Self::Leaks(per_second) => grown(u128::from(per_second) * time.as_millis() / 1000),
            Self::Sawtooth { peak, every } => {
                let every = every.as_micros().max(1);
                let height = u128::from(peak.saturating_sub(MODEST));
                grown(height * (time.as_micros() % every) / every)
            }
            Self::RunsAway => Usage {
                memory_bytes: MODEST,
                cpu_us: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
            },
        }
    }
}

/// Everything that detectors see of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conduct {
    /// Its startup probe.
    pub startup: Answering,
    /// Its readiness probe.
    pub readiness: Answering,
    /// Its liveness probe.
    pub liveness: Answering,
    /// What it says.
    pub speech: Speech,
    /// What it uses.
    pub using: Using,
}

impl Conduct {
    /// How it answers to a question about `aspect`.
    pub fn answers(&self, aspect: Aspect) -> Answering {
        match aspect {
            Aspect::Startup => self.startup,
            Aspect::Readiness => self.readiness,
            Aspect::Liveness => self.liveness,
        }
    }

    /// Unwell in every respect: whatever its spec looks at shows it.
    pub fn ill() -> Self {
        Self {
            startup: Answering::Ill,
            readiness: Answering::Ill,
            liveness: Answering::Ill,
            speech: Speech::Silent,
            using: Using::default(),
        }
    }
}

/// How long an ordered conduct lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// Until the instance that lives now has ended.
    UntilRestart,
    /// Until the next order, whatever is restarted.
    UntilOrdered,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_grows_and_a_sawtooth_comes_back() {
        let leak = Using::Leaks(1 << 20);
        let after = |using: Using, seconds| using.after(Duration::from_secs(seconds)).memory_bytes;
        assert_eq!(after(leak, 0), MODEST);
        assert_eq!(after(leak, 10), MODEST + (10 << 20));
        let saw = Using::Sawtooth {
            peak: 2 * MODEST,
            every: Duration::from_secs(10),
        };
        assert_eq!(after(saw, 5), MODEST + MODEST / 2);
        assert_eq!(after(saw, 10), MODEST);
    }

    #[test]
    fn a_flapping_answer_changes_after_each_interval() {
        let flaps = Answering::Flaps(Duration::from_secs(2));
        let well: Vec<_> = (0..6).map(|s| flaps.is_well(Mono(s * 1_000_000))).collect();
        assert_eq!(well, [true, true, false, false, true, true]);
    }
}
