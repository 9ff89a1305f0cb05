//! The life of an agent's generation: on probation, then Good or Bad, and where to go back to.
//!
//! ```text
//!             new manifest
//! active, Good ───────────► active, Unproven ── Ready for minReady ──► Good = last known good
//!                               │ failed before it was proven
//!                               ▼
//!                              Bad ──► switch to the last known good ──► health verified, or hold
//! ```
//!
//! Verdicts belong to a store path, and to the manifest it holds. Invariants:
//! - what is Bad is never made active again but by a person or a changed spec;
//! - nothing goes back to anything but a recorded Good generation;
//! - at most one automatic rollback for one deployment, and a budget for all of them;
//! - probation is measured with [`Stopwatch`]es, which survive the daemon and a reboot.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    observed::{Generation, InvocationId},
    plan::micros,
    spec,
    time::{Mono, Wall},
};

/// Most generations whose verdicts are remembered; the oldest Bad ones are forgotten first.
pub const VERDICTS_MAX: usize = 100;
/// Automatic rollbacks of one agent within [`ROLLBACKS_PER`]; then it is held.
pub const ROLLBACKS_MAX: usize = 3;
/// The window in which automatic rollbacks are counted.
pub const ROLLBACKS_PER: Duration = Duration::from_secs(24 * 3600);

/// Time that passes only while it is wanted, over restarts of the daemon and of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopwatch {
    /// What had been measured at `since`, in microseconds.
    pub before_us: u64,
    /// Since when it runs; `None`: it stands still.
    pub since: Option<Mono>,
}

impl Stopwatch {
    /// One that begins now.
    pub fn begin(now: Mono) -> Self {
        Self {
            before_us: 0,
            since: Some(now),
        }
    }

    /// What it shows.
    pub fn elapsed(&self, now: Mono) -> Duration {
        let running = self.since.map_or(Duration::ZERO, |since| now.since(since));
        Duration::from_micros(self.before_us).saturating_add(running)
    }

    /// Lets it run or stand still.
    pub fn run(&mut self, runs: bool, now: Mono) {
        if runs == self.since.is_some() {
            return;
        }
        self.before_us = micros(self.elapsed(now));
        self.since = runs.then_some(now);
    }

    /// When it will show `time`, if it goes on running; `None`: it stands still.
    pub fn reaches(&self, time: Duration) -> Option<Mono> {
        let left = time.saturating_sub(Duration::from_micros(self.before_us));
        self.since.map(|since| since.after(left))
    }

    /// The machine was booted; its last sign of life before that was at `last`. The time it was
    /// off does not count.
    pub fn rebooted(&mut self, last: Mono) {
        if self.since.is_some() {
            self.before_us = micros(self.elapsed(last));
            self.since = Some(Mono(0));
        }
    }
}

/// What is known of a generation's worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is, or was left, on probation.
    Unproven,
    /// It stayed ready for minReady.
    Good,
    /// It failed.
    Bad,
}

/// Why a generation is Bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BadReason {
    /// It was ready, and failed before it was proven.
    FailedOnProbation,
    /// It spent its restart budget before it was ever ready.
    CrashLoop,
    /// It was not ready by `rollout.progressDeadline`.
    ProgressDeadlineExceeded,
    /// It was Good, and spent its restart budget within `rollout.suspectFor`.
    FailedWhileSuspect,
}

impl BadReason {
    /// One CamelCase word.
    pub fn word(self) -> &'static str {
        match self {
            Self::FailedOnProbation => "FailedOnProbation",
            Self::CrashLoop => "CrashLoop",
            Self::ProgressDeadlineExceeded => "ProgressDeadlineExceeded",
            Self::FailedWhileSuspect => "FailedWhileSuspect",
        }
    }
}

