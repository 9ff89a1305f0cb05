//! What a systemd runtime is told when it is opened, and why it may refuse.

use std::{fmt, io, path::PathBuf, sync::Arc};

use osmoda_core::{name::AgentName, time::Clock};

use crate::native::{CredentialHook, credentials};

/// Places and habits of a [`SystemdRuntime`](super::SystemdRuntime).
#[derive(Clone)]
pub struct SystemdOptions {
    /// Absolute path; holds `instances`, `credentials` and `environment`. Best on a tmpfs.
    pub runtime_dir: PathBuf,
    /// Absolute path of the daemon's state. Below /var/lib it also tells where agents have their
    /// directories: `STATE/agents/NAME`; else those are in /var/lib/osmoda/agents.
    pub state_dir: PathBuf,
    /// Tells when instances started and ended, and in which boot.
    pub clock: Arc<dyn Clock>,
    /// `$NOTIFY_SOCKET` of agents.
    pub notify_socket: Option<PathBuf>,
    /// What agents in the sandbox do not see at all, besides the credentials and environments of
    /// others: the ledger, its keys, the API's socket.
    pub hidden: Vec<PathBuf>,
    /// Learns each credential before a process has it. It must not block.
    pub on_credential: Option<CredentialHook>,
}

impl SystemdOptions {
    /// Options with these places and nothing else.
    pub fn new(runtime_dir: PathBuf, state_dir: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            runtime_dir,
            state_dir,
            clock,
            notify_socket: None,
            hidden: Vec::new(),
            on_credential: None,
        }
    }
}

impl SystemdOptions {
    /// Where the credentials of an agent are copied to, for systemd to read.
    pub(super) fn credentials(&self, agent: &AgentName) -> PathBuf {
        credentials::directory(&self.runtime_dir, agent)
    }

    /// The file with the environment of an agent.
    pub(super) fn environment(&self, agent: &AgentName) -> PathBuf {
        self.runtime_dir.join("environment").join(agent.as_str())
    }
}

impl fmt::Debug for SystemdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemdOptions")
            .field("runtime_dir", &self.runtime_dir)
            .field("state_dir", &self.state_dir)
            .field("notify_socket", &self.notify_socket)
            .field("hidden", &self.hidden)
            .finish_non_exhaustive()
    }
}

/// Why the runtime was not opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OpenError {
    /// Another daemon works with this service manager. Nothing was touched.
    #[error("another daemon runs agents under this systemd: {holder}")]
    Held { holder: String },
    /// systemd is not PID 1 here.
    #[error("systemd does not run this host: {what}; use --runtime native")]
    NotBooted { what: String },
    /// systemd uses cgroup v1, alone or beside v2.
    #[error(
        "systemd uses cgroup v1 here ({what}), which osmoda does not support; boot with \
         systemd.unified_cgroup_hierarchy=1, or use --runtime native"
    )]
    CgroupV1 { what: String },
    /// It is older than all that osmoda knows.
    #[error(
        "systemd {version} is too old: osmoda needs 252 or later to run agents under it; use \
         --runtime native"
    )]
    TooOld { version: u32 },
    /// Only root may make units.
    #[error("only root can run agents under systemd; use --runtime native")]
    NotRoot,
    /// There is no way to talk to systemd.
    #[error("cannot reach systemd over D-Bus: is dbus.service running, and is this root?")]
    NoBus(#[source] io::Error),
    /// The caller is not inside a tokio runtime, which units are watched with.
    #[error("the systemd runtime has to be opened inside a tokio runtime")]
    NoAsyncRuntime,
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
}
