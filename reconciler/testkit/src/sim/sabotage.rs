//! Loops that are broken on purpose, to prove that the simulator would notice.
//!
//! Each breaks what the loop relies on, which to the world looks the same as a loop that is
//! wrong in that way.

use std::{collections::BTreeMap, io, time::Duration};

use osmoda_core::{
    name::AgentName,
    observed::{Instance, InstanceState, InvocationId, Limits, Observation},
    resources::Usage,
    spec::{Resources, Stop},
    time::Mono,
};
use osmoda_runtime::{
    MainPidError, ObserveError, PreparedStart, ProbeEnd, ProbeError, ProbeRequest, Runtime,
    RuntimeEvent, Sender, StartError, StartRequest, StopError, Stopped,
};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::fake_runtime::{FakeRuntime, World};

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    None,
    /// Exits are never seen.
    ForgetsExits,
    /// Each start is carried out twice.
    StartsTwice,
    /// Appends are acknowledged before they are written.
    ActsBeforeIntent,
    /// What is to be prepared is done.
    ActsWhilePreparing,
}

/// A runtime with its sabotage.
pub struct Sabotaged {
    pub(super) honest: FakeRuntime,
    pub(super) world: World,
    pub(super) how: Sabotage,
}

impl Sabotaged {
    fn forget_exit(&self, mut instance: Instance) -> Instance {
        if self.how == Sabotage::ForgetsExits {
            instance.state = InstanceState::Running { pid: 1 };
        }
        instance
    }
}

/// A start with its sabotage.
pub struct SabotagedStart {
    honest: FakeRuntime,
    world: World,
    how: Sabotage,
    request: StartRequest,
    /// Under way before the word was given.
    early: Option<JoinHandle<Result<Instance, StartError>>>,
}

impl PreparedStart for SabotagedStart {
    async fn launch(self) -> Result<Instance, StartError> {
        let request = self.request;
        if let Some(early) = self.early {
            return early.await.expect("a start in memory does not panic");
        }
        if self.how == Sabotage::StartsTwice {
            let agent = request.agent.clone();
            self.honest.start(request.clone()).await?;
            self.world.lose_track_of(&agent);
            let again = InvocationId(request.invocation.0.map(|byte| !byte));
            return self
                .honest
                .start(StartRequest {
                    invocation: again,
                    ..request
                })
                .await;
        }
        self.honest.start(request).await
    }
}

impl Runtime for Sabotaged {
    type Prepared = SabotagedStart;

    fn prepare(&self, request: StartRequest) -> SabotagedStart {
        let early = (self.how == Sabotage::ActsWhilePreparing).then(|| {
            let (honest, request) = (self.honest.clone(), request.clone());
            tokio::spawn(async move { honest.start(request).await })
        });
        SabotagedStart {
            honest: self.honest.clone(),
            world: self.world.clone(),
            how: self.how,
            request,
            early,
        }
    }

    async fn stop(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        stop: &Stop,
    ) -> Result<Stopped, StopError> {
        self.honest.stop(agent, invocation, stop).await
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

    fn unenforced(&self, resources: &Resources) -> Vec<(&'static str, String)> {
        self.honest.unenforced(resources)
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
