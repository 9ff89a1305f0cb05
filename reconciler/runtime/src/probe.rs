//! What a runtime is told of an exec probe, and what it tells back.

use std::{sync::Arc, time::Duration};

use osmoda_core::{
    name::AgentName,
    observed::{ExitStatus, InvocationId},
    spec::Agent,
};

use crate::StartError;

/// Most bytes of a probe's output that are kept: its beginning.
pub const PROBE_OUTPUT_MAX: usize = 4096;

/// One run of an exec probe.
#[derive(Debug, Clone)]
pub struct ProbeRequest {
    /// Whose probe, and how that agent runs: user, environment, directory, limits.
    pub agent: Arc<Agent>,
    /// The instance that is asked about; it has to run.
    pub invocation: InvocationId,
    /// argv, not empty; argv\[0\] is found as that of the agent's own command.
    pub command: Vec<String>,
    /// How long it may take; then all of it is killed.
    pub timeout: Duration,
}

/// How it ended. Nothing of it is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeEnd {
    /// How its main process ended; `None`: time was up.
    pub status: Option<ExitStatus>,
    /// What it wrote to stdout and stderr: the first [`PROBE_OUTPUT_MAX`] bytes at most.
    pub output: Vec<u8>,
}

/// Why a probe did not run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProbeError {
    #[error("agent {agent} has no running instance {invocation}")]
    NotRunning {
        agent: AgentName,
        invocation: InvocationId,
    },
    #[error("cannot run the probe")]
    Start(#[source] StartError),
}
