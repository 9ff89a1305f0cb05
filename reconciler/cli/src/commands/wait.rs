//! `osmoda wait`: until agents are in a state.
//!
//! What the state means is decided by `judge`, one agent at a time; `until` asks again and
//! again. An agent that has failed ends the waiting at once.

use std::time::Duration;

use osmoda_core::{
    name::AgentName,
    rollout::Verdict,
    status::{ConditionStatus, ConditionType, Phase},
    units::Period,
};
use osmoda_node::api::types::{AgentList, AgentObject};
use tokio::time::{Instant, sleep};

use crate::{
    args::{Awaited, Wait},
    client::{Client, Refusal},
    failure::{Answer, Outcome, UNREACHABLE},
    output,
};

/// Time between looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A spec that was written just now may not have been read yet: a verdict on the one before it
/// is no answer before this much time has passed.
const SPECS_ARE_READ_AFTER: Duration = Duration::from_secs(2);

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// It does its work, or has done it.
    Ready,
    /// No process of it runs, and none is about to.
    Stopped,
    /// The desired generation is active and was found good.
    Proven,
    /// Another generation than this one is active, and it is ready.
    RolledBack {
        /// Number of the generation before.
        from: Option<u64>,
    },
    /// Another instance than this one is ready.
    Restarted {
        /// The instance before.
        invocation: Option<String>,
    },
}

/// How far an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Done,
    NotYet,
    /// It will not come by itself; why.
    Failed(String),
}

/// Waits; says nothing but why it did not come.
pub async fn wait(client: &Client, args: &Wait) -> Outcome {
    let goal = match args.state {
        Awaited::Ready => Goal::Ready,
        Awaited::Stopped => Goal::Stopped,
        Awaited::Proven => Goal::Proven,
    };
    until(client, args.agent.as_ref(), &goal, args.timeout).await
}

/// Waits until one agent, or all of them, have come to `goal`.
///
/// # Errors
/// [`Failure`] if the daemon cannot be asked until time is up, or does not know the agent from the beginning.
pub async fn until(
    client: &Client,
    agent: Option<&AgentName>,
    goal: &Goal,
    timeout: Period,
) -> Outcome {
    let deadline = Instant::now() + timeout.get();
    let read_at = Instant::now() + SPECS_ARE_READ_AFTER;
    let mut seen = false;
    loop {
        let agents = match look(client, agent).await {
            // Gone from the specs while we waited for its end.
            Err(Refusal::NotFound(_)) if seen && *goal == Goal::Stopped => Vec::new(),
            // A daemon that is just being started or replaced is worth the same patience.
            Err(Refusal::Failed(failure))
                if failure.code == UNREACHABLE && Instant::now() < deadline =>
            {
                sleep(LOOK_EVERY).await;
                continue;
            }
            found => found?,
        };
        seen = true;
        match judge_all(&agents, goal) {
            (Progress::Done, _) => return Ok(Answer::Yes),
            (Progress::Failed(_), _) if *goal == Goal::Proven && Instant::now() < read_at => {
                sleep(LOOK_EVERY).await;
            }
            (Progress::Failed(why), name) => {
                output::note(&format!(
                    "osmoda: {name} has failed: {why}\n  look at: osmoda describe {name}"
                ));
                return Ok(Answer::No);
            }
            (Progress::NotYet, name) if Instant::now() >= deadline => {
                output::note(&format!(
                    "osmoda: time is up after {timeout}, still waiting for {name}\n  look at: osmoda describe {name}"
                ));
                return Ok(Answer::No);
            }
            (Progress::NotYet, _) => sleep(LOOK_EVERY).await,
        }
    }
}

async fn look(client: &Client, agent: Option<&AgentName>) -> Result<Vec<AgentObject>, Refusal> {
    match agent {
        Some(name) => Ok(vec![client.get(&format!("/v1/agents/{name}")).await?]),
        None => Ok(client.get::<AgentList>("/v1/status").await?.items),
    }
}

/// The worst of all agents, and whose it is.
fn judge_all(agents: &[AgentObject], goal: &Goal) -> (Progress, String) {
    let mut worst = (Progress::Done, String::new());
    for agent in agents {
        match judge(agent, goal) {
            Progress::Done => {}
            failed @ Progress::Failed(_) => return (failed, agent.metadata.name.clone()),
            Progress::NotYet => worst = (Progress::NotYet, agent.metadata.name.clone()),
        }
    }
    worst
}

fn judge(agent: &AgentObject, goal: &Goal) -> Progress {
    let status = &agent.status;
    match goal {
        Goal::Stopped => {
            let at_rest = [Phase::Succeeded, Phase::Failed, Phase::Paused, Phase::Held];
            let stopped = status.pid.is_none() && at_rest.contains(&status.phase);
            if stopped {
                Progress::Done
            } else {
                Progress::NotYet
            }
        }
        Goal::Proven => proven(agent),
        Goal::RolledBack { from } if active(agent) == *from => Progress::NotYet,
        Goal::Restarted { invocation } if status.invocation == *invocation => Progress::NotYet,
        Goal::Ready | Goal::Restarted { .. } | Goal::RolledBack { .. } => match status.phase {
            _ if status.ready => Progress::Done,
            Phase::Succeeded => Progress::Done,
            Phase::Failed => Progress::Failed(status.message.clone()),
            _ if is_degraded(agent) => {
                Progress::Failed(format!("its restart budget is spent: {}", status.message))
            }
            _ => Progress::NotYet,
        },
    }
}

