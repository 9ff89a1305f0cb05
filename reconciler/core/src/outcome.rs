//! What an action's outcome means for the agent: the records of it, and what is remembered.
//!
//! The counterpart of [`crate::plan`]: that one decides what to do, this one draws the
//! conclusions once it was done or could not be.

use std::time::Duration;

use crate::{
    digest::Digest,
    event::{
        ActionFailed, ActionSucceeded, Event, GenerationActivated, RollbackFailed,
        RollbackSucceeded,
    },
    memory::{Incident, LastExit, Memory, StartFailure, StartFailureKind},
    observed::{Exit, Generation, InvocationId},
    plan::{Action, Record, micros, millis},
    restart::{self, RestartMemory},
    time::{Mono, Wall},
};

/// Pause before an action other than a start is tried again after it failed once; twice as long
/// after each failure that follows, up to [`ACTION_RETRY_MAX`]. What stands in the way (a full
/// disk, a lock, a process that cannot end) may stay for days, and each try is two entries.
pub const ACTION_RETRY: Duration = Duration::from_secs(2);

/// Longest such pause.
pub const ACTION_RETRY_MAX: Duration = Duration::from_secs(300);

/// The pause after so many failures in a row, from one.
fn action_retry(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(u32::BITS - 1);
    let pause = ACTION_RETRY.saturating_mul(1 << doublings);
    pause.min(ACTION_RETRY_MAX)
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The manifest is the active generation.
    Activated {
        /// Which.
        generation: Generation,
        /// Numbers of old generations that were deleted.
        pruned: Vec<u64>,
    },
    /// The recorded generation is active.
    Switched {
        /// Digest of its manifest.
        digest: Digest,
    },
    /// The recorded generation is gone or damaged; why, for people.
    Unusable(String),
    /// The program runs.
    Started {
        /// Its main process.
        pid: u32,
    },
    /// No instance runs; the start may be tried again.
    NotStarted(StartFailure),
    /// The runtime refused, since another instance of the agent is alive.
    AlreadyRunning(String),
    /// Nothing of the instance is left.
    Stopped {
        /// How its main process ended.
        exit: Exit,
        /// SIGKILL was needed.
        killed: bool,
    },
    /// Profile and bundles are gone.
    Removed,
    /// An action other than a start did not work; why, for people.
    Failed(String),
}

/// An action that ended, and how.
#[derive(Debug, Clone)]
pub struct Done<'a> {
    /// What was done.
    pub action: &'a Action,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// When its intent was durable.
    pub since: Mono,
    /// Random bytes for an incident that this opens, and for jitter.
    pub fresh: InvocationId,
    /// Now.
    pub now: Mono,
    /// Now, for people.
    pub wall: Wall,
}

/// The conclusions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// To be written; the first one is caused by the action's intent.
    pub records: Vec<Record>,
    /// What is remembered from now on.
    pub memory: Memory,
    /// No further action before this.
    pub hold_until: Option<Mono>,
}

/// Draws the conclusions from an action's outcome.
pub fn settle(memory: &Memory, done: &Done<'_>) -> Settled {
    let mut settling = Settling {
        done,
        memory: memory.clone(),
        records: Vec::new(),
        hold_until: None,
    };
    match (done.action, done.outcome) {
        (Action::Activate { digest, .. }, Outcome::Activated { generation, pruned }) => {
            settling.succeeded(|_| ());
            settling.memory.rollout.deleted(pruned);
            settling.memory.acted = Some(*digest);
            // Another deploy: should it fail, then that has another cause.
            settling.memory.rollout.went_back_for = None;
            settling.active(generation, *digest, false);
        }
        (Action::Switch { to, .. }, Outcome::Switched { digest }) => settling.switched(to, *digest),
        (Action::Switch { to, .. }, Outcome::Unusable(message)) => {
            settling.not_switched(to, message.clone());
            let active = settling.memory.active.clone();
            settling.memory.rollout.unusable(to, active.as_ref());
        }
        (Action::Switch { to, .. }, Outcome::Failed(message)) => {
            settling.not_switched(to, message.clone());
            settling.hold();
        }
        (_, Outcome::Started { pid }) => settling.started(*pid),
        (
            Action::Start {
                invocation, agent, ..
            },
            Outcome::NotStarted(failure),
        ) => {
            settling.not_started(*invocation, &agent.spec.restart, failure);
        }
        (Action::Stop { invocation, .. }, Outcome::Stopped { exit, killed }) => {
            settling.stopped(*invocation, exit, *killed);
        }
        (_, Outcome::AlreadyRunning(message)) => {
            settling.memory.never_ran();
            settling.failed(message.clone());
        }
        (_, Outcome::Failed(message)) => settling.failed(message.clone()),
        _ => settling.succeeded(|_| ()),
    }
    if settling.hold_until.is_none() {
        settling.memory.failed_actions = 0;
    }
    Settled {
        records: settling.records,
        memory: settling.memory,
        hold_until: settling.hold_until,
    }
}

struct Settling<'a> {
    done: &'a Done<'a>,
    memory: Memory,
    records: Vec<Record>,
    hold_until: Option<Mono>,
}

