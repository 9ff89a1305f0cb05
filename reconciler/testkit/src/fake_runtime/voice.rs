//! What a fake instance says by itself, for as long as it lives.

use std::time::Duration;

use osmoda_core::{
    heartbeat::Notice,
    name::AgentName,
    observed::InvocationId,
    spec::{AgentSpec, HeartbeatSource},
    time::Mono,
};

use super::{World, conduct::Speech, health::Pulse};

/// Time from its start until an instance that behaves has said READY=1.
pub const READY_TAKES: Duration = Duration::from_millis(50);

/// Heartbeats in one timeout.
const BEATS: u32 = 4;

/// Speaks until the instance has ended.
pub(super) async fn speak(
    world: World,
    agent: AgentName,
    invocation: InvocationId,
    rules: (HeartbeatSource, Duration),
) {
    let every = rules.1 / BEATS;
    tokio::time::sleep(READY_TAKES).await;
    while let Some((speech, pulse, started_at)) = world.speech(&agent, invocation) {
        for notice in words(speech, &pulse, world.now().since(started_at), every) {
            world.utter(&agent, invocation, &notice);
        }
        tokio::time::sleep(every).await;
    }
}

/// What keeps it alive, if its spec expects anything.
pub(super) fn rules(spec: &AgentSpec) -> Option<(HeartbeatSource, Duration)> {
    let rules = spec.heartbeat.as_ref()?;
    Some((rules.source.clone(), rules.timeout.get()))
}

fn words(speech: Speech, pulse: &Pulse, age: Duration, every: Duration) -> Vec<Notice> {
    let due = match speech {
        Speech::NeverReady => return Vec::new(),
        Speech::ReadyAfter(time) if age < time => return Vec::new(),
        Speech::Regular | Speech::ReadyAfter(_) => Some(Notice::Beat),
        Speech::Extends => Some(Notice::Extend(every * BEATS)),
        Speech::Silent => None,
    };
    let ready = pulse.ready_at.is_none().then_some(Notice::Ready);
    ready.into_iter().chain(due).collect()
}

impl World {
    /// Its clock.
    pub(super) fn now(&self) -> Mono {
        self.clock().mono()
    }
}
