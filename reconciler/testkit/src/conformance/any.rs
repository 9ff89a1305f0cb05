//! Cases for every runtime, the fake included.

#![allow(missing_docs, reason = "the name of a case says what it is")]

use std::io::ErrorKind;

use osmoda_core::{
    observed::{ExitStatus, InstanceState},
    spec::{Credential, Stop},
    units::Period,
};
use osmoda_runtime::{
    MainPidError, PreparedStart as _, Runtime as _, Sender, StartError, StopError,
};
use tokio::join;

use super::{Bench, Subject, agent, event, generation, pid, within};

/// Long enough that an agent that listens never meets it.
const GENEROUS: Period = Period::secs(15);

const fn code(code: i32) -> ExitStatus {
    ExitStatus::Code { code }
}

const fn signal(signal: i32) -> ExitStatus {
    ExitStatus::Signal {
        signal,
        core_dumped: false,
    }
}

pub async fn a_start_gives_a_running_instance<S: Subject>(bench: &mut Bench<S>) {
    let started = bench.start(&["sleep"]).await;
    assert_eq!(started.agent, agent());
    assert_eq!(started.invocation, bench.invocation(1));
    assert_eq!(started.generation, generation());
    assert!(!started.adopted);
    assert_ne!(pid(&started), 0);
    assert_eq!(bench.inspect(), Some(started.clone()));
    assert_eq!(within(bench.runtime().observe()).await.unwrap(), [started]);
}

pub async fn an_exit_code_is_reported_and_announced<S: Subject>(bench: &mut Bench<S>) {
    let mut events = bench.runtime().subscribe();
    let started = bench.start(&["exit", "7"]).await;
    event(&mut events).await;
    let exit = bench.exit().await;
    assert_eq!(exit.status, code(7));
    assert!(exit.at >= started.started_at);
    assert!(!exit.oom_killed);
}

pub async fn an_ending_signal_is_reported<S: Subject>(bench: &mut Bench<S>) {
    bench.start(&["kill-self", "9"]).await;
    assert_eq!(bench.exit().await.status, signal(9));
}

pub async fn an_ended_agent_can_be_started_again<S: Subject>(bench: &mut Bench<S>) {
    let mut events = bench.runtime().subscribe();
    for round in 1..=5 {
        let instance = bench.start(&["exit", "3"]).await;
        assert_eq!(instance.invocation, bench.invocation(round));
        event(&mut events).await;
        assert_eq!(bench.exit().await.status, code(3));
    }
}

pub async fn a_stop_lets_an_agent_end_by_itself<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench.start(&["exit-on-term", "5"]).await;
    bench.output(1).await; // it has said that it listens
    let stopped = bench.stop(&instance, GENEROUS).await.unwrap();
    assert_eq!((stopped.exit.status, stopped.killed), (code(5), false));
    assert_eq!(bench.exit().await, stopped.exit);
}

pub async fn a_deaf_agent_is_killed_after_its_grace<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench
        .start(&["ignore-term", "then", "print", "deaf", "then", "sleep"])
        .await;
    bench.output(1).await;
    let stopped = bench.stop(&instance, Period::millis(20)).await.unwrap();
    assert_eq!((stopped.exit.status, stopped.killed), (signal(9), true));
}

pub async fn a_second_start_is_refused_and_names_the_first<S: Subject>(bench: &mut Bench<S>) {
    let first = bench.start(&["sleep"]).await;
    let spec = bench.spec(&["sleep"]);
    match bench.try_start(spec).await {
        Err(StartError::AlreadyRunning { pid: running, .. }) => assert_eq!(running, pid(&first)),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.inspect(), Some(first));
}

pub async fn of_starts_at_the_same_time_one_wins<S: Subject>(bench: &mut Bench<S>) {
    let spec = bench.spec(&["sleep"]);
    let requests = [0; 3].map(|_| bench.request(spec.clone()));
    let [a, b, c] = requests.map(|request| bench.runtime().start(request));
    let (a, b, c) = within(async { join!(a, b, c) }).await;
    let results = [a, b, c];
    let won: Vec<_> = results.iter().flatten().collect();
    let [winner] = won[..] else {
        panic!("{results:?}");
    };
    for lost in results.iter().filter_map(|result| result.as_ref().err()) {
        let expected = pid(winner);
        assert!(matches!(lost, StartError::AlreadyRunning { pid, .. } if *pid == expected));
    }
    assert_eq!(bench.inspect().as_ref(), Some(winner));
}

