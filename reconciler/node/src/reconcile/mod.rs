//! The one loop: observe, plan, record, act, record.
//!
//! Everything that happens is news to it: an event of the runtime, the outcome of an action, a
//! [`message::Message`], a timer. News marks an agent dirty, and the truth is then read from the
//! runtime, so that late, lost or doubled news does no harm; only dirty agents are planned, so that the cost follows what
//! changed and not how many agents there are. Intents of all steps of a turn are durable in
//! one transaction before any of them is begun; then the steps run side by side, and their
//! outcomes come back as messages.
//!
//! Where to start: [`Reconciler::run`] and [`Reconciler::reconcile`].

mod accept;
pub mod act;
pub mod agent;
mod agents;
mod build;
mod closure;
mod dependencies;
mod desire;
mod ending;
mod expect;
mod generations;
pub mod journal;
mod life;
mod look;
pub mod message;
mod meter;
pub mod recorder;
mod report;
mod standby;
mod startup;
pub mod system;
mod system_report;
mod timers;
mod turn;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use osmoda_core::{
    memory::Paused,
    name::AgentName,
    observed::{Instance, InstanceState, InvocationId, Observation},
    outcome::Outcome,
    plan::{self, AgentPlan, Observed, Step},
    time::{Clock, Mono},
};
use osmoda_ledger::{Appended, Cause, EntryRef};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::{Runtime, RuntimeEvent};
use tokio::{sync::mpsc, task::JoinSet};

pub use self::accept::NODE_SPEC_KEY;
use self::{
    act::Begun,
    agent::{Desire, Moment},
    agents::Agents,
    ending::Ending,
    expect::Expected,
    journal::Journal,
    message::Message,
    recorder::Recorder,
    turn::{Turn, agent_key},
};
use crate::{
    detect::{Detectors, Senses, board::Board},
    handle::{Handle, INBOX_MAX},
    metrics::{Meters, Seen},
};

/// Time between two looks at everything, for what no message told.
pub const RESYNC: Duration = Duration::from_secs(60);

/// A timer that is served later than this tells that the machine or the daemon stood still:
/// what should have been heard meanwhile is forgiven.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// Most messages taken in before a turn is made of them: a storm is one turn, not thousands,
/// and yet no turn waits for the storm to end.
const BATCH_MAX: usize = INBOX_MAX;

/// The edges of the loop, each behind a trait.
pub struct Edges<R, P, J> {
    /// Starts, stops and observes instances.
    pub runtime: Arc<R>,
    /// Generations.
    pub profiles: Arc<P>,
    /// The ledger.
    pub journal: J,
    /// What detectors can ask the world.
    pub senses: Arc<dyn Senses>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Fresh identities; random, except in the simulator.
    pub ids: Box<dyn FnMut() -> InvocationId + Send>,
    /// Where blocking work is done.
    pub offload: act::Offload,
}

/// What the loop tells about itself.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// Name in the ledger.
    pub name: String,
    /// Version of the daemon.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// native or systemd.
    pub runtime: String,
    /// Where the desired state is read from.
    pub specs: String,
}

