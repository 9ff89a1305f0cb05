//! Signs of life, given while a generation is on probation: after a reboot they tell how much of
//! it had passed. Without a probation nothing is written and nobody is woken.
//!
//! Where to start: [`Reconciler::give_sign_of_life`].

use std::time::Duration;

use osmoda_core::{memory::Memory, rollout::Probation, time::Mono};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;

use super::{Reconciler, journal::Journal};

/// Time between two signs: as much of a probation may count twice when the power is cut.
pub const SIGN_EVERY: Duration = Duration::from_secs(10);

/// When to give the next one, if one is called for.
#[derive(Debug, Default)]
pub(super) struct SignsOfLife {
    pub due: Option<Mono>,
}

impl SignsOfLife {
    /// Something of this kind is remembered from now on.
    pub fn note(&mut self, memory: &Memory, now: Mono) {
        if is_on_probation(memory) {
            self.due.get_or_insert(now.after(SIGN_EVERY));
        }
    }
}

fn is_on_probation(memory: &Memory) -> bool {
    let runs = |probation: &Probation| probation.clock.since.is_some() && !probation.overdue;
    memory.rollout.probation.as_ref().is_some_and(runs)
}

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// Puts the time on the disk, if it is due and somebody is on probation.
    pub(super) fn give_sign_of_life(&mut self) {
        let now = self.clock.mono();
        if self.signs.due.is_none_or(|due| due > now) {
            return;
        }
        let somebody = (self.agents.values()).any(|state| is_on_probation(&state.memory));
        self.signs.due = somebody.then(|| now.after(SIGN_EVERY));
        if self.signs.due.is_some() {
            self.put_node_memory();
        }
    }
}
