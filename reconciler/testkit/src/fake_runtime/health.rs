//! The truth about a fake agent's health, and the orders that change it.
//!
//! Detectors are told what an instance does and says ([`super::senses`], [`super::voice`]); tests
//! ask here what really is the case, to hold what the loop concluded against it.

use std::sync::Arc;

use osmoda_core::{
    heartbeat::{EXTENSION_MAX, Notice},
    name::AgentName,
    observed::InvocationId,
    spec::{AgentSpec, HeartbeatSource},
    time::Mono,
};
use osmoda_node::detect::board::{Board, Wake};

use super::{
    World,
    conduct::{Answering, Aspect, Conduct, Lasts, Speech, Using},
    world::{Agent, Life},
};

/// What an instance has let its daemons hear of it. What it says while there is none is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pulse {
    /// It said READY=1.
    pub ready_at: Option<Mono>,
    /// Its last heartbeat.
    pub last: Option<Mono>,
    /// How far it extended its deadline.
    pub extended_until: Option<Mono>,
    /// It asked to be treated as hung.
    pub triggered_at: Option<Mono>,
    /// It said STOPPING=1.
    pub stopping_at: Option<Mono>,
}

/// The truth about the living instance of an agent.
#[derive(Debug, Clone)]
pub struct Truth {
    /// Which.
    pub invocation: InvocationId,
    /// Since when it lives.
    pub started_at: Mono,
    /// What it was started with.
    pub spec: Arc<AgentSpec>,
    /// What was heard of it.
    pub pulse: Pulse,
    /// What had been heard before the last thing was.
    pub pulse_before: Pulse,
    /// When that was.
    pub heard_at: Mono,
    /// Failures in a row, by [`Aspect::ALL`], a question that is still open included.
    pub failures: [u32; 3],
    /// What it uses.
    pub using: Using,
    /// Since when it behaves as it does.
    pub behaves_since: Mono,
    /// It does its work, as far as anybody who looks can know.
    pub serves: bool,
    /// Nothing is wrong with it that its spec looks for.
    pub is_well: bool,
}

impl World {
    /// Orders how an agent behaves from now on.
    pub fn order_conduct(&self, agent: &AgentName, conduct: Conduct, lasts: Lasts) {
        let now = self.now();
        self.with(agent, |agent| {
            agent.note_service(now);
            match lasts {
                Lasts::UntilOrdered => agent.conduct = (conduct, now),
                Lasts::UntilRestart => {
                    if let Some(life) = &mut agent.latest {
                        life.conduct = Some((conduct, now));
                    }
                }
            }
        });
    }

    /// Ends an unreadiness, which no restart would.
    pub fn make_ready(&self, agent: &AgentName) {
        self.with(agent, |agent| {
            agent.conduct.0.readiness = Answering::Well;
            let life = agent.latest.as_mut().and_then(|life| life.conduct.as_mut());
            if let Some((conduct, _)) = life {
                conduct.readiness = Answering::Well;
            }
        });
    }

    /// The board of the daemon that listens now; what is said while there is none is lost.
    pub fn listen(&self, board: Option<Board>) {
        self.set_board(board);
    }

    /// The agent's instance says something. Gives whether there is one.
    pub fn say(&self, agent: &AgentName, notice: &Notice) -> bool {
        let living = self.truth(agent);
        living
            .inspect(|truth| self.utter(agent, truth.invocation, notice))
            .is_some()
    }

    /// An instance says something on its notify socket, if it was given one.
    pub(super) fn utter(&self, agent: &AgentName, invocation: InvocationId, notice: &Notice) {
        let now = self.now();
        let board = self.board();
        let delivered = self.with(agent, |agent| {
            let life = agent.life(invocation)?;
            let notify = life.source() == Some(&HeartbeatSource::Notify);
            let heard = board.filter(|_| notify);
            if heard.is_some() || (!notify && *notice == Notice::Beat) {
                if now > life.heard_at {
                    (life.pulse_before, life.heard_at) = (life.pulse, now);
                }
                life.pulse.hear(notice, now);
            }
            heard
        });
        if let Some(board) = delivered
            && board.hear(agent, invocation, |heartbeat| heartbeat.hear(notice, now)) == Wake::Loop
        {
            board.wake(agent);
        }
    }

    /// What is true of the agent's living instance; `None`: nothing of it lives.
    pub fn truth(&self, agent: &AgentName) -> Option<Truth> {
        let now = self.now();
        self.with(agent, |agent| {
            let life = agent.running()?;
            Some(Truth {
                invocation: life.instance.invocation,
                started_at: life.instance.started_at,
                spec: Arc::clone(&life.spec),
                pulse: life.pulse,
                pulse_before: life.pulse_before,
                heard_at: life.heard_at,
                failures: life.failures,
                using: agent.conduct_of(life).0.using,
                behaves_since: agent.conduct_of(life).1,
                serves: agent.serves(now),
                is_well: agent.is_well(life, now),
            })
        })
    }

    /// When an agent last did its work; now, if it does.
    pub fn last_served(&self, agent: &AgentName) -> Option<Mono> {
        let now = self.now();
        self.with(agent, |agent| {
            agent.note_service(now);
            agent.last_served
        })
    }

    /// When news of the agent's end was last withheld from everybody.
    pub fn news_withheld_at(&self, agent: &AgentName) -> Option<Mono> {
        self.with(agent, |agent| agent.withheld_at)
    }