/// The loop and all it knows.
pub struct Reconciler<R, P, J> {
    runtime: Arc<R>,
    profiles: Arc<P>,
    recorder: Recorder<J>,
    clock: Arc<dyn Clock>,
    ids: Box<dyn FnMut() -> InvocationId + Send>,
    offload: act::Offload,
    facts: NodeFacts,
    started_at: Mono,
    inbox: mpsc::Receiver<Message>,
    events: mpsc::UnboundedReceiver<RuntimeEvent>,
    detectors: Detectors,
    woken: mpsc::UnboundedReceiver<AgentName>,
    /// Who depends on whom, the other way round.
    dependents: BTreeMap<AgentName, BTreeSet<AgentName>>,
    agents: Agents,
    dirty: BTreeSet<AgentName>,
    timers: BTreeSet<(Mono, AgentName)>,
    resync_at: Mono,
    /// Looks at everything so far.
    resyncs: usize,
    all_paused: Option<Paused>,
    specs_read: bool,
    rejected: BTreeMap<PathBuf, Vec<String>>,
    /// The Node's manifest as it is remembered for later daemons.
    node_spec: Option<Arc<str>>,
    turn: Turn,
    replies: Vec<accept::Reply>,
    ending: Option<Ending>,
    start_permits: Arc<tokio::sync::Semaphore>,
    /// For what is looked at before a start.
    standby: standby::Standby,
    /// Actions; they end with the loop that began them.
    under_way: JoinSet<Outcome>,
    who: BTreeMap<tokio::task::Id, (AgentName, Option<InvocationId>)>,
    resync: Option<Resync>,
    /// Bundles being made; nothing waits for them.
    builds: JoinSet<build::Built>,
    build_permits: Arc<tokio::sync::Semaphore>,
    /// Closures being hashed, one after the other.
    closures: JoinSet<closure::Hashed>,
    closure_permits: Arc<tokio::sync::Semaphore>,
    meters: Arc<Meters>,
    /// What this turn saw that is new, until it has acted.
    seen: Vec<(AgentName, Seen)>,
    system: system::SystemWatch,
    signs: life::SignsOfLife,
}

/// A look at everything, and what it found.
type Resync = Pin<Box<dyn Future<Output = Result<Vec<Instance>, String>> + Send>>;

