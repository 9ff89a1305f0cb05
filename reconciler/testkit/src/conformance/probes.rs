//! Cases of exec probes: those of every runtime.

#![allow(missing_docs, reason = "the name of a case says what it is")]

use std::{sync::Arc, time::Duration};

use osmoda_core::{
    observed::{ExitStatus, InvocationId},
    spec::Agent,
};
use osmoda_runtime::{
    PROBE_OUTPUT_MAX, ProbeEnd, ProbeError, ProbeRequest, Runtime as _, StartError,
};

use super::{Bench, Subject, agent, within};

/// Long enough that a probe which ends by itself never meets it.
pub(super) const GENEROUS: Duration = Duration::from_secs(15);
/// Short enough to be waited for.
const SHORT: Duration = Duration::from_millis(50);

/// A probe of the instance, with these actions of the test agent, and the spec's surroundings.
pub(super) fn request<S: Subject>(
    bench: &Bench<S>,
    invocation: InvocationId,
    actions: &[&str],
    timeout: Duration,
) -> ProbeRequest {
    let spec = bench.spec(actions);
    let command = spec.command.clone();
    ProbeRequest {
        agent: Arc::new(Agent {
            name: agent(),
            labels: Default::default(),
            spec: spec.into(),
            manifest: "".into(),
        }),
        invocation,
        command,
        timeout,
    }
}

/// What becomes of a probe of the instance that was started first.
pub(super) async fn probe<S: Subject>(
    bench: &Bench<S>,
    actions: &[&str],
    timeout: Duration,
) -> Result<ProbeEnd, ProbeError> {
    let request = request(bench, bench.invocation(1), actions, timeout);
    within(bench.runtime().probe(request)).await
}

pub async fn a_probe_tells_how_it_ended_and_what_it_wrote<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench.start(&["sleep"]).await;
    for code in [0, 3] {
        let actions = ["print", "checked", "then", "exit", &code.to_string()];
        let end = probe(bench, &actions, GENEROUS).await.unwrap();
        assert_eq!(end.status, Some(ExitStatus::Code { code }));
        assert_eq!(String::from_utf8(end.output).unwrap().trim(), "checked");
    }
    let killed = probe(bench, &["kill-self", "9"], GENEROUS).await.unwrap();
    let signal = ExitStatus::Signal {
        signal: 9,
        core_dumped: false,
    };
    assert_eq!(killed.status, Some(signal));
    assert_eq!(bench.inspect(), Some(instance));
}

pub async fn a_probe_that_takes_too_long_is_ended<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench.start(&["sleep"]).await;
    let end = probe(bench, &["sleep"], SHORT).await.unwrap();
    assert_eq!(end.status, None);
    assert_eq!(bench.inspect(), Some(instance));
}

pub async fn the_output_of_a_probe_is_bounded<S: Subject>(bench: &mut Bench<S>) {
    bench.start(&["sleep"]).await;
    let long = "x".repeat(3 * PROBE_OUTPUT_MAX);
    let end = probe(bench, &["print", &long, "then", "exit", "0"], GENEROUS).await;
    let end = end.unwrap();
    assert_eq!(end.status, Some(ExitStatus::Code { code: 0 }));
    assert_eq!(end.output, vec![b'x'; PROBE_OUTPUT_MAX]);
}

pub async fn only_an_instance_that_runs_is_probed<S: Subject>(bench: &mut Bench<S>) {
    let refused = probe(bench, &["exit", "0"], GENEROUS).await;
    assert!(matches!(refused, Err(ProbeError::NotRunning { .. })));
    bench.start(&["exit", "0"]).await;
    bench.exit().await;
    let refused = probe(bench, &["exit", "0"], GENEROUS).await;
    assert!(matches!(refused, Err(ProbeError::NotRunning { .. })));
    bench.start(&["sleep"]).await;
    let refused = probe(bench, &["exit", "0"], GENEROUS).await;
    assert!(
        matches!(refused, Err(ProbeError::NotRunning { .. })),
        "the instance before was asked after"
    );
}

pub async fn a_probe_that_does_not_exist_is_named<S: Subject>(bench: &mut Bench<S>) {
    bench.start(&["sleep"]).await;
    let mut missing = request(bench, bench.invocation(1), &[], GENEROUS);
    missing.command = vec!["/nonexistent/probe".to_owned()];
    match within(bench.runtime().probe(missing)).await {
        Err(ProbeError::Start(StartError::Invalid { what, .. })) => {
            assert_eq!(what, "cannot execute /nonexistent/probe");
        }
        other => panic!("{other:?}"),
    }
}
