//! The deterministic simulator: the real loop, the real store, a fake world, and bad luck.
//!
//! A seed decides everything that happens: what its agents are like and who depends on whom,
//! crashes, hangs, leaks, probes that fail, flap or get stuck, deploys that are good or bad in
//! every way, lost and late news, starts and stops that hang or fail, a runtime that cannot be
//! asked, a full disk, clocks that jump, reboots, people who change specs and profiles, and
//! daemons that die at any await of the loop. Time is tokio's paused clock, so hours pass in
//! milliseconds and the same seed gives the same run.
//!
//! Every entry and every act is held against the truth when it happens ([`monitor`]), the state
//! of the world after every step ([`invariants`]); when the faults have ended the world must
//! converge within a bounded time ([`ending`]). Where to start: [`run`].

#![expect(
    clippy::expect_used,
    reason = "what cannot be set up here is a bug of the simulator, and nobody's input"
)]

mod ailments;
mod blueprint;
pub mod day;
pub mod deaths;
mod deploys;
pub mod disk;
mod ending;
pub mod expectations;
mod invariants;
mod machine;
pub mod monitor;
pub mod sabotage;
mod steps;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use osmoda_core::{name::AgentName, observed::InvocationId, time::Clock};
use osmoda_ledger::{IdSource, OpenOptions, Store, ids::uuid_v7_from};
use osmoda_nix::{profiles::MemoryProfiles, system::MemorySystem};
use osmoda_node::{
    handle::Handle,
    reconcile::{Edges, NodeFacts, Reconciler, act::Offload},
    specs::{Loaded, LoadedAgent},
};
use tokio::task::JoinHandle;

use self::{
    blueprint::{Blueprint, Declaration},
    disk::Disk,
    machine::Systems,
    monitor::Monitor,
    sabotage::{
        Sabotage, profiles::WatchedProfiles, runtime::WatchedRuntime, system::WatchedSystem,
    },
};
use crate::fake_runtime::{World, clock::PausedClock};

/// Random steps of a run.
const STEPS: usize = 80;
/// Agents that a run plays with.
const AGENTS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

/// Longest reading of the specs while agents are supervised with the last valid ones, in
/// milliseconds.
const READING_MAX: u64 = 60_000;

/// Entries shown with a violation.
const ENTRIES_SHOWN: u64 = 40;

/// A broken promise: the seed, the step, and what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, step {step}: {what}\n{history}\n{entries}")]
pub struct Violation {
    /// Replays the run.
    pub seed: u64,
    /// Which step broke it.
    pub step: usize,
    /// What is wrong.
    pub what: String,
    /// Every step so far.
    pub history: String,
    /// The last entries, one a line.
    pub entries: String,
}

/// What a run was made of, so that a test can see that something happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Entries in the ledger.
    pub entries: u64,
    /// Starts that led to a process.
    pub starts: u64,
    /// Daemons that died.
    pub deaths: u64,
    /// Faults that detectors found: instances that ran and were not well.
    pub faults: u64,
    /// Failures that were put down to a dependency.
    pub effects: u64,
    /// Generations that were proven.
    pub proven: u64,
    /// Generations that the loop went back from by itself.
    pub rollbacks: u64,
    /// Systems that the loop went back from by itself, whatever came of it.
    pub system_rollbacks: u64,
    /// Starts that were prepared, and not made.
    pub undone: u64,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.starts += other.starts;
        self.deaths += other.deaths;
        self.faults += other.faults;
        self.effects += other.effects;
        self.proven += other.proven;
        self.rollbacks += other.rollbacks;
        self.system_rollbacks += other.system_rollbacks;
        self.undone += other.undone;
    }
}

/// Runs one seed.
///
/// # Errors
/// The first [`Violation`].
pub fn run(seed: u64) -> Result<Summary, Box<Violation>> {
    run_with(seed, Sabotage::None)
}

/// Runs one seed with a loop that is broken on purpose.
///
/// # Errors
/// The first [`Violation`], which is what is hoped for.
pub fn run_with(seed: u64, sabotage: Sabotage) -> Result<Summary, Box<Violation>> {
    scheduler().block_on(async {
        let mut simulation = Simulation::new(seed, sabotage, &AGENTS);
        let played = simulation.play().await;
        played.map_err(|what| simulation.violation(what))
    })
}

/// Time stands still while anybody has something to do.
fn scheduler() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a scheduler without I/O needs nothing of the system")
}

