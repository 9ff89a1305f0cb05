//! Asks the probes of one instance: first what gates its start, then readiness and liveness.

use osmoda_core::{
    probe::{Answer, ProbeKind, ProbeState, Verdict},
    spec,
};

use super::{Question, Watch, board::Wake};

/// Asks until the instance is followed no longer.
pub(super) async fn run(watch: Watch, gate: Option<spec::Probe>) {
    if let Some(gate) = gate
        && one(&watch, ProbeKind::Startup, &gate).await != Verdict::Success
    {
        return; // it is not asked again before the next instance
    }
    let probes = &watch.agent.spec.probes;
    let readiness = async {
        if let Some(rules) = &probes.readiness {
            one(&watch, ProbeKind::Readiness, rules).await;
        }
    };
    let liveness = async {
        if let Some(rules) = &probes.liveness {
            one(&watch, ProbeKind::Liveness, rules).await;
        }
    };
    tokio::join!(readiness, liveness);
}

/// Asks one probe until it is settled.
async fn one(watch: &Watch, kind: ProbeKind, rules: &spec::Probe) -> Verdict {
    let mut state = ProbeState::new(kind, watch.clock.mono());
    tokio::time::sleep(rules.initial_delay.get()).await;
    loop {
        let question = Question {
            agent: watch.agent.clone(),
            invocation: watch.instance.invocation,
            check: rules.check.clone(),
            timeout: rules.timeout.get(),
        };
        let answer = watch.senses.check(question).await;
        note(watch, rules, &mut state, &answer);
        if state.is_settled() {
            return state.verdict;
        }
        tokio::time::sleep(state.interval(rules)).await;
    }
}

fn note(watch: &Watch, rules: &spec::Probe, state: &mut ProbeState, answer: &Answer) {
    let changed = state.fold(rules, answer, watch.clock.mono());
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
