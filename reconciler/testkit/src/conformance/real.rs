//! Cases that need real processes.

#![allow(missing_docs, reason = "the name of a case says what it is")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use osmoda_core::{
    observed::ExitStatus,
    resources::Usage,
    spec::{Credential, Heartbeat, HeartbeatSource},
    units::Period,
};
use osmoda_runtime::{Runtime as _, StartError};
use rustix::process::{Pid, geteuid, kill_process, test_kill_process};

use super::{Bench, Subject, agent, eventually, pid, within};

/// Long enough that an agent that listens never meets it.
const GENEROUS: Period = Period::secs(15);

/// Whether a process exists and has not ended.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

async fn gone(pid: u32) {
    eventually("a process is gone", || (!lives(pid)).then_some(())).await;
}

fn rustix_pid(pid: u32) -> Pid {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a pid")
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    kill_process(rustix_pid(pid), signal).expect("the process is there");
}

/// The process that a `fork-grandchild` among the actions left.
async fn grandchild<S: Subject>(bench: &Bench<S>) -> u32 {
    let find = || {
        let lines = bench.runtime().last_output(&agent(), 1000, 1 << 20);
        lines
            .iter()
            .find_map(|line| line.strip_prefix("grandchild ")?.parse().ok())
    };
    let pid = eventually("the agent has a grandchild", find).await;
    assert!(lives(pid));
    pid
}

pub async fn the_tree_dies_with_its_main_process<S: Subject>(bench: &mut Bench<S>) {
    let main = bench.start(&["fork-grandchild", "then", "sleep"]).await;
    let other = grandchild(bench).await;
    signal(pid(&main), rustix::process::Signal::KILL);
    bench.exit().await;
    gone(other).await;
    // And what was killed leaves nothing behind that would keep the next instance from living.
    for _ in 0..3 {
        let again = bench.start(&["sleep"]).await;
        assert_ne!(pid(&again), pid(&main));
        let stopped = bench.stop(&again, GENEROUS).await.expect("the agent stops");
        assert!(!stopped.killed);
    }
}

pub async fn a_held_output_does_not_hide_an_exit<S: Subject>(bench: &mut Bench<S>) {
    bench
        .start(&["fork-grandchild", "--hold-stdout", "then", "exit", "6"])
        .await;
    assert_eq!(bench.exit().await.status, ExitStatus::Code { code: 6 });
}

pub async fn an_orphan_in_a_session_of_its_own_dies_too<S: Subject>(bench: &mut Bench<S>) {
    let main = bench
        .start(&["fork-grandchild", "--setsid", "then", "sleep"])
        .await;
    let other = grandchild(bench).await;
    signal(pid(&main), rustix::process::Signal::ABORT);
    bench.exit().await;
    gone(other).await;
}

pub async fn an_orphan_without_environment_dies_where_the_host_can_tell<S: Subject>(
    bench: &mut Bench<S>,
) {
    let actions = [
        "fork-grandchild",
        "--setsid",
        "--clear-env",
        "then",
        "sleep",
    ];
    let main = bench.start(&actions).await;
    let other = grandchild(bench).await;
    let stopped = bench.stop(&main, GENEROUS).await.expect("the agent stops");
    assert!(!stopped.killed);
    // A stop resolves when nothing of the tree is left.
    assert_eq!(lives(other), !bench.subject.sees_everything());
    if lives(other) {
        signal(other, rustix::process::Signal::KILL);
    }
}

pub async fn a_stop_ends_the_whole_tree<S: Subject>(bench: &mut Bench<S>) {
    let actions = [
        "fork-grandchild",
        "--setsid",
        "then",
        "ignore-term",
        "then",
        "print",
        "deaf",
    ];
    let main = bench
        .start(&[&actions[..], &["then", "sleep"]].concat())
        .await;
    let other = grandchild(bench).await;
    bench.output(2).await;
    let stopped = bench
        .stop(&main, Period::millis(20))
        .await
        .expect("the agent stops");
    assert!(stopped.killed);
    assert!(!lives(other));
    assert!(!lives(pid(&main)));
}

pub async fn a_new_daemon_kills_what_a_dead_agent_left<S: Subject>(bench: &mut Bench<S>) {
    let main = bench
        .start(&["fork-grandchild", "--setsid", "then", "sleep"])
        .await;
    let other = grandchild(bench).await;
    bench.subject.restart_daemon();
    signal(pid(&main), rustix::process::Signal::KILL);
    bench.exit().await;
    gone(other).await;
}

