//! What only systemd's runtime has to do: other people's hands on its units, and what systemd
//! would let in or show.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use std::{fs, path::Path, process::Command};

use osmoda_core::{
    observed::{ExitStatus, InvocationId, Limit, OutsideEnd},
    spec::{Credential, Sandbox},
    units::{ByteSize, Period},
};
use osmoda_runtime::{
    Runtime as _,
    systemd::{journal::ManagerId, run_files},
};
use osmoda_testkit::conformance::{Bench, agent, eventually, pid, within};

use crate::systemd_subject::Systemd;

const UNIT: &str = "osmoda-subject.service";
const GENEROUS: Period = Period::secs(15);

fn systemctl(arguments: &[&str]) -> String {
    let output = Command::new("systemctl").args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "systemctl {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn bench() -> Bench<Systemd> {
    Bench::new(Systemd::new(Sandbox::Default))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs systemd as PID 1"]
async fn a_stop_by_somebody_else_is_told_from_a_crash_and_from_our_own() {
    let mut bench = bench();
    bench.start(&["sleep"]).await;
    systemctl(&["stop", UNIT]);
    assert_eq!(bench.exit().await.outside, Some(OutsideEnd::Stopped));

    let crashing = bench.start(&["exit", "3"]).await;
    assert_eq!(bench.exit().await.outside, None);
    drop(crashing);

    let ours = bench.start(&["sleep"]).await;
    let stopped = bench.stop(&ours, GENEROUS).await.unwrap();
    assert_eq!(stopped.exit.outside, None);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs systemd as PID 1"]
async fn the_journals_files_tell_the_last_words_and_who_had_a_signal_sent() {
    let mut bench = bench();
    for (by_systemd, outside) in [(true, Some(OutsideEnd::Killed)), (false, None)] {
        let instance = bench
            .start(&["print", "one", "then", "print", "two", "then", "sleep"])
            .await;
        let said = bench.output(2).await;
        let run = systemctl(&["show", "--value", "--property=InvocationID", UNIT]);
        let run = ManagerId(InvocationId::from_hex(run.trim()).unwrap());
        assert!(
            run_files::end(run, 1).unwrap().is_none(),
            "it has not ended"
        );
        match by_systemd {
            true => drop(systemctl(&["kill", "--signal=KILL", UNIT])),
            false => {
                let kill = ["-KILL", &pid(&instance).to_string()];
                assert!(Command::new("kill").args(kill).status().unwrap().success());
            }
        }
        assert_eq!(bench.exit().await.outside, outside);
        let end = run_files::end(run, 1000).unwrap().unwrap();
        assert_eq!(end.sent_a_signal, by_systemd);
        assert_eq!(end.words.unwrap(), said);
        assert_eq!(run_files::last(run, 1).unwrap(), said[said.len() - 1..]);
        assert!(run_files::last_at(run).unwrap().is_some());
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs systemd as PID 1"]
async fn a_restart_by_somebody_else_is_an_end_and_leaves_no_second_instance() {
    let mut bench = bench();
    let first = bench.start(&["sleep"]).await;
    systemctl(&["restart", UNIT]);
    assert_eq!(bench.exit().await.outside, Some(OutsideEnd::Stopped));
    assert!(!lives(pid(&first)));
    let second = bench.start(&["sleep"]).await;
    let main = systemctl(&["show", "--value", "--property=MainPID", UNIT]);
    assert_eq!(main.trim(), pid(&second).to_string());
    let procs = fs::read_to_string(format!("/sys/fs/cgroup/osmoda.slice/{UNIT}/cgroup.procs"));
    assert_eq!(procs.unwrap().lines().count(), 1);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs systemd as PID 1"]
async fn a_limit_set_by_hand_shows_and_the_next_start_undoes_it() {
    let mut bench = bench();
    let mut spec = bench.spec(&["sleep"]);
    spec.resources.memory_max = Some(ByteSize(64 << 20));
    let first = bench.try_start(spec.clone()).await.unwrap();
    let memory = async |bench: &Bench<Systemd>| {
        let all = within(bench.runtime().limits()).await;
        all[&agent()].memory_max
    };
    assert_eq!(memory(&bench).await, Limit::At(64 << 20));
    systemctl(&["set-property", UNIT, "MemoryMax=128M"]);
    assert_eq!(memory(&bench).await, Limit::At(128 << 20));
    bench.stop(&first, GENEROUS).await.unwrap();
    bench.try_start(spec).await.unwrap();
    assert_eq!(memory(&bench).await, Limit::At(64 << 20));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs systemd as PID 1"]
async fn neither_a_secret_nor_a_variable_is_a_property_and_none_of_systemds_gets_in() {
    let mut bench = bench();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, "hunter2").unwrap();
    let mut spec = bench.spec(&["print-env", "then", "sleep"]);
    let credential = Credential {
        path: file.to_str().unwrap().to_owned(),
        environment_variable: Some("TOKEN".to_owned()),
    };
    spec.credentials.insert("token".to_owned(), credential);
    let odd = "a \"b\" $HOME `c` \\ 'd'";
    spec.environment.insert("ODD".to_owned(), odd.to_owned());
    systemctl(&["set-environment", "LEAKED=from-the-manager"]);
    bench.try_start(spec).await.unwrap();
    systemctl(&["unset-environment", "LEAKED"]);
    let lines = bench.output_with("USER=").await;
    assert!(lines.contains(&"TOKEN=hunter2".to_owned()), "{lines:?}");
    assert!(lines.contains(&format!("ODD={odd}")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("LEAKED=")));
    let shown = systemctl(&["show", UNIT]) + &systemctl(&["cat", UNIT]);
    assert!(!shown.contains("hunter2") && !shown.contains("TOKEN"));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs systemd as PID 1"]
async fn an_end_that_no_daemon_saw_is_found_in_the_journal() {
    let mut bench = bench();
    let instance = bench.start(&["exit-on-term", "5"]).await;
    bench.output(1).await;
    bench.subject.while_no_daemon_lives(|| {
        systemctl(&["kill", "--signal=TERM", UNIT]);
        while lives(pid(&instance)) {
            std::thread::yield_now();
        }
        let _ = Command::new("journalctl").arg("--sync").status();
    });
    assert_eq!(bench.exit().await.status, ExitStatus::Code { code: 5 });
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs systemd as PID 1"]
async fn a_failed_unit_does_not_stay_failed_and_a_forgotten_one_is_gone() {
    let mut bench = bench();
    // Some are over before anybody could watch them.
    for _ in 0..5 {
        bench.start(&["exit", "3"]).await;
        bench.exit().await;
        eventually("the unit is no longer failed", || {
            let state = systemctl(&["show", "--value", "--property=ActiveState", UNIT]);
            (state.trim() == "inactive").then_some(())
        })
        .await;
    }
    bench.runtime().forget(&agent());
    eventually("the unit is gone", || {
        let state = systemctl(&["show", "--value", "--property=LoadState", UNIT]);
        (state.trim() == "not-found").then_some(())
    })
    .await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs systemd as PID 1"]
async fn another_main_process_outlives_the_former_one_also_for_systemd() {
    let mut bench = bench();
    let instance = bench.start(&["fork-grandchild", "then", "sleep"]).await;
    let lines = bench.output_with("grandchild ").await;
    let told = lines
        .iter()
        .find_map(|line| line.strip_prefix("grandchild "));
    let next: u32 = told.unwrap().parse().unwrap();
    bench
        .runtime()
        .set_main_pid(&agent(), instance.invocation, next)
        .unwrap();
    eventually("systemd knows of it", || {
        let main = systemctl(&["show", "--value", "--property=MainPID", UNIT]);
        (main.trim() == next.to_string()).then_some(())
    })
    .await;
    let former = pid(&instance).to_string();
    let killed = Command::new("kill").args(["-KILL", &former]).status();
    assert!(killed.unwrap().success());
    eventually("the former one is gone", || {
        (!lives(pid(&instance))).then_some(())
    })
    .await;
    within(bench.runtime().observe()).await.unwrap();
    assert_eq!(pid(&bench.inspect().unwrap()), next);
    assert!(lives(next));

    let killed = Command::new("kill")
        .args(["-KILL", &next.to_string()])
        .status();
    assert!(killed.unwrap().success());
    let status = bench.exit().await.status;
    assert!(
        matches!(status, ExitStatus::Signal { signal: 9, .. }),
        "{status:?}"
    );
    bench.finish().await;
}
