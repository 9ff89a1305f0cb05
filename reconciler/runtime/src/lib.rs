//! How osmoda starts, stops and observes agents.
//!
//! [`Runtime`] is the one interface; `native` runs agents as children of the daemon on any
//! Linux, `systemd` as transient units of the service manager. The testkit's FakeRuntime
//! implements it too, and all pass one conformance suite.

pub mod blocking;
pub mod clock;
pub mod native;
mod probe;
pub mod systemd;
mod vacancy;

use std::{collections::BTreeMap, future::Future, io, os::fd::OwnedFd, sync::Arc, time::Duration};

use osmoda_core::{
    name::AgentName,
    observed::{Exit, Generation, Instance, InvocationId, Limits, Observation},
    resources::Usage,
    spec::{AgentSpec, Stop},
    time::Mono,
};
use tokio::sync::mpsc;

pub use self::{
    probe::{PROBE_OUTPUT_MAX, ProbeEnd, ProbeError, ProbeRequest},
    vacancy::holder_of,
};

/// Everything that a start needs. Execution makes no choices.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// Whose start.
    pub agent: AgentName,
    /// Its new identity; also `$INVOCATION_ID`.
    pub invocation: InvocationId,
    /// What is started.
    pub generation: Generation,
    /// How.
    pub spec: Arc<AgentSpec>,
}

/// What happened to an instance. It names the agent only: the truth is then read with
/// [`Runtime::inspect`], so that a late or doubled event does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// Something about this agent's instance changed.
    Changed(AgentName),
}

/// Who sent something through a Unix socket, as the kernel tells it (unix(7)).
#[derive(Debug)]
pub struct Sender {
    /// Its process id when it sent.
    pub pid: u32,
    /// The process itself, where the kernel gives it (Linux 6.5): a pid may have been given to
    /// another process since.
    pub pidfd: Option<OwnedFd>,
}

/// Why another process did not become an instance's main process.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum MainPidError {
    #[error("agent {agent} has no running instance {invocation}")]
    NoSuchInstance {
        agent: AgentName,
        invocation: InvocationId,
    },
    /// It is in nobody's tree or in another agent's, or it has ended.
    #[error("process {pid} does not live in the tree of agent {agent}")]
    NotOfItsTree { agent: AgentName, pid: u32 },
    #[error("{what}")]
    System {
        what: String,
        #[source]
        source: io::Error,
    },
}

/// Why a start did not happen. No process of the instance is left behind.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StartError {
    /// A credential's file could not be read: condition CredentialsReady=False.
    #[error("credential {name}: cannot read {path}")]
    Credential {
        name: String,
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// The agent cannot be started as specified (no such command, user, directory).
    #[error("{what}")]
    Invalid {
        what: String,
        #[source]
        source: std::io::Error,
    },
    /// The agent already has a live instance; a second one is never started.
    #[error("agent {agent} already has a running instance (pid {pid})")]
    AlreadyRunning { agent: AgentName, pid: u32 },
    /// The system could not do it now (out of memory, file descriptors, processes, disk).
    #[error("{what}")]
    System {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

impl StartError {
    /// Whether trying the same thing again later can help without a changed spec or host.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::AlreadyRunning { .. })
    }
}

/// Why a stop is not known to have worked.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StopError {
    #[error("agent {agent} has no instance {invocation}")]
    NoSuchInstance {
        agent: AgentName,
        invocation: InvocationId,
    },
    #[error("{what}")]
    System {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

/// How an instance ended on request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// How its main process ended.
    pub exit: Exit,
    /// Whether SIGKILL was needed after the grace period.
    pub killed: bool,
}

/// The runtime could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
#[allow(missing_docs)]
pub struct ObserveError {
    pub what: String,
    #[source]
    pub source: std::io::Error,
}

/// A start of which all is done but the act.
pub trait PreparedStart: Send + 'static {
    /// Acts, from this call on; resolves once the program runs (exec succeeded). If the future
    /// is dropped, the instance is started whole or not at all.
    fn launch(self) -> impl Future<Output = Result<Instance, StartError>> + Send;
}