pub async fn the_environment_is_what_the_contract_says<S: Subject>(bench: &mut Bench<S>) {
    let mut spec = bench.spec(&["print-env", "then", "sleep"]);
    spec.environment
        .insert("MINE".to_owned(), "a value".to_owned());
    spec.heartbeat = Some(Heartbeat {
        source: HeartbeatSource::Notify,
        timeout: Period::secs(2),
    });
    let started = bench.try_start(spec).await.expect("the agent starts");
    let lines = bench.output_with("WATCHDOG_USEC=").await;
    let names: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split('=').next())
        .collect();
    let expected = [
        "CREDENTIALS_DIRECTORY",
        "HOME",
        "INVOCATION_ID",
        "LANG",
        "MINE",
        "NOTIFY_SOCKET",
        "OSMODA_AGENT",
        "OSMODA_GENERATION",
        "PATH",
        "USER",
        "WATCHDOG_USEC",
    ];
    assert_eq!(names, expected);
    let invocation = format!("INVOCATION_ID={}", started.invocation);
    let told = [
        "MINE=a value",
        "OSMODA_AGENT=subject",
        "OSMODA_GENERATION=7",
        "LANG=C.UTF-8",
    ];
    for line in [&told[..], &[&invocation, "WATCHDOG_USEC=2000000"]].concat() {
        assert!(
            lines.iter().any(|found| found == line),
            "{line} is not in {lines:?}"
        );
    }
}

pub async fn credentials_reach_the_agent_fresh_at_each_start<S: Subject>(bench: &mut Bench<S>) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("secret");
    for value in ["first", "second"] {
        fs::write(&file, format!("{value}\n")).expect("a secret");
        let actions = [
            "print-file",
            "$CREDENTIALS_DIRECTORY/token",
            "then",
            "print-env",
        ];
        let mut spec = bench.spec(&[&actions[..], &["then", "sleep"]].concat());
        let credential = Credential {
            path: file.to_str().expect("UTF-8").to_owned(),
            environment_variable: Some("TOKEN".to_owned()),
        };
        spec.credentials.insert("token".to_owned(), credential);
        let instance = bench.try_start(spec).await.expect("the agent starts");
        let lines = bench.output_with("USER=").await;
        assert_eq!(lines[0], value);
        assert!(lines.contains(&format!("TOKEN={value}")), "{lines:?}");
        bench
            .stop(&instance, GENEROUS)
            .await
            .expect("the agent stops");
    }
}

pub async fn the_process_begins_clean<S: Subject>(bench: &mut Bench<S>) {
    let actions = [
        "print-fds",
        "then",
        "print-file",
        "/proc/self/status",
        "then",
        "sleep",
    ];
    let started = bench.start(&actions).await;
    let lines = bench.output_with("SigIgn").await;
    assert_eq!(lines[0], "0 1 2");
    let field = |name: &str| {
        let line = lines
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.expect("a field of status").trim().to_owned()
    };
    assert_eq!(field("SigBlk"), "0000000000000000");
    assert_eq!(field("Umask"), "0022");
    // Rust's own start-up ignores SIGPIPE (bit 12) and nothing else is inherited, but for the two
    // signals that the C library keeps to itself (32 and 33): a manager cannot set them back, and
    // nextest's children have one of them ignored.
    let ignored = u64::from_str_radix(&field("SigIgn"), 16).expect("a mask of signals");
    assert_eq!(ignored & !(0b11 << 31), 1 << 12);
    let session = rustix::process::getsid(Some(rustix_pid(pid(&started)))).expect("alive");
    assert_eq!(session, rustix_pid(pid(&started)));
}

/// Whatever the manager does with its own threads between two starts, an agent gets none of it.
pub async fn every_start_may_use_every_processor<S: Subject>(bench: &mut Bench<S>) {
    const FIELD: &str = "Cpus_allowed_list:";
    let own = fs::read_to_string("/proc/self/status").expect("a status");
    let own = own.lines().find(|line| line.starts_with(FIELD));
    let own = own.expect("a field of status").to_owned();
    for _ in 0..5 {
        let actions = ["print-file", "/proc/self/status", "then", "sleep"];
        let started = bench.start(&actions).await;
        let lines = bench.output_with(FIELD).await;
        assert!(lines.contains(&own), "not {own} but {lines:?}");
        let stopped = bench.stop(&started, GENEROUS).await;
        stopped.expect("the agent stops");
    }
}

/// An exit is told before the dead process is taken from the table; it is taken all the same.
pub async fn no_dead_process_is_left_in_the_table<S: Subject>(bench: &mut Bench<S>) {
    for _ in 0..3 {
        let started = bench.start(&["exit", "3"]).await;
        assert_eq!(bench.exit().await.status, ExitStatus::Code { code: 3 });
        let entry = format!("/proc/{}", pid(&started));
        let look = || (!Path::new(&entry).exists()).then_some(());
        eventually("nothing of the process is left", look).await;
    }
}