pub async fn a_missing_program_is_named<S: Subject>(bench: &mut Bench<S>) {
    let mut spec = bench.spec(&[]);
    spec.command = vec!["/nonexistent/program".to_owned()];
    match bench.try_start(spec).await {
        Err(StartError::Invalid { what, source }) => {
            assert_eq!(what, "cannot execute /nonexistent/program");
            assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.inspect(), None);
}

pub async fn a_missing_credential_is_named<S: Subject>(bench: &mut Bench<S>) {
    let mut spec = bench.spec(&["sleep"]);
    let credential = Credential {
        path: "/nonexistent/secret".to_owned(),
        environment_variable: None,
    };
    spec.credentials.insert("token".to_owned(), credential);
    match bench.try_start(spec).await {
        Err(StartError::Credential { name, path, .. }) => {
            assert_eq!((&*name, &*path), ("token", "/nonexistent/secret"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.inspect(), None);
}

pub async fn a_failed_start_leaves_room_for_the_next<S: Subject>(bench: &mut Bench<S>) {
    bench.start(&["exit", "1"]).await;
    let former = bench.exit().await;
    let mut spec = bench.spec(&[]);
    spec.command = vec!["/nonexistent/program".to_owned()];
    bench.try_start(spec).await.unwrap_err();
    assert_eq!(bench.exit().await, former);
    bench.start(&["sleep"]).await;
    bench.subject.restart_daemon();
    assert!(bench.inspect().is_some());
}

pub async fn a_prepared_start_that_is_dropped_leaves_nothing(bench: &mut Bench<impl Subject>) {
    bench.start(&["print", "first", "then", "exit", "3"]).await;
    let ended = bench.exit().await;
    let before = bench.inspect();
    for _ in 0..3 {
        let request = bench.request(bench.spec(&["print", "never", "then", "sleep"]));
        drop(bench.runtime().prepare(request));
    }
    // A start afterwards finds the agent free, and the ended one as it was.
    assert_eq!(bench.inspect(), before);
    assert_eq!(bench.exit().await, ended);
    assert_eq!(bench.output(1).await, ["first"]);
    bench.start(&["print", "second", "then", "sleep"]).await;
    assert_eq!(bench.output(1).await, ["second"]);
}

pub async fn a_prepared_start_runs_when_told_and_not_before(bench: &mut Bench<impl Subject>) {
    let request = bench.request(bench.spec(&["sleep"]));
    let invocation = request.invocation;
    let prepared = bench.runtime().prepare(request);
    let second = bench.request(bench.spec(&["sleep"]));
    let second = bench.runtime().prepare(second);
    assert_eq!(bench.inspect(), None);
    let started = within(prepared.launch()).await.expect("it starts");
    assert_eq!(started.invocation, invocation);
    match within(second.launch()).await {
        Err(StartError::AlreadyRunning { pid: running, .. }) => assert_eq!(running, pid(&started)),
        other => panic!("a second instance: {other:?}"),
    }
}

pub async fn a_new_daemon_adopts_a_running_agent_and_sees_its_end<S: Subject>(
    bench: &mut Bench<S>,
) {
    let before = bench.start(&["exit-on-term", "5"]).await;
    bench.output(1).await;
    bench.subject.restart_daemon();
    let mut events = bench.runtime().subscribe();
    let adopted = bench.inspect().expect("it is adopted");
    assert!(adopted.adopted);
    assert_eq!(pid(&adopted), pid(&before));
    assert_eq!(adopted.invocation, before.invocation);
    assert_eq!(adopted.generation, before.generation);
    assert_eq!(adopted.started_at, before.started_at);

    let stopped = bench.stop(&adopted, GENEROUS).await.unwrap();
    assert_eq!((stopped.exit.status, stopped.killed), (code(5), false));
    event(&mut events).await;
    let next = bench.start(&["sleep"]).await;
    assert!(!next.adopted);
}

pub async fn a_new_daemon_starts_no_second_instance<S: Subject>(bench: &mut Bench<S>) {
    let first = bench.start(&["sleep"]).await;
    bench.subject.restart_daemon();
    let spec = bench.spec(&["sleep"]);
    match bench.try_start(spec).await {
        Err(StartError::AlreadyRunning { pid: running, .. }) => assert_eq!(running, pid(&first)),
        other => panic!("{other:?}"),
    }
}

pub async fn only_an_ended_agent_is_forgotten<S: Subject>(bench: &mut Bench<S>) {
    let running = bench.start(&["sleep"]).await;
    bench.runtime().forget(&agent());
    assert_eq!(bench.inspect(), Some(running.clone()));
    bench.stop(&running, GENEROUS).await.unwrap();
    bench.runtime().forget(&agent());
    assert_eq!(bench.inspect(), None);
    bench.subject.restart_daemon();
    assert_eq!(bench.inspect(), None);
}

pub async fn an_ended_instance_stays_visible<S: Subject>(bench: &mut Bench<S>) {
    let started = bench.start(&["exit", "0"]).await;
    let exit = bench.exit().await;
    let observed = within(bench.runtime().observe()).await.unwrap();
    let [instance] = &observed[..] else {
        panic!("{observed:?}");
    };
    assert_eq!(instance.invocation, started.invocation);
    assert_eq!(instance.state, InstanceState::Exited(exit));
    bench.subject.restart_daemon();
    let kept = bench.inspect().expect("the new daemon sees it too");
    assert!(matches!(kept.state, InstanceState::Exited(_)));
}

pub async fn a_stop_of_an_ended_instance_succeeds<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench.start(&["exit", "4"]).await;
    let exit = bench.exit().await;
    let stopped = bench.stop(&instance, GENEROUS).await.unwrap();
    assert_eq!((stopped.exit, stopped.killed), (exit, false));
}

pub async fn a_stop_of_another_instance_is_refused<S: Subject>(bench: &mut Bench<S>) {
    let running = bench.start(&["sleep"]).await;
    let mut other = running.clone();
    other.invocation = bench.invocation(99);
    let refused = bench.stop(&other, GENEROUS).await;
    assert!(
        matches!(refused, Err(StopError::NoSuchInstance { .. })),
        "{refused:?}"
    );
    assert_eq!(bench.inspect(), Some(running));
}

pub async fn two_stops_at_the_same_time_agree<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench
        .start(&["ignore-term", "then", "print", "deaf", "then", "sleep"])
        .await;
    bench.output(1).await;
    let grace = Period::millis(20);
    let (a, b) = join!(bench.stop(&instance, grace), bench.stop(&instance, grace));
    assert_eq!(a.unwrap().exit, b.unwrap().exit);
}

pub async fn a_stop_can_be_given_up_and_asked_again<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench
        .start(&["ignore-term", "then", "print", "deaf", "then", "sleep"])
        .await;
    bench.output(1).await;
    let stop = Stop {
        grace_period: Period::secs(3600),
        ..Stop::default()
    };
    let given_up = bench
        .runtime()
        .stop(&instance.agent, instance.invocation, &stop);
    let patience = std::time::Duration::from_millis(5);
    assert!(tokio::time::timeout(patience, given_up).await.is_err());
    assert_eq!(bench.inspect(), Some(instance.clone()));
    let stopped = bench.stop(&instance, Period::millis(0)).await.unwrap();
    assert!(stopped.killed);
}

pub async fn a_stop_under_way_is_extended_and_not_by_an_extension_from_before<S: Subject>(
    bench: &mut Bench<S>,
) {
    let instance = bench
        .start(&["ignore-term", "then", "print", "deaf", "then", "sleep"])
        .await;
    bench.output(1).await;
    let day = std::time::Duration::from_secs(86_400);
    let (name, invocation) = (instance.agent.clone(), instance.invocation);
    bench.runtime().extend_stop(&name, invocation, day);
    let stopped = bench.stop(&instance, Period::millis(20)).await.unwrap();
    assert!(
        stopped.killed,
        "what was asked before the stop does not count"
    );

    let instance = bench
        .start(&["ignore-term", "then", "print", "deaf", "then", "sleep"])
        .await;
    bench.output(1).await;
    let stop = Stop {
        grace_period: Period::millis(50),
        ..Stop::default()
    };
    let stopping = bench.runtime().stop(&name, instance.invocation, &stop);
    let extending = async {
        // Polled after the stop has begun. Eight times its grace.
        bench.runtime().extend_stop(&name, instance.invocation, day);
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    };
    tokio::pin!(stopping);
    tokio::select! {
        biased;
        stopped = &mut stopping => panic!("killed though it asked for longer: {stopped:?}"),
        () = extending => {}
    }
    assert_eq!(bench.inspect(), Some(instance.clone()));
    let (again, first) = join!(bench.stop(&instance, Period::millis(0)), within(stopping));
    assert!(again.unwrap().killed || first.unwrap().killed);
}

pub async fn the_owner_of_a_process_is_known<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench.start(&["sleep"]).await;
    let owner = |pid| bench.runtime().owner(&Sender { pid, pidfd: None });
    let expected = Some((agent(), instance.invocation));
    assert_eq!(owner(pid(&instance)), expected);
    assert_eq!(owner(std::process::id()), None);
    assert_eq!(owner(1), None);
}

