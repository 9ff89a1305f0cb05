//! The deterministic simulator: the real loop, the real store, a fake world, and bad luck.
//!
//! A seed decides everything that happens: crashes, lost and late news, starts and stops that
//! hang or fail, a runtime that cannot be asked, a full disk, clocks that jump, people who
//! change specs and profiles, and daemons that die at any await of the loop. Time is tokio's
//! paused clock, so hours pass in milliseconds and the same seed gives the same run.
//!
//! After every step [`invariants`] are checked; when the faults have ended the world must
//! converge within a bounded time. Where to start: [`run`].

#![expect(
    clippy::expect_used,
    reason = "what cannot be set up here is a bug of the simulator, and nobody's input"
)]

pub mod disk;
mod invariants;
pub mod sabotage;
mod steps;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use osmoda_core::{
    name::AgentName,
    observed::InvocationId,
    spec::{Agent, AgentSpec, RestartPolicy},
    time::Clock,
    units::Period,
};
use osmoda_ledger::{IdSource, OpenOptions, Store, ids::uuid_v7_from};
use osmoda_nix::profiles::MemoryProfiles;
use osmoda_node::{
    handle::Handle,
    reconcile::{Edges, NodeFacts, Reconciler, act::Offload},
    specs::{Loaded, LoadedAgent, load_manifest},
};
use tokio::task::JoinHandle;

use self::{
    disk::Disk,
    sabotage::{Sabotage, Sabotaged},
};
use crate::fake_runtime::{World, clock::PausedClock};

/// Random steps of a run.
const STEPS: usize = 80;
/// Agents that a run plays with.
const AGENTS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];
/// Simulated time in which the world must converge once the faults have ended: the longest
/// backoff of the specs below, a resync, and the longest hang that is ordered, with room.
const CONVERGE_WITHIN: Duration = Duration::from_secs(300);

/// A broken promise: the seed, the step, and what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, step {step}: {what}\n{history}")]
pub struct Violation {
    /// Replays the run.
    pub seed: u64,
    /// Which step broke it.
    pub step: usize,
    /// What is wrong.
    pub what: String,
    /// Every step so far.
    pub history: String,
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
    let scheduler = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a scheduler without I/O needs nothing of the system");
    scheduler.block_on(async {
        let mut simulation = Simulation::new(seed, sabotage);
        simulation.play().await.map_err(|what| {
            Box::new(Violation {
                seed,
                step: simulation.step,
                what,
                history: simulation.history.join("\n"),
            })
        })
    })
}

/// Everything of one run.
struct Simulation {
    seed: u64,
    random: fastrand::Rng,
    clock: Arc<PausedClock>,
    world: World,
    disk: Disk,
    profiles: Arc<MemoryProfiles>,
    sabotage: Sabotage,
    desired: BTreeMap<AgentName, Arc<Agent>>,
    daemon: Option<Daemon>,
    checked: invariants::Checked,
    versions: u64,
    deaths: u64,
    step: usize,
    history: Vec<String>,
}

struct Daemon {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Simulation {
    fn new(seed: u64, sabotage: Sabotage) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let clock = Arc::new(PausedClock::new());
        let mut options = OpenOptions::new("sim", Arc::clone(&clock) as Arc<dyn Clock>);
        options.ids = Box::new(SeededIds(random.fork()));
        let store = Store::in_memory(options).expect("a store in memory opens");
        Self {
            seed,
            world: World::new(Arc::clone(&clock) as Arc<dyn Clock>),
            clock,
            disk: Disk::new(store, sabotage == Sabotage::ActsBeforeIntent),
            profiles: Arc::new(MemoryProfiles::new()),
            sabotage,
            desired: BTreeMap::new(),
            daemon: None,
            checked: invariants::Checked::default(),
            versions: 0,
            deaths: 0,
            step: 0,
            history: Vec::new(),
            random,
        }
    }

    async fn play(&mut self) -> Result<Summary, String> {
        self.start_daemon().await?;
        for step in 0..STEPS {
            self.step = step;
            self.one_step().await?;
            self.check()?;
        }
        self.step = STEPS;
        self.end_faults().await?;
        self.converge().await?;
        let names = AGENTS.map(name);
        Ok(Summary {
            entries: self.disk.head().size,
            starts: names.iter().map(|agent| self.world.starts(agent)).sum(),
            deaths: self.deaths,
        })
    }

    /// A new daemon, as after a restart by the service manager.
    async fn start_daemon(&mut self) -> Result<(), String> {
        let mut random = self.random.fork();
        let edges = Edges {
            runtime: Arc::new(Sabotaged {
                honest: self.world.daemon(),
                world: self.world.clone(),
                how: self.sabotage,
            }),
            profiles: Arc::clone(&self.profiles),
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
        // A runtime that cannot be asked keeps the daemon from starting; its manager tries again.
        while let Err(why) = reconciler.restore().await {
            self.history.push(format!("      restore failed: {why}"));
            self.world.end_faults();
        }
        let task = tokio::spawn(reconciler.run());
        handle
            .specs(Ok(Arc::new(self.loaded())))
            .await
            .map_err(|gone| gone.to_string())?;
        self.daemon = Some(Daemon { handle, task });
        Ok(())
    }

    /// The daemon dies between any two awaits.
    async fn kill_daemon(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.task.abort();
            // Aborted or ended: either way it is gone, and with it everything it was doing.
            let _ = daemon.task.await;
            self.deaths += 1;
        }
    }

    fn loaded(&self) -> Loaded {
        let agents = self.desired.iter().map(|(name, agent)| {
            let loaded = LoadedAgent {
                agent: Arc::clone(agent),
                file: PathBuf::from(format!("{name}.yaml")),
                unenforced: Vec::new(),
            };
            (name.clone(), loaded)
        });
        Loaded {
            agents: agents.collect(),
            ..Loaded::default()
        }
    }

    async fn end_faults(&mut self) -> Result<(), String> {
        self.history.push("      the faults end".into());
        self.disk.set_full(false);
        self.profiles.fail_next(0);
        self.world.end_faults();
        if self.daemon.is_none() {
            self.start_daemon().await?;
        }
        self.tell_specs().await?;
        self.resume_all().await
    }

    /// Bounded: after the faults end everything is as desired, and stays so without a word.
    async fn converge(&mut self) -> Result<(), String> {
        let quiet = Duration::from_secs(30);
        tokio::time::sleep(CONVERGE_WITHIN).await;
        self.check()?;
        self.check_converged().await?;
        let size = self.disk.head().size;
        tokio::time::sleep(quiet).await;
        match self.disk.head().size - size {
            0 => Ok(()),
            news => Err(format!(
                "{news} entries were written although nothing happened"
            )),
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

/// A manifest as a file would hold it; `version` makes it a new one.
fn manifest(agent: &AgentName, version: u64, policy: RestartPolicy) -> Arc<Agent> {
    let mut spec = AgentSpec::new(vec!["/bin/agent".into(), format!("v{version}")]);
    spec.restart.policy = policy;
    spec.restart.backoff.max = Period::secs(5);
    let text = format!(
        concat!(
            r#"{{"apiVersion":"osmoda/v1","kind":"Agent","metadata":{{"name":"{}"}},"spec":"#,
            r#"{{"command":["/bin/agent","v{}"],"restart":{{"backoff":{{"max":"5s"}},"policy":"{:?}"}}}}}}"#
        ),
        agent, version, policy
    );
    let read = load_manifest(&text).expect("the simulator's manifests are valid");
    assert_eq!(read.spec, spec, "the text says what the spec says");
    Arc::new(read)
}
