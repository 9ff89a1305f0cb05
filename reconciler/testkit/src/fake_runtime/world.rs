//! What really runs, and what a test does to it.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    future::Future,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use osmoda_core::{
    name::AgentName,
    observed::{Exit, ExitStatus, Instance, InstanceState, InvocationId},
    resources::Usage,
    spec::{AgentSpec, Signal},
    time::{Clock, Mono},
};
use osmoda_node::detect::board::Board;
use osmoda_runtime::{RuntimeEvent, StartRequest};
use tokio::sync::{mpsc, watch};

use super::{
    conduct::{Conduct, Using},
    fault::{EventFault, StartFault, StopFault},
    health::Pulse,
    messages::Patience,
    script::Script,
};

/// First pid that is given; the following count up.
const FIRST_PID: u32 = 1000;

/// Everything outside of daemons. Clones are handles to the same world.
#[derive(Clone)]
pub struct World {
    clock: Arc<dyn Clock>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    agents: HashMap<AgentName, Agent>,
    observe_faults: VecDeque<String>,
    subscriber: Option<mpsc::UnboundedSender<RuntimeEvent>>,
    board: Option<Board>,
    serial: u64,
}

#[derive(Default)]
pub(super) struct Agent {
    gate: Arc<tokio::sync::Mutex<()>>,
    /// What a runtime knows of it.
    pub(super) latest: Option<Life>,
    /// What really lives, known or not.
    alive: BTreeSet<InvocationId>,
    most_alive: usize,
    starts: u64,
    stops: u64,
    start_faults: VecDeque<StartFault>,
    stop_faults: VecDeque<StopFault>,
    event_faults: VecDeque<EventFault>,
    unknown: Option<String>,
    /// How it behaves, and since when.
    pub(super) conduct: (Conduct, Mono),
    pub(super) last_served: Option<Mono>,
    /// When news of its end was last withheld.
    pub(super) withheld_at: Option<Mono>,
}

pub(super) struct Life {
    serial: u64,
    pub(super) instance: Instance,
    pub(super) spec: Arc<AgentSpec>,
    pub(super) script: Script,
    /// How it behaves unlike its agent's other instances, and since when.
    pub(super) conduct: Option<(Conduct, Mono)>,
    pub(super) pulse: Pulse,
    pub(super) pulse_before: Pulse,
    pub(super) heard_at: Mono,
    pub(super) failures: [u32; 3],
    /// Questions that were answered well once.
    pub(super) passed: [bool; 3],
    ended: watch::Sender<Option<Exit>>,
    patience: Patience,
}