/// Starts, stops and observes instances of agents.
///
/// Invariants every implementation keeps (and the conformance suite checks):
/// - at most one live instance per agent, whatever is asked at the same time;
/// - before a start, and when an instance ends, what is left of the old process tree is killed;
/// - an ended instance stays visible, with its exit, until the agent's next start or
///   [`Runtime::forget`];
/// - every end is announced at least once on the subscription.
pub trait Runtime: Send + Sync + 'static {
    /// A start that only waits for the word.
    type Prepared: PreparedStart;

    /// Begins, at once and without blocking, everything of a start that does not act: its intent
    /// may be on its way to the disk meanwhile. Credentials and environment are read now. What
    /// cannot be done is told by [`PreparedStart::launch`].
    ///
    /// Dropped without a launch it leaves nothing behind: no process, no note, and the output of
    /// the runs before as it was.
    fn prepare(&self, request: StartRequest) -> Self::Prepared;

    /// Starts an instance; resolves once its program runs (exec succeeded). If the future is
    /// dropped, the instance is started whole or not at all.
    fn start(
        &self,
        request: StartRequest,
    ) -> impl Future<Output = Result<Instance, StartError>> + Send {
        self.prepare(request).launch()
    }

    /// Ends an instance: the signal to the whole tree, SIGKILL after the grace period; resolves
    /// when nothing of the tree is left. An instance that has already ended is a success.
    fn stop(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        stop: &Stop,
    ) -> impl Future<Output = Result<Stopped, StopError>> + Send;

    /// Runs an exec probe as the agent runs, but for an identity of its own: its processes are
    /// no part of the instance. Resolves when nothing of it is left. Given up, it is killed.
    ///
    /// # Errors
    /// [`ProbeError`]: it did not run.
    fn probe(
        &self,
        request: ProbeRequest,
    ) -> impl Future<Output = Result<ProbeEnd, ProbeError>> + Send;

    /// The agent's latest instance, running or ended, from what is already known (no I/O).
    fn inspect(&self, agent: &AgentName) -> Observation<Option<Instance>>;

    /// Every instance, after a fresh look at the system (resync, adoption).
    fn observe(&self) -> impl Future<Output = Result<Vec<Instance>, ObserveError>> + Send;

    /// Drops what is remembered of an agent that has no live instance.
    fn forget(&self, agent: &AgentName);

    /// The end of what this agent's latest instance wrote: at most `lines` lines and
    /// `max_bytes` bytes, lossy UTF-8.
    fn last_output(&self, agent: &AgentName, lines: usize, max_bytes: usize) -> Vec<String>;

    /// What the whole process tree of this instance uses now. Where the kernel keeps no account
    /// of it, every process of the system may have to be looked at.
    ///
    /// # Errors
    /// The instance does not run (`NotFound`), or its use cannot be read.
    fn usage(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
    ) -> impl Future<Output = io::Result<Usage>> + Send;

    /// The limits on every instance that runs, read back from the system.
    fn limits(&self) -> impl Future<Output = BTreeMap<AgentName, Limits>> + Send;

    /// What of `spec` nothing enforces here (a limit without its controller, a sandbox that this
    /// runtime does not have): the paths within it, and why not. No I/O.
    fn unenforced(&self, spec: &AgentSpec) -> Vec<(&'static str, String)>;

    /// Whose process this is. One that has ended is known as far as the kernel still tells where
    /// it was. `None`: nobody's, or it cannot be told.
    fn owner(&self, sender: &Sender) -> Option<(AgentName, InvocationId)>;

    /// Makes another process of its tree the instance's main process: its end is the instance's
    /// end from now on, also for a later daemon, and the end of the former one is not.
    ///
    /// # Errors
    /// [`MainPidError`]; then nothing has changed.
    fn set_main_pid(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        pid: u32,
    ) -> Result<(), MainPidError>;

    /// Has a [`Runtime::stop`] that is under way wait at least `by` from now before it kills, but
    /// no longer than [`osmoda_core::heartbeat::EXTENSION_MAX`] from its beginning.
    fn extend_stop(&self, agent: &AgentName, invocation: InvocationId, by: Duration);

    /// When the instance wrote to stdout or stderr last; `None`: not that anybody knows of.
    ///
    /// # Errors
    /// It cannot be told, or there is no such instance.
    fn last_output_at(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
    ) -> impl Future<Output = io::Result<Option<Mono>>> + Send;

    /// Events from now on; one subscriber (the loop).
    fn subscribe(&self) -> mpsc::UnboundedReceiver<RuntimeEvent>;
}
