//! The node daemon in the foreground: the loop with everything real around it.
//!
//! Order matters. Locks come first, so that a second daemon changes nothing; then the ledger,
//! so that everything after it can be recorded; then the runtime, which adopts what runs; then
//! the loop, which remembers and closes what was left open; and the API last, so that who gets
//! an answer gets one from a daemon that knows its agents.
//!
//! Where to start: [`run`].

mod bundles;
mod choice;
mod ends;
mod first;
mod ground;
mod handover;
mod host_runtime;
mod ledger;
mod lock;
mod loop_thread;
mod offline;
mod program;
mod specs;
mod system;
mod systemd;
mod watch;
mod work;

use std::{
    ffi::OsString,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::PathBuf,
    process::Command,
};

use osmoda_runtime::{native::NativeRuntime, systemd::SystemdRuntime};

pub use self::{
    bundles::{BundlePlace, BundlesChoice},
    choice::{RuntimeChoice, RuntimeKind, choose},
    offline::OfflineLedger,
};
use self::{ends::Ending, ground::Ground, host_runtime::HostRuntime, work::work};
use crate::{
    paths::Paths,
    specs::{LoadOptions, SpecsRef},
};

/// Threads of the scheduler for everything but the loop: the API, the specs, the anchors. The
/// loop has a scheduler of its own ([`LoopThread`]).
const WORKERS: usize = 1;

/// What `osmoda run` was asked for.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    /// Where everything lives.
    pub paths: Paths,
    /// The desired state.
    pub specs: SpecsRef,
    /// How specs are read.
    pub load: LoadOptions,
    /// Which runtime.
    pub runtime: RuntimeChoice,
    /// Where bundles of new generations are made.
    pub bundles: BundlesChoice,
    /// Leave agents running at SIGTERM, as the systemd runtime does in any case.
    pub keep_agents: bool,
    /// The ledger's file, if it is not the state directory's.
    pub ledger: Option<PathBuf>,
    /// Below which directory the machine's own generations are; `/` but for tests.
    pub system_root: PathBuf,
}

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum DaemonError {
    /// Somebody else does this job already.
    #[error("{0}")]
    Taken(String),
    /// What was asked for cannot be had.
    #[error("{0}")]
    Refused(String),
    /// The specs cannot be read, and no agent is known from before.
    #[error("{0}")]
    Specs(String),
    /// The system refused something.
    #[error("{what}")]
    System {
        what: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl DaemonError {
    /// The exit code of `osmoda run`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Taken(_) => 1,
            Self::Refused(_) | Self::Specs(_) => 2,
            Self::System { .. } => 5,
        }
    }

    fn system(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::System {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`DaemonError`].
pub fn run(options: DaemonOptions) -> Result<(), DaemonError> {
    osmoda_runtime::native::share_one_heap(); // while this is the only thread
    let (kind, why) =
        choose(options.runtime, osmoda_runtime::systemd::check()).map_err(DaemonError::Refused)?;
    if let Some(reason) = why {
        tracing::info!(
            reason,
            "agents run as children of the daemon, not as units of systemd"
        );
    }
    // Read before anything else changes: SIGUSR2 executes what is at this path then.
    let program = program::successor();
    let given = handover::given();
    let scheduler = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("osmoda")
        .enable_all()
        .build()
        .map_err(|error| DaemonError::system("cannot start the scheduler", error))?;
    scheduler.spawn(osmoda_runtime::blocking::keep_one());
    let served = scheduler.block_on(serve(options, kind, given));
    // Whatever still blocks (a spec that is being evaluated) ends with the process.
    scheduler.shutdown_background();
    let (ending, socket) = served?;
    match ending {
        Ending::Stop { .. } => Ok(()),
        Ending::Reexec => Err(reexec(program, socket)),
    }
}

/// Becomes the program that is now at that path. Agents, their
/// notes and the ledger are as a daemon that died would leave them: the new one adopts.
fn reexec(program: std::io::Result<PathBuf>, socket: Option<OwnedFd>) -> DaemonError {
    let program = match program {
        Ok(program) => program,
        Err(error) => return DaemonError::system("cannot tell which program this is", error),
    };
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    tracing::info!(program = %program.display(), "executing in place");
    let mut command = Command::new(&program);
    command.args(arguments);
    if let Some(socket) = &socket
        && let Err(error) = handover::hand_on(&mut command, socket)
    {
        tracing::warn!(%error, "the notify socket cannot be handed on");
    }
    let error = command.exec();
    DaemonError::system(format!("cannot execute {}", program.display()), error)
}

async fn serve(
    options: DaemonOptions,
    kind: RuntimeKind,
    given: Option<OwnedFd>,
) -> Result<(Ending, Option<OwnedFd>), DaemonError> {
    if !options.paths.state.exists() {
        match kind {
            RuntimeKind::Native => NativeRuntime::find_vacant(&options.paths)?,
            RuntimeKind::Systemd => SystemdRuntime::find_vacant(&options.paths)?,
        }
    }
    let ground = Ground::lay(options).await?;
    match kind {
        RuntimeKind::Native => work(NativeRuntime::open_on(&ground).await?, ground, given).await,
        RuntimeKind::Systemd => work(SystemdRuntime::open_on(&ground).await?, ground, given).await,
    }
}
