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

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    event::{
        Event, OutsideAction, SystemBad, SystemExhausted, SystemGood, SystemRollbackFailed,
        SystemRollbackIntended, SystemRollbackSucceeded,
    },
    name::AgentName,
    observed::{Generation, InvocationId},
    rollout::{Stopwatch, Verdict},
    spec::{NodeRollback, SystemRollback},
    time::{Mono, Wall},
};

/// Most systems whose verdicts are remembered; the oldest are forgotten first.
pub const SYSTEMS_MAX: usize = 100;
/// Shortest probation: after the link has changed, a switch goes on to stop and start units, and
/// the new specs are yet to be read.
pub const SETTLES_AFTER: Duration = Duration::from_secs(10);
/// Time for a system that was gone back to: its specs are yet to be read, and checks that failed
/// under the one before are yet to be asked again.
pub const RECOVERS_WITHIN: Duration = Duration::from_secs(20);

/// What is remembered of the machine's generations. Durable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SystemMemory {
    /// What ran when it was looked at last; its number is 0 if it is no generation.
    pub current: Option<Generation>,
    /// Systems that ran, oldest first; what was proven moves to the end.
    pub tried: Vec<TriedSystem>,
    /// What runs has to prove itself.
    pub probation: Option<SystemProbation>,
    /// Agents that were not well before the last change: no change is blamed for them.
    pub ailing: BTreeSet<AgentName>,
    /// Health checks that were failing before the last change.
    pub ailing_checks: BTreeSet<String>,
    /// Automatic rollbacks, by the time since each.
    pub rollbacks: Vec<Stopwatch>,
    /// Store paths that were gone back from automatically.
    pub went_back_from: BTreeSet<String>,
    /// A switch whose outcome is not on record.
    pub switching: Option<Switching>,
}

/// A system that ran, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TriedSystem {
    /// Number and store path.
    pub generation: Generation,
    /// What is known of it.
    pub verdict: Verdict,
    /// Why it is Bad, one CamelCase word.
    pub reason: Option<String>,
    /// When it was seen to run first.
    pub seen_at: Wall,
    /// When the verdict was given.
    pub at: Wall,
    /// It is damaged, as far as is known.
    #[serde(default)]
    pub unusable: bool,
}

/// The probation of what runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemProbation {
    /// How long it lasts.
    pub clock: Stopwatch,
    /// It runs because osmoda went back to it: it is not gone back from.
    pub after_rollback: bool,
}

/// A switch of the system that was intended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Switching {
    /// Names the switch over restarts of the daemon.
    pub id: InvocationId,
    /// What ran.
    pub from: Option<Generation>,
    /// Where to.
    pub to: Generation,
    /// An operator asked for it.
    pub by_operator: bool,
}

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
                memory.went_back_from.insert(current.store_path.clone());
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

impl SystemMemory {
    /// What is known of a system.
    pub fn of(&self, store_path: &str) -> Option<&TriedSystem> {
        let mut tried = self.tried.iter();
        tried.find(|tried| tried.generation.store_path == store_path)
    }

    /// The system that was proven last, other than the one at `active`.
    pub fn good_other_than(&self, active: Option<&str>) -> Option<&Generation> {
        self.newest_good(active, |_| true)
    }

    fn newest_good(
        &self,
        active: Option<&str>,
        is_there: impl Fn(&Generation) -> bool,
    ) -> Option<&Generation> {
        // By the order of proof and not by the wall clock, which may have been set back since.
        let mut newest_first = self.tried.iter().rev();
        let good = newest_first.find(|tried| {
            tried.verdict == Verdict::Good
                && !tried.unusable
                && is_there(&tried.generation)
                && Some(tried.generation.store_path.as_str()) != active
        });
        good.map(|tried| &tried.generation)
    }

    /// All that a system needs was hashed: if it is not whole, nothing goes back to it until it
    /// is found whole.
    pub fn verified(&mut self, generation: &Generation, is_whole: bool) {
        if let Some(tried) = self.of_mut(&generation.store_path) {
            tried.unusable = !is_whole;
        }
    }

    /// Whether a system is known to be damaged.
    pub fn is_damaged(&self, store_path: &str) -> bool {
        self.of(store_path).is_some_and(|tried| tried.unusable)
    }

