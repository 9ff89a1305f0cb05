//! Asks the probes of one instance: first what gates its start, then readiness and liveness.
//!
//! Counted tries begin `initialDelay` after the start, and then every `period` (`retryInterval`
//! while failures add up), from start to start (those of who is well a little earlier, see
//! [`ProbeState::due_after`]); a try that takes longer is followed by the next
//! at once, and none runs beside another of the same probe. In the first seconds after a start
//! there are extra tries in between ([`FAST_INTERVAL`], [`FAST_FOR`]) whose failures are not
//! counted; one that is still under way when a counted try is due becomes that try.
//!
//! Invariant: whatever goes wrong with the asking itself, a panic or an answer that never comes,
//! is a failure and never a success.
//!
//! Where to start: [`run`].

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use osmoda_core::{
    probe::{Answer, FAST_FOR, FAST_INTERVAL, ProbeKind, ProbeState, Verdict},
    spec,
    time::Mono,
};

use super::{Question, Watch, board::Wake};

#[cfg(test)]
mod tests;

/// How much longer than its timeout an answer is waited for, so that what had to be killed for
/// being late can be gone; only a check that is itself stuck takes longer.
const OVERTIME: Duration = Duration::from_secs(15);

/// Asks until the instance is followed no longer.
pub(super) async fn run(watch: Watch, gate: Option<spec::Probe>) {
    let probes = &watch.agent.spec.probes;
    let mut liveness_from = Mono(0);
    if let Some(gate) = gate {
        let state = one(&watch, ProbeKind::Startup, &gate, Mono(0)).await;
        if state.verdict != Verdict::Success {
            return; // it is not asked again before the next instance
        }
        if probes.startup.is_none() {
            // What gated the start was the liveness probe: its next turn comes after a period.
            liveness_from = state.since.after(gate.period.get());
        }
    }
    let readiness = async {
        if let Some(rules) = &probes.readiness {
            one(&watch, ProbeKind::Readiness, rules, Mono(0)).await;
        }
    };
    let liveness = async {
        if let Some(rules) = &probes.liveness {
            one(&watch, ProbeKind::Liveness, rules, liveness_from).await;
        }
    };
    tokio::join!(readiness, liveness);
}

/// Asks one probe until it is settled, first when its delay is over and not before `from`.
async fn one(watch: &Watch, kind: ProbeKind, rules: &spec::Probe, from: Mono) -> ProbeState {
    let began = watch.followed_since;
    let hurry_until = began.after(FAST_FOR);
    let now = watch.clock.mono();
    let mut state = ProbeState::new(kind, now);
    let mut due = began.after(rules.initial_delay.get()).max(from).max(now);
    let mut ask_at = due;
    loop {
        tokio::time::sleep(ask_at.since(watch.clock.mono())).await;
        let asked_at = watch.clock.mono();
        let answer = ask(watch, rules).await;
        let answered_at = watch.clock.mono();
        if answered_at >= due {
            let changed = state.fold(rules, &answer, answered_at);
            note(watch, &state, changed);
            due = state.due_after(asked_at.max(due), rules);
        } else if answer.is_success() {
            let changed = state.fold_extra(rules, &answer, answered_at);
            note(watch, &state, changed);
        }
        if state.is_settled() {
            return state;
        }
        let extra = asked_at.after(FAST_INTERVAL);
        let hurries = state.is_hurried(rules) && extra <= hurry_until;
        ask_at = if hurries { due.min(extra) } else { due };
    }
}

/// One answer, whatever happens.
async fn ask(watch: &Watch, rules: &spec::Probe) -> Answer {
    let question = Question {
        agent: watch.agent.clone(),
        invocation: watch.instance.invocation,
        check: rules.check.clone(),
        timeout: rules.timeout.get(),
    };
    let limit = rules.timeout.get().saturating_add(OVERTIME);
    let asking = guarded(async { watch.senses.check(question).await });
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer,
        Err(_) => Answer::Failure("the prober gave no answer".to_owned()),
    }
}

/// A panic of the prober is a failed probe, and the end of nothing else.
async fn guarded(asking: impl Future<Output = Answer>) -> Answer {
    let mut asking = pin!(asking);
    poll_fn(move |context| {
        // After a panic it is not polled again, so nothing sees what it left half done.
        let polled = catch_unwind(AssertUnwindSafe(|| asking.as_mut().poll(context)));
        let failed = |_| Poll::Ready(Answer::Failure("the prober panicked".to_owned()));
        polled.unwrap_or_else(failed)
    })
    .await
}

fn note(watch: &Watch, state: &ProbeState, changed: bool) {
    let (name, invocation) = (&watch.agent.name, watch.instance.invocation);
    watch.board.note(name, invocation, |vitals| {
        let slot = match state.kind {
            ProbeKind::Startup => &mut vitals.startup,
            ProbeKind::Readiness => &mut vitals.readiness,
            ProbeKind::Liveness => &mut vitals.liveness,
        };
        *slot = Some(state.clone());
        if changed { Wake::Loop } else { Wake::Nobody }
    });
}
