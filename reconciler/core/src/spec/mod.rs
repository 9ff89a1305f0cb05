//! What users declare: agents and their node, with every default in one place.
//!
//! These types hold *resolved* values: defaults applied, units parsed, rules checked. They are
//! made by the decoder alone, from a tree of values that know their position in a file,
//! so that every error of every file can be reported at once. Nothing after it validates again.
//!
//! Where to start: [`decode::decode`] for one document, [`set::check`] for all of them together,
//! [`error`] for what can be wrong, [`limits`] for every bound.

pub mod decode;
pub mod error;
pub mod limits;
mod nearest;
mod node;
pub mod set;
pub mod tree;

use std::{collections::BTreeMap, sync::Arc};

pub use self::node::{
    Alert, AlertProvider, Anchor, LedgerSettings, Node, NodeRollback, Operators, Severity,
    SystemRollback,
};
use crate::{
    name::AgentName,
    units::{ByteSize, CpuPercent, Period},
};

/// `apiVersion` of every manifest this version reads and writes.
pub const API_VERSION: &str = "osmoda/v1";

/// One agent as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// `metadata.name`.
    pub name: AgentName,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec`, with defaults applied.
    pub spec: Arc<AgentSpec>,
    /// The whole manifest as its author wrote it (no defaults added), as RFC 8785 canonical
    /// JSON. Its SHA-256 names the bundle: a new default in osmoda is not a new deployment.
    pub manifest: Arc<str>,
}

/// `spec` of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSpec {
    /// argv; never empty. argv\[0\] is absolute or searched on PATH.
    pub command: Vec<String>,
    /// Variables added to the agent's environment.
    pub environment: BTreeMap<String, String>,
    /// Secrets, by name; only their paths are known here.
    pub credentials: BTreeMap<String, Credential>,
    /// Absolute path; default: the agent's own state directory, or `/`.
    pub working_directory: Option<String>,
    /// User to run as.
    pub user: Option<String>,
    /// Group to run as.
    pub group: Option<String>,
    /// Agents that must be Ready before this one starts.
    pub depends_on: Vec<AgentName>,
    /// How silence is judged; `None`: it is not.
    pub heartbeat: Option<Heartbeat>,
    /// Startup, readiness and liveness probes.
    pub probes: Probes,
    /// Memory, CPU and task limits.
    pub resources: Resources,
    /// What to do when it ends.
    pub restart: Restart,
    /// How it is asked to end.
    pub stop: Stop,
    /// How a new generation is judged.
    pub rollout: Rollout,
    /// Hardening under systemd; `None`: not said, which counts as [`Sandbox::Default`].
    pub sandbox: Option<Sandbox>,
}

impl AgentSpec {
    /// A spec that runs `command` and leaves everything else at its default.
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            environment: BTreeMap::new(),
            credentials: BTreeMap::new(),
            working_directory: None,
            user: None,
            group: None,
            depends_on: Vec::new(),
            heartbeat: None,
            probes: Probes::default(),
            resources: Resources::default(),
            restart: Restart::default(),
            stop: Stop::default(),
            rollout: Rollout::default(),
            sandbox: None,
        }
    }

    /// Whether a runtime that can confine agents confines this one.
    pub fn is_sandboxed(&self) -> bool {
        self.sandbox != Some(Sandbox::Off)
    }
}

/// A secret that is read afresh at every start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Absolute path of the file that holds the value.
    pub path: String,
    /// Variable that receives the value too, if named.
    pub environment_variable: Option<String>,
}

/// How an agent shows that it is not stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Where heartbeats come from.
    pub source: HeartbeatSource,
    /// Longest silence; default 15 s.
    pub timeout: Period,
}

/// Default of `heartbeat.timeout`.
pub const HEARTBEAT_TIMEOUT: Period = Period::secs(15);

/// Source of heartbeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeartbeatSource {
    /// `WATCHDOG=1` on `$NOTIFY_SOCKET` (sd_notify(3)).
    Notify,
    /// Anything written to stdout or stderr.
    Output,
    /// The modification time of this file (absolute path).
    File(String),
}

/// The three probes of an agent, with Kubernetes' meanings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probes {
    /// Until it succeeds the others do not run.
    pub startup: Option<Probe>,
    /// Gates Ready; never restarts.
    pub readiness: Option<Probe>,
    /// Its failure restarts.
    pub liveness: Option<Probe>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub check: ProbeCheck,
    /// Wait before the first try; default 0.
    pub initial_delay: Period,
    /// Time between tries; default 500 ms.
    pub period: Period,
    /// Time between tries after a first failure; default 200 ms.
    pub retry_interval: Period,
    /// Time an answer may take; default 1 s.
    pub timeout: Period,
    /// Successes in a row that count as success; default 1.
    pub success_threshold: u32,
    /// Failures in a row that count as failure; default 3.
    pub failure_threshold: u32,
}

impl Probe {
    /// A probe with default timing.
    pub fn new(check: ProbeCheck) -> Self {
        Self {
            check,
            initial_delay: Period::secs(0),
            period: Period::millis(500),
            retry_interval: Period::millis(200),
            timeout: Period::secs(1),
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeCheck {
    /// GET over HTTP.
    HttpGet {
        /// Host to connect to; default 127.0.0.1.
        host: String,
        /// Port, 1 to 65535.
        port: u16,
        /// Path with query; default `/`.
        path: String,
        /// http or https; default http.
        scheme: Scheme,
        /// Extra request headers.
        headers: BTreeMap<String, String>,
        /// Accepted status codes, both ends included; default 200 to 399.
        expect: (u16, u16),
    },
    /// A TCP connection that is accepted.
    TcpSocket {
        /// Host to connect to; default 127.0.0.1.
        host: String,
        /// Port, 1 to 65535.
        port: u16,
    },
    /// A command that exits 0, run as the agent runs.
    Exec {
        /// argv; never empty.
        command: Vec<String>,
    },
    /// Model Context Protocol: initialize, then ping, over streamable HTTP.
    Mcp {
        /// Absolute http or https URL.
        url: String,
    },
}

/// Scheme of an HTTP probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
}

/// Limits of an agent's whole process tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// Above this the agent is restarted gracefully.
    pub memory_high: Option<ByteSize>,
    /// Hard limit of the cgroup.
    pub memory_max: Option<ByteSize>,
    /// Hard limit of CPU use.
    pub cpu_max: Option<CpuPercent>,
    /// CPU use that counts as a runaway.
    pub cpu_runaway: Option<CpuRunaway>,
    /// Most processes and threads.
    pub tasks_max: Option<u64>,
}

/// A runaway: use above a share for a whole window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuRunaway {
    /// Share of one CPU; default 95 %.
    pub above: CpuPercent,
    /// Window; default 2 min.
    pub window: Period,
}

impl Default for CpuRunaway {
    fn default() -> Self {
        Self {
            above: CpuPercent(95),
            window: Period::secs(120),
        }
    }
}

/// What happens when an agent ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// Which ends are followed by a restart.
    pub policy: RestartPolicy,
    /// Waiting time between restarts.
    pub backoff: Backoff,
    /// Restarts within `within` before escalation; default 5.
    pub max_restarts: u32,
    /// The window in which restarts are counted; default 10 min.
    pub within: Period,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::default(),
            backoff: Backoff::default(),
            max_restarts: 5,
            within: Period::secs(600),
        }
    }
}

/// Which ends are followed by a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// All.
    #[default]
    Always,
    /// All but exit code 0.
    OnFailure,
    /// None.
    Never,
}

/// Exponential backoff between restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// Wait before the second restart (the first is immediate); default 100 ms.
    pub initial: Period,
    /// Growth per restart in thousandths, at least 1000; default 2000.
    pub factor_milli: u32,
    /// Longest wait; default 5 min.
    pub max: Period,
    /// Random share by which a wait may grow, in thousandths, 0 to 1000; default 100.
    pub jitter_milli: u32,
    /// Time of health after which the count starts anew; default 10 min.
    pub reset_after: Period,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Period::millis(100),
            factor_milli: 2000,
            max: Period::secs(300),
            jitter_milli: 100,
            reset_after: Period::secs(600),
        }
    }
}

/// How an agent is asked to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// First signal; default SIGTERM.
    pub signal: Signal,
    /// Time until SIGKILL; default 10 s.
    pub grace_period: Period,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            signal: Signal::TERM,
            grace_period: Period::secs(10),
        }
    }
}

/// A signal by number (signal(7), Linux on x86 and ARM).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(pub i32);

impl Signal {
    /// SIGTERM.
    pub const TERM: Self = Self(15);
    /// SIGKILL.
    pub const KILL: Self = Self(9);

    const NAMES: [(&'static str, i32); 12] = [
        ("SIGHUP", 1),
        ("SIGINT", 2),
        ("SIGQUIT", 3),
        ("SIGABRT", 6),
        ("SIGBUS", 7),
        ("SIGKILL", 9),
        ("SIGUSR1", 10),
        ("SIGSEGV", 11),
        ("SIGUSR2", 12),
        ("SIGPIPE", 13),
        ("SIGALRM", 14),
        ("SIGTERM", 15),
    ];

    /// Parses `SIGTERM`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, number)| Self(*number))
    }

    /// All names that [`Signal::parse`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().map(|(name, _)| *name)
    }
}

impl std::fmt::Display for Signal {
    /// `SIGTERM`, or `signal 42` for one without a common name.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Self::NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// How a new generation is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Time a new generation has to become Ready; default 2 min.
    pub progress_deadline: Period,
    /// Time it must stay Ready to be Good; default 10 s.
    pub min_ready: Period,
    /// What may be rolled back.
    pub rollback: Rollback,
    /// How long a Good generation may still be blamed; default 24 h.
    pub suspect_for: Period,
    /// Generations kept; default 10.
    pub history_limit: u32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            progress_deadline: Period::secs(120),
            min_ready: Period::secs(10),
            rollback: Rollback::default(),
            suspect_for: Period::secs(86_400),
            history_limit: 10,
        }
    }
}

/// What may be rolled back by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rollback {
    /// The agent's generation.
    #[default]
    Agent,
    /// The agent's generation, then the system's.
    System,
    /// Nothing.
    Never,
}

/// Hardening under systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// NoNewPrivileges, ProtectSystem=strict and the like.
    Default,
    /// None.
    Off,
}