/// A generation that was active once, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// Number and store path.
    pub generation: Generation,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its worth.
    pub verdict: Verdict,
    /// Why it is Bad.
    pub reason: Option<BadReason>,
    /// When it became active first.
    pub activated_at: Wall,
    /// When the verdict was given; before that, when it became active.
    pub at: Wall,
    /// Time since it became Good, or active.
    pub age: Stopwatch,
    /// Going back to it failed: its bundle is gone or damaged.
    pub unusable: bool,
}

/// The active generation on probation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probation {
    /// Against `rollout.progressDeadline`: since the deploy, or since it was ready last. Stands
    /// still while a dependency is not ready, and while the agent is paused.
    pub clock: Stopwatch,
    /// It was ready at least once.
    pub was_ready: bool,
    /// Since when which instance has been ready without a break.
    pub ready: Option<(InvocationId, Mono)>,
    /// That the deadline passed has been said.
    pub overdue: bool,
}

impl Probation {
    /// Looks at the self. `runs`: time counts now.
    pub fn progress(
        &mut self,
        rules: &spec::Rollout,
        seen: Seen,
        runs: bool,
        now: Mono,
    ) -> Progress {
        self.clock.run(runs, now);
        match seen {
            Seen::Ready(invocation, since) => {
                self.was_ready = true;
                let known = self.ready.filter(|(known, _)| *known == invocation);
                let since = known.map_or(since, |(_, known)| known.min(since));
                self.ready = Some((invocation, since));
                let proven_at = since.after(rules.min_ready.get());
                return if now >= proven_at {
                    Progress::Proven
                } else {
                    Progress::OnProbation {
                        wake_at: Some(proven_at),
                    }
                };
            }
            Seen::NotReady => {
                if self.ready.take().is_some() {
                    // What was ready has made progress: the deadline begins anew.
                    self.clock = Stopwatch::default();
                    self.clock.run(runs, now);
                }
            }
            Seen::Undecided => {}
        }
        let deadline = rules.progress_deadline.get();
        if self.clock.elapsed(now) < deadline {
            let wake_at = self.clock.reaches(deadline);
            return Progress::OnProbation { wake_at };
        }
        if std::mem::replace(&mut self.overdue, true) {
            return Progress::OnProbation { wake_at: None };
        }
        Progress::Overdue
    }
}

/// A way back that has been decided on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoingBack {
    /// To which generation.
    pub to: Generation,
    /// What is wrong with the active one; `None`: an operator asked for it.
    pub because: Option<BadReason>,
}

/// What is remembered of an agent's generations. Durable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutMemory {
    /// What was tried, in the order of becoming active first.
    pub tried: Vec<Tried>,
    /// The active generation's probation, if it is not Good.
    pub probation: Option<Probation>,
    /// The switch that is to be made.
    pub going_back: Option<GoingBack>,
    /// The desired manifest that was gone back from, if nothing was deployed since: not a second
    /// time for the same.
    pub went_back_for: Option<Digest>,
    /// Automatic rollbacks that still count.
    pub rollbacks: Vec<Stopwatch>,
    /// Nothing is left to be done about the active generation; why, for people. What the system
    /// is judged by.
    #[serde(default)]
    pub stuck: Option<String>,
}

/// What probation came to in this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing yet; look again then.
    OnProbation {
        /// When, if time alone can change it.
        wake_at: Option<Mono>,
    },
    /// It stayed ready for minReady.
    Proven,
    /// It was not ready by the deadline. Said once.
    Overdue,
}

/// What is seen of the active generation's instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Ready since then.
    Ready(InvocationId, Mono),
    /// Running or not, and not ready.
    NotReady,
    /// Nobody has asked it yet, as after an adoption: what was known stays.
    Undecided,
}

/// Why there is no way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWayBack {
    /// `rollout.rollback` is Never.
    Off,
    /// No other generation is known to be good.
    NothingGood,
    /// This deployment was gone back from already.
    Once,
    /// The budget of rollbacks is spent.
    Budget,
}

