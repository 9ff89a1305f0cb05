//! The life of a system generation: on probation after each change, then Good or Bad, and the
//! way back of the whole machine.
//!
//! ```text
//!          /run/current-system changes
//! Good ──────────────────────────────► Unproven ── every agent and check well ──► Good
//!                                          │ an agent that escalates is stuck, or a check fails
//!                                          ▼
//!                                         Bad ──► switch to the last known good ──► verified, or hold
//! ```
//! Only what is osmoda's counts: its agents, and the Node's health checks. Invariants:
//! - an intent is among the records of the plan that begins a switch;
//! - nothing goes back to anything but a recorded Good generation, under which osmoda ran;
//! - never two automatic rollbacks from one store path, and a budget for all of them;
//! - whoever changes the system is right: their change has a probation of its own.
//!
//! Where to start: [`look`].

mod memory;

use std::{collections::BTreeSet, time::Duration};

pub use self::memory::{SYSTEMS_MAX, Switching, SystemMemory, SystemProbation, TriedSystem};
use crate::{
    event::{
        Event, OutsideAction, SystemBad, SystemExhausted, SystemGood, SystemRollbackFailed,
        SystemRollbackIntended, SystemRollbackSucceeded,
    },
    name::AgentName,
    observed::{Generation, InvocationId},
    rollout::Stopwatch,
    spec::NodeRollback,
    time::{Mono, Wall},
};

/// Shortest probation: after the link has changed, a switch goes on to stop and start units, and
/// the new specs are yet to be read.
pub const SETTLES_AFTER: Duration = Duration::from_secs(10);
/// Time for a system that was gone back to: its specs are yet to be read, and checks that failed
/// under the one before are yet to be asked again.
pub const RECOVERS_WITHIN: Duration = Duration::from_secs(20);

/// How an agent is doing, as far as the system is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Ready for its minReady, ended as it should, or paused.
    Well,
    /// It may yet become well: by itself, or by going back alone.
    Coming {
        /// It never was well: it may be what a switch under way has just brought.
        is_new: bool,
    },
    /// Its own way back is spent.
    Stuck {
        /// Why, for people.
        message: String,
        /// Its `rollout.rollback` is System.
        escalates: bool,
    },
}

/// What a health check of the Node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckState {
    /// It is well.
    Well,
    /// It has not decided yet.
    Coming,
    /// It failed as often as its threshold says; the last answer.
    Failed(String),
}

/// Everything that a decision about the system depends on.
#[derive(Debug, Clone, Copy)]
pub struct SystemView<'a> {
    /// What runs; its number is 0 if it is no generation.
    pub current: Option<&'a Generation>,
    /// The generations that are there to go back to.
    pub listed: &'a [Generation],
    /// Each declared agent, and how it is doing.
    pub agents: &'a [(AgentName, Standing)],
    /// Each health check, and what it says.
    pub checks: &'a [(String, CheckState)],
    /// Whether and how often the system may be rolled back.
    pub rules: &'a NodeRollback,
    /// Now.
    pub now: Mono,
    /// Now, for people.
    pub wall: Wall,
    /// Random bytes that name a switch, should one be intended.
    pub fresh: InvocationId,
}

/// What a look at the system calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemPlan {
    /// To be written before anything is done, together with `memory`.
    pub records: Vec<Event>,
    /// What is remembered from now on.
    pub memory: SystemMemory,
    /// A switch to begin, once the records are durable; its intent is the last of them.
    pub switch: Option<Switching>,
}

/// Looks at what runs, and decides.
pub fn look(memory: &SystemMemory, view: &SystemView<'_>) -> SystemPlan {
    let mut plan = SystemPlan {
        records: Vec::new(),
        memory: memory.clone(),
        switch: None,
    };
    let Some(current) = view.current else {
        return plan; // not NixOS, or nothing is activated yet
    };
    if plan.memory.switching.is_some() {
        return plan; // what runs is changing; its outcome is waited for
    }
    if plan.memory.current.as_ref() != Some(current) {
        plan.notice_change(current, view);
    }
    match plan.memory.probation.clone() {
        Some(probation) => plan.judge(current, &probation, view),
        None => {
            plan.memory.ailing = ailing(view);
            plan.memory.ailing_checks = ailing_checks(view);
        }
    }
    plan
}

