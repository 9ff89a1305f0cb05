//! What detectors are told of the fake world.

use std::{io, panic::resume_unwind};

use osmoda_core::{
    name::AgentName, observed::InvocationId, probe::Answer, resources::Usage,
    spec::HeartbeatSource, time::Mono,
};
use osmoda_node::detect::{Asked, Question, Senses};

use super::{
    World,
    conduct::{Answering, Aspect},
};

impl Senses for World {
    fn check(&self, question: Question) -> Asked<Answer> {
        let name = &question.agent.name;
        let aspect = Aspect::of(&question.check);
        let answering = self.ask(name, question.invocation, aspect);
        let now = self.now();
        Box::pin(async move {
            match answering {
                None => Answer::Failure("nobody lives there".into()),
                Some(answering) if answering.is_well(now) => Answer::Success,
                Some(Answering::Late) => {
                    tokio::time::sleep(question.timeout).await;
                    Answer::Failure("no answer in time".into())
                }
                Some(Answering::Stuck) => std::future::pending().await,
                // Not `panic!`, which would say so on stderr thousands of times.
                Some(Answering::Panics) => resume_unwind(Box::new("ordered by the test")),
                Some(_) => Answer::Failure("503".into()),
            }
        })
    }

    fn usage(&self, agent: AgentName, invocation: InvocationId) -> Asked<io::Result<Usage>> {
        let usage = self.usage_of(&agent, invocation);
        Box::pin(async { usage })
    }

    fn last_sign(
        &self,
        agent: AgentName,
        invocation: InvocationId,
        _: HeartbeatSource,
    ) -> Asked<io::Result<Option<Mono>>> {
        let truth = self.truth(&agent);
        let of_it = truth.filter(|truth| truth.invocation == invocation);
        let sign = of_it.map(|truth| truth.pulse.last);
        Box::pin(async move { sign.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }
}