fn active(agent: &AgentObject) -> Option<u64> {
    let active = agent.status.generation.active.as_ref();
    active.map(|active| active.number)
}

/// Whether what the spec asks for is active and Good, or will not be any more.
fn proven(agent: &AgentObject) -> Progress {
    let generation = &agent.status.generation;
    if generation.desired_verdict == Some(Verdict::Bad) {
        return Progress::Failed("the generation that its spec asks for is Bad".to_owned());
    }
    let is_active = generation.active.is_some() && generation.active == generation.desired;
    match generation.verdict {
        Some(Verdict::Good) if is_active => Progress::Done,
        _ if agent.status.phase == Phase::Failed => Progress::Failed(agent.status.message.clone()),
        _ => match cannot_be_made(agent) {
            Some(why) => Progress::Failed(format!("its generation cannot be made: {why}")),
            None => Progress::NotYet,
        },
    }
}

/// Why there is no bundle of what the spec asks for. It is tried again, but whoever waits for a
/// deploy wants to know.
fn cannot_be_made(agent: &AgentObject) -> Option<&str> {
    let mut conditions = agent.status.conditions.iter();
    let failed =
        conditions.find(|c| c.r#type == ConditionType::Progressing && c.reason == "BuildFailed")?;
    Some(&failed.message)
}

fn is_degraded(agent: &AgentObject) -> bool {
    agent.status.conditions.iter().any(|condition| {
        condition.r#type == ConditionType::Degraded && condition.status == ConditionStatus::True
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::describe::tests::sample;

    fn agent(phase: Phase, ready: bool, pid: Option<u32>) -> AgentObject {
        let mut agent = sample("a");
        (agent.status.phase, agent.status.ready, agent.status.pid) = (phase, ready, pid);
        agent.status.message = "why".to_owned();
        agent
    }

    #[test]
    fn ready_comes_fails_or_is_awaited() {
        let judged = |phase, ready| judge(&agent(phase, ready, None), &Goal::Ready);
        let why = || Progress::Failed("why".to_owned());
        assert_eq!(judged(Phase::Running, true), Progress::Done);
        assert_eq!(judged(Phase::Running, false), Progress::NotYet);
        assert_eq!(judged(Phase::Starting, false), Progress::NotYet);
        assert_eq!(judged(Phase::Backoff, false), Progress::NotYet);
        assert_eq!(judged(Phase::Succeeded, false), Progress::Done);
        assert_eq!(judged(Phase::Failed, false), why());
        let mut spent = agent(Phase::Backoff, false, None);
        spent.status.conditions[0].r#type = ConditionType::Degraded;
        assert!(matches!(judge(&spent, &Goal::Ready), Progress::Failed(_)));
    }

    #[test]
    fn stopped_means_that_nothing_runs_or_is_about_to() {
        let judged = |phase, pid| judge(&agent(phase, false, pid), &Goal::Stopped);
        assert_eq!(judged(Phase::Succeeded, None), Progress::Done);
        assert_eq!(judged(Phase::Paused, None), Progress::Done);
        assert_eq!(judged(Phase::Paused, Some(7)), Progress::NotYet);
        assert_eq!(judged(Phase::Backoff, None), Progress::NotYet);
        assert_eq!(judged(Phase::Running, Some(7)), Progress::NotYet);
    }

    #[test]
    fn proven_means_that_what_is_asked_for_is_active_and_good() {
        let mut agent = agent(Phase::Running, true, Some(7));
        assert_eq!(judge(&agent, &Goal::Proven), Progress::NotYet);
        agent.status.generation.verdict = Some(Verdict::Good);
        assert_eq!(judge(&agent, &Goal::Proven), Progress::Done);
        agent.status.generation.desired = None;
        assert_eq!(judge(&agent, &Goal::Proven), Progress::NotYet);
        agent.status.generation.desired_verdict = Some(Verdict::Bad);
        assert!(matches!(judge(&agent, &Goal::Proven), Progress::Failed(_)));
    }

    #[test]
    fn a_rollback_is_done_only_by_another_generation() {
        let agent = agent(Phase::Running, true, Some(7));
        let judged = |from| judge(&agent, &Goal::RolledBack { from });
        assert_eq!(judged(Some(2)), Progress::NotYet);
        assert_eq!(judged(Some(3)), Progress::Done);
    }

    #[test]
    fn a_restart_is_done_only_by_another_instance() {
        let goal = Goal::Restarted {
            invocation: Some("old".to_owned()),
        };
        let mut agent = agent(Phase::Running, true, Some(7));
        agent.status.invocation = Some("old".to_owned());
        assert_eq!(judge(&agent, &goal), Progress::NotYet);
        agent.status.invocation = Some("new".to_owned());
        assert_eq!(judge(&agent, &goal), Progress::Done);
    }

    #[test]
    fn one_failure_counts_more_than_all_that_is_well() {
        let agents = [
            agent(Phase::Running, true, Some(7)),
            agent(Phase::Starting, false, None),
            agent(Phase::Failed, false, None),
        ];
        assert!(matches!(
            judge_all(&agents, &Goal::Ready),
            (Progress::Failed(_), _)
        ));
        assert_eq!(judge_all(&agents[..2], &Goal::Ready).0, Progress::NotYet);
        assert_eq!(judge_all(&agents[..1], &Goal::Ready).0, Progress::Done);
        assert_eq!(judge_all(&[], &Goal::Ready).0, Progress::Done);
    }
}
