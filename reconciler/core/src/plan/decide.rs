//! How a plan comes about: account for what ended, record the difference, decide on one step.

use std::{sync::Arc, time::Duration};

use super::{
    Action, Active, AgentPlan, Record, Shutdown, Step, UNKNOWN_RETRY, View, micros, millis,
};
use crate::{
    diff::{diff, fingerprint},
    event::{ActionIntended, DiffFound, Event, FailureDetected, HealthVerified, OutsideAction},
    memory::{Finished, Incident, LastExit, Memory},
    observed::{Exit, ExitStatus, Instance, InstanceState, InvocationId, Observation},
    spec::RestartPolicy,
    time::Mono,
};

/// Decides what one agent needs now.
pub fn plan(view: &View<'_>) -> AgentPlan {
    let mut drafting = Drafting {
        view,
        records: Vec::new(),
        memory: view.memory.clone(),
        wake_at: None,
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
        drafting.wake(view.now.after(UNKNOWN_RETRY));
        return drafting.done(None);
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
    drafting.notice_outside_change(active.as_ref());
    drafting.record_difference();
    drafting.verify_recovery();
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
struct Drafting<'a, 'v> {
    view: &'a View<'v>,
    records: Vec<Record>,
    memory: Memory,
    wake_at: Option<Mono>,
}

impl Drafting<'_, '_> {
    fn record(&mut self, event: Event) {
        self.records.push(Record::of(event, &self.memory));
    }

    fn wake(&mut self, at: Mono) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn done(mut self, step: Option<Step>) -> AgentPlan {
        if let Some(step) = &step {
            let intent = intent(step);
            self.record(Event::ActionIntended(intent));
        }
        AgentPlan {
            records: self.records,
            memory: self.memory,
            step,
            wake_at: self.wake_at,
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
        let reason = exit_reason(exit);
        self.memory.last_exit = Some(LastExit {
            exit: exit.clone(),
            reason: reason.to_owned(),
            at: self.view.wall,
        });
        let success = exit.status.is_success();
        if success && policy != RestartPolicy::Always {
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
            last_output: self.view.observed.last_output.clone(),
        };
        if policy == RestartPolicy::Never {
            self.memory.finished = Some(Finished::Failed);
            self.failed(failure, exit.at, None);
            return;
        }
        let uptime = exit.at.since(instance.started_at);
        let decision = self.schedule_restart(exit.at, uptime);
        failure.restart_after_ms = decision.map(|(delay_ms, _)| delay_ms);
        self.failed(failure, exit.at, decision);
    }

    fn vanished(&mut self, invocation: InvocationId) {
        if self.policy().is_none() {
            return;
        }
        let now = self.view.now;
        let decision = self.schedule_restart(now, Duration::ZERO);
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
            last_output: Vec::new(),
        };
        self.failed(failure, now, decision);
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

    fn failed(
        &mut self,
        mut failure: FailureDetected,
        failed_at: Mono,
        decision: Option<(u64, bool)>,
    ) {
        let id = failure.invocation.unwrap_or(self.view.fresh);
        self.memory.incident.get_or_insert_with(|| Incident {
            id: id.to_string(),
            failed_at,
            detected_at: self.view.now,
        });
        failure.consecutive = self.memory.restart.consecutive;
        self.record(Event::FailureDetected(failure));
        if let (Some((restart_after_ms, true)), Some(spec)) = (decision, self.view.rules()) {
            let wait = Duration::from_millis(restart_after_ms);
            let exhausted = self.memory.restart.exhaustion(&spec.restart, wait);
            self.record(Event::EscalationExhausted(exhausted));
        }
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
        if self.memory.acted != Some(desired.digest) {
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
        };
        self.record(Event::OutsideAction(outside));
        self.memory.active = now_active;
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
        if self.memory.last_diff == Some(observed_digest) {
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

    /// Recovered means healthy for `rollout.minReady`, not merely started.
    fn verify_recovery(&mut self) {
        let (Some((instance, _)), Some(spec)) = (self.view.running(), self.view.rules()) else {
            return;
        };
        let Some(incident) = self.memory.incident.clone() else {
            return;
        };
        let proven_at = instance.started_at.after(spec.rollout.min_ready.get());
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
        let deployed = active.filter(|_| self.memory.acted == Some(desired.digest));
        let Some(active) = deployed else {
            let action = Action::Activate {
                agent: Arc::clone(&desired.agent),
                digest: desired.digest,
            };
            return Some(Step {
                action,
                reason: "SpecChanged",
            });
        };
        match running {
            Some(running) => self.decide_running(running, active),
            None => self.decide_start(active),
        }
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
        let reason = if running.generation != active.generation {
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
        self.memory.restart_requested = false;
        let action = Action::Start {
            invocation: self.view.fresh,
            generation: active.generation.clone(),
            agent: Arc::clone(&active.agent),
        };
        Some(Step { action, reason })
    }
}

fn intent(step: &Step) -> ActionIntended {
    let mut intent = ActionIntended {
        action: step.action.kind(),
        reason: step.reason,
        invocation: None,
        generation: None,
        digest: None,
    };
    match &step.action {
        Action::Activate { digest, .. } => intent.digest = Some(*digest),
        Action::Start {
            invocation,
            generation,
            ..
        } => {
            intent.invocation = Some(*invocation);
            intent.generation = Some(generation.clone());
        }
        Action::Stop { invocation, .. } => intent.invocation = Some(*invocation),
        Action::Remove => {}
    }
    intent
}

fn exit_reason(exit: &Exit) -> &'static str {
    match exit.status {
        _ if exit.oom_killed => "OomKilled",
        ExitStatus::Code { .. } => "Exited",
        ExitStatus::Signal { .. } => "Crashed",
        ExitStatus::Unknown => "ExitUnknown",
    }
}
