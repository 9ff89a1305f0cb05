//! Dependencies: nobody is started before those it waits for, and nobody pays for their faults.

use std::time::Duration;

use osmoda_core::{name::AgentName, time::Clock as _};

use super::{Checked, Inner, Said};

/// How long it may take until it is known that an agent no longer does its work: its probes at
/// their slowest, with thresholds and timeouts.
const PROBES_TAKE: Duration = Duration::from_secs(12);
/// The same where news was withheld: the loop looks at everything once in this time.
const RESYNC_TAKES: Duration = Duration::from_secs(75);

impl Inner {
    pub(super) fn check_dependencies(&mut self, agent: &AgentName, said: &Said<'_>) -> Checked {
        match (said.kind, said.action) {
            ("ActionIntended", "Start") if !said.late => self.check_order(agent, said)?,
            ("FailureDetected", _) => self.check_blame(agent, said)?,
            _ => {}
        }
        let model = self.model(agent);
        match (said.kind, said.action) {
            ("FailureDetected", _) => model.consecutive = said.body["consecutive"].as_u64(),
            ("ActionFailed", "Start") | ("GenerationActivated" | "SpecChanged", _) => {
                model.consecutive = None;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whom it waits for works: by the entries, and, as far as that can be known yet, in truth.
    fn check_order(&self, agent: &AgentName, said: &Said<'_>) -> Checked {
        let path = said.path("generation").unwrap_or_default();
        let Some(honest) = self.honest(path) else {
            return Ok(());
        };
        for dependency in &honest.spec.depends_on {
            let lives = self.models.get(dependency).map(|model| &model.lives);
            // One that is being started may be at work before anybody said that it is.
            let up = lives.is_some_and(|lives| lives.up || lives.starts());
            let finished = lives.is_some_and(|lives| lives.finished);
            if finished {
                continue;
            }
            if !up {
                return Err(format!(
                    "{agent} was started though {dependency}, which it depends on, does not run"
                ));
            }
            let now = self.clock.mono();
            let withheld = self.world.news_withheld_at(dependency);
            let lag = match withheld.is_some_and(|at| now.since(at) < RESYNC_TAKES) {
                true => RESYNC_TAKES,
                false => PROBES_TAKE,
            };
            let served = self.world.last_served(dependency);
            if served.is_none_or(|at| now.since(at) > lag) {
                return Err(format!(
                    "{agent} was started though {dependency}, which it depends on, is not ready"
                ));
            }
        }
        Ok(())
    }

    /// A failure that is put down to a dependency spends no budget.
    fn check_blame(&self, agent: &AgentName, said: &Said<'_>) -> Checked {
        let because_of = said.body["becauseOf"].as_array();
        if because_of.is_none_or(Vec::is_empty) {
            return Ok(());
        }
        if !said.body["restartAfterMs"].is_null() {
            return Err(format!("{agent} is held, and yet its restart is scheduled"));
        }
        let before = self.models.get(agent).and_then(|model| model.consecutive);
        let now = said.body["consecutive"].as_u64();
        match before {
            Some(before) if Some(before) != now => Err(format!(
                "{agent} is held, and yet its restarts went from {before} to {now:?}"
            )),
            _ => Ok(()),
        }
    }
}