/// A plan whose records are durable (or kept, while recording is degraded).
struct Recorded<S> {
    agent: AgentName,
    step: Step,
    intent: Option<EntryRef>,
    /// It was prepared meanwhile.
    begun: Option<Begun<S>>,
}

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// A loop that knows nothing yet, and the way to speak to it.
    pub fn new(edges: Edges<R, P, J>, facts: NodeFacts) -> (Self, Handle) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let handle = Handle::new(sender);
        let now = edges.clock.mono();
        let events = edges.runtime.subscribe();
        let (board, woken) = Board::new();
        let detectors = Detectors::new(board, edges.senses, Arc::clone(&edges.clock));
        let this = Self {
            runtime: edges.runtime,
            profiles: edges.profiles,
            recorder: Recorder::new(edges.journal),
            clock: edges.clock,
            ids: edges.ids,
            offload: edges.offload,
            facts,
            started_at: now,
            inbox,
            events,
            detectors,
            woken,
            dependents: BTreeMap::new(),
            agents: Agents::default(),
            dirty: BTreeSet::new(),
            timers: BTreeSet::new(),
            resync_at: now.after(RESYNC),
            resyncs: 0,
            all_paused: None,
            specs_read: false,
            rejected: BTreeMap::new(),
            node_spec: None,
            turn: Turn::default(),
            replies: Vec::new(),
            ending: None,
            start_permits: Arc::new(tokio::sync::Semaphore::new(act::STARTS_AT_ONCE)),
            standby: standby::Standby::default(),
            under_way: JoinSet::new(),
            who: BTreeMap::new(),
            resync: None,
            builds: JoinSet::new(),
            build_permits: Arc::new(tokio::sync::Semaphore::new(build::BUILDS_AT_ONCE)),
            closures: JoinSet::new(),
            closure_permits: Arc::new(tokio::sync::Semaphore::new(1)),
            meters: Arc::default(),
            seen: Vec::new(),
            system: system::SystemWatch::default(),
            signs: life::SignsOfLife::default(),
        };
        (this, handle)
    }

    /// Where detectors at the edge write what they see.
    pub fn board(&self) -> &Board {
        self.detectors.board()
    }

    /// What it counts.
    pub fn meters(&self) -> Arc<Meters> {
        Arc::clone(&self.meters)
    }

    /// Runs until a shutdown is complete.
    pub async fn run(mut self) {
        loop {
            self.reconcile().await;
            if self.ending.as_ref().is_some_and(|ending| ending.over) {
                return;
            }
            self.receive().await;
        }
    }

    /// One turn.
    async fn reconcile(&mut self) {
        let since = self.clock.mono();
        self.look_at_system();
        self.give_sign_of_life();
        let expected = self.expect();
        let observed = self.observe();
        let plans = self.plan(observed, &expected);
        let recorded = self.record(plans, expected).await;
        self.act(recorded);
        self.meter_turn(since);
        self.end_if_done().await;
    }

    /// Waits for something to happen, and takes in all that has.
    async fn receive(&mut self) {
        let wake_at = self.next_wake();
        let wait = wake_at.since(self.clock.mono());
        let looked = async {
            match &mut self.resync {
                Some(resync) => resync.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(event) = self.events.recv() => self.accept_event(event),
            Some(ended) = self.under_way.join_next_with_id() => self.accept_ended(ended),
            Some(built) = self.builds.join_next() => self.accept_built(built),
            Some(hashed) = self.closures.join_next() => self.accept_hashed(hashed),
            ended = self.system.ended() => self.accept_switched(ended),
            Some(agent) = self.woken.recv() => self.mark(agent),
            Some(message) = self.inbox.recv() => self.accept(message),
            found = looked => {
                self.resync = None;
                self.accept_resynced(found);
            }
            () = tokio::time::sleep(wait) => {
                if self.clock.mono().since(wake_at) > STOOD_STILL && !wait.is_zero() {
                    self.detectors.excuse_all();
                }
            }
        }
        for _ in 0..BATCH_MAX {
            match self.events.try_recv() {
                Ok(event) => self.accept_event(event),
                Err(_) => break,
            }
        }
        while let Some(ended) = self.under_way.try_join_next_with_id() {
            self.accept_ended(ended);
        }
        for _ in 0..BATCH_MAX {
            match self.woken.try_recv() {
                Ok(agent) => self.mark(agent),
                Err(_) => break,
            }
        }
        for _ in 0..BATCH_MAX {
            match self.inbox.try_recv() {
                Ok(message) => self.accept(message),
                Err(_) => break,
            }
        }
        self.mark_due();
    }

    /// Reads what the dirty agents are, and has the detectors follow who runs.
    fn observe(&mut self) -> BTreeMap<AgentName, Observed> {
        let dirty = std::mem::take(&mut self.dirty);
        if !dirty.is_empty() {
            self.detectors.board().listen();
        }
        let mut observed = BTreeMap::new();
        for name in dirty {
            if let Some(state) = self.agents.get_mut(&name)
                && state.desire != Desire::Unread
            {
                let board = self.detectors.board();
                let mut seen = state.observe(&name, &*self.runtime, &*self.profiles, board);
                self.detect(&name, &mut seen);
                observed.insert(name, seen);
            }
        }
        observed
    }

    /// Has the detectors follow the instance that runs, and nobody else.
    fn detect(&mut self, name: &AgentName, seen: &mut Observed) {
        let Observation::Known(instance) = &seen.instance else {
            return;
        };
        let Some(state) = self.agents.get_mut(name) else {
            return;
        };
        let running = instance
            .as_ref()
            .filter(|instance| matches!(instance.state, InstanceState::Running { .. }));
        match (running, &seen.active) {
            (Some(instance), Observation::Known(Some(active))) => {
                let (following, agent) = (&mut state.following, &active.agent);
                let detectors = &self.detectors;
                if detectors.follow(following, agent, instance, &state.memory) {
                    seen.vitals = detectors.board().vitals(name, instance.invocation);
                }
            }
            (Some(_), _) => {}
            (None, _) => {
                state.following = None;
                if let (Some(ended), None) = (instance, &seen.vitals) {
                    let board = self.detectors.board();
                    board.keep_last_words(name, ended.invocation, ended.started_at);
                    seen.vitals = board.vitals(name, ended.invocation);
                }
            }
        }
    }

    /// Decides what they need, everybody after what it depends on.
    fn plan(
        &mut self,
        mut observed: BTreeMap<AgentName, Observed>,
        expected: &Expected<R::Prepared>,
    ) -> Vec<(AgentName, AgentPlan)> {
        let (now, wall) = (self.clock.mono(), self.clock.wall());
        let mut plans = Vec::with_capacity(observed.len());
        for name in self.in_order(&observed) {
            let Some(mut seen) = observed.remove(&name) else {
                continue;
            };
            self.look_at_dependencies(&name, &mut seen);
            let fresh = expected.invocation(&name).unwrap_or_else(|| (self.ids)());
            let shutdown = self.shutdown_turn(&name);
            let Some(state) = self.agents.get(&name) else {
                continue;
            };
            let moment = Moment {
                now,
                wall,
                all_paused: self.all_paused.as_ref(),
                shutdown,
                fresh,
                builds: self.profiles.may_build(),
            };
            if state.has_new_fault(&name, &seen, moment) {
                seen.last_output = self.runtime.last_output(
                    &name,
                    agent::LAST_OUTPUT_LINES,
                    agent::LAST_OUTPUT_BYTES,
                );
            }
            let plan = plan::plan(&state.view(&name, &seen, moment));
            self.note_plan(&name, &seen, &plan);
            self.meter(&name, &seen, &plan);
            plans.push((name, plan));
        }
        plans
    }

    /// Makes what was decided durable, together with what happened since the last turn.
    async fn record(
        &mut self,
        plans: Vec<(AgentName, AgentPlan)>,
        mut expected: Expected<R::Prepared>,
    ) -> Vec<Recorded<R::Prepared>> {
        let mut turn = std::mem::take(&mut self.turn);
        let mut steps = Vec::new();
        let mut builds = Vec::new();
        let mut proven = Vec::new();
        let mut roots = Vec::new();
        let mut shared = self.open_incidents(&plans);
        for (name, plan) in plans {
            let Some(state) = self.agents.get_mut(&name) else {
                continue;
            };
            let opens = state.memory.incident.is_none() && plan.memory.incident.is_some();
            let root = match &plan.memory.incident {
                Some(incident) if opens => shared.get(&incident.id).cloned(),
                _ => state.incident_root.clone().map(Cause::Known),
            };
            let first = turn.records(&name, root, &plan.records);
            (plan.records.iter()).for_each(|record| self.meters.note(&name, &record.event));
            if let Some(incident) = plan.memory.incident.as_ref().filter(|_| opens) {
                let root = Cause::InCommit(first);
                shared.entry(incident.id.clone()).or_insert(root);
                roots.push((name.clone(), first));
            } else if plan.memory.incident.is_none() {
                state.incident_root = None;
            }
            if state.memory != plan.memory {
                state.memory = plan.memory;
                self.signs.note(&state.memory, self.clock.mono());
                turn.put(agent_key(&name), accept::encode(&state.memory));
            }
            let wake_at = [plan.wake_at, plan.ripens_at].into_iter().flatten().min();
            let mut last = first + plan.records.len();
            if let Some(step) = plan.step {
                last -= 1;
                steps.push((name.clone(), step, last));
            }
            if plan.build {
                builds.push((name.clone(), last - 1));
            }
            proven.extend(closure::proven(&plan.records).map(|of| (name.clone(), of)));
            self.set_timer(&name, wake_at);
        }
        let begun: Vec<_> = (steps.iter())
            .map(|(name, step, _)| {
                let begun = expected.take(name, &step.action);
                begun.or_else(|| self.prepare(name, &step.action))
            })
            .collect();
        drop(expected); // what was not decided is undone
        let appended = self.commit(turn).await;
        let reference = |index: usize| {
            appended
                .as_ref()
                .and_then(|all| all.get(index))
                .map(|a| a.reference.clone())
        };
        for (name, index) in roots {
            if let Some(state) = self.agents.get_mut(&name) {
                state.incident_root = reference(index);
            }
        }
        self.drive_switch(reference);
        for (name, index) in builds {
            self.begin_build(&name, reference(index));
        }
        for (name, generation) in proven {
            self.hash_proven(&name, generation);
        }
        (steps.into_iter().zip(begun))
            .map(|((agent, step, index), begun)| Recorded {
                agent,
                step,
                intent: reference(index),
                begun,
            })
            .collect()
    }

    async fn commit(&mut self, turn: Turn) -> Option<Vec<Appended>> {
        let now = self.clock.mono();
        self.recorder.retry(now).await;
        let appended = if turn.is_empty() {
            Some(Vec::new())
        } else {
            self.recorder
                .record(turn.into_commit(), now, self.clock.wall())
                .await
        };
        self.answer(appended.as_deref());
        appended
    }
}
