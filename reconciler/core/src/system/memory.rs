//! What is remembered of systems that ran, and where that leads back to.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::SystemView;
use crate::{
    name::AgentName,
    observed::{Generation, InvocationId},
    rollout::{Stopwatch, Verdict},
    spec::SystemRollback,
    time::{Mono, Wall},
};

/// Most systems whose verdicts are remembered; the oldest are forgotten first.
pub const SYSTEMS_MAX: usize = 100;

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

impl SystemMemory {
    /// What is known of a system.
    pub fn of(&self, store_path: &str) -> Option<&TriedSystem> {
        let mut tried = self.tried.iter();
        tried.find(|tried| *tried.generation.store_path == *store_path)
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
                && Some(tried.generation.store_path.as_ref()) != active
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
    pub(super) fn switched(
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
    pub(super) fn way_back(
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
        if self.went_back_from.contains(&*current.store_path) {
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
    pub(super) fn runs(&mut self, current: &Generation, wall: Wall) {
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
            self.went_back_from.remove(&*gone.generation.store_path);
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

    pub(super) fn renumber(&mut self, current: &Generation) {
        if let Some(tried) = self.of_mut(&current.store_path) {
            tried.generation = current.clone();
        }
    }

    fn of_mut(&mut self, store_path: &str) -> Option<&mut TriedSystem> {
        let mut tried = self.tried.iter_mut();
        tried.find(|tried| *tried.generation.store_path == *store_path)
    }

    pub(super) fn prove(&mut self, current: &Generation, wall: Wall) {
        let mut tried = self.tried.iter();
        let known = tried.position(|tried| tried.generation.store_path == current.store_path);
        if let Some(at) = known {
            let mut tried = self.tried.remove(at);
            (tried.verdict, tried.reason, tried.at) = (Verdict::Good, None, wall);
            self.tried.push(tried);
        }
    }

    pub(super) fn condemn(&mut self, current: &Generation, reason: &str, wall: Wall) {
        if let Some(tried) = self.of_mut(&current.store_path) {
            tried.verdict = Verdict::Bad;
            tried.reason = Some(reason.to_owned());
            tried.at = wall;
        }
    }
}
