//! Cases of exec probes that need real processes.

#![allow(missing_docs, reason = "the name of a case says what it is")]

use std::{fs, time::Duration};

use osmoda_core::{
    observed::ExitStatus,
    spec::{Credential, Heartbeat, HeartbeatSource},
    units::Period,
};
use osmoda_runtime::{PROBE_OUTPUT_MAX, Runtime as _};

use super::{
    Bench, Subject, eventually,
    probes::{GENEROUS, probe, request},
    within,
};

/// Short enough to be waited for, long enough that a program gets to do something first.
const SOME_TIME: Duration = Duration::from_millis(1500);

/// Longer than any case waits.
const FOR_GOOD: Duration = Duration::from_secs(3600);

const SUCCESS: Option<ExitStatus> = Some(ExitStatus::Code { code: 0 });

/// Living processes whose environment has this line.
fn with_variable(variable: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc")
        .expect("a list of processes")
        .flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut items = environment.split(|byte| *byte == 0);
        items.any(|item| item == variable.as_bytes())
    })
    .collect()
}

/// Living processes of probes of the instance that was started first.
fn of_probes<S: Subject>(bench: &Bench<S>) -> Vec<u32> {
    with_variable(&format!("OSMODA_PROBE={}", bench.invocation(1)))
}

fn lines(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8(output.to_vec()).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

pub async fn what_a_probe_started_ends_at_its_timeout<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench.start(&["sleep"]).await;
    let actions = [
        "fork-grandchild",
        "--setsid",
        "then",
        "ignore-term",
        "then",
        "sleep",
    ];
    let end = probe(bench, &actions, SOME_TIME).await.expect("it runs");
    assert_eq!(end.status, None);
    assert!(
        lines(&end.output)[0].starts_with("grandchild "),
        "it had started something: {:?}",
        lines(&end.output)
    );
    assert!(of_probes(bench).is_empty());
    assert_eq!(bench.inspect(), Some(instance));
}

pub async fn a_probe_ends_with_its_main_process_whoever_holds_its_output<S: Subject>(
    bench: &mut Bench<S>,
) {
    bench.start(&["sleep"]).await;
    for daemon in [&["--hold-stdout"][..], &["--hold-stdout", "--setsid"]] {
        let mut actions = vec!["fork-grandchild"];
        actions.extend(daemon);
        actions.extend(["then", "exit", "0"]);
        let end = probe(bench, &actions, GENEROUS).await.expect("it runs");
        assert_eq!(end.status, SUCCESS);
        assert!(of_probes(bench).is_empty());
    }
}

pub async fn a_probe_that_writes_without_end_is_neither_held_up_nor_kept<S: Subject>(
    bench: &mut Bench<S>,
) {
    bench.start(&["sleep"]).await;
    let end = probe(bench, &["flood", "4"], GENEROUS)
        .await
        .expect("it runs");
    assert_eq!(end.status, SUCCESS);
    assert_eq!(end.output.len(), PROBE_OUTPUT_MAX);
}

pub async fn a_probe_that_nobody_waits_for_is_ended<S: Subject>(bench: &mut Bench<S>) {
    bench.start(&["sleep"]).await;
    let request = request(
        bench,
        bench.invocation(1),
        &["ignore-term", "then", "sleep"],
        FOR_GOOD,
    );
    {
        let asking = bench.runtime().probe(request);
        let seen = eventually("the probe runs", || {
            (!of_probes(bench).is_empty()).then_some(())
        });
        tokio::select! {
            end = asking => panic!("it ended: {end:?}"),
            () = seen => {}
        }
    }
    eventually("the probe is gone", || {
        of_probes(bench).is_empty().then_some(())
    })
    .await;
}

pub async fn a_probe_is_no_part_of_the_instance<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench.start(&["exit-on-term", "5"]).await;
    bench.output(1).await;
    let request = request(bench, instance.invocation, &["sleep"], FOR_GOOD);
    let asking = bench.runtime().probe(request);
    let stopping = async {
        eventually("the probe runs", || {
            (!of_probes(bench).is_empty()).then_some(())
        })
        .await;
        let stopped = bench.stop(&instance, Period::secs(15)).await;
        assert!(!stopped.expect("the agent stops").killed);
        assert_eq!(of_probes(bench).len(), 1, "the stop has taken it along");
    };
    tokio::select! {
        end = asking => panic!("it ended: {end:?}"),
        () = stopping => {}
    }
    eventually("the probe is gone", || {
        of_probes(bench).is_empty().then_some(())
    })
    .await;
}

pub async fn a_probe_has_the_agents_surroundings<S: Subject>(bench: &mut Bench<S>) {
    let directory = tempfile::tempdir().expect("a directory");
    let secret = directory.path().join("secret");
    fs::write(&secret, "first\n").expect("a secret");
    let mut spec = bench.spec(&["sleep"]);
    spec.environment
        .insert("MINE".to_owned(), "a value".to_owned());
    spec.working_directory = Some("/usr".to_owned());
    spec.heartbeat = Some(Heartbeat {
        source: HeartbeatSource::Notify,
        timeout: Period::secs(60),
    });
    let credential = Credential {
        path: secret.to_str().expect("UTF-8").to_owned(),
        environment_variable: Some("TOKEN".to_owned()),
    };
    spec.credentials.insert("token".to_owned(), credential);
    let started = bench.try_start(spec.clone()).await.expect("it starts");
    // The probe sees what the instance has, not what a later one would get.
    fs::write(&secret, "second\n").expect("a secret");

    let actions = [
        "print-cwd",
        "then",
        "print-file",
        "$CREDENTIALS_DIRECTORY/token",
        "then",
        "print-env",
    ];
    let mut request = request(bench, started.invocation, &actions, GENEROUS);
    let command = request.command.clone();
    request.agent = std::sync::Arc::new(osmoda_core::spec::Agent {
        spec: spec.into(),
        ..(*request.agent).clone()
    });
    request.command = command;
    let end = within(bench.runtime().probe(request))
        .await
        .expect("it runs");
    let lines = lines(&end.output);
    assert_eq!(lines[..2], ["/usr", "first"]);
    let mark = format!("OSMODA_PROBE={}", started.invocation);
    let told = [
        "MINE=a value",
        "TOKEN=first",
        "OSMODA_AGENT=subject",
        "OSMODA_GENERATION=7",
        &mark,
    ];
    for line in told {
        assert!(lines.iter().any(|found| found == line), "{line}: {lines:?}");
    }
    let own = format!("INVOCATION_ID={}", started.invocation);
    assert!(!lines.contains(&own), "it would be taken for the instance");
    for silent in ["NOTIFY_SOCKET=", "WATCHDOG_USEC="] {
        assert!(
            !lines.iter().any(|line| line.starts_with(silent)),
            "{lines:?}"
        );
    }
}
