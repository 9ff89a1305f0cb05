//! Restarts: each wait is what backoff and budget ask for, none is cut short, and a spent budget
//! is said once.

use std::time::Duration;

use osmoda_core::{name::AgentName, spec::Restart, time::Mono};
use osmoda_nix::profiles::Profiles as _;

use super::{Checked, Inner, Said};

/// How much later than it was decided something may be on record, and what rounding takes away.
const SLACK: Duration = Duration::from_millis(20);

/// What the entries say of an agent's restarts since they were last counted from zero.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// When the first of them became necessary, if that was seen.
    began: Option<Mono>,
    /// The next start by itself does not come before this.
    not_before: Option<Mono>,
    /// The budget was said to be spent.
    exhausted: bool,
}

impl Inner {
    pub(super) fn see_restart(&mut self, agent: &AgentName, said: &Said<'_>) -> Checked {
        match (said.kind, said.action) {
            ("FailureDetected", _) => self.check_wait(agent, said)?,
            ("ActionIntended", "Start") => self.check_patience(agent, said)?,
            ("EscalationExhausted", _) if said.reason() == "RestartBudgetSpent" => {
                let restarts = &mut self.model(agent).restarts;
                if std::mem::replace(&mut restarts.exhausted, true) {
                    return Err(format!("{agent}: its budget is said to be spent twice"));
                }
            }
            _ => {}
        }
        let restarts = &mut self.model(agent).restarts;
        match (said.kind, said.action) {
            ("GenerationActivated" | "SpecChanged" | "OutsideAction", _) => {
                *restarts = Restarts::default();
            }
            ("ActionFailed", "Start") => restarts.not_before = None,
            ("ActionIntended", "Stop") if is_no_fault(said.reason()) => restarts.not_before = None,
            _ => {}
        }
        Ok(())
    }

    fn check_wait(&mut self, agent: &AgentName, said: &Said<'_>) -> Checked {
        let path = said.path("generation").unwrap_or_default();
        let active = self.profiles.active(agent).ok().flatten();
        let is_active = active.is_some_and(|active| *active.store_path == *path);
        let honest = self.honest(path).cloned();
        let restarts = &mut self.model(agent).restarts;
        restarts.not_before = None;
        let (Some(wait), Some(count), Some(honest)) = (
            said.body["restartAfterMs"].as_u64(),
            said.body["consecutive"].as_u64().filter(|_| is_active),
            honest,
        ) else {
            return Ok(()); // held, or on its way out
        };
        let wait = Duration::from_millis(wait);
        let lag = said.body["detectedAfterUs"].as_u64().unwrap_or_default();
        let ended_at = Mono(said.at.0.saturating_sub(lag));
        if count <= 1 {
            *restarts = Restarts::default();
            restarts.began = Some(ended_at);
        }
        if !said.late {
            restarts.not_before = Some(ended_at.after(wait));
        }
        let rules = &honest.spec.restart;
        let (least, most) = bounds(rules, count, restarts.began, ended_at);
        if wait + Duration::from_millis(1) < least || wait > most {
            return Err(format!(
                "{agent}: restart {count} waits {wait:?}, which is not within {least:?} and {most:?}"
            ));
        }
        Ok(())
    }

    fn check_patience(&mut self, agent: &AgentName, said: &Said<'_>) -> Checked {
        let not_before = self.model(agent).restarts.not_before.take();
        match not_before.filter(|_| said.reason() == "Restart" && !said.late) {
            Some(at) if said.at.after(SLACK) < at => Err(format!(
                "{agent} is restarted {:?} before its wait is over",
                at.since(said.at)
            )),
            _ => Ok(()),
        }
    }
}

fn is_no_fault(reason: &str) -> bool {
    matches!(
        reason,
        "OperatorRequest" | "GenerationChanged" | "SpecRemoved" | "Shutdown"
    )
}

/// The shortest and the longest wait before restart `count` since they were counted from zero.
fn bounds(
    rules: &Restart,
    count: u64,
    began: Option<Mono>,
    ended_at: Mono,
) -> (Duration, Duration) {
    let max = rules.backoff.max.get();
    let jitter = |wait: Duration| wait + wait * rules.backoff.jitter_milli / 1000;
    let budget = u64::from(rules.max_restarts);
    let grown = match count {
        0 | 1 => Duration::ZERO,
        count => {
            let mut wait = rules.backoff.initial.get();
            for _ in 2..count.min(64) {
                wait = (wait * rules.backoff.factor_milli / 1000).min(max);
            }
            wait.min(max)
        }
    };
    let recent = began.is_some_and(|began| ended_at.since(began) < rules.within.get());
    match count > budget {
        true if recent => (max, jitter(max)),
        true => (grown, jitter(max)),
        false => (grown, jitter(grown)),
    }
}
