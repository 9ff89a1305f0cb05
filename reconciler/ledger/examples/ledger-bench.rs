//! Measures the ledger; `cargo xtask bench ledger` builds it, runs it and makes the table.
//!
//! `ledger-bench generate FILE COUNT` makes a ledger of that many entries.
//! `ledger-bench append FILE SECONDS ENTRIES` appends commits of so many entries to it for so long,
//! one by one and by 64 writers, and in turns writes as many bytes with plain append and fdatasync.
//! `ledger-bench verify FILE ROUNDS` verifies it, in turns with hashing as much in memory.
//! `ledger-bench start FILE ROUNDS` opens it for writing.
//! Each prints one JSON object with every sample; times are in nanoseconds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program for developers: what goes wrong ends it"
)]

use std::{
    fs::{File, OpenOptions as Files},
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use osmoda_core::{
    event::{Actor, EventKind},
    name::AgentName,
    time::{Clock, Mono, Wall},
};
use osmoda_ledger::{
    Cadence, Cause, Commit, Draft, IncidentRef, Ledger, OpenOptions, Reader, SigningOptions, Store,
    VerifyOptions, tlog, verify,
};
use serde_json::{Value, json};

/// Commits of one transaction while generating.
const GROUP: u64 = 2048;
/// Entries of the largest commit that is measured: what one crash and restart records.
const ENTRIES_PER_COMMIT: usize = 3;
/// Writers at once.
const WRITERS: usize = 64;
/// Times that single and plain appends take turns.
const TURNS: u32 = 20;

/// Microseconds that count up, so that a ledger is the same whenever it is made.
struct CountingClock(std::sync::atomic::AtomicI64);

impl Clock for CountingClock {
    fn mono(&self) -> Mono {
        Mono(
            self.0
                .load(std::sync::atomic::Ordering::Relaxed)
                .unsigned_abs(),
        )
    }
    fn wall(&self) -> Wall {
        Wall(self.0.fetch_add(1000, std::sync::atomic::Ordering::Relaxed))
    }
    fn boot_id(&self) -> &str {
        "5f0f7e6c-0000-4000-8000-000000000000"
    }
}

fn options(file: &Path) -> OpenOptions {
    let clock = CountingClock(1_769_860_800_000_000.into());
    OpenOptions {
        signing: Some(SigningOptions {
            key: file.with_extension("key"),
            cadence: Cadence::default(),
        }),
        ..OpenOptions::new("bench", Arc::new(clock))
    }
}

fn draft(kind: EventKind, agent: u64, body: Value) -> Draft {
    let Value::Object(body) = body else {
        unreachable!("a body is an object")
    };
    Draft {
        kind,
        agent: Some(AgentName::new(&format!("agent-{agent}")).unwrap()),
        incident: None,
        causes: Vec::new(),
        actor: Actor::Reconciler,
        body,
    }
}

/// What the crash of an agent puts on record before its restart.
fn crash(n: u64) -> Commit {
    let agent = n % 200;
    let mut failure = draft(
        EventKind::FailureDetected,
        agent,
        json!({
            "reason": "Exited", "detail": "signal 9 (SIGKILL)", "consecutive": 1,
            "uptimeMs": 60_000 + n % 1000, "detectionMs": 1, "invocation": format!("{n:032x}"),
        }),
    );
    failure.incident = Some(IncidentRef::Own);
    let mut difference = draft(
        EventKind::Diff,
        agent,
        json!({
            "desired": format!("{:064x}", agent), "observed": "",
            "fields": [{"path": "process.state", "desired": "Running", "observed": "Exited"}],
        }),
    );
    let mut intent = draft(
        EventKind::ActionIntended,
        agent,
        json!({
            "action": "Start", "attempt": 1, "budgetLeft": 4, "reason": "Exited",
            "invocation": format!("{:032x}", n + 1), "verifyMs": 30_000,
        }),
    );
    difference.incident = Some(IncidentRef::InCommit(0));
    difference.causes = vec![Cause::InCommit(0)];
    intent.incident = Some(IncidentRef::InCommit(0));
    intent.causes = vec![Cause::InCommit(0), Cause::InCommit(1)];
    Commit {
        entries: vec![failure, difference, intent],
        state: Vec::new(),
    }
}

/// What follows when it has come up: closes the intent of `before`.
fn success(n: u64, before: &[osmoda_ledger::Appended]) -> Commit {
    let mut outcome = draft(
        EventKind::ActionSucceeded,
        n % 200,
        json!({"action": "Start", "pid": 1000 + n % 30_000, "tookMs": 1}),
    );
    let intent = &before[ENTRIES_PER_COMMIT - 1];
    outcome.incident = intent.incident.clone().map(IncidentRef::Known);
    outcome.causes = vec![Cause::Known(intent.reference.clone())];
    Commit {
        entries: vec![outcome],
        state: Vec::new(),
    }
}

fn generate(file: &Path, count: u64) -> Value {
    let mut store = Store::open(file, options(file)).unwrap();
    let mut n = store.head().size;
    let began = Instant::now();
    while store.head().size < count {
        let group: Vec<_> = (n..n + GROUP / 4).map(crash).collect();
        let appended = store.commit(&group).unwrap();
        let numbered = (n..).zip(&appended);
        let outcomes: Vec<_> = numbered.map(|(n, before)| success(n, before)).collect();
        store.commit(&outcomes).unwrap();
        store.checkpoint().unwrap();
        n += GROUP / 4;
    }
    let bytes = std::fs::metadata(file).unwrap().len();
    json!({"entries": store.head().size, "bytes": bytes, "tookNs": nanos(began.elapsed())})
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The first so many entries of a crash.
fn part(n: u64, entries: usize) -> Commit {
    let mut commit = crash(n);
    commit.entries.truncate(entries);
    commit
}

fn append(file: &Path, seconds: u64, entries: usize) -> Value {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ledger = Ledger::open(file, options(file)).unwrap();
    let size = ledger.head().size;
    let bytes = bytes_of_commit(&ledger, &runtime, entries);
    let mut plain = plain_file(file);
    let (mut floor, mut single, mut status) = (Vec::new(), Vec::new(), Vec::new());
    let turn = Duration::from_secs(seconds) / (TURNS * 2);
    let mut n = 0;
    for _ in 0..TURNS {
        let began = Instant::now();
        while began.elapsed() < turn {
            let at = Instant::now();
            plain.write_all(&bytes).unwrap();
            plain.sync_data().unwrap();
            floor.push(nanos(at.elapsed()));
        }
        let began = Instant::now();
        while began.elapsed() < turn {
            n += 1;
            let commit = part(n, entries);
            let at = Instant::now();
            ledger.append_blocking(&commit).unwrap();
            single.push(nanos(at.elapsed()));
            let at = Instant::now();
            std::hint::black_box(ledger.head());
            status.push(nanos(at.elapsed()));
        }
    }
    let (many, took) = many_writers(&ledger, &runtime, entries, Duration::from_secs(seconds));
    runtime.block_on(ledger.shutdown());
    json!({
        "entriesBefore": size, "entriesPerCommit": entries, "bytesPerCommit": bytes.len(), "floorNs": floor,
        "singleNs": single, "headNs": status,
        "manyWriters": WRITERS, "manyCommits": many, "manyNs": nanos(took),
    })
}

/// The bytes of the entries of one commit, for the plain file.
fn bytes_of_commit(ledger: &Ledger, runtime: &tokio::runtime::Runtime, entries: usize) -> Vec<u8> {
    let done = runtime.block_on(ledger.append(part(0, entries))).unwrap();
    let reader = ledger.reader().unwrap();
    let records = reader
        .entries(done[0].reference.seq, done.len() as u64)
        .unwrap();
    records
        .into_iter()
        .flat_map(|record| record.entry.unwrap())
        .collect()
}

fn plain_file(beside: &Path) -> File {
    let path = beside.with_extension("plain");
    Files::new().create(true).append(true).open(path).unwrap()
}

fn many_writers(
    ledger: &Ledger,
    runtime: &tokio::runtime::Runtime,
    entries: usize,
    time: Duration,
) -> (u64, Duration) {
    let began = Instant::now();
    let writers: Vec<_> = (0..WRITERS as u64)
        .map(|writer| {
            let ledger = ledger.clone();
            let commit = part(writer, entries);
            runtime.spawn(async move {
                let mut count = 0;
                while began.elapsed() < time {
                    ledger.append(commit.clone()).await.unwrap();
                    count += 1;
                }
                count
            })
        })
        .collect();
    let counts = writers
        .into_iter()
        .map(|writer| runtime.block_on(writer).unwrap());
    let count = counts.sum();
    (count, began.elapsed())
}

fn check(file: &Path, rounds: u32) -> Value {
    let sample = sample(file);
    let (mut checked, mut hashed) = (Vec::new(), Vec::new());
    let (mut checked_cpu, mut hashed_cpu) = (Vec::new(), Vec::new());
    let mut entries = 0;
    for _ in 0..rounds {
        let (began, cpu) = (Instant::now(), cpu_ns());
        let report = verify(file, &VerifyOptions::default(), |_, _| ()).unwrap();
        checked.push(nanos(began.elapsed()));
        let between = cpu_ns();
        checked_cpu.push(between - cpu);
        assert!(report.ok, "{:?}", report.reason);
        entries = report.size;
        hashed.push(hash_in_memory(&sample, entries));
        hashed_cpu.push(cpu_ns() - between);
    }
    json!({
        "entries": entries, "verifyNs": checked, "hashNs": hashed,
        "verifyCpuNs": checked_cpu, "hashCpuNs": hashed_cpu,
        "bytesPerEntry": sample.iter().map(Vec::len).sum::<usize>() / sample.len().max(1),
        "peakKiB": peak_kib(),
    })
}

/// Bodies to hash: some thousands, over and over.
fn sample(file: &Path) -> Vec<Vec<u8>> {
    let records = Reader::open(file).unwrap().tail(4096).unwrap();
    records
        .into_iter()
        .filter_map(|record| record.entry)
        .collect()
}

/// What hashing `entries` such bodies takes if nothing is read and nothing checked, on as many
/// threads as verification has: leaf, chain and tree.
fn hash_in_memory(sample: &[Vec<u8>], entries: u64) -> u64 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = entries / threads as u64;
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut chain = tlog::chain_start("bench");
                let mut tree = tlog::Frontier::default();
                for body in sample.iter().cycle().take(usize::try_from(share).unwrap()) {
                    let leaf = tlog::leaf(body);
                    chain = tlog::chain_next(&chain, &leaf);
                    tree.push(leaf);
                }
                std::hint::black_box((chain, tree.root()));
            });
        }
    });
    nanos(began.elapsed())
}

