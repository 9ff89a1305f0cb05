//! The detectors: what watches a running instance for everything but its exit.
//!
//! For each followed instance a few small tasks ask ([`Senses`]) and fold the answers into the
//! [`Board`] with the pure rules of osmoda-core; they wake the loop only when a verdict changes.
//! An instance that asks for no detector has no task: nothing ticks for it.
//!
//! Where to start: [`Detectors::follow`].

mod ask;
pub mod board;
mod file_sign;
pub mod node_checks;
pub mod notify;
mod prober;
mod sampler;
pub mod senses;
mod silence;

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use osmoda_core::{
    health::Vitals,
    memory::Memory,
    name::AgentName,
    observed::{Instance, InvocationId},
    probe::{Answer, ProbeKind, ProbeState},
    resources::Usage,
    spec::{Agent, HeartbeatSource, ProbeCheck},
    time::{Clock, Mono},
};
use tokio::task::JoinSet;

use self::board::Board;

/// A future of a trait object.
pub type Asked<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Whom and what a probe asks.
#[derive(Debug, Clone)]
pub struct Question {
    /// Whom.
    pub agent: Arc<Agent>,
    /// Which start of it.
    pub invocation: InvocationId,
    /// What.
    pub check: ProbeCheck,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// What detectors can ask the world.
pub trait Senses: Send + Sync + 'static {
    /// Asks a probe's question once. Whatever goes wrong is a failure, never a success; an
    /// answer that does not come in time is one too.
    fn check(&self, question: Question) -> Asked<Answer>;

    /// What the instance's process tree uses.
    fn usage(&self, agent: AgentName, invocation: InvocationId) -> Asked<io::Result<Usage>>;

    /// When the instance gave its last sign of life, for sources Output and File; `None`: none
    /// yet.
    fn last_sign(
        &self,
        agent: AgentName,
        invocation: InvocationId,
        source: HeartbeatSource,
    ) -> Asked<io::Result<Option<Mono>>>;
}

/// Everything that a detector's task needs.
#[derive(Clone)]
struct Watch {
    agent: Arc<Agent>,
    instance: Instance,
    followed_since: Mono,
    board: Board,
    senses: Arc<dyn Senses>,
    clock: Arc<dyn Clock>,
}

/// What detectors are made of.
pub struct Detectors {
    board: Board,
    senses: Arc<dyn Senses>,
    clock: Arc<dyn Clock>,
}

/// The detectors of one agent's instance. They end when it is dropped; what they knew last stays on
/// the board.
#[derive(Debug)]
pub struct Following {
    invocation: InvocationId,
    _tasks: JoinSet<()>,
}

impl Detectors {
    /// Detectors that follow nobody yet.
    pub fn new(board: Board, senses: Arc<dyn Senses>, clock: Arc<dyn Clock>) -> Self {
        Self {
            board,
            senses,
            clock,
        }
    }

    /// Where they write.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Follows an instance, unless it is being followed; gives whether that began now. To begin
    /// anew with an instance, drop what follows it: what failed while a dependency was not ready,
    /// or while the daemon itself did not run, is no evidence. `memory`: what is known of it from
    /// before, perhaps by an earlier daemon.
    pub fn follow(
        &self,
        following: &mut Option<Following>,
        agent: &Arc<Agent>,
        instance: &Instance,
        memory: &Memory,
    ) -> bool {
        let name = &agent.name;
        let invocation = instance.invocation;
        let known = following.as_ref();
        if known.is_some_and(|following| following.invocation == invocation) {
            return false;
        }
        let now = self.clock.mono();
        let followed_since = if instance.adopted {
            now
        } else {
            instance.started_at
        };
        let watch = Watch {
            agent: Arc::clone(agent),
            instance: instance.clone(),
            followed_since,
            board: self.board.clone(),
            senses: Arc::clone(&self.senses),
            clock: Arc::clone(&self.clock),
        };
        let probes = &agent.spec.probes;
        let started = memory.started == Some(invocation);
        let gate = probes.gate().filter(|_| !started);
        let mut vitals = match self.board.vitals(name, invocation) {
            // Followed before, and excused: what it said stays true.
            Some(before) => Vitals {
                excused_at: Some(now),
                ..before
            },
            None => Vitals::new(followed_since),
        };
        let said = memory.said.filter(|said| said.invocation == invocation);
        if let Some(said) = said {
            vitals.heartbeat.recall(&said.heard(now));
        }
        vitals.startup = gate
            .as_ref()
            .map(|_| ProbeState::new(ProbeKind::Startup, now));
        let readiness = probes.readiness.as_ref();
        vitals.readiness = readiness.map(|_| ProbeState::new(ProbeKind::Readiness, now));
        let liveness = probes.liveness.as_ref();
        vitals.liveness = liveness.map(|_| ProbeState::new(ProbeKind::Liveness, now));
        self.board.follow(name, invocation, vitals);
        let mut tasks = JoinSet::new();
        if gate.is_some() || readiness.is_some() || liveness.is_some() {
            tasks.spawn(prober::run(watch.clone(), gate));
        }
        if silence::is_watched(&agent.spec) {
            tasks.spawn(silence::run(watch.clone()));
        }
        if sampler::is_needed(&agent.spec) {
            tasks.spawn(sampler::run(watch));
        }
        *following = Some(Following {
            invocation,
            _tasks: tasks,
        });
        true
    }

    /// Forgives every silence until now.
    pub fn excuse_all(&self) {
        self.board.excuse_all(self.clock.mono());
    }
}
