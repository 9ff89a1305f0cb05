//! Steps in which agents stop being well, in every way that a detector looks for, or recover.

use std::time::Duration;

use osmoda_core::{heartbeat::Notice, name::AgentName};

use super::{Simulation, blueprint::MEMORY_HIGH};
use crate::fake_runtime::conduct::{Answering, Conduct, Lasts, Speech, Using};

impl Simulation {
    pub(super) fn fall_ill(&mut self, agent: &AgentName) -> String {
        let mut conduct = Conduct::default();
        match self.random.u8(..6) {
            0 => conduct.liveness = self.any_failure(),
            1 => conduct.readiness = self.any_failure(),
            2 => conduct.startup = self.any_failure(),
            3 | 4 => conduct.speech = self.any_speech(),
            _ => conduct.using = self.any_excess(),
        }
        if self.random.u8(..8) == 0 {
            conduct = Conduct::ill();
        }
        let lasts = match self.random.u8(..3) {
            0 => Lasts::UntilOrdered,
            _ => Lasts::UntilRestart,
        };
        self.world.order_conduct(agent, conduct, lasts);
        format!("{agent} behaves {lasts:?}: {conduct:?}")
    }

    pub(super) fn get_well(&mut self, agent: &AgentName) -> String {
        let well = Conduct::default();
        self.world.order_conduct(agent, well, Lasts::UntilOrdered);
        if self.random.bool() {
            self.world.order_conduct(agent, well, Lasts::UntilRestart);
        }
        format!("{agent} becomes well")
    }

    /// Something said once.
    pub(super) fn say(&mut self, agent: &AgentName) -> String {
        let notice = match self.random.u8(..5) {
            0 => Notice::Trigger,
            1 => Notice::Stopping,
            2 => Notice::Extend(Duration::from_secs(self.random.u64(..40))),
            3 => Notice::Reloading(None),
            _ => Notice::Status("thinking".to_owned()),
        };
        match self.world.say(agent, &notice) {
            true => format!("{agent} says {notice:?}"),
            false => format!("{agent} does not run"),
        }
    }

    fn any_failure(&mut self) -> Answering {
        match self.random.u8(..6) {
            0 | 1 => Answering::Ill,
            2 => Answering::Late,
            3 => Answering::Stuck,
            4 => Answering::Panics,
            _ => Answering::Flaps(Duration::from_secs(self.random.u64(1..6))),
        }
    }

    fn any_speech(&mut self) -> Speech {
        match self.random.u8(..6) {
            0..=2 => Speech::Silent,
            3 => Speech::NeverReady,
            4 => Speech::ReadyAfter(Duration::from_secs(self.random.u64(..40))),
            _ => Speech::Extends,
        }
    }

    fn any_excess(&mut self) -> Using {
        match self.random.u8(..5) {
            0 => Using::Leaks(self.random.u64(2..8) << 20),
            1 => Using::Leaks(self.random.u64(30..90) << 20),
            // It comes back well below where anything is projected: never a reason.
            2 => Using::Sawtooth {
                peak: MEMORY_HIGH / 100 * 75,
                every: Duration::from_secs(self.random.u64(2..60)),
            },
            _ => Using::RunsAway,
        }
    }
}
