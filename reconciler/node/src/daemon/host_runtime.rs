//! The runtimes of this host, as the daemon needs them: opened on its ground, and asked for what
//! the loop does not need.
//!
//! Where to start: [`HostRuntime`].

use std::{path::Path, sync::Arc};

use osmoda_core::name::AgentName;
use osmoda_runtime::{
    Runtime, holder_of,
    native::{self, NativeOptions, NativeRuntime},
    systemd::{self, SystemdOptions, SystemdRuntime},
};

use super::{DaemonError, ground::Ground};
use crate::{api::Logs, paths::Paths};

/// What the daemon asks of a runtime beside what the loop does.
pub(super) trait HostRuntime: Runtime + Sized {
    /// Its name, as on the command line.
    const NAME: &'static str;
    /// SIGTERM leaves its agents running: somebody else than the daemon holds them.
    const OUTLIVES_DAEMON: bool;

    /// Looks whether another daemon has the agents. Nothing is made, so that a daemon that is
    /// refused for it leaves nothing behind.
    ///
    /// # Errors
    /// [`DaemonError::Taken`] if one has.
    fn find_vacant(paths: &Paths) -> Result<(), DaemonError>;

    /// Opens it and adopts what runs.
    ///
    /// # Errors
    /// [`DaemonError::Taken`] if another daemon has it.
    async fn open_on(ground: &Ground) -> Result<Self, DaemonError>;

    /// Says how what agents have sent is taken in before the end of a main process is judged.
    fn listen_before_ends(&self, listen: impl Fn() + Send + Sync + 'static);

    /// Whether `pid` is in the process tree of any agent, or of a probe of one, or may be.
    fn is_in_agent_tree(&self, pid: u32) -> bool;

    /// Where the output of agents is.
    fn logs(&self, paths: &Paths) -> Logs;

    /// Connects to the notify socket what agents had connected to the one before it, which was
    /// bound as `bound_as`. Gives the agents that have such sockets.
    fn reconnect_senders(&self, bound_as: &Path) -> Vec<AgentName>;
}

fn native_refused(error: native::OpenError) -> DaemonError {
    match error {
        native::OpenError::Held { .. } => DaemonError::Taken(format!(
            "{error}; stop that one, or name another directory with --runtime-dir"
        )),
        other => DaemonError::system("cannot open the native runtime", other),
    }
}

fn systemd_refused(error: systemd::OpenError) -> DaemonError {
    match error {
        systemd::OpenError::Held { .. } => DaemonError::Taken(format!(
            "{error}; stop that one: one daemon has the agents of a service manager"
        )),
        systemd::OpenError::TooOld { .. } => DaemonError::Refused(error.to_string()),
        other => DaemonError::system("cannot open the systemd runtime", other),
    }
}

impl HostRuntime for NativeRuntime {
    const NAME: &'static str = "native";
    const OUTLIVES_DAEMON: bool = false;

    fn find_vacant(paths: &Paths) -> Result<(), DaemonError> {
        let directory = paths.runtime.join("instances");
        match holder_of(&directory) {
            Some(holder) => Err(native_refused(native::OpenError::Held {
                directory,
                holder,
            })),
            None => Ok(()),
        }
    }

    async fn open_on(ground: &Ground) -> Result<Self, DaemonError> {
        let paths = &ground.options.paths;
        let mut options = NativeOptions::new(
            paths.runtime.clone(),
            paths.logs.clone(),
            paths.state.clone(),
            ground.clock.clone(),
        );
        options.notify_socket = Some(paths.notify());
        options.on_credential = Some(ground.credential_hook());
        let ledger = ground.ledger.clone();
        options.on_prepare = Some(Arc::new(move || ledger.rouse()));
        // Ends of processes are waited for where the loop is.
        let _there = ground.loop_thread.scheduler().enter();
        Self::open(options).map_err(native_refused)
    }

    fn listen_before_ends(&self, listen: impl Fn() + Send + Sync + 'static) {
        self.listen_before_ends(listen);
    }

    fn is_in_agent_tree(&self, pid: u32) -> bool {
        self.is_in_agent_tree(pid)
    }

    fn logs(&self, paths: &Paths) -> Logs {
        Logs::files(paths.logs.clone())
    }

    fn reconnect_senders(&self, bound_as: &Path) -> Vec<AgentName> {
        self.reconnect_senders(bound_as)
    }
}

impl HostRuntime for SystemdRuntime {
    const NAME: &'static str = "systemd";
    const OUTLIVES_DAEMON: bool = true;

    fn find_vacant(_: &Paths) -> Result<(), DaemonError> {
        match holder_of(Path::new(systemd::HOST_LOCK)) {
            Some(holder) => Err(systemd_refused(systemd::OpenError::Held { holder })),
            None => Ok(()),
        }
    }

    async fn open_on(ground: &Ground) -> Result<Self, DaemonError> {
        let paths = &ground.options.paths;
        let clock = ground.clock.clone();
        let mut options = SystemdOptions::new(paths.runtime.clone(), paths.state.clone(), clock);
        options.notify_socket = Some(paths.notify());
        options.on_credential = Some(ground.credential_hook());
        // No agent needs them, and one that may run as root could read them.
        options.hidden = vec![paths.socket(), paths.ledger(), paths.ledger_key()];
        // What systemd tells is heard where the loop is.
        let opening = ground.loop_thread.scheduler().spawn(Self::open(options));
        match opening.await {
            Ok(Ok(runtime)) => Ok(runtime),
            Ok(Err(error)) => Err(systemd_refused(error)),
            Err(error) => Err(DaemonError::system(
                "opening the systemd runtime failed",
                error,
            )),
        }
    }

    fn listen_before_ends(&self, listen: impl Fn() + Send + Sync + 'static) {
        self.listen_before_ends(listen);
    }

    fn is_in_agent_tree(&self, pid: u32) -> bool {
        self.is_in_agent_tree(pid)
    }

    fn logs(&self, _: &Paths) -> Logs {
        Logs::journal()
    }

    /// The service manager keeps the socket.
    fn reconnect_senders(&self, _: &Path) -> Vec<AgentName> {
        Vec::new()
    }
}