pub async fn a_missing_directory_is_named<S: Subject>(bench: &mut Bench<S>) {
    let mut spec = bench.spec(&["sleep"]);
    spec.working_directory = Some("/nonexistent/directory".to_owned());
    match bench.try_start(spec).await {
        Err(StartError::Invalid { what, .. }) => {
            assert_eq!(
                what,
                "cannot enter the working directory /nonexistent/directory"
            );
        }
        other => panic!("{other:?}"),
    }
    bench.subject.restart_daemon();
    assert_eq!(bench.inspect(), None, "the failed start has left a note");
}

pub async fn a_missing_interpreter_is_told_from_a_missing_program<S: Subject>(
    bench: &mut Bench<S>,
) {
    let what = refused_file(bench, "#!/nonexistent/interpreter\n", 0o755).await;
    assert!(
        what.ends_with("(its interpreter or loader is missing)"),
        "{what}"
    );
    bench.subject.restart_daemon();
    assert_eq!(bench.inspect(), None, "the failed start has left a note");
}

pub async fn a_file_that_is_no_program_is_refused<S: Subject>(bench: &mut Bench<S>) {
    let not_executable = refused_file(bench, "#!/bin/sh\n", 0o644).await;
    assert!(
        not_executable.starts_with("cannot execute /"),
        "{not_executable}"
    );
    let no_format = refused_file(bench, "neither ELF nor a script", 0o755).await;
    assert!(no_format.starts_with("cannot execute /"), "{no_format}");
}

async fn refused_file<S: Subject>(bench: &mut Bench<S>, text: &str, mode: u32) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("program");
    fs::write(&file, text).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("its mode");
    let mut spec = bench.spec(&[]);
    spec.command = vec![file.to_str().expect("UTF-8").to_owned()];
    match bench.try_start(spec).await {
        Err(StartError::Invalid { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

pub async fn the_directory_of_an_agent_is_its_home<S: Subject>(bench: &mut Bench<S>) {
    bench
        .start(&["print-cwd", "then", "print-env", "then", "sleep"])
        .await;
    let lines = bench.output_with("USER=").await;
    assert!(
        Path::new(&lines[0]).ends_with("agents/subject"),
        "{lines:?}"
    );
    assert!(lines.contains(&format!("HOME={}", lines[0])), "{lines:?}");
}

#[expect(clippy::print_stderr, reason = "a case that skips says so")]
pub async fn another_user_is_taken_on<S: Subject>(bench: &mut Bench<S>) {
    let mut spec = bench.spec(&[
        "print-file",
        "/proc/self/status",
        "then",
        "print-env",
        "then",
        "sleep",
    ]);
    spec.user = Some("nobody".to_owned());
    spec.working_directory = Some("/".to_owned());
    let result = bench.try_start(spec).await;
    if !geteuid().is_root() {
        eprintln!("skipped in part: only root can start an agent as another user");
        assert!(
            matches!(result, Err(StartError::Invalid { .. })),
            "{result:?}"
        );
        return;
    }
    result.expect("the agent starts");
    let lines = bench.output_with("USER=").await;
    let field = |name: &str| {
        let line = lines
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let ids = line.expect("a field of status").split_ascii_whitespace();
        ids.map(|id| id.parse::<u32>().expect("a number"))
            .collect::<Vec<_>>()
    };
    for ids in [field("Uid"), field("Gid")] {
        assert!(ids.iter().all(|id| *id != 0 && *id == ids[0]), "{ids:?}");
    }
    assert!(!field("Groups").contains(&0));
    assert!(lines.contains(&"USER=nobody".to_owned()), "{lines:?}");
}

pub async fn a_stopped_process_can_be_stopped_for_good<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench.start(&["exit-on-term", "5"]).await;
    bench.output(1).await;
    signal(pid(&instance), rustix::process::Signal::STOP);
    let stopped = bench
        .stop(&instance, GENEROUS)
        .await
        .expect("the agent stops");
    assert_eq!(stopped.exit.status, ExitStatus::Code { code: 5 });
    assert!(test_kill_process(rustix_pid(pid(&instance))).is_err());
}

pub async fn the_use_is_told_as_it_grows<S: Subject>(bench: &mut Bench<S>) {
    let instance = bench.start(&["leak", "--mib-per-s", "200"]).await;
    let grown = async {
        let mut before = Usage::default();
        loop {
            let usage = bench.runtime().usage(&instance.agent, instance.invocation);
            let usage = usage.await.expect("it runs");
            assert!(usage.cpu_us >= before.cpu_us, "{before:?}, then {usage:?}");
            if usage.memory_bytes > 32 << 20 && usage.cpu_us > before.cpu_us {
                break;
            }
            before = usage;
        }
    };
    within(grown).await;
}