impl NoWayBack {
    /// One CamelCase word and a sentence for people.
    pub fn said(self) -> (&'static str, &'static str) {
        match self {
            Self::Off => ("RollbackOff", "rollout.rollback is Never"),
            Self::NothingGood => (
                "NothingToGoBackTo",
                "no other generation is known to be good",
            ),
            Self::Once => (
                "RolledBackAlready",
                "this deployment was rolled back once already",
            ),
            Self::Budget => (
                "RollbackBudgetSpent",
                "the budget of automatic rollbacks is spent",
            ),
        }
    }
}

impl RolloutMemory {
    /// What is known of a generation, by its store path.
    pub fn of(&self, generation: &Generation) -> Option<&Tried> {
        let path = &generation.store_path;
        self.tried.iter().find(|t| t.generation.store_path == *path)
    }

    fn of_mut(&mut self, generation: &Generation) -> Option<&mut Tried> {
        let path = &generation.store_path;
        let mut tried = self.tried.iter_mut();
        tried.find(|t| t.generation.store_path == *path)
    }

    /// What is known of a manifest that is Bad.
    pub fn bad(&self, digest: Digest) -> Option<&Tried> {
        let bad = |t: &&Tried| t.digest == digest && t.verdict == Verdict::Bad;
        self.tried.iter().find(bad)
    }

    /// The newest Good generation that can be gone back to, other than `active`.
    pub fn good_other_than(&self, active: Option<&Generation>) -> Option<&Generation> {
        let other = |t: &&Tried| active.is_none_or(|a| a.store_path != t.generation.store_path);
        let good = |t: &&Tried| t.verdict == Verdict::Good && !t.unusable;
        // What was proven last is what is known best. By its age and not by the wall clock, which
        // may have been set back since.
        let age = |t: &&Tried| t.age.elapsed(Mono(u64::MAX));
        let mut found = self.tried.iter().rev().filter(other).filter(good);
        let first = found.next()?;
        let youngest = found.fold(first, |youngest, t| {
            if age(&t) < age(&youngest) {
                t
            } else {
                youngest
            }
        });
        Some(&youngest.generation)
    }

    /// The last known good generation, the active one included.
    pub fn last_known_good(&self) -> Option<&Generation> {
        self.good_other_than(None)
    }

    /// A generation became active. `chosen`: a person chose it, which lifts a Bad verdict.
    pub fn activated(
        &mut self,
        generation: &Generation,
        digest: Digest,
        chosen: bool,
        now: Mono,
        wall: Wall,
    ) {
        self.going_back = None;
        self.stuck = None;
        if self.of(generation).is_none() {
            self.make_room();
            self.tried.push(Tried {
                generation: generation.clone(),
                digest,
                verdict: Verdict::Unproven,
                reason: None,
                activated_at: wall,
                at: wall,
                age: Stopwatch::begin(now),
                unusable: false,
            });
        }
        let Some(tried) = self.of_mut(generation) else {
            return;
        };
        tried.generation = generation.clone();
        tried.unusable = false;
        if chosen && tried.verdict == Verdict::Bad {
            tried.verdict = Verdict::Unproven;
            tried.reason = None;
        }
        if tried.verdict == Verdict::Good {
            self.probation = None;
            return;
        }
        tried.age = Stopwatch::begin(now);
        self.probation = Some(Probation {
            clock: Stopwatch::begin(now),
            was_ready: false,
            ready: None,
            overdue: false,
        });
    }

    /// It is Good.
    pub fn prove(&mut self, generation: &Generation, now: Mono, wall: Wall) {
        self.judge(generation, None, now, wall);
    }

    /// It is Bad.
    pub fn condemn(&mut self, generation: &Generation, why: BadReason, now: Mono, wall: Wall) {
        self.judge(generation, Some(why), now, wall);
    }

