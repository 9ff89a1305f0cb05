//! A runtime in memory: deterministic, on paused time, with faults on order.
//!
//! The [`World`] is what outlives a daemon: the agents that run. [`World::daemon`] gives a
//! [`FakeRuntime`], one daemon's view of it; dropping that and taking another is a restart of the
//! daemon, and what still runs is then adopted. Agents do what their command says, in the words
//! of `osmoda-test-agent` ([`script`]). Faults ([`fault`]) are ordered per agent and used up in
//! order; how an agent behaves towards its detectors ([`conduct`]) lasts until the next order.
//!
//! Invariant: the world counts what really lives, whatever a daemon believes;
//! [`World::assert_single_instances`] holds it against the first rule of every runtime.

pub mod clock;
pub mod conduct;
pub mod fault;
pub mod health;
mod messages;
pub mod script;
mod senses;
mod voice;
mod world;

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use osmoda_core::{
    name::AgentName,
    observed::{Exit, ExitStatus, Instance, InstanceState, InvocationId, Limits, Observation},
    resources::Usage,
    spec::{AgentSpec, Stop},
    time::Mono,
};
use osmoda_runtime::{
    MainPidError, ObserveError, PROBE_OUTPUT_MAX, PreparedStart, ProbeEnd, ProbeError,
    ProbeRequest, Runtime, RuntimeEvent, Sender, StartError, StartRequest, StopError, Stopped,
};
use tokio::{sync::mpsc, time::sleep};

use self::{
    fault::{StartFault, StopFault},
    script::{Ending, Script},
};

pub use self::world::World;

/// How long a process that was sent SIGKILL takes to be gone.
const KILL_TAKES: Duration = Duration::from_millis(1);

/// SIGKILL ended it.
const KILLED: ExitStatus = ExitStatus::Signal {
    signal: 9,
    core_dumped: false,
};

/// One daemon's view of a [`World`].
#[derive(Clone)]
pub struct FakeRuntime {
    world: World,
    /// Instances with a smaller serial number were there before this daemon.
    since: u64,
}

impl FakeRuntime {
    fn view(&self, (serial, mut instance): (u64, Instance)) -> Instance {
        instance.adopted = serial < self.since;
        instance
    }
}

/// A start in the making: nothing of the world knows of it.
pub struct FakeStart {
    runtime: FakeRuntime,
    request: StartRequest,
}

impl PreparedStart for FakeStart {
    async fn launch(self) -> Result<Instance, StartError> {
        let Self { runtime, request } = self;
        let world = &runtime.world;
        let agent = request.agent.clone();
        let _gate = world.gate(&agent).lock_owned().await;
        if let Some(pid) = world.known_pid(&agent) {
            return Err(StartError::AlreadyRunning { agent, pid });
        }
        let fault = world.next_start_fault(&agent);
        match fault {
            Some(StartFault::Fail(error)) => return Err(error),
            Some(StartFault::HangBefore(time)) => sleep(time).await,
            Some(StartFault::HangAfter(_)) | None => {}
        }
        script::check(&request.spec)?;
        let script = Script::of(&request.spec.command);
        let ending = script.ending;
        let invocation = request.invocation;
        let spec = Arc::clone(&request.spec);
        let born = world.give_birth(request, script);
        if let Some(rules) = voice::rules(&spec) {
            let speaking = voice::speak(world.clone(), agent.clone(), invocation, rules);
            tokio::spawn(speaking);
        }
        if let Ending::After(time, status) = ending {
            let world = world.clone();
            let agent = agent.clone();
            tokio::spawn(async move {
                sleep(time).await;
                world.end(&agent, invocation, status);
            });
        }
        if let Some(StartFault::HangAfter(time)) = fault {
            sleep(time).await;
        }
        Ok(runtime.view(born))
    }
}

impl Runtime for FakeRuntime {
    type Prepared = FakeStart;

    fn prepare(&self, request: StartRequest) -> FakeStart {
        FakeStart {
            runtime: self.clone(),
            request,
        }
    }