fn ailing(view: &SystemView<'_>) -> BTreeSet<AgentName> {
    let not_well = view.agents.iter().filter(|(_, standing)| match standing {
        Standing::Well | Standing::Coming { is_new: true } => false,
        Standing::Coming { is_new: false } | Standing::Stuck { .. } => true,
    });
    not_well.map(|(name, _)| name.clone()).collect()
}

fn ailing_checks(view: &SystemView<'_>) -> BTreeSet<String> {
    let failing = view.checks.iter();
    let failing = failing.filter(|(_, state)| matches!(state, CheckState::Failed(_)));
    failing.map(|(name, _)| name.clone()).collect()
}

impl SystemPlan {
    /// Somebody changed what runs.
    fn notice_change(&mut self, current: &Generation, view: &SystemView<'_>) {
        let before = self.memory.current.replace(current.clone());
        if let Some(before) = &before
            && before.store_path == current.store_path
        {
            self.memory.renumber(current);
            return; // the same system under another number
        }
        if before.is_some() {
            self.records.push(Event::OutsideAction(OutsideAction {
                what: "SystemSwitched",
                from: before,
                to: Some(current.clone()),
                ended: None,
            }));
        }
        self.memory.runs(current, view.wall);
        self.memory.probation = Some(SystemProbation {
            clock: Stopwatch::begin(view.now),
            after_rollback: false,
        });
    }

    fn judge(&mut self, current: &Generation, of: &SystemProbation, view: &SystemView<'_>) {
        let age = of.clock.elapsed(view.now);
        if let Some((reason, message)) = self.failure(view) {
            if of.after_rollback && age < RECOVERS_WITHIN {
                return;
            }
            self.memory.probation = None;
            match of.after_rollback {
                true => self.hold(reason, "RolledBackAlready", message),
                false => self.bad(current, reason, message, view),
            }
            return;
        }
        let ailing = &self.memory.ailing;
        let counts = |name: &AgentName| !ailing.contains(name);
        let mut agents = view.agents.iter().filter(|(name, _)| counts(name));
        let mut checks = view.checks.iter().filter(|(name, _)| self.blames(name));
        let well = agents.all(|(_, standing)| *standing == Standing::Well)
            && checks.all(|(_, state)| *state == CheckState::Well);
        // What is no generation, as after `nixos-rebuild test`, cannot be gone back to.
        let settled = age >= SETTLES_AFTER;
        if !well || !settled || current.number == 0 {
            return;
        }
        self.memory.probation = None;
        self.memory.prove(current, view.wall);
        self.records.push(Event::SystemGood(SystemGood {
            scope: "System",
            generation: current.clone(),
            agents: view.agents.len() as u64,
            after_rollback: of.after_rollback,
        }));
    }

    /// Whether a health check counts: not if it failed before the change already.
    fn blames(&self, check: &str) -> bool {
        !self.memory.ailing_checks.contains(check)
    }

    /// What speaks against the system.
    fn failure(&self, view: &SystemView<'_>) -> Option<(&'static str, String)> {
        let mut checks = view.checks.iter().filter(|(name, _)| self.blames(name));
        let check = checks.find_map(|(name, state)| match state {
            CheckState::Failed(said) => Some(format!("health check {name}: {said}")),
            CheckState::Well | CheckState::Coming => None,
        });
        if let Some(message) = check {
            return Some(("HealthCheckFailed", message));
        }
        view.agents
            .iter()
            .find_map(|(name, standing)| match standing {
                Standing::Stuck {
                    message,
                    escalates: true,
                } if !self.memory.ailing.contains(name) => {
                    Some(("AgentStuck", format!("{name}: {message}")))
                }
                _ => None,
            })
    }

    /// The system failed: go back, or say why not.
    fn bad(
        &mut self,
        current: &Generation,
        reason: &'static str,
        message: String,
        view: &SystemView<'_>,
    ) {
        self.memory.condemn(current, reason, view.wall);
        let way_back = self.memory.way_back(current, view);
        self.records.push(Event::SystemBad(SystemBad {
            scope: "System",
            generation: current.clone(),
            reason,
            message: message.clone(),
            stays: way_back.as_ref().err().copied(),
        }));
        match way_back {
            Err(why) => self.hold(reason, why, message),
            Ok(to) => {
                let memory = &mut self.memory;
                memory.rollbacks.push(Stopwatch::begin(view.now));
                memory.went_back_from.insert(current.store_path.to_string());
                self.switch(current, to, reason, false, view.fresh);
            }
        }
    }