impl Daemon {
    /// What was to be told late is overtaken by newer specs, or has nobody to be told to.
    fn supersede(&self) {
        if let Some(late) = &self.late {
            late.abort();
        }
    }
}

/// Everything of one run.
struct Simulation {
    seed: u64,
    random: fastrand::Rng,
    names: Vec<AgentName>,
    blueprint: Blueprint,
    clock: Arc<PausedClock>,
    world: World,
    disk: Disk,
    profiles: Arc<MemoryProfiles>,
    monitor: Monitor,
    sabotage: Sabotage,
    /// In every third seed: systems come and go as well.
    is_nixos: bool,
    machine: Arc<MemorySystem>,
    systems: Systems,
    desired: BTreeMap<AgentName, Declaration>,
    /// Everything that was ever declared.
    past: BTreeMap<AgentName, Vec<Declaration>>,
    daemon: Option<Daemon>,
    verified: invariants::Verified,
    versions: u64,
    deaths: u64,
    step: usize,
    history: Vec<String>,
}

struct Daemon {
    handle: Handle,
    task: JoinHandle<()>,
    /// Tells the specs, which take long to be read.
    late: Option<JoinHandle<()>>,
}

impl Simulation {
    fn new(seed: u64, sabotage: Sabotage, names: &[&str]) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let names: Vec<_> = names.iter().copied().map(name).collect();
        let clock = Arc::new(PausedClock::new());
        let mut options = OpenOptions::new("sim", Arc::clone(&clock) as Arc<dyn Clock>);
        options.ids = Box::new(SeededIds(random.fork()));
        let store = Store::in_memory(options).expect("a store in memory opens");
        let world = World::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let profiles = Arc::new(MemoryProfiles::new());
        let monitor = Monitor::new(world.clone(), Arc::clone(&profiles), Arc::clone(&clock));
        let premature = sabotage == Sabotage::ActsBeforeIntent;
        Self {
            seed,
            blueprint: Blueprint::draw(&names, &mut random),
            names,
            disk: Disk::new(store, monitor.clone(), premature),
            world,
            clock,
            profiles,
            monitor,
            sabotage,
            is_nixos: seed % 3 == 1,
            machine: Arc::new(MemorySystem::new(&machine::system_path(0))),
            systems: Systems::default(),
            desired: BTreeMap::new(),
            past: BTreeMap::new(),
            daemon: None,
            verified: invariants::Verified::default(),
            versions: 0,
            deaths: 0,
            step: 0,
            history: Vec::new(),
            random,
        }
    }

    async fn play(&mut self) -> Result<Summary, String> {
        self.boot_first();
        self.start_daemon().await?;
        for step in 0..STEPS {
            self.step = step;
            self.one_step().await?;
            self.check()?;
        }
        self.step = STEPS;
        self.end().await?;
        Ok(self.summary())
    }

    fn violation(&self, what: String) -> Box<Violation> {
        Box::new(Violation {
            seed: self.seed,
            step: self.step,
            what,
            history: self.history.join("\n"),
            entries: self.last_entries(),
        })
    }

    fn last_entries(&self) -> String {
        let size = self.disk.head().size;
        let last = self.disk.entries(size.saturating_sub(ENTRIES_SHOWN));
        let lines = last.iter().map(|stored| {
            let entry = &stored.entry;
            let word = |field: &str| entry[field].as_str().unwrap_or("-").to_owned();
            let (mono, agent, kind) = (word("mono"), word("agent"), word("kind"));
            format!("{:6} {mono} {agent} {kind} {}", entry["seq"], entry["body"])
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn summary(&self) -> Summary {
        let mut summary = Summary {
            entries: self.disk.head().size,
            starts: self
                .names
                .iter()
                .map(|agent| self.world.starts(agent))
                .sum(),
            deaths: self.deaths,
            undone: self.monitor.preparations().undone,
            ..Summary::default()
        };
        for stored in self.disk.entries(0) {
            let (kind, body) = (&stored.entry["kind"], &stored.entry["body"]);
            match kind.as_str() {
                Some("FailureDetected") if !body["becauseOf"].is_null() => summary.effects += 1,
                Some("FailureDetected") if body["exit"].is_null() => summary.faults += 1,
                Some("GenerationGood") => summary.proven += 1,
                Some("RollbackIntended") if body["reason"] == "OperatorRequest" => {}
                Some("RollbackIntended") if body["scope"] == "System" => {
                    summary.system_rollbacks += 1;
                }
                Some("RollbackIntended") => summary.rollbacks += 1,
                _ => {}
            }
        }
        summary
    }

    /// A new daemon, as after a restart by the service manager. Now and then it is told the specs
    /// late.
    async fn start_daemon(&mut self) -> Result<(), String> {
        let mut random = self.random.fork();
        let edges = Edges {
            runtime: Arc::new(WatchedRuntime {
                honest: self.world.daemon(),
                world: self.world.clone(),
                monitor: self.monitor.clone(),
                how: self.sabotage,
            }),
            profiles: Arc::new(WatchedProfiles {
                honest: Arc::clone(&self.profiles),
                monitor: self.monitor.clone(),
                how: self.sabotage,
            }),
            journal: self.disk.clone(),
            senses: Arc::new(self.world.clone()),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            ids: Box::new(move || InvocationId(random.u128(..).to_le_bytes())),
            offload: Offload::Inline,
        };
        let facts = NodeFacts {
            name: "sim".into(),
            version: "0".into(),
            pid: 1,
            runtime: "fake".into(),
            specs: "specs".into(),
        };
        let (mut reconciler, handle) = Reconciler::new(edges, facts);
        if self.is_nixos {
            reconciler = reconciler.with_system(Arc::new(WatchedSystem {
                honest: Arc::clone(&self.machine),
                monitor: self.monitor.clone(),
                how: self.sabotage,
            }));
        }
        self.monitor.disturb(None);
        // A runtime that cannot be asked keeps the daemon from starting; its manager tries again.
        while let Err(why) = reconciler.restore().await {
            self.history.push(format!("      restore failed: {why}"));
            self.world.end_faults();
        }
        self.world.listen(Some(reconciler.board().clone()));
        let specs = Ok(Arc::new(self.loaded()));
        let late = self.random.u8(..3) == 0;
        if late {
            reconciler.carry_on();
        }
        let task = tokio::spawn(reconciler.run());
        let mut daemon = Daemon {
            handle,
            task,
            late: None,
        };
        if late {
            let (handle, after) = (daemon.handle.clone(), self.random.u64(..READING_MAX));
            let monitor = self.monitor.clone();
            self.history
                .push(format!("      its specs come after {after} ms"));
            daemon.late = Some(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                monitor.specs_come();
                let _ = handle.specs(specs).await; // a daemon that is gone needs none
            }));
        } else {
            let told = daemon.handle.specs(specs).await;
            told.map_err(|gone| gone.to_string())?;
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    /// The daemon dies between any two awaits.
    async fn kill_daemon(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            if self.disk.holds_back() {
                self.monitor.forget();
            }
            daemon.task.abort();
            daemon.supersede();
            // Aborted or ended: either way it is gone, and with it everything it was doing.
            let _ = daemon.task.await;
            self.world.listen(None);
            self.deaths += 1;
        }
    }

    /// The machine loses its power and comes back after `pause`.
    async fn reboot(&mut self, pause: Duration) -> Result<(), String> {
        self.kill_daemon().await;
        self.world.reboot();
        self.machine.power_cut();
        self.clock.reboot();
        self.monitor.rebooted();
        tokio::time::sleep(pause).await;
        self.start_daemon().await?;
        self.follow_machine().await
    }

    /// The desired state, as the loop is told it.
    fn loaded(&self) -> Loaded {
        let agents = self.desired.iter().map(|(name, declaration)| {
            let honest = self.blueprint.manifest(name, *declaration);
            let agent = self.sabotage.twisted(&honest);
            self.monitor.declared(&honest, &agent);
            let loaded = LoadedAgent {
                agent,
                file: PathBuf::from(format!("{name}.yaml")),
                recipe: None,
            };
            (name.clone(), loaded)
        });
        Loaded {
            agents: agents.collect(),
            ..Loaded::default()
        }
    }
}

/// Ids that a seed decides.
struct SeededIds(fastrand::Rng);

impl IdSource for SeededIds {
    fn uuid_v7(&mut self, wall: osmoda_core::time::Wall) -> String {
        let mut random = [0; 10];
        self.0.fill(&mut random);
        uuid_v7_from(wall, random)
    }
}

fn name(text: &str) -> AgentName {
    AgentName::new(text).expect("the simulator's names are valid")
}
