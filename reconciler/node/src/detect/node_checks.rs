//! The Node's own health checks: the same kinds of probe as agents have, asked for the machine as
//! long as they are declared. They restart nobody; what they say decides about a new system.
//!
//! Where to start: [`NodeChecks::set`].

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use osmoda_core::{
    probe::{Answer, ProbeKind, ProbeState, Verdict},
    spec::{Probe, ProbeCheck},
    system::CheckState,
    time::Clock,
};
use tokio::{process::Command, task::AbortHandle, time::timeout};

use super::ask;
use crate::error::host_lacks;

/// Every health check of the Node, and what it said last.
pub struct NodeChecks {
    clock: Arc<dyn Clock>,
    asked: BTreeMap<String, Asked>,
}

struct Asked {
    rules: Probe,
    state: Arc<Mutex<ProbeState>>,
    task: AbortHandle,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NodeChecks {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            asked: BTreeMap::new(),
        }
    }

    /// Asks these from now on; one that is as it was goes on. To be called where tasks can be
    /// spawned.
    pub fn set(&mut self, checks: &BTreeMap<String, Probe>) {
        self.asked
            .retain(|name, asked| checks.get(name) == Some(&asked.rules));
        for (name, rules) in checks {
            if self.asked.contains_key(name) {
                continue;
            }
            let state = ProbeState::new(ProbeKind::Readiness, self.clock.mono());
            let state = Arc::new(Mutex::new(state));
            let asking = run(rules.clone(), Arc::clone(&state), Arc::clone(&self.clock));
            let asked = Asked {
                rules: rules.clone(),
                state,
                task: tokio::spawn(asking).abort_handle(),
            };
            self.asked.insert(name.clone(), asked);
        }
    }

    /// What each says now, by name.
    pub fn states(&self) -> Vec<(String, CheckState)> {
        let asked = self.asked.iter();
        asked
            .map(|(name, asked)| {
                let state = asked.state.lock().unwrap_or_else(PoisonError::into_inner);
                (name.clone(), judge(&asked.rules, &state))
            })
            .collect()
    }
}

/// A check counts as failed after as many failures in a row as its threshold says, also if it
/// never succeeded.
fn judge(rules: &Probe, state: &ProbeState) -> CheckState {
    match state.verdict {
        Verdict::Success => CheckState::Well,
        _ if !state.message.is_empty() && state.run >= rules.failure_threshold => {
            CheckState::Failed(state.message.clone())
        }
        _ => CheckState::Coming,
    }
}

async fn run(rules: Probe, state: Arc<Mutex<ProbeState>>, clock: Arc<dyn Clock>) {
    tokio::time::sleep(rules.initial_delay.get()).await;
    loop {
        let began = clock.mono();
        let limit = rules.timeout.get();
        let answer = match &rules.check {
            ProbeCheck::Exec { command } => exec(command, limit).await,
            network => ask::over_network(network, limit).await,
        };
        let now = clock.mono();
        let pause = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.fold(&rules, &answer, now);
            state.interval(&rules)
        };
        tokio::time::sleep(pause.saturating_sub(now.since(began))).await;
    }
}

/// A command of the machine, as the daemon itself; killed when its time is up.
async fn exec(command: &[String], limit: Duration) -> Answer {
    let Some((program, arguments)) = command.split_first() else {
        return Answer::Failure("there is no command".to_owned());
    };
    let mut child = Command::new(program);
    child
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    match timeout(limit, child.status()).await {
        Ok(Ok(status)) if status.success() => Answer::Success,
        Ok(Ok(status)) => Answer::Failure(format!("{program}: {status}")),
        Ok(Err(error)) if host_lacks(&error) => {
            Answer::Unasked(format!("{program} cannot be run: {error}"))
        }
        Ok(Err(error)) => Answer::Failure(format!("{program} cannot be run: {error}")),
        Err(_) => Answer::Failure(format!("{program}: no answer within {limit:?}")),
    }
}

#[cfg(test)]
mod tests {
    use osmoda_core::time::Mono;

    use super::*;

    #[test]
    fn a_check_is_undecided_until_a_threshold_is_reached() {
        let command = vec!["true".to_owned()];
        let rules = Probe::new(ProbeCheck::Exec { command });
        let mut state = ProbeState::new(ProbeKind::Readiness, Mono(0));
        assert_eq!(judge(&rules, &state), CheckState::Coming);
        let failure = Answer::Failure("no route".to_owned());
        for _ in 1..rules.failure_threshold {
            state.fold(&rules, &failure, Mono(1));
            assert_eq!(judge(&rules, &state), CheckState::Coming);
        }
        state.fold(&rules, &failure, Mono(1));
        let failed = CheckState::Failed("no route".to_owned());
        assert_eq!(judge(&rules, &state), failed);
        state.fold(&rules, &Answer::Success, Mono(2));
        assert_eq!(judge(&rules, &state), CheckState::Well);
    }

    #[tokio::test]
    async fn a_command_says_how_it_ended() {
        let said = |words: &str| {
            let command: Vec<_> = words.split(' ').map(str::to_owned).collect();
            async move { exec(&command, Duration::from_secs(10)).await }
        };
        assert_eq!(said("true").await, Answer::Success);
        let failed = Answer::Failure("false: exit status: 1".to_owned());
        assert_eq!(said("false").await, failed);
        let absent = said("/no/such/program").await;
        assert!(matches!(absent, Answer::Failure(why) if why.contains("cannot be run")));
        let slow = ["sleep".to_owned(), "60".to_owned()];
        let late = exec(&slow, Duration::from_millis(10)).await;
        assert!(matches!(late, Answer::Failure(why) if why.contains("no answer within")));
    }
}
