//! `cargo xtask bench soak`: hundreds of agents, a fault every second, for as long as one likes.
//!
//! What the daemon holds must not grow with time. Memory and descriptors are compared between the
//! first and the last third of the run, after both the daemon and its ledger have warmed up; the
//! database between what it takes and what its entries explain. Whatever grows fails the run.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use serde::Serialize;

use super::{
    build::{self, Common},
    idle,
    machine::{self, Machine},
    output,
    restart::{
        cost,
        records::{Life, Records},
    },
    stats::{as_float, median},
};
use crate::{node::Node, process, project};

/// Time between two looks at what the daemon holds.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Longest wait for an agent to come.
const COME_BOUND: Duration = Duration::from_secs(60);

/// How much more memory the last third may take than the first: the allocator keeps what it once
/// needed, and page cache of the ledger comes and goes.
const MEMORY_SHARE: f64 = 1.05;

/// Descriptors that the last third may have more than the first: one pidfd, pipe or connection
/// that is just in use.
const DESCRIPTORS_SPARE: f64 = 8.0;

/// Bytes of the database that an entry may explain: row, leaf, chain, indexes, and its share of
/// the state table's churn. Measured: 650 to 900.
const BYTES_PER_ENTRY: f64 = 1500.0;

/// What the write-ahead log may hold beside that (SQLite's autocheckpoint of 1000 pages, and as
/// much again for a checkpoint that waits for a reader).
const WAL_MAX_BYTES: u64 = 16 << 20;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
}

/// How much is done.
#[derive(Debug, Clone, clap::Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    #[arg(long, default_value_t = 500)]
    agents: usize,
    #[arg(long, default_value_t = 15)]
    minutes: u64,
    /// Milliseconds between two faults.
    #[arg(long, default_value_t = 1000)]
    every_ms: u64,
}

/// What is held at one moment.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Held {
    seconds: u64,
    /// Proportional set size of the daemon.
    memory_bytes: u64,
    descriptors: u64,
    threads: u64,
    database_bytes: u64,
    wal_bytes: u64,
    /// Everything else below the state and runtime directories: notes, bundles, output.
    other_bytes: u64,
}

/// A whole run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    machine: Machine,
    settings: Settings,
    file_system: String,
    version: String,
    kills: usize,
    freezes: usize,
    entries: usize,
    entries_at_start: u64,
    held: Vec<Held>,
}

/// Runs it, prints, and writes target/bench/soak.{json,md,svg}.
///
/// # Errors
/// It cannot be set up, an agent does not come back, or something grows.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let settings = &args.settings;
    let agent = build::c_program("agent", &output::directory())?;
    let osmoda = common.osmoda()?;
    let machine = Machine::look();
    println!("{}", machine.describe());
    let ground = output::Ground::new("soak")?;
    let place = ground.path().join("node");
    let records = Records::listen()?;
    let manifests = manifests(&agent, records.socket_name(), settings.agents);
    let node = Node::start(&osmoda, &place, &manifests)?;
    let mut soak = Soak::begin(&records, settings.agents)
        .with_context(|| format!("the daemon said:\n{}", node.log()))?;
    idle::until_ready(&node, settings.agents)?;
    let entries_at_start = size_of_ledger(&node)?;

    let mut held = Vec::new();
    let (begun, mut looked) = (Instant::now(), Instant::now());
    let end = Duration::from_secs(settings.minutes * 60);
    while begun.elapsed() < end {
        let turn = Instant::now();
        soak.fault(&records)
            .with_context(|| format!("the daemon said:\n{}", node.log()))?;
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            held.push(look(&node, &place, begun.elapsed())?);
        }
        cost::pause(Duration::from_millis(settings.every_ms).saturating_sub(turn.elapsed()));
    }
    idle::until_ready(&node, settings.agents).context("after the last fault")?;
    held.push(look(&node, &place, begun.elapsed())?);
    node.stop()?;
    node.verifies()?;
    let report = Report {
        machine,
        settings: settings.clone(),
        file_system: machine::file_system(ground.path()),
        version: output::version(&osmoda)?,
        kills: soak.kills,
        freezes: soak.freezes,
        entries: node.entries()?.len(),
        entries_at_start,
        held,
    };
    let growth = report.growth();
    output::publish("soak", &report, &report.markdown(), &[], common)?;
    if !growth.is_empty() {
        bail!("it grows: {}", growth.join("; "));
    }
    Ok(())
}

/// The agents, and what was done to them.
struct Soak {
    lives: Vec<Life>,
    turn: usize,
    kills: usize,
    freezes: usize,
}