pub async fn a_process_outside_the_tree_becomes_no_main_process<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench.start(&["sleep"]).await;
    let set = |pid| {
        bench
            .runtime()
            .set_main_pid(&agent(), instance.invocation, pid)
    };
    for stranger in [std::process::id(), 1, u32::MAX] {
        let refused = set(stranger);
        assert!(
            matches!(refused, Err(MainPidError::NotOfItsTree { .. })),
            "{refused:?}"
        );
    }
    set(pid(&instance)).unwrap();
    let other = bench.invocation(99);
    let refused = bench
        .runtime()
        .set_main_pid(&agent(), other, pid(&instance));
    assert!(
        matches!(refused, Err(MainPidError::NoSuchInstance { .. })),
        "{refused:?}"
    );
    assert_eq!(bench.inspect(), Some(instance));
}

pub async fn the_time_of_the_last_output_is_known<S: Subject>(bench: &mut Bench<S>) {
    let silent = bench.start(&["sleep"]).await;
    let invocation = silent.invocation;
    let none = within(bench.runtime().last_output_at(&agent(), invocation)).await;
    assert_eq!(none.unwrap(), None);
    bench.stop(&silent, GENEROUS).await.unwrap();

    let loud = bench.start(&["print", "hello", "then", "sleep"]).await;
    bench.output(1).await;
    let invocation = loud.invocation;
    let first = within(bench.runtime().last_output_at(&agent(), invocation)).await;
    let first = first.unwrap().expect("it has written");
    assert!(first >= loud.started_at);
    let second = within(bench.runtime().last_output_at(&agent(), invocation)).await;
    assert_eq!(second.unwrap(), Some(first), "nothing was written since");
}

pub async fn the_last_output_is_bounded<S: Subject>(bench: &mut Bench<S>) {
    bench
        .start(&["print", "first", "second", "third", "then", "sleep"])
        .await;
    assert_eq!(bench.output(3).await, ["first", "second", "third"]);
    let last = |lines, bytes| bench.runtime().last_output(&agent(), lines, bytes);
    assert_eq!(last(2, 1000), ["second", "third"]);
    assert_eq!(last(9, 14), ["second", "third"]);
    assert_eq!(last(0, 1000), [""; 0]);
}

pub async fn the_use_of_a_running_instance_is_known_and_of_no_other<S: Subject>(
    bench: &mut Bench<S>,
) {
    let instance = bench.start(&["sleep"]).await;
    let used = within(bench.runtime().usage(&agent(), instance.invocation)).await;
    assert!(used.is_ok(), "{used:?}");
    let other = bench.invocation(7);
    let unknown = within(bench.runtime().usage(&agent(), other)).await;
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    bench.stop(&instance, GENEROUS).await.unwrap();
    let ended = within(bench.runtime().usage(&agent(), instance.invocation)).await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::NotFound);
}
