//! What a generation's fate calls for: a verdict, a way back, or holding on.

use super::{Action, Active, Desired, Step, decide::Drafting, millis};
use crate::{
    event::{EscalationExhausted, Event, GenerationBad, GenerationGood},
    health::can_be_verified,
    memory::{Finished, StartFailureKind},
    observed::Generation,
    probe::ProbeState,
    rollout::{BadReason, GoingBack, NoWayBack, Progress, Seen, Verdict},
    spec::AgentSpec,
};

/// Where an agent stands that failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// There is no way back.
    Because(NoWayBack),
    /// It was good for so long that the generation is not to blame.
    NotSuspect,
}

impl Drafting<'_, '_> {
    /// Draws the conclusions for the active generation from what this plan has accounted for.
    pub(super) fn judge_rollout(&mut self, active: Option<&Active>) {
        let escalate = self.memory.escalation_due;
        if escalate {
            self.memory.escalation_due = false;
        }
        let Some(active) = active.filter(|_| self.view.desired.is_some()) else {
            return;
        };
        let (now, wall) = (self.view.now, self.view.wall);
        let generation = &active.generation;
        let rules = &active.agent.spec.rollout;
        if self.memory.rollout.of(generation).is_none() {
            let rollout = &mut self.memory.rollout;
            rollout.activated(generation, active.digest, false, now, wall);
        }
        if self.memory.rollout.going_back.is_some() {
            return; // decided
        }
        if self.memory.finished == Some(Finished::Succeeded) {
            self.good(active, 0);
            return;
        }
        let failed = self.failed.take();
        let Some(mut probation) = self.memory.rollout.probation else {
            if escalate {
                self.failed_after_probation(active, failed.unwrap_or_default());
            }
            return;
        };
        let failed_at_work = probation.was_ready || !can_be_verified(&active.agent.spec);
        match failed {
            Some(message) if failed_at_work => {
                self.bad(active, BadReason::FailedOnProbation, message, escalate);
                return;
            }
            message if escalate => {
                let message = message.unwrap_or_else(|| "it could not be started".to_owned());
                self.bad(active, BadReason::CrashLoop, message, true);
                return;
            }
            _ => {}
        }
        let runs = self.time_counts();
        let seen = self.seen(&active.agent.spec, generation);
        let progress = probation.progress(rules, seen, runs, now);
        if self.memory.rollout.probation != Some(probation) {
            self.memory.rollout.probation = Some(probation);
        }
        match progress {
            Progress::Proven => {
                let since = self.health.ready_since.unwrap_or(now);
                self.good(active, millis(now.since(since)));
            }
            Progress::OnProbation { wake_at: Some(at) } => self.wake(at),
            Progress::OnProbation { wake_at: None } => {}
            Progress::Overdue => {
                let limit = millis(rules.progress_deadline.get());
                let message = format!("it was not ready within {limit} ms");
                self.bad(active, BadReason::ProgressDeadlineExceeded, message, true);
            }
        }
    }

    /// Whether time runs against the generation: not while the agent is paused, was stopped by
    /// somebody, waits for a dependency, has asked for more time (EXTEND_TIMEOUT_USEC), or lacks
    /// what the host is out of.
    fn time_counts(&mut self) -> bool {
        let vitals = self.view.observed.vitals.as_ref();
        let extended = vitals.and_then(|vitals| vitals.heartbeat.extended_until);
        let extended =
            extended.filter(|until| self.view.running().is_some() && *until > self.view.now);
        if let Some(until) = extended {
            self.wake(until);
        }
        let stopped = self.memory.finished == Some(Finished::Stopped);
        let held = stopped || self.view.paused().is_some() || !self.view.unmet.is_empty();
        let failed = self.memory.last_start_error.as_ref();
        let lacks = failed.is_some_and(|failure| failure.kind == StartFailureKind::Exhausted);
        !held && !lacks && extended.is_none()
    }

    fn seen(&self, spec: &AgentSpec, active: &Generation) -> Seen {
        let Some((instance, _)) = self.view.running() else {
            return Seen::NotReady;
        };
        if instance.generation != *active {
            return Seen::NotReady; // it is on its way out
        }
        if self.health.ready {
            let since = self.health.ready_since.unwrap_or(self.view.now);
            return Seen::Ready(instance.invocation, since);
        }
        let unasked = |probe: &ProbeState| probe.run == 0;
        let undecided = match &self.view.observed.vitals {
            None => true,
            Some(vitals) => {
                vitals.startup.as_ref().is_some_and(unasked)
                    || (spec.probes.readiness.is_some()
                        && vitals.readiness.as_ref().is_none_or(unasked))
            }
        };
        match undecided {
            true => Seen::Undecided,
            false => Seen::NotReady,
        }
    }

