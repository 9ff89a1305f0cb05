//! Backoff, budget and escalation: when may an agent that ended be started again.
//!
//! Invariants: the first restart since the last reset is immediate; waits never shrink until a
//! reset and never exceed `backoff.max` plus its jitter; the budget escalates once; after that
//! restarts go on, slowly, for ever: an agent is never given up in silence.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{spec::Restart, time::Mono};

/// What has to be remembered between restarts. Durable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestartMemory {
    /// Restarts since the last reset; the exponent of the backoff.
    pub consecutive: u32,
    /// When the restarts inside the budget's window became necessary; at most
    /// `maxRestarts + 1` of them, oldest first.
    pub recent: Vec<Mono>,
    /// The budget is spent: restarts go on at `backoff.max`.
    pub exhausted: bool,
}

/// Answer to "the agent ended: what now?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Time to wait, from now.
    pub delay: Duration,
    /// This end spent the budget; said once until the next reset.
    pub escalate: bool,
}

impl RestartMemory {
    /// Accounts for one restart that became necessary at `now`.
    ///
    /// `healthy_for` is how long the ended instance had been healthy; `draw` is a random number
    /// from 0 to 1000 that places the jitter.
    pub fn account(
        &mut self,
        rules: &Restart,
        now: Mono,
        healthy_for: Duration,
        draw: u16,
    ) -> Decision {
        if healthy_for >= rules.backoff.reset_after.get() {
            *self = Self::default();
        }
        self.recent.retain(|at| now.since(*at) < rules.within.get());
        self.recent.push(now);
        let over_budget = self.recent.len() as u64 > u64::from(rules.max_restarts);
        let escalate = over_budget && !self.exhausted;
        self.exhausted |= over_budget;
        if self.exhausted {
            let excess = self
                .recent
                .len()
                .saturating_sub(rules.max_restarts as usize + 1);
            self.recent.drain(..excess);
        }
        let delay = self.delay(rules, draw);
        self.consecutive = self.consecutive.saturating_add(1);
        Decision { delay, escalate }
    }

    fn delay(&self, rules: &Restart, draw: u16) -> Duration {
        let max = rules.backoff.max.get();
        let wait = match self.consecutive {
            _ if self.exhausted => max,
            0 => return Duration::ZERO,
            n => grown(rules, n - 1).min(max),
        };
        with_jitter(rules, wait, draw)
    }
}

/// Time to wait after so many starts in a row, from one, for which the host lacked something. No
/// budget is spent: that is no fault of the agent.
pub fn refused(rules: &Restart, refusals: u32, draw: u16) -> Duration {
    let wait = grown(rules, refusals.saturating_sub(1)).min(rules.backoff.max.get());
    with_jitter(rules, wait, draw)
}

fn with_jitter(rules: &Restart, wait: Duration, draw: u16) -> Duration {
    let share = u32::from(draw.min(1000)) * rules.backoff.jitter_milli / 1000;
    wait.saturating_add(wait.saturating_mul(share) / 1000)
}

/// `initial x factor^exponent`, saturating.
fn grown(rules: &Restart, exponent: u32) -> Duration {
    let max = rules.backoff.max.get();
    let mut wait = rules.backoff.initial.get();
    for _ in 0..exponent {
        if wait >= max || rules.backoff.factor_milli <= 1000 {
            break;
        }
        wait = wait.saturating_mul(rules.backoff.factor_milli) / 1000;
    }
    wait
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Period;

    const YOUNG: Duration = Duration::from_millis(100);

    fn delays(rules: &Restart, ends: u32, draw: u16) -> Vec<u128> {
        let mut memory = RestartMemory::default();
        (0..ends)
            .map(|n| {
                memory
                    .account(rules, Mono(u64::from(n) * 1000), YOUNG, draw)
                    .delay
            })
            .map(|delay| delay.as_millis())
            .collect()
    }

    #[test]
    fn the_first_restart_is_immediate_and_the_next_ones_wait_longer_up_to_max() {
        let mut rules = Restart {
            max_restarts: 100,
            ..Restart::default()
        };
        assert_eq!(delays(&rules, 5, 0), [0, 100, 200, 400, 800]);
        rules.backoff.max = Period::millis(300);
        assert_eq!(delays(&rules, 5, 0), [0, 100, 200, 300, 300]);
        assert_eq!(
            delays(&rules, 3, 1000),
            [0, 110, 220],
            "full jitter adds a tenth"
        );
    }

    #[test]
    fn a_spent_budget_escalates_once_and_goes_on_at_max() {
        let rules = Restart {
            max_restarts: 2,
            ..Restart::default()
        };
        let mut memory = RestartMemory::default();
        let said: Vec<_> = (0..5)
            .map(|n| memory.account(&rules, Mono(n), YOUNG, 0))
            .collect();
        let escalations: Vec<_> = said.iter().map(|d| d.escalate).collect();
        assert_eq!(escalations, [false, false, true, false, false]);
        assert_eq!(said[4].delay, rules.backoff.max.get());
        assert!(memory.recent.len() <= 3, "what is remembered is bounded");
    }

    #[test]
    fn what_the_host_has_no_room_for_is_tried_ever_slower_up_to_max() {
        let mut rules = Restart::default();
        rules.backoff.max = Period::millis(300);
        let wait = |refusals| refused(&rules, refusals, 0).as_millis();
        assert_eq!([1, 2, 3, 4, u32::MAX].map(wait), [100, 200, 300, 300, 300]);
    }

    #[test]
    fn restarts_far_apart_never_spend_the_budget() {
        let rules = Restart {
            max_restarts: 2,
            ..Restart::default()
        };
        let mut memory = RestartMemory::default();
        for n in 0..20 {
            let now = Mono(0).after(rules.within.get() * n);
            assert!(!memory.account(&rules, now, YOUNG, 0).escalate, "end {n}");
        }
    }

    #[test]
    fn health_for_reset_after_starts_the_count_anew() {
        let rules = Restart {
            max_restarts: 1,
            ..Restart::default()
        };
        let mut memory = RestartMemory::default();
        for n in 0..3 {
            memory.account(&rules, Mono(n), YOUNG, 0);
        }
        assert!(memory.exhausted);
        let later = memory.account(&rules, Mono(9), rules.backoff.reset_after.get(), 0);
        assert_eq!(
            later,
            Decision {
                delay: Duration::ZERO,
                escalate: false
            }
        );
        assert!(!memory.exhausted);
    }
}