    /// Nothing more is done by itself for this cause.
    fn hold(&mut self, reason: &'static str, no_rollback: &'static str, message: String) {
        self.records.push(Event::SystemExhausted(SystemExhausted {
            scope: "System",
            reason,
            no_rollback,
            message,
        }));
    }

    fn switch(
        &mut self,
        from: &Generation,
        to: Generation,
        reason: &'static str,
        by_operator: bool,
        id: InvocationId,
    ) {
        self.records
            .push(Event::SystemRollbackIntended(SystemRollbackIntended {
                scope: "System",
                switch: id,
                from: Some(from.clone()),
                to: to.clone(),
                reason,
            }));
        let switching = Switching {
            id,
            from: Some(from.clone()),
            to,
            by_operator,
        };
        self.memory.switching = Some(switching.clone());
        self.switch = Some(switching);
    }
}

/// How a switch of the system ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchEnd {
    /// Its switch-to-configuration came to its end.
    Ended {
        /// Its exit code.
        code: i32,
        /// Whether that means that the system is switched.
        is_switched: bool,
        /// What the code means, for people.
        says: String,
        /// The last lines that it wrote.
        output: Vec<String>,
    },
    /// It did not come to its end: the machine went down, or somebody killed it.
    Lost,
    /// It could not be begun, or not be followed; why, for people.
    Failed(String),
}

/// Draws the conclusions from the end of a switch; `current` is what runs now. Whatever came of
/// it, there is no second one for the same cause.
pub fn settle(
    memory: &SystemMemory,
    end: &SwitchEnd,
    current: Option<&Generation>,
    now: Mono,
    wall: Wall,
) -> SystemPlan {
    let mut plan = SystemPlan {
        records: Vec::new(),
        memory: memory.clone(),
        switch: None,
    };
    let Some(Switching {
        to, by_operator, ..
    }) = plan.memory.switched(current, now, wall)
    else {
        return plan;
    };
    let arrived = current.is_some_and(|current| current.store_path == to.store_path);
    let (code, outcome, output) = match end {
        SwitchEnd::Ended {
            code,
            is_switched,
            says,
            output,
        } => {
            let outcome = match (is_switched, arrived) {
                (true, true) if *code == 0 => Ok(String::new()),
                (true, true) => Ok(says.clone()),
                (true, false) => Err(format!("{says}, and yet something else runs")),
                (false, _) => Err(says.clone()),
            };
            (Some(*code), outcome, output.clone())
        }
        SwitchEnd::Lost if arrived => {
            let note = "interrupted; found done by the daemon that followed";
            (None, Ok(note.to_owned()), Vec::new())
        }
        SwitchEnd::Lost => {
            let why = "interrupted: the machine went down, or somebody ended it";
            (None, Err(why.to_owned()), Vec::new())
        }
        SwitchEnd::Failed(why) => (None, Err(why.clone()), Vec::new()),
    };
    let scope = "System";
    match outcome {
        Ok(note) => plan
            .records
            .push(Event::SystemRollbackSucceeded(SystemRollbackSucceeded {
                scope,
                to,
                code,
                note,
                output,
            })),
        Err(message) => {
            plan.records
                .push(Event::SystemRollbackFailed(SystemRollbackFailed {
                    scope,
                    to,
                    code,
                    message: message.clone(),
                    output,
                }));
            if !by_operator && !arrived {
                plan.hold("RollbackFailed", "RolledBackAlready", message);
            }
        }
    }
    plan
}

/// An operator wants the system to go back; `to` is a recorded generation.
pub fn go_back(memory: &SystemMemory, to: Generation, id: InvocationId) -> SystemPlan {
    let mut plan = SystemPlan {
        records: Vec::new(),
        memory: memory.clone(),
        switch: None,
    };
    let from = memory.current.clone().unwrap_or_else(|| to.clone());
    plan.switch(&from, to, "OperatorRequest", true, id);
    plan
}

#[cfg(test)]
mod tests;
