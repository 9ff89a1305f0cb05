//! The real world behind [`Senses`].

use std::{io, sync::Arc};

use osmoda_core::{
    name::AgentName,
    observed::InvocationId,
    probe::Answer,
    resources::Usage,
    spec::HeartbeatSource,
    time::{Clock, Mono},
};
use osmoda_runtime::Runtime;

use super::{Asked, Question, Senses, file_sign::FileSigns};

/// Asks the network, the file system and the runtime.
pub struct RealSenses<R> {
    runtime: Arc<R>,
    file_signs: Arc<FileSigns>,
}

impl<R: Runtime> RealSenses<R> {
    /// Senses for the agents of this runtime.
    pub fn new(runtime: Arc<R>, clock: Arc<dyn Clock>) -> Self {
        Self {
            runtime,
            file_signs: Arc::new(FileSigns::new(clock)),
        }
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
        agent: AgentName,
        invocation: InvocationId,
        source: HeartbeatSource,
    ) -> Asked<io::Result<Option<Mono>>> {
        match source {
            HeartbeatSource::Output => {
                let runtime = Arc::clone(&self.runtime);
                Box::pin(async move { runtime.last_output_at(&agent, invocation).await })
            }
            HeartbeatSource::File(path) => {
                let signs = Arc::clone(&self.file_signs);
                Box::pin(signs.last(agent, invocation, path.into()))
            }
            // It comes by itself.
            HeartbeatSource::Notify => Box::pin(async { Err(io::ErrorKind::Unsupported.into()) }),
        }
    }
}