    fn judge(&mut self, generation: &Generation, bad: Option<BadReason>, now: Mono, wall: Wall) {
        if let Some(tried) = self.of_mut(generation) {
            tried.verdict = match bad {
                Some(_) => Verdict::Bad,
                None => Verdict::Good,
            };
            tried.reason = bad;
            tried.at = wall;
            tried.age = Stopwatch::begin(now);
        }
        self.stuck = None;
        self.probation = None;
    }

    /// Where to go back to from `active`, by osmoda's own decision.
    ///
    /// # Errors
    /// [`NoWayBack`]: stay, and say so.
    pub fn way_back(
        &mut self,
        rules: &spec::Rollout,
        active: &Generation,
        desired: Option<Digest>,
        now: Mono,
    ) -> Result<Generation, NoWayBack> {
        if rules.rollback == spec::Rollback::Never {
            return Err(NoWayBack::Off);
        }
        let to = self.good_other_than(Some(active));
        let to = to.cloned().ok_or(NoWayBack::NothingGood)?;
        if desired.is_some() && self.went_back_for == desired {
            return Err(NoWayBack::Once);
        }
        self.rollbacks.retain(|at| at.elapsed(now) < ROLLBACKS_PER);
        if self.rollbacks.len() >= ROLLBACKS_MAX {
            return Err(NoWayBack::Budget);
        }
        Ok(to)
    }

    /// Decides on a way back by itself.
    pub fn go_back(
        &mut self,
        to: Generation,
        because: BadReason,
        desired: Option<Digest>,
        now: Mono,
    ) {
        self.rollbacks.push(Stopwatch::begin(now));
        self.went_back_for = desired;
        self.going_back = Some(GoingBack {
            to,
            because: Some(because),
        });
    }

    /// The generation that was to be gone back to is gone or damaged: the next good one takes
    /// its place, if osmoda chose it and there is one.
    pub fn unusable(&mut self, generation: &Generation, active: Option<&Generation>) {
        if let Some(tried) = self.of_mut(generation) {
            tried.unusable = true;
        }
        let next = self.good_other_than(active).cloned();
        let because = self.going_back.take().and_then(|back| back.because);
        self.going_back = next.zip(because).map(|(to, because)| GoingBack {
            to,
            because: Some(because),
        });
    }

    /// All that a generation needs was hashed: if it is not whole, nothing goes back to it by
    /// itself until it is found whole.
    pub fn verified(&mut self, generation: &Generation, is_whole: bool) {
        if let Some(tried) = self.of_mut(generation) {
            tried.unusable = !is_whole;
        }
    }

    /// Generations with these numbers were deleted; what is Bad stays known.
    pub fn deleted(&mut self, numbers: &[u64]) {
        self.tried
            .retain(|t| t.verdict == Verdict::Bad || !numbers.contains(&t.generation.number));
    }

    /// The machine was booted; its last sign of life before that was at `last`.
    pub fn rebooted(&mut self, last: Mono) {
        let of_probation = self.probation.as_mut().map(|p| {
            p.ready = None; // no instance survives a reboot
            &mut p.clock
        });
        let ages = self.tried.iter_mut().map(|tried| &mut tried.age);
        for watch in ages.chain(&mut self.rollbacks).chain(of_probation) {
            watch.rebooted(last);
        }
    }