impl Settling<'_> {
    fn record(&mut self, event: Event) {
        self.records.push(Record::of(event, &self.memory));
    }

    fn succeeded(&mut self, complete: impl FnOnce(&mut ActionSucceeded)) {
        let mut body = ActionSucceeded {
            action: self.done.action.kind(),
            invocation: self.done.action.invocation(),
            pid: None,
            exit: None,
            killed: false,
            took_us: micros(self.done.now.since(self.done.since)),
            note: String::new(),
        };
        complete(&mut body);
        self.record(Event::ActionSucceeded(body));
    }

    fn failed(&mut self, message: String) {
        let pause = self.hold();
        self.record_failed(message, Some(millis(pause)));
    }

    /// No further action for a while; gives how long.
    fn hold(&mut self) -> Duration {
        let failures = &mut self.memory.failed_actions;
        *failures = failures.saturating_add(1);
        let pause = action_retry(*failures);
        self.hold_until = Some(self.done.now.after(pause));
        pause
    }

    fn record_failed(&mut self, message: String, retry_after_ms: Option<u64>) {
        let body = ActionFailed {
            action: self.done.action.kind(),
            invocation: self.done.action.invocation(),
            message,
            retry_after_ms,
        };
        self.record(Event::ActionFailed(body));
    }

    fn switched(&mut self, to: &Generation, digest: Digest) {
        self.record(Event::RollbackSucceeded(RollbackSucceeded {
            to: to.clone(),
            took_us: micros(self.done.now.since(self.done.since)),
            note: String::new(),
        }));
        let back = self.memory.rollout.going_back.as_ref();
        let chosen = back.is_none_or(|back| back.because.is_none());
        self.active(to, digest, chosen);
    }

    fn not_switched(&mut self, to: &Generation, message: String) {
        self.record(Event::RollbackFailed(RollbackFailed {
            to: to.clone(),
            message,
        }));
    }

    /// A new generation starts with a clean slate; an open incident stays open until the new
    /// generation proves healthy.
    fn active(&mut self, generation: &Generation, digest: Digest, chosen: bool) {
        let (now, wall) = (self.done.now, self.done.wall);
        let rollout = &mut self.memory.rollout;
        rollout.activated(generation, digest, chosen, now, wall);
        let previous = self.memory.active.replace(generation.clone());
        if previous.as_ref() == Some(generation) {
            return;
        }
        self.memory.restart = RestartMemory::default();
        self.memory.escalation_due = false;
        self.memory.restarts = 0;
        self.memory.next_start_at = None;
        self.memory.finished = None;
        self.memory.last_start_error = None;
        let body = GenerationActivated {
            generation: generation.clone(),
            digest,
            previous,
        };
        self.record(Event::GenerationActivated(body));
    }

    fn started(&mut self, pid: u32) {
        self.memory.last_start_error = None;
        self.succeeded(|body| body.pid = Some(pid));
    }

    /// A start that failed is accounted for like a crash at once: the same backoff and budget.
    fn not_started(
        &mut self,
        invocation: InvocationId,
        rules: &crate::spec::Restart,
        failure: &StartFailure,
    ) {
        let now = self.done.now;
        self.memory.never_ran();
        self.memory.last_start_error = Some(failure.clone());
        let draw = self.done.fresh.draw();
        if failure.kind == StartFailureKind::Exhausted {
            self.refused_by_host(invocation, rules, failure, draw);
            return;
        }
        let decision = self
            .memory
            .restart
            .account(rules, now, Duration::ZERO, draw);
        self.memory.next_start_at = Some(now.after(decision.delay));
        self.memory.incident.get_or_insert_with(|| Incident {
            id: invocation.to_string(),
            failed_at: now,
            detected_at: now,
        });
        self.record_failed(failure.message.clone(), Some(millis(decision.delay)));
        self.memory.escalation_due |= decision.escalate;
    }

    /// Neither the agent nor its generation is to blame, and neither pays for it.
    fn refused_by_host(
        &mut self,
        invocation: InvocationId,
        rules: &crate::spec::Restart,
        failure: &StartFailure,
        draw: u16,
    ) {
        let now = self.done.now;
        let refusals = self.memory.failed_actions.saturating_add(1);
        let wait = restart::refused(rules, refusals, draw);
        self.memory.failed_actions = refusals;
        self.memory.next_start_at = Some(now.after(wait));
        self.hold_until = Some(now.after(wait));
        self.memory.incident.get_or_insert_with(|| Incident {
            id: invocation.to_string(),
            failed_at: now,
            detected_at: now,
        });
        self.record_failed(failure.message.clone(), Some(millis(wait)));
    }

    /// An end that was asked for is no failure; if a fault was the reason, the next start keeps
    /// the time that was set when the fault was accounted for.
    fn stopped(&mut self, invocation: InvocationId, exit: &Exit, killed: bool) {
        self.memory.accounted = Some(invocation);
        let condemned = self.memory.condemned;
        let condemned = condemned.filter(|c| c.invocation == invocation && !c.spared);
        if condemned.is_none() {
            self.memory.next_start_at = None;
        }
        self.memory.last_exit = Some(LastExit {
            exit: exit.clone(),
            reason: condemned
                .map_or("Stopped", |condemned| condemned.kind.word())
                .to_owned(),
            at: self.done.wall,
        });
        self.succeeded(|body| {
            body.exit = Some(exit.clone());
            body.killed = killed;
        });
    }
}