impl Soak {
    fn begin(records: &Records, agents: usize) -> anyhow::Result<Self> {
        let mut lives: BTreeMap<usize, Life> = BTreeMap::new();
        while lives.len() < agents {
            let record = records.next(COME_BOUND)?;
            ensure!(record.index < agents, "an unknown agent");
            lives.insert(record.index, record.life);
        }
        Ok(Self {
            lives: lives.into_values().collect(),
            turn: 0,
            kills: 0,
            freezes: 0,
        })
    }

    /// Kills one agent with SIGKILL, SIGSEGV or SIGTERM by turns, and waits until it is back. One
    /// that is stopped (SIGSTOP) for a moment first must be no trouble.
    fn fault(&mut self, records: &Records) -> anyhow::Result<()> {
        // A step that has no factor in common with the number of agents visits all of them.
        let index = self.turn * 7919 % self.lives.len();
        let pid = self.lives[index].pid;
        if self.turn % 4 == 3 {
            process::kill(pid, Signal::STOP);
            process::kill(pid, Signal::CONT);
            self.freezes += 1;
        }
        let signals = [Signal::KILL, Signal::SEGV, Signal::TERM];
        process::kill(pid, signals[self.turn % signals.len()]);
        self.turn += 1;
        self.kills += 1;
        let record = records
            .next(COME_BOUND)
            .with_context(|| format!("agent {index} did not come back"))?;
        ensure!(
            record.index == index,
            "agent {} started, {index} was killed",
            record.index
        );
        ensure!(record.life.pid != pid, "agent {index} kept process {pid}");
        self.lives[index] = record.life;
        Ok(())
    }
}

/// Restarts are to be quick and without end: hundreds of faults are the point.
fn manifests(agent: &Path, socket: &str, agents: usize) -> String {
    let manifest = |index: usize| {
        format!(
            "---\napiVersion: osmoda/v1\nkind: Agent\nmetadata: {{name: agent-{index}}}\nspec:\n  \
             command: [{:?}, {socket:?}, \"{index}\"]\n  \
             restart: {{backoff: {{resetAfter: 10s}}, maxRestarts: 1000}}\n  \
             rollout: {{minReady: 1s}}\n",
            agent.display().to_string()
        )
    };
    (0..agents).map(manifest).collect()
}

fn look(node: &Node, place: &Path, since: Duration) -> anyhow::Result<Held> {
    let count = |what: &str| -> anyhow::Result<u64> {
        let path = format!("/proc/{}/{what}", node.pid());
        let entries = fs::read_dir(&path).with_context(|| format!("reading {path}"))?;
        Ok(u64::try_from(entries.count())?)
    };
    let size = |name: &str| {
        let path = place.join("state").join(name);
        fs::metadata(path).map_or(0, |about| about.len())
    };
    let (database_bytes, wal_bytes) = (size("ledger.db"), size("ledger.db-wal"));
    let all = bytes_below(&place.join("state")) + bytes_below(&place.join("run"));
    Ok(Held {
        seconds: since.as_secs(),
        memory_bytes: cost::pss(node.pid())?,
        descriptors: count("fd")?,
        threads: count("task")?,
        database_bytes,
        wal_bytes,
        other_bytes: all.saturating_sub(database_bytes + wal_bytes),
    })
}