impl World {
    /// An empty world with this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            inner: Arc::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(super) fn board(&self) -> Option<Board> {
        self.inner().board.clone()
    }

    pub(super) fn set_board(&self, board: Option<Board>) {
        self.inner().board = board;
    }

    pub(super) fn with<T>(&self, agent: &AgentName, act: impl FnOnce(&mut Agent) -> T) -> T {
        act(self.inner().agents.entry(agent.clone()).or_default())
    }

    // What a test orders.

    /// Ends the agent's instance from outside: a crash, an OOM kill, somebody's kill -9.
    /// Returns whether there was one.
    pub fn crash(&self, agent: &AgentName, status: ExitStatus) -> bool {
        let running = self.with(agent, |agent| {
            agent.running().map(|life| life.instance.invocation)
        });
        running
            .inspect(|invocation| self.end(agent, *invocation, status))
            .is_some()
    }

    /// Orders what happens to the agent's next start that has no order yet.
    pub fn order_start(&self, agent: &AgentName, fault: StartFault) {
        self.with(agent, |agent| agent.start_faults.push_back(fault));
    }

    /// Orders what happens to the agent's next stop that has no order yet.
    pub fn order_stop(&self, agent: &AgentName, fault: StopFault) {
        self.with(agent, |agent| agent.stop_faults.push_back(fault));
    }

    /// Orders what happens to the news of the agent's next exit that has no order yet.
    pub fn order_event(&self, agent: &AgentName, fault: EventFault) {
        self.with(agent, |agent| agent.event_faults.push_back(fault));
    }

    /// The next observation of everything that has no order yet fails with this reason.
    pub fn order_observe_failure(&self, reason: &str) {
        self.inner().observe_faults.push_back(reason.to_owned());
    }

    /// From now on the agent cannot be inspected (`Some(why)`), or can again (`None`).
    pub fn set_unknown(&self, agent: &AgentName, reason: Option<&str>) {
        self.with(agent, |agent| agent.unknown = reason.map(str::to_owned));
    }

    /// From now on the agent's process tree uses this much.
    pub fn set_usage(&self, agent: &AgentName, usage: Usage) {
        let using = Using::Fixed(usage);
        self.with(agent, |agent| agent.conduct.0.using = using);
    }

    /// What the tree of this instance uses, if it lives.
    pub(super) fn usage_of(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
    ) -> io::Result<Usage> {
        let now = self.clock.mono();
        let living = self.with(agent, |agent| {
            let life = agent
                .running()
                .filter(|life| life.instance.invocation == invocation)?;
            let (conduct, since) = agent.conduct_of(life);
            Some(conduct.using.after(now.since(since)))
        });
        living.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Drops all orders that were not used up, and makes every agent known again.
    pub fn end_faults(&self) {
        let mut inner = self.inner();
        inner.observe_faults.clear();
        for agent in inner.agents.values_mut() {
            agent.start_faults.clear();
            agent.stop_faults.clear();
            agent.event_faults.clear();
            agent.unknown = None;
        }
    }

    /// The machine loses its power: nothing lives, and nobody remembers that anything did.
    pub fn reboot(&self) {
        let now = self.clock.mono();
        let mut inner = self.inner();
        inner.board = None;
        inner.subscriber = None;
        for agent in inner.agents.values_mut() {
            agent.note_service(now);
            agent.alive.clear();
            agent.latest = None;
            agent.gate = Arc::default();
            // These were times of the boot that has ended.
            agent.conduct.1 = Mono(0);
            (agent.last_served, agent.withheld_at) = (None, None);
        }
    }

    /// Negative control: the runtime forgets an instance that lives on.
    pub fn lose_track_of(&self, agent: &AgentName) {
        self.with(agent, |agent| agent.latest = None);
    }

    // What a test asks.

    /// Instances of the agent that live now.
    pub fn alive(&self, agent: &AgentName) -> usize {
        self.with(agent, |agent| agent.alive.len())
    }

    /// Every instance that a runtime knows to run, and when it was started.
    pub fn running(&self) -> Vec<(AgentName, InvocationId, Mono)> {
        let inner = self.inner();
        let running = inner.agents.iter().filter_map(|(name, agent)| {
            let instance = &agent.running()?.instance;
            Some((name.clone(), instance.invocation, instance.started_at))
        });
        let mut running: Vec<_> = running.collect();
        running.sort();
        running
    }

    /// Starts of the agent that led to a process.
    pub fn starts(&self, agent: &AgentName) -> u64 {
        self.with(agent, |agent| agent.starts)
    }

    /// Stops of the agent that were asked for.
    pub fn stops(&self, agent: &AgentName) -> u64 {
        self.with(agent, |agent| agent.stops)
    }

    /// The most living instances that an agent ever had at once.
    pub fn most_alive(&self, agent: &AgentName) -> usize {
        self.with(agent, |agent| agent.most_alive)
    }

    /// Panics if any agent ever had more than one living instance.
    pub fn assert_single_instances(&self) {
        for (name, agent) in &self.inner().agents {
            assert!(
                agent.most_alive <= 1,
                "{name} had {} instances alive at once",
                agent.most_alive
            );
        }
    }

    // What a daemon's view is made of.

    pub(super) fn next_serial(&self) -> u64 {
        let mut inner = self.inner();
        inner.subscriber = None;
        inner.board = None;
        inner.serial
    }

    pub(super) fn gate(&self, agent: &AgentName) -> Arc<tokio::sync::Mutex<()>> {
        self.with(agent, |agent| Arc::clone(&agent.gate))
    }

    pub(super) fn known_pid(&self, agent: &AgentName) -> Option<u32> {
        self.with(agent, |agent| match agent.running()?.instance.state {
            InstanceState::Running { pid } => Some(pid),
            InstanceState::Exited(_) => None,
        })
    }

    pub(super) fn next_start_fault(&self, agent: &AgentName) -> Option<StartFault> {
        self.with(agent, |agent| agent.start_faults.pop_front())
    }

    pub(super) fn next_stop_fault(&self, agent: &AgentName) -> Option<StopFault> {
        self.with(agent, |agent| agent.stop_faults.pop_front())
    }

    pub(super) fn next_observe_fault(&self) -> Option<String> {
        self.inner().observe_faults.pop_front()
    }

    pub(super) fn count_stop(&self, agent: &AgentName) {
        self.with(agent, |agent| agent.stops += 1);
    }

    pub(super) fn give_birth(&self, request: StartRequest, script: Script) -> (u64, Instance) {
        let started_at = self.clock.mono();
        let mut inner = self.inner();
        let serial = inner.serial;
        inner.serial += 1;
        let pid = FIRST_PID.wrapping_add(serial as u32);
        let instance = Instance {
            agent: request.agent.clone(),
            invocation: request.invocation,
            generation: request.generation,
            started_at,
            state: InstanceState::Running { pid },
            adopted: false,
        };
        let agent = inner.agents.entry(request.agent).or_default();
        agent.alive.insert(request.invocation);
        agent.most_alive = agent.most_alive.max(agent.alive.len());
        agent.starts += 1;
        agent.latest = Some(Life {
            serial,
            instance: instance.clone(),
            spec: request.spec,
            script,
            conduct: None,
            pulse: Pulse::default(),
            pulse_before: Pulse::default(),
            heard_at: started_at,
            failures: [0; 3],
            passed: [false; 3],
            ended: watch::Sender::new(None),
            patience: watch::Sender::new(None),
        });
        (serial, instance)
    }

    /// Ends an instance, unless it has ended, and spreads the news.
    pub(super) fn end(&self, name: &AgentName, invocation: InvocationId, status: ExitStatus) {
        let exit = Exit {
            status,
            at: self.clock.mono(),
            oom_killed: false,
            outside: None,
        };
        let fault = self.with(name, |agent| {
            agent.note_service(exit.at);
            if !agent.alive.remove(&invocation) {
                return None;
            }
            if let Some(life) = agent.life(invocation) {
                life.instance.state = InstanceState::Exited(exit.clone());
                life.ended.send_replace(Some(exit));
            }
            let fault = agent.event_faults.pop_front();
            if matches!(fault, Some(EventFault::Lost | EventFault::Late(_))) {
                agent.withheld_at = Some(self.clock.mono());
            }
            Some(fault)
        });
        if let Some(fault) = fault {
            self.spread_news(name, fault);
        }
    }

    fn spread_news(&self, agent: &AgentName, fault: Option<EventFault>) {
        match fault {
            Some(EventFault::Lost) => {}
            Some(EventFault::Late(time)) => {
                let (world, agent) = (self.clone(), agent.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    world.tell(&agent);
                });
            }
            Some(EventFault::Doubled) => {
                self.tell(agent);
                self.tell(agent);
            }
            None => self.tell(agent),
        }
    }

    fn tell(&self, agent: &AgentName) {
        if let Some(subscriber) = &self.inner().subscriber {
            let _ = subscriber.send(RuntimeEvent::Changed(agent.clone())); // a dead daemon's
        }
    }

    pub(super) fn known(&self, agent: &AgentName, invocation: InvocationId) -> Option<Instance> {
        self.with(agent, |agent| {
            agent.life(invocation).map(|life| life.instance.clone())
        })
    }

    /// How the instance ends on `signal`; `None`: it does not.
    pub(super) fn answer_to(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        signal: Signal,
    ) -> Option<ExitStatus> {
        self.with(agent, |agent| {
            let script = &agent.life(invocation)?.script;
            match (signal, script.code_on_term) {
                (Signal::TERM, _) if script.ignores_term => None,
                (Signal::TERM, Some(code)) => Some(ExitStatus::Code { code }),
                (Signal(signal), _) => Some(ExitStatus::Signal {
                    signal,
                    core_dumped: false,
                }),
            }
        })
    }

    /// Resolves with the exit of an instance once there is one.
    pub(super) fn ended(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
    ) -> impl Future<Output = Exit> + use<> {
        let ended = self.with(agent, |agent| {
            agent.life(invocation).map(|life| life.ended.subscribe())
        });
        async move {
            if let Some(mut ended) = ended
                && let Ok(exit) = ended.wait_for(Option::is_some).await
                && let Some(exit) = exit.clone()
            {
                return exit;
            }
            std::future::pending().await // the instance was lost track of: nobody ever learns
        }
    }

    pub(super) fn patience(&self, agent: &AgentName, invocation: InvocationId) -> Option<Patience> {
        self.with(agent, |agent| {
            agent.life(invocation).map(|life| life.patience.clone())
        })
    }

    /// What a runtime knows of an agent, or why it cannot tell.
    pub(super) fn latest(&self, agent: &AgentName) -> Result<Option<(u64, Instance)>, String> {
        self.with(agent, |agent| match &agent.unknown {
            Some(reason) => Err(reason.clone()),
            None => Ok(agent.latest.as_ref().map(Life::seen)),
        })
    }

    pub(super) fn all_latest(&self) -> Vec<(u64, Instance)> {
        let inner = self.inner();
        let known = inner
            .agents
            .values()
            .filter_map(|agent| agent.latest.as_ref());
        let mut seen: Vec<_> = known.map(Life::seen).collect();
        seen.sort_by(|(_, a), (_, b)| a.agent.cmp(&b.agent));
        seen
    }

    pub(super) fn forget(&self, agent: &AgentName) {
        self.with(agent, |agent| {
            if agent.running().is_none() && agent.gate.try_lock().is_ok() {
                agent.latest = None;
            }
        });
    }

    pub(super) fn last_output(&self, agent: &AgentName, lines: usize, bytes: usize) -> Vec<String> {
        self.with(agent, |agent| {
            let prints = agent
                .latest
                .iter()
                .flat_map(|life| life.script.prints.iter().rev());
            let mut room = bytes;
            let fitting = prints.take(lines).take_while(|line| {
                let fits = line.len() < room;
                room = room.saturating_sub(line.len() + 1);
                fits
            });
            let mut found: Vec<String> = fitting.cloned().collect();
            found.reverse();
            found
        })
    }

    pub(super) fn subscribe(&self) -> mpsc::UnboundedReceiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.inner().subscriber = Some(sender);
        receiver
    }
}

impl Agent {
    pub(super) fn running(&self) -> Option<&Life> {
        let life = self.latest.as_ref()?;
        matches!(life.instance.state, InstanceState::Running { .. }).then_some(life)
    }

    pub(super) fn life(&mut self, invocation: InvocationId) -> Option<&mut Life> {
        self.latest
            .as_mut()
            .filter(|life| life.instance.invocation == invocation)
    }
}

impl Life {
    fn seen(&self) -> (u64, Instance) {
        (self.serial, self.instance.clone())
    }
}