/// Processor time of all threads so far, in steps of 10 ms (proc_pid_stat(5)): unlike the time
/// of day it says what something costs also where others use the processors.
fn cpu_ns() -> u64 {
    const TICK: u64 = 10_000_000;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
    (ticks(11) + ticks(12)) * TICK
}

/// Largest resident set so far (proc_pid_status(5)).
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

fn start(file: &Path, rounds: u32) -> Value {
    let mut opened = Vec::new();
    let mut proved = Vec::new();
    let mut size = 0;
    for round in 0..rounds {
        let began = Instant::now();
        let store = Store::open(file, options(file)).unwrap();
        opened.push(nanos(began.elapsed()));
        size = store.head().size;
        drop(store);
        let reader = Reader::open(file).unwrap();
        let began = Instant::now();
        reader
            .prove(size / u64::from(rounds) * u64::from(round))
            .unwrap();
        proved.push(nanos(began.elapsed()));
    }
    json!({"entries": size, "openNs": opened, "proveNs": proved, "peakKiB": peak_kib()})
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, file, number, entries @ ..] = &arguments[..] else {
        panic!(
            "generate FILE COUNT, append FILE SECONDS ENTRIES, verify FILE ROUNDS or \
             start FILE ROUNDS"
        )
    };
    let (file, number): (&Path, u32) = (file.as_ref(), number.parse().unwrap());
    let result = match what.as_str() {
        "generate" => generate(file, number.into()),
        "append" => append(file, number.into(), entries[0].parse().unwrap()),
        "verify" => check(file, number),
        "start" => start(file, number),
        other => panic!("{other} is not measured here"),
    };
    std::io::stdout().flush().unwrap();
    println!("{result}");
}