    fn good(&mut self, active: &Active, ready_for_ms: u64) {
        let known = self.memory.rollout.of(&active.generation);
        if known.is_none_or(|tried| tried.verdict != Verdict::Unproven) {
            return; // what is Bad stays Bad
        }
        let (now, wall) = (self.view.now, self.view.wall);
        let rollout = &mut self.memory.rollout;
        rollout.prove(&active.generation, now, wall);
        self.record(Event::GenerationGood(GenerationGood {
            generation: active.generation.clone(),
            digest: active.digest,
            ready_for_ms,
        }));
    }

    /// It is Good, and has spent its restart budget all the same.
    fn failed_after_probation(&mut self, active: &Active, message: String) {
        let rules = &active.agent.spec.rollout;
        let known = self.memory.rollout.of(&active.generation);
        let suspect = known.is_some_and(|tried| {
            tried.verdict == Verdict::Good
                && tried.age.elapsed(self.view.now) < rules.suspect_for.get()
        });
        if suspect {
            self.bad(active, BadReason::FailedWhileSuspect, message, true);
        } else {
            self.exhausted("RestartBudgetSpent", Stay::NotSuspect);
        }
    }

    /// The generation failed: go back, or say why not. Without anything to go back to there is
    /// no verdict, so that an agent that comes to itself can still be proven.
    fn bad(&mut self, active: &Active, reason: BadReason, message: String, hopeless: bool) {
        let (now, wall) = (self.view.now, self.view.wall);
        let rules = &active.agent.spec.rollout;
        // What is desired may be another by now, whose bundle is still being made.
        let desired = self.memory.acted;
        let generation = &active.generation;
        let way_back = self
            .memory
            .rollout
            .way_back(rules, generation, desired, now);
        let escalation = match reason {
            BadReason::ProgressDeadlineExceeded => reason.word(),
            _ => "RestartBudgetSpent",
        };
        let stays = match &way_back {
            Ok(_) => None,
            Err(NoWayBack::NothingGood) => {
                if hopeless {
                    self.exhausted(escalation, Stay::Because(NoWayBack::NothingGood));
                }
                return;
            }
            Err(why) => Some(*why),
        };
        let rollout = &mut self.memory.rollout;
        rollout.condemn(generation, reason, now, wall);
        self.record(Event::GenerationBad(GenerationBad {
            generation: generation.clone(),
            digest: active.digest,
            reason: reason.word(),
            message,
            stays: stays.map(|why| why.said().0),
        }));
        match way_back {
            Ok(to) => self.memory.rollout.go_back(to, reason, desired, now),
            Err(why) if hopeless => self.exhausted(escalation, Stay::Because(why)),
            Err(_) => {}
        }
    }

    /// Nothing is left but the slow retry.
    fn exhausted(&mut self, reason: &'static str, stay: Stay) {
        let Some(spec) = self.view.rules() else {
            return;
        };
        if let Stay::Because(why) = stay
            && why != NoWayBack::Off
        {
            self.memory.rollout.stuck = Some(format!("{reason}, and {}", why.said().1));
        }
        let wait = self.memory.next_start_at;
        let wait = wait.map_or(std::time::Duration::ZERO, |at| at.since(self.view.now));
        self.record(Event::EscalationExhausted(EscalationExhausted {
            reason,
            no_rollback: match stay {
                Stay::Because(why) => why.said().0,
                Stay::NotSuspect => "NotSuspect",
            },
            restarts: self.memory.restart.recent.len() as u64,
            within_ms: millis(spec.restart.within.get()),
            restart_after_ms: millis(wait),
        }));
    }

    pub(super) fn decide_switch(&self, back: &GoingBack, active: Option<&Active>) -> Step {
        let action = Action::Switch {
            from: active.map(|active| active.generation.clone()),
            to: back.to.clone(),
        };
        let reason = back.because.map_or("OperatorRequest", BadReason::word);
        Step { action, reason }
    }

    pub(super) fn activation(&self, desired: &Desired) -> Action {
        let rollout = &self.memory.rollout;
        let protected = [self.memory.active.as_ref(), rollout.last_known_good()];
        Action::Activate {
            agent: std::sync::Arc::clone(&desired.agent),
            digest: desired.digest,
            keep: desired.agent.spec.rollout.history_limit,
            protected: protected.into_iter().flatten().map(|g| g.number).collect(),
        }
    }
}
