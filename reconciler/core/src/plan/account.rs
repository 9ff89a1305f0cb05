//! Accounting for what ended: each end and each fault is recorded once, and what follows from it is
//! scheduled.

use std::time::Duration;

use super::{decide::Drafting, micros, millis};
use crate::{
    event::{EndedOutside, Event, FailureDetected, FaultFacts, HealthVerified, OutsideAction},
    health::{became_ready, can_be_verified},
    memory::{Condemned, Finished, Incident, LastExit, Said},
    name::AgentName,
    observed::{Exit, ExitStatus, Instance, InstanceState, InvocationId, OutsideEnd},
    spec::RestartPolicy,
    time::Mono,
};

impl Drafting<'_, '_> {
    /// An end that has not been recorded: a failure, a completion, or an instance that is gone.
    pub(super) fn account_for_end(&mut self, instance: Option<&Instance>) {
        match instance {
            Some(instance) => match &instance.state {
                InstanceState::Running { .. } => {
                    if self.memory.current != Some(instance.invocation) {
                        self.memory.current = Some(instance.invocation);
                    }
                }
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
    pub(super) fn note_started(&mut self) {
        let (Some((instance, _)), Some(spec)) = (self.view.running(), self.view.rules()) else {
            return;
        };
        let started = Some(instance.invocation);
        if self.health.started && can_be_verified(spec) && self.memory.started != started {
            self.memory.started = started;
        }
        let vitals = self.view.observed.vitals.as_ref();
        let said = vitals.and_then(|vitals| Said::of(instance.invocation, &vitals.heartbeat));
        if said.is_some() && self.memory.said != said {
            self.memory.said = said;
        }
    }

    /// The instance runs and yet it failed: on record once, and to be stopped unless the agent
    /// is paused.
    pub(super) fn account_for_fault(&mut self) {
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