/// Bytes of all files below a directory; what vanishes meanwhile counts as nothing.
fn bytes_below(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

fn size_of_ledger(node: &Node) -> anyhow::Result<u64> {
    let head = node.ask(&["ledger", "head"])?.unwrap_or_default();
    let size = &head["size"];
    // 64-bit numbers of the ledger are strings where a JavaScript reader would round them.
    let size = size.as_u64().or_else(|| size.as_str()?.parse().ok());
    size.with_context(|| format!("ledger head prints no size: {head}"))
}

impl Report {
    /// The first and the last third of the looks.
    fn thirds(&self) -> (&[Held], &[Held]) {
        let third = self.held.len().div_ceil(3).max(1).min(self.held.len());
        (&self.held[..third], &self.held[self.held.len() - third..])
    }

    /// Everything that grew beyond what explains it, as sentences.
    fn growth(&self) -> Vec<String> {
        let mut growth = Vec::new();
        let (first, last) = self.thirds();
        let middle = |held: &[Held], of: fn(&Held) -> u64| {
            median(&held.iter().map(of).collect::<Vec<_>>()).unwrap_or_default()
        };
        let mut compare = |what: &str, of: fn(&Held) -> u64, most: fn(f64) -> f64| {
            let (early, late) = (middle(first, of), middle(last, of));
            if late > most(early) {
                growth.push(format!(
                    "{what}: {early:.0} in the first third, {late:.0} in the last"
                ));
            }
        };
        let spare = |early| early + DESCRIPTORS_SPARE;
        let share = |early| early * MEMORY_SHARE;
        compare("bytes of memory", |held| held.memory_bytes, share);
        compare("descriptors", |held| held.descriptors, spare);
        compare("threads", |held| held.threads, spare);
        compare("bytes of other files", |held| held.other_bytes, share);
        if let Some(per_entry) = self.bytes_per_entry()
            && per_entry > BYTES_PER_ENTRY
        {
            growth.push(format!("database: {per_entry:.0} bytes for each entry"));
        }
        let wal = self.held.iter().map(|held| held.wal_bytes).max();
        if wal > Some(WAL_MAX_BYTES) {
            growth.push(format!("write-ahead log: {wal:?} bytes"));
        }
        growth
    }

    /// What the database takes for each of its entries.
    fn bytes_per_entry(&self) -> Option<f64> {
        let last = self.held.last()?;
        let entries = as_float(u64::try_from(self.entries).ok()?);
        Some(as_float(last.database_bytes) / entries.max(1.0))
    }

    fn markdown(&self) -> String {
        let mut text = String::from(
            "| minute | memory, MiB | descriptors | threads | database, MiB | write-ahead log, MiB \
             | other files, MiB |\n|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        // Sixteen lines show a trend; the JSON has every look.
        let step = self.held.len().div_ceil(15).max(1);
        let end = self.held.len().saturating_sub(1);
        let shown = |place: &usize| place.is_multiple_of(step) || *place == end;
        for held in (0..self.held.len())
            .filter(shown)
            .map(|place| &self.held[place])
        {
            let mebibytes = |bytes: u64| as_float(bytes) / 1_048_576.0;
            text.push_str(&format!(
                "| {:.1} | {:.2} | {} | {} | {:.2} | {:.2} | {:.2} |\n",
                as_float(held.seconds) / 60.0,
                mebibytes(held.memory_bytes),
                held.descriptors,
                held.threads,
                mebibytes(held.database_bytes),
                mebibytes(held.wal_bytes),
                mebibytes(held.other_bytes),
            ));
        }
        let growth = self.growth();
        let verdict = match growth.is_empty() {
            true => "nothing grows beyond what its entries explain".to_owned(),
            false => format!("**it grows: {}**", growth.join("; ")),
        };
        text.push_str(&format!(
            "\n- {} agents, {} faults ({} of them after a freeze), {} minutes; {} entries before, \
             {} after, which verify; {:.0} bytes of database for each.\n- Verdict: {verdict}.\n\
             - osmoda {}: native runtime, ledger durable.\n- Machine: {}; state on {}.\n",
            self.settings.agents,
            self.kills,
            self.freezes,
            self.settings.minutes,
            self.entries_at_start,
            self.entries,
            self.bytes_per_entry().unwrap_or_default(),
            self.version,
            self.machine.describe(),
            self.file_system
        ));
        // Where this checkout lies is nobody's business.
        text.replace(&format!("{}/", project::root().display()), "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(change: impl Fn(usize, &mut Held)) -> Report {
        let held = |n: usize| {
            let mut held = Held {
                seconds: 5 * n as u64,
                memory_bytes: 20 << 20,
                descriptors: 600,
                threads: 8,
                database_bytes: (1 << 20) + 1000 * n as u64,
                wal_bytes: 4 << 20,
                other_bytes: 1 << 20,
            };
            change(n, &mut held);
            held
        };
        Report {
            machine: Machine::look(),
            settings: Settings {
                agents: 3,
                minutes: 1,
                every_ms: 1000,
            },
            file_system: "ext4".to_owned(),
            version: "0".to_owned(),
            kills: 60,
            freezes: 15,
            entries: 2000,
            entries_at_start: 12,
            held: (0..12).map(held).collect(),
        }
    }

    #[test]
    fn what_stays_as_it_was_does_not_grow() {
        let report = report(|_, _| {});
        assert_eq!(report.growth(), Vec::<String>::new());
        assert!(report.markdown().contains("nothing grows"));
    }

    #[test]
    fn each_thing_that_grows_is_named() {
        let grown = [
            report(|n, held| held.memory_bytes += (n as u64) << 18),
            report(|n, held| held.descriptors += 2 * n as u64),
            report(|n, held| held.threads += 2 * n as u64),
            report(|n, held| held.other_bytes += (n as u64) << 15),
            report(|n, held| held.database_bytes += (n as u64) << 20),
            report(|_, held| held.wal_bytes = WAL_MAX_BYTES + 1),
        ];
        let words = [
            "memory",
            "descriptors",
            "threads",
            "other",
            "database",
            "log",
        ];
        for (report, word) in grown.iter().zip(words) {
            let growth = report.growth();
            assert_eq!(growth.len(), 1, "{growth:?}");
            assert!(growth[0].contains(word), "{growth:?}");
            assert!(report.markdown().contains("**it grows"));
        }
    }
}
