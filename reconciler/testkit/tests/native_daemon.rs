//! The native runtime across the death of its daemon, and beside others.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{
    fs,
    future::poll_fn,
    io::{BufRead as _, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use common::Native;
use osmoda_core::{
    name::AgentName,
    observed::{ExitStatus, InstanceState, InvocationId, Observation},
    spec::Stop,
};
use osmoda_runtime::{
    Runtime as _, RuntimeEvent, StartError, StartRequest,
    native::{Cgroups, NativeRuntime, OpenError},
};
use osmoda_testkit::conformance::{
    Bench, Subject as _, agent, event, eventually, generation, pid, within,
};
use rustix::process::{Pid, Signal, kill_process};

/// A daemon in a process of its own.
struct Host {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Host {
    fn begin(directory: &Path, cgroups: &str, invocation: InvocationId) -> Self {
        Self::with(directory, cgroups, invocation, "start")
    }

    fn with(directory: &Path, cgroups: &str, invocation: InvocationId, verb: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_osmoda-test-host"))
            .arg(directory)
            .args([cgroups, &invocation.to_string(), verb])
            .args([env!("CARGO_BIN_EXE_osmoda-test-agent"), "sleep"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, output }
    }

    fn line(&mut self) -> String {
        self.output.next().unwrap().unwrap()
    }

    /// Processes that it made, by pid.
    fn children(&self) -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let lists = tasks.map(|task| {
            let list = task.unwrap().path().join("children");
            fs::read_to_string(list).unwrap_or_default()
        });
        lists
            .flat_map(|list| {
                let pids = list.split_whitespace();
                pids.map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
            })
            .collect()
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Processes that were executed with this invocation and live.
fn processes_of(invocation: InvocationId) -> Vec<u32> {
    let variable = format!("INVOCATION_ID={invocation}");
    let carries = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|item| item == variable.as_bytes())
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(carries)
        .collect()
}

async fn a_killed_daemon_is_succeeded(cgroups: Cgroups, name: &str) {
    let mut subject = Native::new(cgroups);
    subject.close();
    let mut bench = Bench::new(subject);
    let mut host = Host::begin(bench.subject.directory.path(), name, bench.invocation(200));
    assert_eq!(host.line(), "starting");
    let started: u32 = host
        .line()
        .strip_prefix("started ")
        .unwrap()
        .parse()
        .unwrap();
    host.kill();

    bench.subject.open();
    let mut events = bench.runtime().subscribe();
    let adopted = bench.inspect().unwrap();
    assert_eq!(adopted.state, InstanceState::Running { pid: started });
    assert!(adopted.adopted);
    let spec = bench.spec(&["sleep"]);
    let refused = bench.try_start(spec).await;
    assert!(matches!(refused, Err(StartError::AlreadyRunning { pid, .. }) if pid == started));

    kill(started);
    event(&mut events).await;
    let exit = bench.exit().await;
    let killed = ExitStatus::Signal {
        signal: 9,
        core_dumped: false,
    };
    // Another process is its parent, and not every kernel tells how a stranger's child ended.
    assert!(
        [killed, ExitStatus::Unknown].contains(&exit.status),
        "{exit:?}"
    );
    bench.start(&["sleep"]).await;
    bench.finish().await;
}

#[tokio::test]
async fn the_agent_of_a_killed_daemon_is_adopted_with_its_end() {
    a_killed_daemon_is_succeeded(Cgroups::Auto, "auto").await;
}

#[tokio::test]
async fn without_cgroups_the_agent_of_a_killed_daemon_is_adopted_too() {
    a_killed_daemon_is_succeeded(Cgroups::Off, "off").await;
}

async fn a_killed_daemon_takes_the_waiting_child_along(cgroups: Cgroups, name: &str) {
    let mut bench = Bench::new(Native::new(cgroups));
    bench.start(&["exit", "0"]).await;
    bench.exit().await;
    bench.subject.close();
    let directory = bench.subject.directory.path().to_owned();
    let mut host = Host::with(&directory, name, bench.invocation(200), "prepare");
    assert_eq!(host.line(), "starting");
    let child = eventually("a child waits", || host.children().pop()).await;
    let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let daemon = program(host.process.id());
    assert_eq!(program(child), daemon, "it is no agent");
    assert!(!directory.join("run/instances/subject").exists());

    host.kill();
    eventually("it is gone", || (program(child) != daemon).then_some(())).await;
    bench.subject.open();
    assert_eq!(bench.inspect(), None);
    bench.start(&["sleep"]).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_child_that_waits_for_the_word_ends_with_its_daemon() {
    a_killed_daemon_takes_the_waiting_child_along(Cgroups::Auto, "auto").await;
}

#[tokio::test]
async fn without_cgroups_a_child_that_waits_for_the_word_ends_with_its_daemon_too() {
    a_killed_daemon_takes_the_waiting_child_along(Cgroups::Off, "off").await;
}

/// Each round kills the daemon a little later in its start. Whenever the agent's program runs,
/// the next daemon knows of it: that is what the note before the exec is for.
#[tokio::test]
async fn a_daemon_killed_at_any_moment_of_a_start_leaves_no_unknown_agent() {
    const ROUNDS: u32 = 40;
    const WAITING_ROUNDS: u32 = 5; // in the last ones the program certainly runs
    let mut found_running = 0;
    for round in 0..ROUNDS {
        let mut subject = Native::new(Cgroups::Auto);
        subject.close();
        let mut bench = Bench::new(subject);
        let invocation = bench.invocation(200);
        let mut host = Host::begin(bench.subject.directory.path(), "auto", invocation);
        assert_eq!(host.line(), "starting");
        for _ in 0..round * 20 {
            std::hint::black_box(fs::metadata("/proc/self").unwrap()); // a little later
        }
        if round >= ROUNDS - WAITING_ROUNDS {
            assert!(host.line().starts_with("started "));
        }
        host.kill();
        bench.subject.open();
        let known = bench.inspect().map(|instance| instance.state);
        let running = processes_of(invocation);
        match known {
            Some(InstanceState::Running { pid }) => {
                found_running += 1;
                assert_eq!(running, [pid]);
            }
            _ => assert_eq!(running, [0; 0], "round {round}: {known:?}"),
        }
        bench.finish().await;
    }
    assert!(found_running >= WAITING_ROUNDS);
}

#[tokio::test]
async fn a_second_daemon_is_told_who_holds_the_directory() {
    let subject = Native::new(Cgroups::Off);
    match NativeRuntime::open(subject.options()) {
        Err(OpenError::Held { holder, .. }) => {
            assert!(
                holder.contains(&format!("(pid {})", std::process::id())),
                "{holder}"
            );
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two daemons in one directory"),
    }
}

#[tokio::test]
async fn a_note_about_a_pid_that_another_process_has_now_harms_nobody() {
    let mut subject = Native::new(Cgroups::Off);
    subject.close();
    let mut innocent = Command::new(env!("CARGO_BIN_EXE_osmoda-test-agent"))
        .arg("sleep")
        .spawn()
        .unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let note = |boot: &str| {
        format!(
            r#"{{"version":1,"pid":{},"startTime":1,"invocation":"{}","generation":{{"number":1,"storePath":"/x"}},"startedAt":5,"bootId":"{}","cgroup":null}}"#,
            innocent.id(),
            "ab".repeat(16),
            boot.trim(),
        )
    };
    let instances = subject.directory.path().join("run/instances");
    fs::write(instances.join("subject"), note(&boot)).unwrap();
    fs::write(instances.join("older"), note("another boot")).unwrap();
    fs::write(instances.join("garbage"), "{").unwrap();
    subject.open();

    let all = within(subject.runtime().observe()).await.unwrap();
    let [found] = &all[..] else { panic!("{all:?}") };
    assert_eq!(found.agent, agent());
    assert!(
        matches!(&found.state, InstanceState::Exited(exit) if exit.status == ExitStatus::Unknown)
    );
    assert!(
        innocent.try_wait().unwrap().is_none(),
        "the other process was killed"
    );
    assert!(!instances.join("older").exists());
    innocent.kill().unwrap();
    innocent.wait().unwrap();
}

/// Runs futures side by side; results in the order of their arrival.
async fn all<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done = Vec::new();
    poll_fn(|context| {
        waiting.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Ready(result) => {
                done.push(result);
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_agents_start_end_and_start_again_side_by_side() {
    const AGENTS: u8 = 50;
    let subject = Native::new(Cgroups::Auto);
    let runtime = subject.runtime();
    let mut events = runtime.subscribe();
    let bench_ids = std::process::id().to_be_bytes();
    let request = |number: u8, round: u8| {
        let mut invocation = [number; 16];
        invocation[..4].copy_from_slice(&bench_ids);
        invocation[4] = round;
        let command = vec![subject.program(), "sleep".to_owned()];
        StartRequest {
            agent: AgentName::new(&format!("agent-{number}")).unwrap(),
            invocation: InvocationId(invocation),
            generation: generation(),
            spec: Arc::new(osmoda_core::spec::AgentSpec::new(command)),
        }
    };
    for round in 0..2 {
        let starts = (0..AGENTS).map(|number| runtime.start(request(number, round)));
        let started = within(all(starts)).await;
        let pids = started.into_iter().map(|instance| pid(&instance.unwrap()));
        pids.for_each(kill);
        let mut ended = std::collections::BTreeSet::new();
        while ended.len() < usize::from(AGENTS) {
            let Some(RuntimeEvent::Changed(agent)) = within(events.recv()).await else {
                panic!("the events have ended")
            };
            let known = runtime.inspect(&agent);
            let Observation::Known(Some(instance)) = known else {
                panic!("{known:?}")
            };
            assert!(
                matches!(instance.state, InstanceState::Exited(_)),
                "{instance:?}"
            );
            ended.insert(agent);
        }
    }
    for number in 0..AGENTS {
        runtime.forget(&request(number, 0).agent);
    }
    let left = eventually("every agent is forgotten", || {
        let all = (0..AGENTS).map(|number| runtime.inspect(&request(number, 0).agent));
        let left = all
            .filter(|known| *known != Observation::Known(None))
            .count();
        (left == 0).then_some(left)
    });
    assert_eq!(left.await, 0);
}

#[tokio::test]
async fn the_output_of_former_runs_is_kept_apart() {
    let mut bench = Bench::new(Native::new(Cgroups::Auto));
    for line in ["first", "second"] {
        let instance = bench.start(&["print", line, "then", "sleep"]).await;
        assert_eq!(bench.output(1).await, [line]);
        let stop = Stop::default();
        within(bench.runtime().stop(&agent(), instance.invocation, &stop))
            .await
            .unwrap();
    }
    let files = bench.runtime().log_files(&agent());
    assert_eq!(fs::read_to_string(&files.current).unwrap(), "second\n");
    assert_eq!(fs::read_to_string(&files.previous[0]).unwrap(), "first\n");
    bench.finish().await;
}

#[tokio::test]
async fn dropping_the_start_does_not_drop_the_instance() {
    let mut bench = Bench::new(Native::new(Cgroups::Auto));
    let spec = bench.spec(&["sleep"]);
    let request = bench.request(spec);
    let start = bench.runtime().start(request);
    let given_up = tokio::time::timeout(Duration::ZERO, start).await;
    if given_up.is_err() {
        let running = || bench.inspect().map(|instance| pid(&instance));
        eventually("the instance runs all the same", running).await;
    }
    assert!(bench.inspect().is_some());
    bench.finish().await;
}
