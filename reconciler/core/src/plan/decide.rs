//! How a plan comes about: account for what ended, record the difference, decide on one step.

use std::sync::Arc;

use super::{Action, Active, AgentPlan, Record, Shutdown, Step, UNKNOWN_RETRY, View, micros};
use crate::{
    diff::{Difference, READY_PATH, diff, fingerprint},
    event::{ActionIntended, DiffFound, Event, HealthVerified, OutsideAction, RollbackIntended},
    health::{Health, can_be_verified, judge},
    memory::Memory,
    observed::{Instance, InstanceState, Observation},
    probe::ProbeState,
    time::Mono,
};

/// Decides what one agent needs now.
pub fn plan(view: &View<'_>) -> AgentPlan {
    let mut plan = draft(view);
    plan.date_conditions(view);
    plan
}

fn draft(view: &View<'_>) -> AgentPlan {
    let mut drafting = Drafting {
        view,
        records: Vec::new(),
        memory: view.memory.clone(),
        wake_at: None,
        build: false,
        health: judge(view),
        failed: None,
    };
    if view.busy.is_some() {
        return drafting.done(None);
    }
    if let Some(turn) = view.shutdown {
        let step = drafting.decide_shutdown(turn);
        return drafting.done(step);
    }
    let (Observation::Known(instance), Observation::Known(active)) =
        (&view.observed.instance, &view.observed.active)
    else {
        drafting.record_difference();
        if matches!(view.observed.active, Observation::Unknown(_)) {
            drafting.rebuild();
        }
        drafting.wake(view.now.after(UNKNOWN_RETRY));
        let step = drafting.decide_unread();
        return drafting.done(step);
    };
    // It runs and yet its end is on record: one of the two is wrong, and acting on either could
    // go round in circles for ever.
    if view
        .running()
        .is_some_and(|(i, _)| view.memory.accounted == Some(i.invocation))
    {
        drafting.wake(view.now.after(UNKNOWN_RETRY));
        return drafting.done(None);
    }
    drafting.account_for_end(instance.as_ref());
    drafting.note_started();
    drafting.account_for_fault();
    drafting.notice_outside_change(active.as_ref());
    drafting.verify_recovery();
    drafting.judge_rollout(active.as_ref());
    drafting.record_difference();
    if let Some(at) = drafting.health.wake_at {
        drafting.wake(at);
    }
    if view.paused().is_some() {
        return drafting.done(None);
    }
    if let Some(until) = view.hold_until.filter(|until| *until > view.now) {
        drafting.wake(until);
        return drafting.done(None);
    }
    let step = drafting.decide(instance.as_ref(), active.as_ref());
    drafting.done(step)
}

/// A plan in the making.
pub(super) struct Drafting<'a, 'v> {
    pub(super) view: &'a View<'v>,
    records: Vec<Record>,
    pub(super) memory: Memory,
    wake_at: Option<Mono>,
    pub(super) build: bool,
    pub(super) health: Health,
    /// A failure that the agent is blamed for was accounted for in this plan: what it was.
    pub(super) failed: Option<String>,
}

impl Drafting<'_, '_> {
    pub(super) fn record(&mut self, event: Event) {
        self.records.push(Record::of(event, &self.memory));
    }

    pub(super) fn wake(&mut self, at: Mono) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn done(mut self, step: Option<Step>) -> AgentPlan {
        if let Some(step) = &step {
            self.record(intent(step));
        }
        AgentPlan {
            records: self.records,
            memory: self.memory,
            build: self.build,
            step,
            wake_at: self.wake_at,
            ripens_at: None,
            health: self.health,
        }
    }

    /// A person switched the profile: their choice is respected and recorded.
    fn notice_outside_change(&mut self, active: Option<&Active>) {
        let Some(desired) = self.view.desired else {
            return;
        };
        if self.memory.acted != Some(desired.digest) && self.view.bundle.is_usable() {
            return; // a new spec is to be deployed anyway
        }
        let now_active = active.map(|active| active.generation.clone());
        if now_active == self.memory.active {
            return;
        }
        let outside = OutsideAction {
            what: if now_active.is_some() {
                "ProfileSwitched"
            } else {
                "ProfileRemoved"
            },
            from: self.memory.active.clone(),
            to: now_active.clone(),
            ended: None,
        };
        self.record(Event::OutsideAction(outside));
        self.memory.active = now_active;
        if let Some(active) = active {
            let (generation, digest) = (&active.generation, active.digest);
            let (now, wall) = (self.view.now, self.view.wall);
            self.memory
                .rollout
                .activated(generation, digest, true, now, wall);
        }
    }