    /// How the question about `aspect` is answered now. Counted as a failure until it is known
    /// to be a success.
    pub(super) fn ask(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        aspect: Aspect,
    ) -> Option<Answering> {
        let now = self.now();
        self.with(agent, |agent| {
            agent.note_service(now);
            let life = agent.running()?;
            if life.instance.invocation != invocation {
                return None;
            }
            let answering = agent.answering(life, aspect, now);
            let well = answering.is_well(now);
            let life = agent.life(invocation)?;
            let failures = &mut life.failures[aspect as usize];
            *failures = if well { 0 } else { *failures + 1 };
            life.passed[aspect as usize] |= well;
            Some(answering)
        })
    }

    /// How an instance speaks now; `None`: it has ended.
    pub(super) fn speech(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
    ) -> Option<(Speech, Pulse, Mono)> {
        let now = self.now();
        self.with(agent, |agent| {
            let life = agent.running()?;
            let (same, started_at) = (
                life.instance.invocation == invocation,
                life.instance.started_at,
            );
            same.then(|| (agent.speaks(life, now), life.pulse, started_at))
        })
    }
}

impl Pulse {
    fn hear(&mut self, notice: &Notice, now: Mono) {
        match notice {
            Notice::Ready => self.ready_at = self.ready_at.or(Some(now)),
            Notice::Beat => self.last = Some(now),
            Notice::Trigger => self.triggered_at = self.triggered_at.or(Some(now)),
            Notice::Stopping => self.stopping_at = self.stopping_at.or(Some(now)),
            Notice::Extend(time) => {
                let until = Some(now.after((*time).min(EXTENSION_MAX)));
                self.extended_until = self.extended_until.max(until);
            }
            Notice::Reloading(_) | Notice::Status(_) | Notice::Errno(_) | Notice::Timeout(_) => {}
        }
    }
}

impl Agent {
    /// How an instance behaves, and since when.
    pub(super) fn conduct_of(&self, life: &Life) -> (Conduct, Mono) {
        let (conduct, since) = life.conduct.unwrap_or(self.conduct);
        (conduct, since.max(life.instance.started_at))
    }

    fn answering(&self, life: &Life, aspect: Aspect, now: Mono) -> Answering {
        let never = life.script.never_ready && aspect != Aspect::Liveness;
        match never || life.has_fallen_ill(now) {
            true => Answering::Ill,
            false => self.conduct_of(life).0.answers(aspect),
        }
    }

    fn speaks(&self, life: &Life, now: Mono) -> Speech {
        match (life.script.never_ready, life.has_fallen_ill(now)) {
            (true, _) => Speech::NeverReady,
            (false, true) => Speech::Silent,
            (false, false) => self.conduct_of(life).0.speech,
        }
    }

    /// It does its work, as far as anybody can know who asks what its spec names. A flapping
    /// answer is one in between.
    fn serves(&self, now: Mono) -> bool {
        let Some(life) = self.running() else {
            return false;
        };
        let fit = |answering: Answering| matches!(answering, Answering::Well | Answering::Flaps(_));
        let passed = |aspect: Aspect| life.passed[aspect as usize];
        let probes = &life.spec.probes;
        let begun = match (&probes.startup, &probes.liveness) {
            (Some(_), _) => passed(Aspect::Startup),
            (None, Some(_)) => passed(Aspect::Liveness),
            (None, None) => true,
        };
        let ready = probes.readiness.is_none()
            || (passed(Aspect::Readiness) && fit(self.answering(life, Aspect::Readiness, now)));
        let notify = life.source() == Some(&HeartbeatSource::Notify);
        let said = !notify || life.pulse.ready_at.is_some();
        begun && ready && said && life.pulse.stopping_at.is_none()
    }

    /// Nothing is wrong that its spec looks for.
    fn is_well(&self, life: &Life, now: Mono) -> bool {
        let probes = &life.spec.probes;
        let asked = [
            (Aspect::Readiness, probes.readiness.is_some()),
            (Aspect::Liveness, probes.liveness.is_some()),
        ];
        let well = |(aspect, asked): (Aspect, bool)| {
            !asked || self.answering(life, aspect, now) == Answering::Well
        };
        let beats = matches!(
            self.speaks(life, now),
            Speech::Regular | Speech::Extends | Speech::ReadyAfter(_)
        );
        let spoken = life.spec.heartbeat.is_none()
            || (beats && life.pulse.triggered_at.is_none() && life.pulse.stopping_at.is_none());
        let limits = &life.spec.resources;
        let modest = match self.conduct_of(life).0.using {
            Using::Leaks(_) => limits.memory_high.is_none(),
            Using::RunsAway => limits.cpu_runaway.is_none(),
            Using::Fixed(_) | Using::Sawtooth { .. } => true,
        };
        asked.into_iter().all(well) && spoken && modest
    }

    /// Notes that it serves, before something changes.
    pub(super) fn note_service(&mut self, now: Mono) {
        if self.serves(now) {
            self.last_served = Some(now);
        } else if let Some(ill_at) = self.running().and_then(Life::falls_ill_at)
            && ill_at <= now
            && self.last_served < Some(ill_at)
            && self.served_until(ill_at)
        {
            self.last_served = Some(ill_at);
        }
    }

    /// Whether nothing but the illness that its command orders for `ill_at` ended its service.
    fn served_until(&self, ill_at: Mono) -> bool {
        self.serves(Mono(ill_at.0.saturating_sub(1)))
    }
}

impl Life {
    /// Where its heartbeat comes from.
    pub(super) fn source(&self) -> Option<&HeartbeatSource> {
        self.spec.heartbeat.as_ref().map(|rules| &rules.source)
    }

    fn falls_ill_at(&self) -> Option<Mono> {
        let after = self.script.ill_after?;
        Some(self.instance.started_at.after(after))
    }

    fn has_fallen_ill(&self, now: Mono) -> bool {
        self.falls_ill_at().is_some_and(|at| at <= now)
    }
}