    /// The last known good system, the running one included.
    pub fn last_known_good(&self) -> Option<&Generation> {
        self.good_other_than(None)
    }

    /// The switch that was under way ended and this runs now, as was wanted or not. What is gone
    /// back to has to show that it helps; with an operator's choice it begins anew. If it is
    /// neither what ran nor what was wanted, somebody was at it: the next look notices that.
    fn switched(
        &mut self,
        current: Option<&Generation>,
        now: Mono,
        wall: Wall,
    ) -> Option<Switching> {
        let switching = self.switching.take()?;
        let arrived = current.filter(|current| current.store_path == switching.to.store_path);
        if let Some(current) = arrived {
            self.current = Some(current.clone());
            self.runs(current, wall);
        }
        self.probation = arrived.map(|_| SystemProbation {
            clock: Stopwatch::begin(now),
            after_rollback: !switching.by_operator,
        });
        Some(switching)
    }

    /// The machine was booted; its last sign of life before that was at `last`.
    pub fn rebooted(&mut self, last: Mono) {
        let probation = self
            .probation
            .as_mut()
            .map(|probation| &mut probation.clock);
        for watch in self.rollbacks.iter_mut().chain(probation) {
            watch.rebooted(last);
        }
    }

    /// Why there is no way back, as `noRollback` says it, or where it leads.
    fn way_back(
        &mut self,
        current: &Generation,
        view: &SystemView<'_>,
    ) -> Result<Generation, &'static str> {
        if view.rules.system == SystemRollback::Never {
            return Err("RollbackOff");
        }
        let is_there = |good: &Generation| view.listed.contains(good);
        let to = self.newest_good(Some(&current.store_path), is_there);
        let to = to.cloned();
        let to = to.ok_or("NothingToGoBackTo")?;
        if self.went_back_from.contains(&current.store_path) {
            return Err("RolledBackAlready");
        }
        let per = view.rules.per.get();
        self.rollbacks.retain(|since| since.elapsed(view.now) < per);
        if self.rollbacks.len() as u64 >= u64::from(view.rules.budget) {
            return Err("RollbackBudgetSpent");
        }
        Ok(to)
    }

    /// It runs: what was known to be bad gets another chance, for a person chose it.
    fn runs(&mut self, current: &Generation, wall: Wall) {
        self.renumber(current);
        if let Some(tried) = self.of_mut(&current.store_path) {
            if tried.verdict == Verdict::Bad {
                tried.verdict = Verdict::Unproven;
                tried.reason = None;
            }
            return;
        }
        if self.tried.len() >= SYSTEMS_MAX {
            let good = self.last_known_good().cloned();
            let oldest = self
                .tried
                .iter()
                .position(|t| Some(&t.generation) != good.as_ref());
            let gone = self.tried.remove(oldest.unwrap_or(0));
            self.went_back_from.remove(&gone.generation.store_path);
        }
        self.tried.push(TriedSystem {
            generation: current.clone(),
            verdict: Verdict::Unproven,
            reason: None,
            seen_at: wall,
            at: wall,
            unusable: false,
        });
    }

    fn renumber(&mut self, current: &Generation) {
        if let Some(tried) = self.of_mut(&current.store_path) {
            tried.generation = current.clone();
        }
    }

    fn of_mut(&mut self, store_path: &str) -> Option<&mut TriedSystem> {
        let mut tried = self.tried.iter_mut();
        tried.find(|tried| tried.generation.store_path == store_path)
    }

    fn prove(&mut self, current: &Generation, wall: Wall) {
        let mut tried = self.tried.iter();
        let known = tried.position(|tried| tried.generation.store_path == current.store_path);
        if let Some(at) = known {
            let mut tried = self.tried.remove(at);
            (tried.verdict, tried.reason, tried.at) = (Verdict::Good, None, wall);
            self.tried.push(tried);
        }
    }

    fn condemn(&mut self, current: &Generation, reason: &str, wall: Wall) {
        if let Some(tried) = self.of_mut(&current.store_path) {
            tried.verdict = Verdict::Bad;
            tried.reason = Some(reason.to_owned());
            tried.at = wall;
        }
    }
}

#[cfg(test)]
mod tests;