    fn record_difference(&mut self) {
        // What was just accounted for must show: the view of the draft, not of the turn.
        let view = View {
            memory: &self.memory,
            ..*self.view
        };
        let differences = diff(&view);
        if differences.is_empty() {
            if self.memory.last_diff.is_some() {
                self.memory.last_diff = None;
            }
            return;
        }
        let observed_digest = fingerprint(&differences);
        if self.memory.last_diff == Some(observed_digest) || self.is_coming_up(&differences) {
            return;
        }
        self.memory.last_diff = Some(observed_digest);
        let desired_digest = self.view.desired.map(|desired| desired.digest);
        self.record(Event::Diff(DiffFound {
            desired_digest,
            observed_digest,
            differences,
        }));
    }

    /// An instance that is not ready because it was only just started is on its way, and no
    /// drift worth a record.
    fn is_coming_up(&self, differences: &[Difference]) -> bool {
        let only_unready = differences.iter().all(|d| d.path == READY_PATH);
        let deadline = self
            .view
            .running()
            .zip(self.view.rules())
            .map(|((i, _), spec)| i.started_at.after(spec.rollout.progress_deadline.get()));
        let was_ready = self.health.started
            && self.view.observed.vitals.as_ref().is_some_and(|vitals| {
                let changed = |p: &ProbeState| p.since > vitals.followed_since;
                vitals.readiness.as_ref().is_none_or(changed)
            });
        only_unready
            && self.health.fault.is_none()
            && !was_ready
            && deadline.is_some_and(|deadline| self.view.now < deadline)
    }

    /// Recovered means verified: ready by its own word and its probes; for an agent that has
    /// neither, alive for `rollout.minReady`.
    fn verify_recovery(&mut self) {
        let (Some((instance, _)), Some(spec)) = (self.view.running(), self.view.rules()) else {
            return;
        };
        let Some(incident) = self.memory.incident.clone() else {
            return;
        };
        if !self.health.ready || self.health.fault.is_some() {
            return;
        }
        let proven_at = match can_be_verified(spec) {
            true => self.view.now,
            false => instance.started_at.after(spec.rollout.min_ready.get()),
        };
        if self.view.now < proven_at {
            self.wake(proven_at);
            return;
        }
        let verified = HealthVerified {
            reason: "Recovered",
            invocation: instance.invocation,
            time_to_detect_us: micros(incident.detected_at.since(incident.failed_at)),
            time_to_restart_us: micros(instance.started_at.since(incident.failed_at)),
            time_to_verify_us: micros(self.view.now.since(incident.failed_at)),
        };
        self.record(Event::HealthVerified(verified));
        self.memory.incident = None;
    }

    fn decide(&mut self, instance: Option<&Instance>, active: Option<&Active>) -> Option<Step> {
        let running = instance.filter(|i| matches!(i.state, InstanceState::Running { .. }));
        let Some(desired) = self.view.desired else {
            return self.decide_absent(running, active);
        };
        let known = self.memory.acted == Some(desired.digest);
        // Until the bundle of a new spec is there, the agent lives on as it was.
        let lives_on = known || !self.view.bundle.is_usable();
        if let Some(back) = self.memory.rollout.going_back.clone().filter(|_| lives_on) {
            return Some(self.decide_switch(&back, active));
        }
        let refused = self.memory.rollout.bad(desired.digest).is_some();
        if refused && !known && active.is_some() {
            // It is known to be bad: what is active stays, and `status --diff` says why.
            self.memory.acted = Some(desired.digest);
        }
        let deployed = active.filter(|_| lives_on || refused);
        if !refused && (!known || deployed.is_none()) {
            self.build(desired);
        }
        let Some(active) = deployed else {
            if refused || !self.view.bundle.is_usable() {
                return None; // there is nothing that could run
            }
            return Some(Step {
                action: self.activation(desired),
                reason: "SpecChanged",
            });
        };
        match running {
            Some(running) => self.decide_running(running, active),
            None => self.decide_start(active),
        }
    }

