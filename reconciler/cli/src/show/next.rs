//! What happens next to an agent, and what is going on, in words.
//!
//! `elapsed_ms` is how long ago the daemon was asked: countdowns go on from there.

use osmoda_core::{rollout::Verdict, status::Phase};
use osmoda_node::api::types::{AgentObject, NextAction};

use super::age;

/// For the last column of a table: what is going on, and what comes.
pub fn short(agent: &AgentObject, elapsed_ms: u64) -> String {
    let status = &agent.status;
    cell(status.next_action.as_ref(), &status.message, elapsed_ms)
}

/// As [`short`], of what comes and what is going on.
pub fn cell(next: Option<&NextAction>, message: &str, elapsed_ms: u64) -> String {
    let coming = next.map(|next| action(next, elapsed_ms));
    match (coming, message.is_empty()) {
        (Some(next), true) => next,
        (Some(next), false) => format!("{next}; {message}"),
        (None, _) => message.to_owned(),
    }
}

/// What comes by itself; `None` if nothing does.
pub fn coming(agent: &AgentObject, elapsed_ms: u64) -> Option<String> {
    let next = agent.status.next_action.as_ref()?;
    Some(action(next, elapsed_ms))
}

fn action(next: &NextAction, elapsed_ms: u64) -> String {
    let left = next.in_ms.saturating_sub(elapsed_ms);
    let left = match left {
        0 => None,
        ms => Some(age(round_up(ms))),
    };
    match (next.what.as_str(), left) {
        ("Start", Some(left)) => format!("starts in {left}"),
        ("Start", None) => "starts now".to_owned(),
        ("Retry", Some(left)) => format!("tries again in {left}"),
        ("Retry", None) => "tries again now".to_owned(),
        ("Prove", Some(left)) => format!("on probation for {left} more"),
        ("Prove", None) => "probation ends".to_owned(),
        ("VerifyHealth", Some(left)) => format!("health is verified in {left}"),
        ("VerifyHealth", None) => "health is being verified".to_owned(),
        (other, Some(left)) => format!("{other} in {left}"),
        (other, None) => format!("{other} now"),
    }
}

/// Whole seconds, so that a countdown does not end in milliseconds.
fn round_up(ms: u64) -> u64 {
    ms.div_ceil(1000) * 1000
}

/// A whole sentence: what happens next, also if nothing does, and what a person can do.
pub fn sentence(agent: &AgentObject, elapsed_ms: u64) -> String {
    let status = &agent.status;
    let name = &agent.metadata.name;
    let coming = coming(agent, elapsed_ms);
    let because = match status.message.as_str() {
        "" => String::new(),
        message => format!(" ({message})"),
    };
    match (status.phase, coming) {
        (Phase::Paused, _) => {
            format!("nothing, until `osmoda resume {name}`: it is paused{because}")
        }
        (Phase::Failed, None) => {
            format!("nothing by itself{because}; mend its spec, or `osmoda restart {name}`")
        }
        (Phase::Succeeded, _) => "nothing: its work is done".to_owned(),
        (Phase::Held, _) => format!("it starts as soon as its dependencies are ready{because}"),
        (Phase::Running, None)
            if status.ready && status.generation.desired_verdict == Some(Verdict::Bad) =>
        {
            format!("nothing, until its spec changes{because}")
        }
        (Phase::Running, Some(next)) if status.generation.verdict == Some(Verdict::Unproven) => {
            format!("{next}; then this generation counts as good")
        }
        (_, Some(next)) if next.starts_with("health") => format!("{next}{because}"),
        (_, Some(next)) => format!("it {next}{because}"),
        (Phase::Running, None) if status.ready => "nothing: it runs and is ready".to_owned(),
        (Phase::Running | Phase::Starting, None) => format!("it becomes ready{because}"),
        (Phase::Stopping, None) => "it stops".to_owned(),
        (Phase::Pending | Phase::Backoff, None) => format!("it starts{because}"),
        (Phase::Unknown, None) => {
            format!("nothing, until the runtime can be asked again{because}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::describe::tests::sample;

    fn agent(phase: Phase, ready: bool, next: Option<(&str, u64)>) -> AgentObject {
        let mut agent = sample("a");
        (agent.status.phase, agent.status.ready) = (phase, ready);
        agent.status.next_action = next.map(|(what, in_ms)| {
            let known = sample("a").status.next_action;
            let mut next = known.unwrap();
            (next.what, next.in_ms) = (what.to_owned(), in_ms);
            next
        });
        agent
    }

    #[test]
    fn a_countdown_goes_on_from_when_the_daemon_was_asked() {
        let agent = agent(Phase::Backoff, false, Some(("Start", 94_000)));
        assert_eq!(coming(&agent, 0).unwrap(), "starts in 1m34s");
        assert_eq!(coming(&agent, 1_500).unwrap(), "starts in 1m33s");
        assert_eq!(coming(&agent, 99_000).unwrap(), "starts now");
    }

    #[test]
    fn what_comes_is_a_sentence_in_every_phase() {
        let told = |phase, ready, next| {
            let mut agent = agent(phase, ready, next);
            agent.status.message = "why".to_owned();
            agent.status.generation.verdict = Some(Verdict::Good);
            sentence(&agent, 0)
        };
        let cases = [
            (
                told(Phase::Running, true, None),
                "nothing: it runs and is ready",
            ),
            (told(Phase::Starting, false, None), "it becomes ready (why)"),
            (
                told(Phase::Backoff, false, Some(("Start", 4000))),
                "it starts in 4s (why)",
            ),
            (
                told(Phase::Pending, false, Some(("Retry", 0))),
                "it tries again now (why)",
            ),
            (
                told(Phase::Running, true, Some(("VerifyHealth", 2000))),
                "health is verified in 2s (why)",
            ),
            (
                told(Phase::Held, false, None),
                "it starts as soon as its dependencies are ready (why)",
            ),
            (
                told(Phase::Failed, false, None),
                "nothing by itself (why); mend its spec, or `osmoda restart a`",
            ),
            (
                told(Phase::Succeeded, false, None),
                "nothing: its work is done",
            ),
            (
                told(Phase::Paused, true, None),
                "nothing, until `osmoda resume a`: it is paused (why)",
            ),
            (told(Phase::Stopping, false, None), "it stops"),
            (
                told(Phase::Unknown, false, None),
                "nothing, until the runtime can be asked again (why)",
            ),
        ];
        for (told, expected) in cases {
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn who_was_rolled_back_stays_so_until_the_spec_changes() {
        let mut agent = agent(Phase::Running, true, None);
        agent.status.generation.desired_verdict = Some(Verdict::Bad);
        agent.status.message = "generation 2 is bad".to_owned();
        let expected = "nothing, until its spec changes (generation 2 is bad)";
        assert_eq!(sentence(&agent, 0), expected);
    }

    #[test]
    fn a_generation_on_probation_says_how_long_that_lasts() {
        let mut agent = agent(Phase::Running, true, Some(("Prove", 40_000)));
        agent.status.generation.verdict = Some(Verdict::Unproven);
        let expected = "on probation for 40s more; then this generation counts as good";
        assert_eq!(sentence(&agent, 0), expected);
    }
}
