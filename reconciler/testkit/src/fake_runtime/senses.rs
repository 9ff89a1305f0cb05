//! What detectors are told of the fake world.

use std::io;

use osmoda_core::{
    name::AgentName, observed::InvocationId, probe::Answer, resources::Usage,
    spec::HeartbeatSource, time::Mono,
};
use osmoda_node::detect::{Asked, Question, Senses};

use super::World;

impl Senses for World {
    fn check(&self, question: Question) -> Asked<Answer> {
        let alive = self.alive(&question.agent.name) > 0;
        Box::pin(async move {
            match alive {
                true => Answer::Success,
                false => Answer::Failure("nobody lives there".into()),
            }
        })
    }

    fn usage(&self, agent: AgentName, invocation: InvocationId) -> Asked<io::Result<Usage>> {
        let usage = self.usage_of(&agent, invocation);
        Box::pin(async { usage })
    }

    fn last_sign(
        &self,
        _: AgentName,
        _: InvocationId,
        _: HeartbeatSource,
    ) -> Asked<io::Result<Option<Mono>>> {
        Box::pin(async { Ok(None) })
    }
}