    fn make_room(&mut self) {
        while self.tried.len() >= VERDICTS_MAX {
            let bad = self.tried.iter().position(|t| t.verdict == Verdict::Bad);
            let unproven = self
                .tried
                .iter()
                .position(|t| t.verdict == Verdict::Unproven);
            self.tried.remove(bad.or(unproven).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn generation(number: u64) -> Generation {
        Generation {
            number,
            store_path: format!("/bundle/{number}").into(),
        }
    }

    fn digest(number: u64) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    fn id(n: u8) -> InvocationId {
        InvocationId([n; 16])
    }

    /// Generations that were proven one after the other, a second each.
    fn proven(numbers: std::ops::RangeInclusive<u64>) -> RolloutMemory {
        let mut memory = RolloutMemory::default();
        for n in numbers {
            deploy(&mut memory, n, Mono(n * S));
            let wall = Wall(i64::try_from(n).unwrap());
            memory.prove(&generation(n), Mono(n * S), wall);
        }
        memory
    }

    fn deploy(memory: &mut RolloutMemory, n: u64, now: Mono) {
        memory.activated(&generation(n), digest(n), false, now, Wall(0));
    }

    fn look(memory: &mut RolloutMemory, seen: Seen, now: u64) -> Option<Progress> {
        let probation = memory.probation.as_mut()?;
        Some(probation.progress(&spec::Rollout::default(), seen, true, Mono(now)))
    }

    #[test]
    fn a_generation_is_proven_after_min_ready_without_a_break() {
        let mut memory = RolloutMemory::default();
        deploy(&mut memory, 1, Mono(0));
        let ready = |since| Seen::Ready(id(1), Mono(since));
        let wake_at = Some(Mono(12 * S));
        let waiting = Some(Progress::OnProbation { wake_at });
        assert_eq!(look(&mut memory, ready(2 * S), 3 * S), waiting);
        look(&mut memory, Seen::NotReady, 8 * S);
        let wake_at = Some(Mono(19 * S));
        let waiting = Some(Progress::OnProbation { wake_at });
        assert_eq!(look(&mut memory, ready(9 * S), 13 * S), waiting);
        assert_eq!(
            look(&mut memory, ready(9 * S), 19 * S),
            Some(Progress::Proven)
        );
    }

    #[test]
    fn an_adopted_instance_keeps_the_time_it_was_ready() {
        let mut memory = RolloutMemory::default();
        deploy(&mut memory, 1, Mono(0));
        look(&mut memory, Seen::Ready(id(1), Mono(S)), 2 * S);
        look(&mut memory, Seen::Undecided, 5 * S);
        let seen = Seen::Ready(id(1), Mono(6 * S)); // as its new daemon sees it
        assert_eq!(look(&mut memory, seen, 11 * S), Some(Progress::Proven));
    }

    #[test]
    fn the_deadline_is_said_once_and_stands_still_when_time_does_not_count() {
        let mut memory = RolloutMemory::default();
        deploy(&mut memory, 1, Mono(0));
        let rules = spec::Rollout::default();
        let probation = memory.probation.as_mut().unwrap();
        probation.progress(&rules, Seen::NotReady, false, Mono(100 * S));
        assert_eq!(
            probation.progress(&rules, Seen::NotReady, false, Mono(900 * S)),
            Progress::OnProbation { wake_at: None }
        );
        let wake_at = Some(Mono(1020 * S));
        assert_eq!(
            probation.progress(&rules, Seen::NotReady, true, Mono(1000 * S)),
            Progress::OnProbation { wake_at }
        );
        assert_eq!(
            look(&mut memory, Seen::NotReady, 1020 * S),
            Some(Progress::Overdue)
        );
        let said = look(&mut memory, Seen::NotReady, 1021 * S);
        assert_eq!(said, Some(Progress::OnProbation { wake_at: None }));
    }

    #[test]
    fn probation_survives_a_reboot_with_the_time_that_was_left() {
        let mut memory = RolloutMemory::default();
        deploy(&mut memory, 1, Mono(500 * S));
        memory.rebooted(Mono(560 * S));
        let wake_at = Some(Mono(60 * S));
        let left = Some(Progress::OnProbation { wake_at });
        assert_eq!(look(&mut memory, Seen::NotReady, S), left);
    }

    #[test]
    fn the_way_back_leads_to_the_newest_good_generation_and_never_to_a_bad_one() {
        let mut memory = proven(1..=3);
        memory.condemn(&generation(3), BadReason::CrashLoop, Mono(0), Wall(9));
        deploy(&mut memory, 4, Mono(0));
        let rules = spec::Rollout::default();
        let back = memory.way_back(&rules, &generation(4), Some(digest(4)), Mono(0));
        assert_eq!(back, Ok(generation(2)));
        memory.unusable(&generation(2), Some(&generation(4)));
        let back = memory.way_back(&rules, &generation(4), Some(digest(4)), Mono(0));
        assert_eq!(back, Ok(generation(1)));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_change_which_one_is_the_last_known_good() {
        let mut memory = proven(1..=2);
        deploy(&mut memory, 3, Mono(3 * S));
        memory.prove(&generation(3), Mono(3 * S), Wall(-3_600_000_000));
        deploy(&mut memory, 4, Mono(4 * S));
        let good = memory.good_other_than(Some(&generation(4)));
        assert_eq!(good, Some(&generation(3)));
        memory.rebooted(Mono(5 * S));
        assert_eq!(memory.last_known_good(), Some(&generation(3)));
    }

    #[test]
    fn there_is_one_way_back_for_a_deployment_and_a_budget_for_all() {
        let mut memory = proven(1..=1);
        let rules = spec::Rollout::default();
        for n in 2..=4 {
            deploy(&mut memory, n, Mono(n));
            let back = memory.way_back(&rules, &generation(n), Some(digest(n)), Mono(n));
            let because = BadReason::CrashLoop;
            memory.go_back(back.unwrap(), because, Some(digest(n)), Mono(n));
            let again = memory.way_back(&rules, &generation(n), Some(digest(n)), Mono(n));
            assert_eq!(again, Err(NoWayBack::Once));
        }
        deploy(&mut memory, 5, Mono(5));
        let spent = memory.way_back(&rules, &generation(5), Some(digest(5)), Mono(5));
        assert_eq!(spent, Err(NoWayBack::Budget));
        let later = Mono(4).after(ROLLBACKS_PER);
        let back = memory.way_back(&rules, &generation(5), Some(digest(5)), later);
        assert_eq!(back, Ok(generation(1)));
    }

    #[test]
    fn nothing_is_gone_back_to_that_is_not_known_to_be_good_or_when_it_is_off() {
        let mut memory = RolloutMemory::default();
        deploy(&mut memory, 1, Mono(0));
        deploy(&mut memory, 2, Mono(0));
        let mut rules = spec::Rollout::default();
        let none = memory.way_back(&rules, &generation(2), None, Mono(0));
        assert_eq!(none, Err(NoWayBack::NothingGood));
        rules.rollback = spec::Rollback::Never;
        let off = proven(1..=1).way_back(&rules, &generation(2), None, Mono(0));
        assert_eq!(off, Err(NoWayBack::Off));
    }

    #[test]
    fn a_bad_verdict_stays_until_a_person_chooses_the_generation() {
        let mut memory = RolloutMemory::default();
        deploy(&mut memory, 1, Mono(0));
        memory.condemn(&generation(1), BadReason::CrashLoop, Mono(0), Wall(0));
        deploy(&mut memory, 1, Mono(1));
        assert!(memory.bad(digest(1)).is_some());
        memory.activated(&generation(1), digest(1), true, Mono(2), Wall(0));
        assert!(memory.bad(digest(1)).is_none());
        assert!(memory.probation.is_some());
    }

    #[test]
    fn what_is_good_needs_no_second_probation_and_what_is_remembered_is_bounded() {
        let mut memory = proven(1..=1);
        deploy(&mut memory, 2, Mono(0));
        deploy(&mut memory, 1, Mono(0));
        assert_eq!(memory.probation, None);
        for n in 3..300 {
            deploy(&mut memory, n, Mono(n));
        }
        assert_eq!(memory.tried.len(), VERDICTS_MAX);
        assert_eq!(memory.last_known_good(), Some(&generation(1)));
    }
}