    /// The generation that is active cannot be read: its bundle is gone or damaged, perhaps. A
    /// new spec is deployed over it all the same, and an agent that is in no spec any more is
    /// stopped and removed: neither needs it. Nothing is started or stopped for its sake.
    fn decide_unread(&mut self) -> Option<Step> {
        let Observation::Known(instance) = &self.view.observed.instance else {
            return None;
        };
        let held = self.view.hold_until;
        if held.is_some_and(|until| until > self.view.now) || self.view.paused().is_some() {
            return None;
        }
        let Some(desired) = self.view.desired else {
            let is_running = |i: &&Instance| matches!(i.state, InstanceState::Running { .. });
            return self.decide_absent(instance.as_ref().filter(is_running), None);
        };
        let new = self.memory.acted != Some(desired.digest);
        let refused = self.memory.rollout.bad(desired.digest).is_some();
        (new && !refused).then(|| Step {
            action: self.activation(desired),
            reason: "SpecChanged",
        })
    }

    fn decide_shutdown(&mut self, turn: Shutdown) -> Option<Step> {
        let (instance, _) = self.view.running().filter(|_| turn == Shutdown::Now)?;
        let stop = self
            .view
            .rules()
            .map(|spec| spec.stop.clone())
            .unwrap_or_default();
        let action = Action::Stop {
            invocation: instance.invocation,
            stop,
        };
        Some(Step {
            action,
            reason: "Shutdown",
        })
    }

    fn decide_absent(
        &mut self,
        running: Option<&Instance>,
        active: Option<&Active>,
    ) -> Option<Step> {
        let action = match running {
            Some(running) => Action::Stop {
                invocation: running.invocation,
                stop: active
                    .map(|a| a.agent.spec.stop.clone())
                    .unwrap_or_default(),
            },
            None => Action::Remove,
        };
        Some(Step {
            action,
            reason: "SpecRemoved",
        })
    }

    fn decide_running(&mut self, running: &Instance, active: &Active) -> Option<Step> {
        let condemned = self.memory.condemned;
        let condemned = condemned.filter(|c| c.invocation == running.invocation && !c.spared);
        let reason = if let Some(condemned) = condemned {
            condemned.kind.word()
        } else if running.generation != active.generation {
            "GenerationChanged"
        } else if self.memory.restart_requested {
            "OperatorRequest"
        } else {
            return None;
        };
        let stop = active.agent.spec.stop.clone();
        Some(Step {
            action: Action::Stop {
                invocation: running.invocation,
                stop,
            },
            reason,
        })
    }

    fn decide_start(&mut self, active: &Active) -> Option<Step> {
        let requested = self.memory.restart_requested;
        if self.memory.finished.is_some() && !requested {
            return None;
        }
        if !self.view.unmet.is_empty() {
            return None; // held; whoever notes that a dependency is ready looks here again
        }
        if let Some(at) = self.memory.next_start_at.filter(|at| *at > self.view.now)
            && !requested
        {
            self.wake(at);
            return None;
        }
        let reason = match (requested, &self.memory.incident) {
            (true, _) => "OperatorRequest",
            (false, Some(_)) => "Restart",
            (false, None) => "Desired",
        };
        self.memory.current = Some(self.view.fresh);
        self.memory.next_start_at = None;
        self.memory.finished = None;
        self.memory.condemned = None;
        self.memory.restart_requested = false;
        let action = Action::Start {
            invocation: self.view.fresh,
            generation: active.generation.clone(),
            agent: Arc::clone(&active.agent),
        };
        Some(Step { action, reason })
    }
}

fn intent(step: &Step) -> Event {
    let mut intent = ActionIntended {
        action: step.action.kind(),
        reason: step.reason,
        invocation: step.action.invocation(),
        generation: None,
        digest: None,
    };
    match &step.action {
        Action::Switch { from, to } => {
            return Event::RollbackIntended(RollbackIntended {
                from: from.clone(),
                to: to.clone(),
                reason: step.reason,
            });
        }
        Action::Activate { digest, .. } => intent.digest = Some(*digest),
        Action::Start { generation, .. } => intent.generation = Some(generation.clone()),
        Action::Stop { .. } | Action::Remove => {}
    }
    Event::ActionIntended(intent)
}