    async fn stop(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        stop: &Stop,
    ) -> Result<Stopped, StopError> {
        let world = &self.world;
        world.count_stop(agent);
        let Some(known) = world.known(agent, invocation) else {
            let agent = agent.clone();
            return Err(StopError::NoSuchInstance { agent, invocation });
        };
        if let InstanceState::Exited(exit) = known.state {
            return Ok(Stopped {
                exit,
                killed: false,
            });
        }
        match world.next_stop_fault(agent) {
            Some(StopFault::Fail(error)) => return Err(error),
            Some(StopFault::Hang(time)) => sleep(time).await,
            None => {}
        }
        match world.answer_to(agent, invocation, stop.signal) {
            Some(status) => world.end(agent, invocation, status),
            None => {
                if !world
                    .ended_in_grace(agent, invocation, stop.grace_period.get())
                    .await
                {
                    sleep(KILL_TAKES).await;
                    world.end(agent, invocation, KILLED);
                    let exit = world.ended(agent, invocation).await;
                    return Ok(Stopped { exit, killed: true });
                }
            }
        }
        let exit: Exit = world.ended(agent, invocation).await;
        Ok(Stopped {
            exit,
            killed: false,
        })
    }

    async fn probe(&self, request: ProbeRequest) -> Result<ProbeEnd, ProbeError> {
        let agent = &request.agent.name;
        let known = self.world.known(agent, request.invocation);
        if !known.is_some_and(|known| matches!(known.state, InstanceState::Running { .. })) {
            return Err(ProbeError::NotRunning {
                agent: agent.clone(),
                invocation: request.invocation,
            });
        }
        script::check_program(&request.command).map_err(ProbeError::Start)?;
        let script = Script::of(&request.command);
        let status = match script.ending {
            Ending::After(time, status) if time <= request.timeout => {
                sleep(time).await;
                Some(status)
            }
            Ending::After(..) | Ending::Never => {
                sleep(request.timeout).await;
                None
            }
        };
        let mut output = script.prints.join("\n").into_bytes();
        output.truncate(PROBE_OUTPUT_MAX);
        Ok(ProbeEnd { status, output })
    }

    fn inspect(&self, agent: &AgentName) -> Observation<Option<Instance>> {
        match self.world.latest(agent) {
            Err(reason) => Observation::Unknown(reason),
            Ok(found) => Observation::Known(found.map(|found| self.view(found))),
        }
    }

    async fn observe(&self) -> Result<Vec<Instance>, ObserveError> {
        if let Some(what) = self.world.next_observe_fault() {
            let source = std::io::Error::other("ordered by the test");
            return Err(ObserveError { what, source });
        }
        let all = self.world.all_latest();
        Ok(all.into_iter().map(|found| self.view(found)).collect())
    }

    fn forget(&self, agent: &AgentName) {
        self.world.forget(agent);
    }

    fn last_output(&self, agent: &AgentName, lines: usize, max_bytes: usize) -> Vec<String> {
        self.world.last_output(agent, lines, max_bytes)
    }

    async fn usage(&self, agent: &AgentName, invocation: InvocationId) -> io::Result<Usage> {
        self.world.usage_of(agent, invocation)
    }

    /// The fake world enforces no limits, and says of none that it does not.
    async fn limits(&self) -> BTreeMap<AgentName, Limits> {
        BTreeMap::new()
    }

    fn unenforced(&self, _: &AgentSpec) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn owner(&self, sender: &Sender) -> Option<(AgentName, InvocationId)> {
        self.world.owner(sender.pid)
    }

    fn set_main_pid(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        pid: u32,
    ) -> Result<(), MainPidError> {
        self.world.set_main_pid(agent, invocation, pid)
    }

    fn extend_stop(&self, agent: &AgentName, invocation: InvocationId, by: Duration) {
        self.world.extend_stop(agent, invocation, by);
    }

    async fn last_output_at(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
    ) -> io::Result<Option<Mono>> {
        self.world.last_output_at(agent, invocation)
    }

    fn subscribe(&self) -> mpsc::UnboundedReceiver<RuntimeEvent> {
        self.world.subscribe()
    }
}

impl World {
    /// A daemon begins: it adopts what runs. The one before gets no more events.
    pub fn daemon(&self) -> FakeRuntime {
        FakeRuntime {
            since: self.next_serial(),
            world: self.clone(),
        }
    }
}

/// A clock for a world whose time is tokio's.
pub fn paused_clock() -> Arc<clock::PausedClock> {
    Arc::new(clock::PausedClock::new())
}
