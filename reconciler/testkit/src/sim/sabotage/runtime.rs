//! A runtime that shows the monitor what it is told to do, and can be sabotaged.

use std::{collections::BTreeMap, io, time::Duration};

use osmoda_core::{
    name::AgentName,
    observed::{Instance, InstanceState, InvocationId, Limits, Observation},
    resources::Usage,
    spec::{AgentSpec, Stop},
    time::Mono,
};
use osmoda_runtime::{
    MainPidError, ObserveError, PreparedStart, ProbeEnd, ProbeError, ProbeRequest, Runtime,
    RuntimeEvent, Sender, StartError, StartRequest, StopError, Stopped,
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    super::monitor::{Monitor, Ticket},
    Sabotage,
};
use crate::fake_runtime::{FakeRuntime, World};

/// The loop's view of the runtime.
#[derive(Clone)]
pub struct WatchedRuntime {
    pub(in super::super) honest: FakeRuntime,
    pub(in super::super) world: World,
    pub(in super::super) monitor: Monitor,
    pub(in super::super) how: Sabotage,
}

/// A start in the making.
pub struct WatchedStart {
    runtime: WatchedRuntime,
    /// Until the word is given.
    waiting: Option<(StartRequest, Ticket)>,
    /// Under way before the word was given.
    early: Option<JoinHandle<Result<Instance, StartError>>>,
}

impl WatchedRuntime {
    fn forget_exit(&self, mut instance: Instance) -> Instance {
        if self.how == Sabotage::ForgetsExits {
            instance.state = InstanceState::Running { pid: 1 };
        }
        instance
    }

    async fn start_now(&self, request: StartRequest) -> Result<Instance, StartError> {
        (self.monitor).starts(&request.agent, request.invocation, &request.generation);
        let agent = request.agent.clone();
        let started = match self.how {
            Sabotage::StartsTwice => {
                self.honest.start(request.clone()).await?;
                self.world.lose_track_of(&agent);
                let invocation = InvocationId(request.invocation.0.map(|byte| !byte));
                let again = StartRequest {
                    invocation,
                    ..request
                };
                self.honest.start(again).await
            }
            _ => self.honest.start(request).await,
        };
        self.monitor.disturb(Some(&agent)); // until now nobody looked at it
        started
    }
}

impl PreparedStart for WatchedStart {
    async fn launch(mut self) -> Result<Instance, StartError> {
        let (request, ticket) = self.waiting.take().expect("it is launched once");
        ticket.launched();
        match self.early.take() {
            Some(early) => early.await.expect("a start in memory does not panic"),
            None => self.runtime.start_now(request).await,
        }
    }
}

impl Drop for WatchedStart {
    fn drop(&mut self) {
        if self.runtime.how == Sabotage::StartsWhatIsUndone
            && let Some((request, _)) = self.waiting.take()
        {
            let runtime = self.runtime.clone();
            tokio::spawn(async move { runtime.start_now(request).await });
        }
    }
}

impl Runtime for WatchedRuntime {
    type Prepared = WatchedStart;

    fn prepare(&self, request: StartRequest) -> WatchedStart {
        let early = (self.how == Sabotage::ActsWhilePreparing).then(|| {
            let (runtime, request) = (self.clone(), request.clone());
            tokio::spawn(async move { runtime.start_now(request).await })
        });
        WatchedStart {
            runtime: self.clone(),
            waiting: Some((request, self.monitor.prepares())),
            early,
        }
    }

    async fn stop(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        stop: &Stop,
    ) -> Result<Stopped, StopError> {
        self.monitor.stops(agent, invocation);
        let stopped = self.honest.stop(agent, invocation, stop).await;
        self.monitor.disturb(Some(agent)); // as above
        stopped
    }

    async fn probe(&self, request: ProbeRequest) -> Result<ProbeEnd, ProbeError> {
        self.honest.probe(request).await
    }

    fn inspect(&self, agent: &AgentName) -> Observation<Option<Instance>> {
        match self.honest.inspect(agent) {
            Observation::Known(Some(instance)) => {
                Observation::Known(Some(self.forget_exit(instance)))
            }
            other => other,
        }
    }

    async fn observe(&self) -> Result<Vec<Instance>, ObserveError> {
        let found = self.honest.observe().await?;
        Ok(found
            .into_iter()
            .map(|instance| self.forget_exit(instance))
            .collect())
    }

    fn forget(&self, agent: &AgentName) {
        self.honest.forget(agent);
    }

    fn last_output(&self, agent: &AgentName, lines: usize, max_bytes: usize) -> Vec<String> {
        self.honest.last_output(agent, lines, max_bytes)
    }

    async fn usage(&self, agent: &AgentName, invocation: InvocationId) -> io::Result<Usage> {
        self.honest.usage(agent, invocation).await
    }

    async fn limits(&self) -> BTreeMap<AgentName, Limits> {
        self.honest.limits().await
    }

    fn unenforced(&self, spec: &AgentSpec) -> Vec<(&'static str, String)> {
        self.honest.unenforced(spec)
    }

    fn owner(&self, sender: &Sender) -> Option<(AgentName, InvocationId)> {
        self.honest.owner(sender)
    }

    fn set_main_pid(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        pid: u32,
    ) -> Result<(), MainPidError> {
        self.honest.set_main_pid(agent, invocation, pid)
    }

    fn extend_stop(&self, agent: &AgentName, invocation: InvocationId, by: Duration) {
        self.honest.extend_stop(agent, invocation, by);
    }

    async fn last_output_at(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
    ) -> io::Result<Option<Mono>> {
        self.honest.last_output_at(agent, invocation).await
    }

    fn subscribe(&self) -> mpsc::UnboundedReceiver<RuntimeEvent> {
        self.honest.subscribe()
    }
}
