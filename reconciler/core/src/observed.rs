//! What the runtime reports. Nothing here is echoed from a spec.

use std::{fmt, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    digest::{parse_hex, write_hex},
    name::AgentName,
    time::Mono,
};

/// A fact, or the admission that it could not be had. Unknown is never "absent": nothing is
/// started or stopped on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation<T> {
    /// It was read.
    Known(T),
    /// Reading failed, and why.
    Unknown(String),
}

/// Identity of one start of an agent: 128 random bits, 32 lower-case hexadecimal digits, as
/// systemd's INVOCATION_ID (systemd.exec(5)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InvocationId(pub [u8; 16]);

/// The text is not 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an invocation id is 32 lower-case hexadecimal digits")]
pub struct InvocationIdError;

impl InvocationId {
    /// Parses 32 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// [`InvocationIdError`] if the text is anything else.
    pub fn from_hex(text: &str) -> Result<Self, InvocationIdError> {
        let mut bytes = [0; 16];
        parse_hex(text, &mut bytes).ok_or(InvocationIdError)?;
        Ok(Self(bytes))
    }

    /// A number from 0 to 1000 made of its random bits, to place a jitter with.
    pub(crate) fn draw(self) -> u16 {
        u16::from_le_bytes([self.0[0], self.0[1]]) % 1001
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl TryFrom<String> for InvocationId {
    type Error = InvocationIdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::from_hex(&text)
    }
}

impl From<InvocationId> for String {
    fn from(id: InvocationId) -> Self {
        id.to_string()
    }
}

/// An entry of an agent's profile: number N and what its link points to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// N of `NAME-N-link`, from 1.
    pub number: u64,
    /// The bundle: an absolute path, in the Nix store or below the state directory. Whoever keeps
    /// a generation keeps this same text, and sees that two are one without reading either.
    pub store_path: Arc<str>,
}

impl Generation {
    /// Where the bundle is.
    pub fn path(&self) -> &Path {
        Path::new(&*self.store_path)
    }
}

/// One start of an agent, as its runtime sees it. It stays visible after its end until the
/// next start of the agent, or until it is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Whose.
    pub agent: AgentName,
    /// Which start.
    pub invocation: InvocationId,
    /// The generation it was started from.
    pub generation: Generation,
    /// When it was started (time of exec).
    pub started_at: Mono,
    /// Whether and how it runs.
    pub state: InstanceState,
    /// Found by a later daemon than the one that started it.
    pub adopted: bool,
}

/// Whether and how an instance runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceState {
    /// Its main process exists.
    Running {
        /// Main process.
        pid: u32,
    },
    /// Its main process has ended.
    Exited(Exit),
}

/// The limits on an instance's process tree, as the kernel has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Memory, in bytes; the kernel rounds down to whole pages.
    pub memory_max: Limit,
    /// CPU, in percent of one CPU.
    pub cpu_max: Limit,
    /// Processes and threads.
    pub tasks_max: Limit,
}

/// One limit, read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limit {
    /// The kernel enforces none here, or does not tell.
    #[default]
    Unknown,
    /// There is none.
    Unlimited,
    /// It is this much.
    At(u64),
}

/// How a main process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Code or signal.
    pub status: ExitStatus,
    /// When it was noticed: microseconds since boot, as an entry's `mono`.
    #[serde(rename = "monoUs")]
    pub at: Mono,
    /// The kernel's OOM killer ended it, as far as can be known.
    pub oom_killed: bool,
    /// Somebody else than osmoda had it ended through the service manager; `None`: nobody that
    /// is known of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<OutsideEnd>,
}

/// What somebody else than osmoda had the service manager do to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutsideEnd {
    /// It was stopped (`systemctl stop`).
    Stopped,
    /// It was sent a signal (`systemctl kill`).
    Killed,
}

impl OutsideEnd {
    /// CamelCase word for status and ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "StoppedOutside",
            Self::Killed => "KilledOutside",
        }
    }
}

/// Code or signal of an ended process (wait(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "type"
)]
pub enum ExitStatus {
    /// It called exit.
    Code {
        /// 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signal {
        /// Number (signal(7)).
        signal: i32,
        /// A core was dumped.
        core_dumped: bool,
    },
    /// It ended while nobody watched who could learn how.
    Unknown,
}

impl ExitStatus {
    /// Exit code 0.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Code { code: 0 })
    }
}

impl fmt::Display for ExitStatus {
    /// For people: `exit code 1`, `SIGSEGV (core dumped)`, `unknown exit`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code { code } => write!(f, "exit code {code}"),
            Self::Signal {
                signal,
                core_dumped,
            } => {
                let name = crate::spec::Signal(signal);
                write!(
                    f,
                    "{name}{}",
                    if core_dumped { " (core dumped)" } else { "" }
                )
            }
            Self::Unknown => f.write_str("unknown exit"),
        }
    }
}
