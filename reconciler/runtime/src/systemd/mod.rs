//! Agents as transient units of systemd: `osmoda-NAME.service` in `osmoda.slice`.
//!
//! Start with [`SystemdRuntime::open`] and its [`Runtime`] implementation.

pub mod journal;
mod options;

use std::{collections::BTreeMap, io, time::Duration};

use osmoda_core::{
    name::AgentName,
    observed::{Instance, InvocationId, Limits, Observation},
    resources::Usage,
    spec::{AgentSpec, Stop},
    time::Mono,
};
use tokio::sync::mpsc;

use crate::{
    MainPidError, ObserveError, PreparedStart, ProbeEnd, ProbeError, ProbeRequest, Runtime,
    RuntimeEvent, Sender, StartError, StartRequest, StopError, Stopped,
};

pub use self::options::{OpenError, SystemdOptions};

/// The slice that all agents are in.
pub const SLICE: &str = "osmoda.slice";

/// What the name of every agent's unit begins with.
pub const UNIT_PREFIX: &str = "osmoda-";

/// The name of an agent's unit.
pub fn unit_name(agent: &AgentName) -> String {
    format!("{UNIT_PREFIX}{agent}.service")
}

/// Runs agents as transient units.
pub struct SystemdRuntime {
    _options: SystemdOptions,
}

impl SystemdRuntime {
    /// Makes this process the one daemon of this service manager and adopts what runs. Has to be
    /// called inside a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// [`OpenError`] says why this host or this moment does not allow it.
    pub async fn open(options: SystemdOptions) -> Result<Self, OpenError> {
        let _ = Self { _options: options };
        Err(OpenError::NotBuilt)
    }

    /// Says how what agents have sent is taken in before the end of a main process is judged; once.
    pub fn listen_before_ends(&self, listen: impl Fn() + Send + Sync + 'static) {
        drop(listen);
    }

    /// Whether `pid` is in the process tree of any agent, or of a probe of one. A process that
    /// cannot be looked at is taken for one: it may have hidden itself.
    pub fn is_in_agent_tree(&self, _pid: u32) -> bool {
        true
    }
}

/// A start that waits for the word.
pub struct Start;

fn not_built() -> io::Error {
    io::Error::from(io::ErrorKind::Unsupported)
}

impl PreparedStart for Start {
    async fn launch(self) -> Result<Instance, StartError> {
        Err(StartError::System {
            what: "cannot start".to_owned(),
            source: not_built(),
        })
    }
}

impl Runtime for SystemdRuntime {
    type Prepared = Start;

    fn prepare(&self, _request: StartRequest) -> Start {
        Start
    }

    async fn stop(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        _stop: &Stop,
    ) -> Result<Stopped, StopError> {
        let agent = agent.clone();
        Err(StopError::NoSuchInstance { agent, invocation })
    }

    async fn probe(&self, request: ProbeRequest) -> Result<ProbeEnd, ProbeError> {
        Err(ProbeError::NotRunning {
            agent: request.agent.name.clone(),
            invocation: request.invocation,
        })
    }

    fn inspect(&self, _agent: &AgentName) -> Observation<Option<Instance>> {
        Observation::Unknown(not_built().to_string())
    }

    async fn observe(&self) -> Result<Vec<Instance>, ObserveError> {
        Err(ObserveError {
            what: "cannot look at the agents".to_owned(),
            source: not_built(),
        })
    }

    fn forget(&self, _agent: &AgentName) {}

    fn last_output(&self, _agent: &AgentName, _lines: usize, _max_bytes: usize) -> Vec<String> {
        Vec::new()
    }

    async fn usage(&self, _agent: &AgentName, _invocation: InvocationId) -> io::Result<Usage> {
        Err(not_built())
    }

    async fn limits(&self) -> BTreeMap<AgentName, Limits> {
        BTreeMap::new()
    }

    fn unenforced(&self, _spec: &AgentSpec) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn owner(&self, _sender: &Sender) -> Option<(AgentName, InvocationId)> {
        None
    }

    fn set_main_pid(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        _pid: u32,
    ) -> Result<(), MainPidError> {
        let agent = agent.clone();
        Err(MainPidError::NoSuchInstance { agent, invocation })
    }

    fn extend_stop(&self, _agent: &AgentName, _invocation: InvocationId, _by: Duration) {}

    async fn last_output_at(
        &self,
        _agent: &AgentName,
        _invocation: InvocationId,
    ) -> io::Result<Option<Mono>> {
        Err(not_built())
    }

    fn subscribe(&self) -> mpsc::UnboundedReceiver<RuntimeEvent> {
        mpsc::unbounded_channel().1
    }
}
