//! The real world behind [`Senses`].

use std::{io, sync::Arc};

use osmoda_core::{
    name::AgentName, observed::InvocationId, probe::Answer, resources::Usage,
    spec::HeartbeatSource, time::Mono,
};
use osmoda_runtime::Runtime;

use super::{Asked, Question, Senses};

/// Asks the network, the file system and the runtime.
pub struct RealSenses<R> {
    runtime: Arc<R>,
}

impl<R: Runtime> RealSenses<R> {
    /// Senses for the agents of this runtime.
    pub fn new(runtime: Arc<R>) -> Self {
        Self { runtime }
    }
}

impl<R: Runtime> Senses for RealSenses<R> {
    fn check(&self, question: Question) -> Asked<Answer> {
        let _ = &self.runtime;
        let what = format!("{:?} cannot be asked yet", question.check);
        Box::pin(async { Answer::Failure(what) })
    }

    fn usage(&self, agent: AgentName, invocation: InvocationId) -> Asked<io::Result<Usage>> {
        let runtime = Arc::clone(&self.runtime);
        Box::pin(async move { runtime.usage(&agent, invocation).await })
    }

    fn last_sign(
        &self,
        _: AgentName,
        _: InvocationId,
        _: HeartbeatSource,
    ) -> Asked<io::Result<Option<Mono>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}
