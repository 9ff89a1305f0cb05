//! When the loop looks at whom by itself.

use osmoda_core::{name::AgentName, time::Mono};
use osmoda_nix::profiles::Profiles;
use osmoda_runtime::Runtime;

use super::{RESYNC, Reconciler, journal::Journal};

impl<R: Runtime, P: Profiles, J: Journal> Reconciler<R, P, J> {
    /// When the loop has something to do, if nothing happens before.
    pub(super) fn next_wake(&self) -> Mono {
        if !self.dirty.is_empty() {
            return self.clock.mono(); // somebody's dependency changed in the last turn
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let looks = self.specs_read && self.ending.is_none();
        let system = self.system.wake_at().filter(|_| looks);
        let wakes = [
            timer,
            self.recorder.retry_at(),
            system,
            self.signs.due,
            Some(self.resync_at),
        ];
        wakes.into_iter().flatten().min().unwrap_or(self.resync_at)
    }

    /// Marks whoever's time has come.
    pub(super) fn mark_due(&mut self) {
        let now = self.clock.mono();
        while let Some((at, _)) = self.timers.first()
            && *at <= now
            && let Some((_, name)) = self.timers.pop_first()
        {
            if let Some(state) = self.agents.get_mut(&name) {
                state.wake_at = None;
            }
            self.dirty.insert(name);
        }
        if self.resync_at <= now {
            self.resync_at = now.after(RESYNC);
            self.begin_resync();
        }
    }

    /// Has an agent looked at, at this time and no other.
    pub(super) fn set_timer(&mut self, name: &AgentName, wake_at: Option<Mono>) {
        let Some(state) = self.agents.get_mut(name) else {
            return;
        };
        if state.wake_at == wake_at {
            return;
        }
        if let Some(old) = state.wake_at.take() {
            self.timers.remove(&(old, name.clone()));
        }
        state.wake_at = wake_at;
        if let Some(at) = wake_at {
            self.timers.insert((at, name.clone()));
        }
    }
}
