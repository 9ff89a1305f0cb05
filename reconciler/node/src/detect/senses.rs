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
use osmoda_ledger::Scrubber;
use osmoda_runtime::Runtime;

use super::{Asked, Question, Senses, ask, file_sign::FileSigns};

/// Asks the network, the file system and the runtime.
pub struct RealSenses<R> {
    runtime: Arc<R>,
    file_signs: Arc<FileSigns>,
    scrubber: Arc<Scrubber>,
}

impl<R: Runtime> RealSenses<R> {
    /// Senses for the agents of this runtime. What a probe is told is scrubbed before anybody
    /// sees it, and before it is cut: half a secret would not be known for one.
    pub fn new(runtime: Arc<R>, clock: Arc<dyn Clock>, scrubber: Arc<Scrubber>) -> Self {
        Self {
            runtime,
            file_signs: Arc::new(FileSigns::new(clock)),
            scrubber,
        }
    }
}

impl<R: Runtime> Senses for RealSenses<R> {
    fn check(&self, question: Question) -> Asked<Answer> {
        let (runtime, scrubber) = (Arc::clone(&self.runtime), Arc::clone(&self.scrubber));
        Box::pin(async move {
            match ask::ask(&*runtime, &question).await {
                Answer::Success => Answer::Success,
                Answer::Warning(said) => Answer::Warning(scrubber.scrub(&said).into_owned()),
                Answer::Failure(said) => Answer::Failure(scrubber.scrub(&said).into_owned()),
                Answer::Unasked(said) => Answer::Unasked(scrubber.scrub(&said).into_owned()),
            }
        })
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
