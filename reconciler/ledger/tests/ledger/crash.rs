//! kill -9 of a process that appends: what it was told is there, is there.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Stdio},
};

use osmoda_ledger::{Ledger, Store};

use crate::support::*;

/// Where the child appends; that it is set makes the test below a child.
const FILE: &str = "OSMODA_LEDGER_CRASH_FILE";
/// How often a child is killed.
const KILLS: u64 = 12;
const SIGKILL: i32 = 9;

/// Appends from several tasks at once, and prints each seq when it is acknowledged.
#[test]
#[ignore = "run by acknowledged_entries_survive_kill_9, as a process of its own"]
fn child_that_appends_until_it_is_killed() {
    let Some(path) = env::var_os(FILE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let ledger = Ledger::open(Path::new(&path), options()).unwrap();
        let appenders: Vec<_> = (0..4)
            .map(|n| tokio::spawn(append_for_ever(ledger.clone(), n)))
            .collect();
        for appender in appenders {
            appender.await.unwrap();
        }
    });
}

async fn append_for_ever(ledger: Ledger, n: u64) {
    loop {
        let done = ledger.append(numbered(n)).await.unwrap();
        let reference = &done[0].reference;
        let line = format!("acknowledged {} {}\n", reference.seq, reference.leaf);
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

/// Lets a child acknowledge `count` entries, kills it, and gives all that it acknowledged.
fn kill_after(path: &Path, count: usize) -> Vec<(u64, String)> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["crash::child_that_appends_until_it_is_killed", "--exact"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    let output = BufReader::new(child.stdout.take().unwrap());
    for line in output.lines() {
        // The harness' own words may stand before the first one, and the last may be torn.
        let line = line.unwrap();
        let Some((_, rest)) = line.split_once("acknowledged ") else {
            continue;
        };
        match rest.split_once(' ') {
            Some((seq, leaf)) if leaf.len() == 64 => {
                acknowledged.push((seq.parse().unwrap(), leaf.to_owned()));
            }
            _ => break,
        }
        if acknowledged.len() == count {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL), "{status}");
    acknowledged
}

#[test]
fn acknowledged_entries_survive_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut known = Vec::new();
    for round in 0..KILLS {
        let count = 1 + usize::try_from(round * 37 % 101).unwrap();
        known.extend(kill_after(&path, count));
        let report = verified(&path);
        assert!(report.ok, "round {round}: {report:?}");
        assert!(report.size >= known.len() as u64, "round {round}");
    }
    let opened = Store::open_or_reset(&path, options()).unwrap();
    assert_eq!(opened.reset, None);
    for (seq, leaf) in known {
        let record = opened.ledger.entry(seq).unwrap();
        assert_eq!(
            record.map(|r| r.leaf.to_string()),
            Some(leaf),
            "entry {seq}"
        );
    }
}
