//! How a plan comes about: account for what ended, record the difference, decide on one step.

use std::{sync::Arc, time::Duration};

use super::{
    Action, Active, AgentPlan, Record, Shutdown, Step, UNKNOWN_RETRY, View, micros, millis,
};
use crate::{
    diff::{Difference, READY_PATH, diff, fingerprint},
    event::{
        ActionIntended, DiffFound, EndedOutside, Event, FailureDetected, FaultFacts,
        HealthVerified, OutsideAction, RollbackIntended,
    },
    health::{Health, became_ready, can_be_verified, judge},
    memory::{Condemned, Finished, Incident, LastExit, Memory, Said},
    name::AgentName,
    observed::{Exit, ExitStatus, Instance, InstanceState, InvocationId, Observation, OutsideEnd},
    probe::ProbeState,
    spec::RestartPolicy,
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

    /// An end that has not been recorded: a failure, a completion, or an instance that is gone.
    fn account_for_end(&mut self, instance: Option<&Instance>) {
        match instance {
            Some(instance) => match &instance.state {
                InstanceState::Running { .. } => self.memory.current = Some(instance.invocation),
                InstanceState::Exited(exit) => {
                    if self.memory.accounted != Some(instance.invocation) {
                        self.memory.current = Some(instance.invocation);
                        self.memory.accounted = Some(instance.invocation);
                        self.end_of(instance, exit);
                    }
                }
            },
            None => {
                if let Some(current) = self.memory.current
                    && self.memory.accounted != Some(current)
                {
                    self.memory.accounted = Some(current);
                    self.vanished(current);
                }
            }
        }
    }

    fn end_of(&mut self, instance: &Instance, exit: &Exit) {
        let Some(policy) = self.policy() else { return };
        if self.memory.condemned_now(instance.invocation) {
            // Its fault is on record and accounted for; this end only fulfils the sentence.
            return;
        }
        let reason = exit_reason(exit);
        self.memory.last_exit = Some(LastExit {
            exit: exit.clone(),
            reason: reason.to_owned(),
            at: self.view.wall,
        });
        let replaced = self.view.is_replaced(instance);
        if let Some(outside) = exit.outside {
            let respected = !replaced && is_respected(outside, policy, exit.status);
            self.ended_outside(instance, exit, outside, respected);
            return;
        }
        let success = exit.status.is_success();
        if success && policy != RestartPolicy::Always && !replaced {
            self.memory.finished = Some(Finished::Succeeded);
            self.completed(instance);
            return;
        }
        let mut failure = FailureDetected {
            reason,
            message: format!("the main process ended: {}", exit.status),
            invocation: Some(instance.invocation),
            generation: Some(instance.generation.clone()),
            exit: Some(exit.clone()),
            uptime_ms: Some(millis(exit.at.since(instance.started_at))),
            detected_after_us: micros(self.view.now.since(exit.at)),
            consecutive: 0,
            restart_after_ms: None,
            because_of: self.because_of(),
            facts: self.last_words(),
            last_output: self.view.observed.last_output.clone(),
        };
        if replaced {
            // It was to be stopped. The generation that is active starts with a clean slate.
            failure.restart_after_ms = self.view.unmet.is_empty().then_some(0);
            self.failed(failure, exit.at, None);
            self.failed = None;
            return;
        }
        if policy == RestartPolicy::Never {
            self.memory.finished = Some(Finished::Failed);
            self.failed(failure, exit.at, None);
            return;
        }
        let healthy_for = self.healthy_for(instance, exit.at);
        let decision = match self.view.unmet.is_empty() {
            true => self.schedule_restart(exit.at, healthy_for),
            false => self.restart_with_dependency(),
        };
        failure.restart_after_ms = decision.map(|(delay_ms, _)| delay_ms);
        self.failed(failure, exit.at, decision);
    }

    /// Somebody had it ended past osmoda. That is no failure: it spends no budget, and speaks
    /// against no generation.
    fn ended_outside(
        &mut self,
        instance: &Instance,
        exit: &Exit,
        outside: OutsideEnd,
        respected: bool,
    ) {
        self.memory.finished = respected.then_some(Finished::Stopped);
        self.record(Event::OutsideAction(OutsideAction {
            what: outside.word(),
            from: Some(instance.generation.clone()),
            to: None,
            ended: Some(EndedOutside {
                invocation: instance.invocation,
                exit: exit.clone(),
                respected,
            }),
        }));
    }

    fn vanished(&mut self, invocation: InvocationId) {
        if self.policy().is_none() {
            return;
        }
        let now = self.view.now;
        let decision = match self.view.unmet.is_empty() {
            true => self.schedule_restart(now, Duration::ZERO),
            false => self.restart_with_dependency(),
        };
        let failure = FailureDetected {
            reason: "Vanished",
            message: "the runtime no longer knows the instance that was running".to_owned(),
            invocation: Some(invocation),
            generation: self.memory.active.clone(),
            exit: None,
            uptime_ms: None,
            detected_after_us: 0,
            consecutive: 0,
            restart_after_ms: decision.map(|(delay_ms, _)| delay_ms),
            because_of: self.because_of(),
            facts: None,
            last_output: Vec::new(),
        };
        self.failed(failure, now, decision);
    }

    /// A start that is complete is remembered, so that a later daemon does not wait for it; and
    /// so is what an instance says once and is judged by from then on.
    fn note_started(&mut self) {
        let (Some((instance, _)), Some(spec)) = (self.view.running(), self.view.rules()) else {
            return;
        };
        if self.health.started && can_be_verified(spec) {
            self.memory.started = Some(instance.invocation);
        }
        if let Some(vitals) = &self.view.observed.vitals
            && let Some(said) = Said::of(instance.invocation, &vitals.heartbeat)
        {
            self.memory.said = Some(said);
        }
    }

    /// The instance runs and yet it failed: on record once, and to be stopped unless the agent
    /// is paused.
    fn account_for_fault(&mut self) {
        let Some((instance, _)) = self.view.running() else {
            return;
        };
        let (Some(fault), Some(policy)) = (self.health.fault.clone(), self.policy()) else {
            return;
        };
        let known = self.memory.condemned;
        let known = known.filter(|condemned| condemned.invocation == instance.invocation);
        let spared = self.view.paused().is_some();
        if known.is_some_and(|condemned| condemned.spared == spared || !condemned.spared) {
            return;
        }
        self.memory.condemned = Some(Condemned {
            invocation: instance.invocation,
            kind: fault.kind,
            spared,
        });
        let mut failure = FailureDetected {
            reason: fault.kind.word(),
            message: fault.message,
            invocation: Some(instance.invocation),
            generation: Some(instance.generation.clone()),
            exit: None,
            uptime_ms: Some(millis(self.view.now.since(instance.started_at))),
            detected_after_us: micros(self.view.now.since(fault.due_at)),
            consecutive: 0,
            restart_after_ms: None,
            because_of: Vec::new(),
            facts: Some(Box::new(fault.facts)),
            last_output: self.view.observed.last_output.clone(),
        };
        if spared {
            self.failed(failure, fault.failed_at, None);
            return;
        }
        self.health.ready = false;
        if policy == RestartPolicy::Never {
            self.memory.finished = Some(Finished::Failed);
            self.failed(failure, fault.failed_at, None);
            return;
        }
        let healthy_for = self.healthy_for(instance, fault.failed_at);
        let decision = self.schedule_restart(self.view.now, healthy_for);
        failure.restart_after_ms = decision.map(|(delay_ms, _)| delay_ms);
        self.failed(failure, fault.failed_at, decision);
    }

    /// What the agent said last of itself.
    fn last_words(&self) -> Option<Box<FaultFacts>> {
        let vitals = self.view.observed.vitals.as_ref()?;
        let facts = FaultFacts::of(&vitals.heartbeat);
        (facts != FaultFacts::default()).then(|| Box::new(facts))
    }

    /// How long the instance had been ready at `end`.
    fn healthy_for(&self, instance: &Instance, end: Mono) -> Duration {
        let vitals = self.view.observed.vitals.as_ref();
        let started = self.memory.started == Some(instance.invocation);
        let since = self
            .view
            .rules()
            .and_then(|spec| became_ready(spec, instance, vitals, started));
        since.map_or(Duration::ZERO, |since| end.since(since))
    }

    /// The dependencies that explain a failure of this agent.
    fn because_of(&self) -> Vec<AgentName> {
        let unmet = self.view.unmet.iter();
        unmet.map(|unmet| unmet.agent.clone()).collect()
    }

    /// The restart policy in force; `None` for an agent that is on its way out.
    fn policy(&self) -> Option<RestartPolicy> {
        self.view.desired?;
        self.view.rules().map(|spec| spec.restart.policy)
    }

    /// Sets the time of the next start; gives the wait in milliseconds and whether the budget
    /// was spent by this end.
    fn schedule_restart(&mut self, ended_at: Mono, healthy_for: Duration) -> Option<(u64, bool)> {
        let rules = &self.view.rules()?.restart;

        let draw = self.view.fresh.draw();
        let decision = self
            .memory
            .restart
            .account(rules, ended_at, healthy_for, draw);
        self.memory.next_start_at = Some(ended_at.after(decision.delay));
        self.memory.restarts += 1;
        Some((millis(decision.delay), decision.escalate))
    }

    /// A failure that a dependency explains spends no budget: the agent is held until the
    /// dependency is back.
    fn restart_with_dependency(&mut self) -> Option<(u64, bool)> {
        self.memory.next_start_at = None;
        self.memory.restarts += 1;
        None
    }

    fn failed(
        &mut self,
        mut failure: FailureDetected,
        failed_at: Mono,
        decision: Option<(u64, bool)>,
    ) {
        let own = failure.invocation.unwrap_or(self.view.fresh);
        let roots = self.view.unmet.iter();
        let root = roots.filter_map(|unmet| unmet.incident.clone()).next();
        self.memory.incident.get_or_insert_with(|| Incident {
            id: root.unwrap_or_else(|| own.to_string()),
            failed_at,
            detected_at: self.view.now,
        });
        failure.consecutive = self.memory.restart.consecutive;
        if failure.because_of.is_empty() {
            self.failed = Some(failure.message.clone());
        }
        self.record(Event::FailureDetected(failure));
        self.memory.escalation_due |= decision.is_some_and(|(_, escalate)| escalate);
    }

    fn completed(&mut self, instance: &Instance) {
        let verified = HealthVerified {
            reason: "Completed",
            invocation: instance.invocation,
            time_to_detect_us: 0,
            time_to_restart_us: 0,
            time_to_verify_us: 0,
        };
        self.record(Event::HealthVerified(verified));
        self.memory.incident = None;
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
            self.memory.last_diff = None;
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

/// Whether an end that somebody outside caused stays: a stop is respected unless the agent is
/// always to run, and a signal counts as the end that it led to.
fn is_respected(outside: OutsideEnd, policy: RestartPolicy, status: ExitStatus) -> bool {
    match (policy, outside) {
        (RestartPolicy::Always, _) => false,
        (RestartPolicy::OnFailure, OutsideEnd::Killed) => status.is_success(),
        (RestartPolicy::OnFailure, OutsideEnd::Stopped) | (RestartPolicy::Never, _) => true,
    }
}

fn exit_reason(exit: &Exit) -> &'static str {
    match (exit.status, exit.outside) {
        _ if exit.oom_killed => "OomKilled",
        (_, Some(outside)) => outside.word(),
        (ExitStatus::Code { .. }, None) => "Exited",
        (ExitStatus::Signal { .. }, None) => "Crashed",
        (ExitStatus::Unknown, None) => "ExitUnknown",
    }
}
