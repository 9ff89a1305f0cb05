//! What a native runtime is told when it is opened, and why it may refuse.

use std::{fmt, io, path::PathBuf, sync::Arc};

use osmoda_core::time::Clock;

use super::{credentials::CredentialHook, delegation::Cgroups};

/// Places and habits of a [`NativeRuntime`](super::NativeRuntime).
#[derive(Clone)]
pub struct NativeOptions {
    /// Absolute path; holds `instances` and `credentials`. Best on a tmpfs.
    pub runtime_dir: PathBuf,
    /// Absolute path; each agent's output goes to a directory of its name.
    pub log_dir: PathBuf,
    /// Absolute path; `agents/NAME` is an agent's HOME and, unless its spec says otherwise,
    /// working directory. Agents that run as another user need to search it (mode 0711).
    pub state_dir: PathBuf,
    /// Tells when instances started and ended, and in which boot.
    pub clock: Arc<dyn Clock>,
    /// `$NOTIFY_SOCKET` of agents.
    pub notify_socket: Option<PathBuf>,
    /// Where agents' cgroups go.
    pub cgroups: Cgroups,
    /// Soft and hard RLIMIT_NOFILE of agents, if the daemon raised its own.
    pub open_files: Option<(u64, u64)>,
    /// Learns each credential before a process has it. It must not block.
    pub on_credential: Option<CredentialHook>,
    /// Hears of each start that is about to be prepared, on the thread that prepares it: what else
    /// a start waits for can begin there. It must not block.
    pub on_prepare: Option<PrepareHook>,
}

/// See [`NativeOptions::on_prepare`].
pub type PrepareHook = Arc<dyn Fn() + Send + Sync>;

impl NativeOptions {
    /// Options with these places, cgroups if there are any, and nothing else.
    pub fn new(
        runtime_dir: PathBuf,
        log_dir: PathBuf,
        state_dir: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            runtime_dir,
            log_dir,
            state_dir,
            clock,
            notify_socket: None,
            cgroups: Cgroups::default(),
            open_files: None,
            on_credential: None,
            on_prepare: None,
        }
    }
}

impl fmt::Debug for NativeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeOptions")
            .field("runtime_dir", &self.runtime_dir)
            .field("log_dir", &self.log_dir)
            .field("state_dir", &self.state_dir)
            .field("notify_socket", &self.notify_socket)
            .field("cgroups", &self.cgroups)
            .field("open_files", &self.open_files)
            .finish_non_exhaustive()
    }
}

/// Why the runtime was not opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OpenError {
    /// Another daemon works here. Nothing was touched.
    #[error("another daemon uses {}: {holder}", directory.display())]
    Held { directory: PathBuf, holder: String },
    /// The caller is not inside a tokio runtime, which exits are watched with.
    #[error("the native runtime has to be opened inside a tokio runtime")]
    NoAsyncRuntime,
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
}
