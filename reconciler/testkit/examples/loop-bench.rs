//! Measures the loop by itself; `cargo xtask bench scale` builds it, runs it and makes the table.
//!
//! `loop-bench AGENTS EVENTS RESYNCS` lets the real loop keep so many agents in the fake world,
//! whose time stands still while anybody works, and prints one JSON object with the processor
//! time of the only thread in nanoseconds: for news of one agent that need no action, for one
//! crash from its news to the verified recovery, and for a look at everything. The ledger is a
//! real one, in memory; profiles are in memory, too.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers: what goes wrong ends it"
)]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use osmoda_core::{
    name::AgentName,
    observed::{ExitStatus, InvocationId},
    time::Clock,
};
use osmoda_ledger::{Appended, Commit, CommitError, Head, OpenOptions, Store};
use osmoda_nix::profiles::MemoryProfiles;
use osmoda_node::{
    detect::board::Board,
    handle::Handle,
    reconcile::{
        Edges, NodeFacts, RESYNC, Reconciler,
        act::Offload,
        journal::{Journal, StoredEntry},
    },
    specs::{self, Loaded, LoadedAgent},
};
use osmoda_testkit::fake_runtime::{World, paused_clock};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

/// Simulated time in which news are taken in.
const NEWS_TAKE: Duration = Duration::from_millis(1);
/// Simulated time in which a crashed agent is back, and verified: more than its `minReady`.
const RECOVERY_TAKES: Duration = Duration::from_millis(500);
/// Simulated time in which agents become what they are.
const SETTLE: Duration = Duration::from_secs(600);

/// The store in memory, without a wait for any disk.
struct Memory(Mutex<Store>);

impl Journal for Memory {
    async fn append(&self, commit: &Commit) -> Result<Vec<Appended>, CommitError> {
        let mut appended = self
            .0
            .lock()
            .unwrap()
            .commit(std::slice::from_ref(commit))?;
        Ok(appended.pop().unwrap_or_default())
    }

    fn state(&self, prefix: &str) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let store = self.0.lock().unwrap();
        store.state(prefix).map_err(|error| error.to_string())
    }

    fn tail(&self, _: u64) -> Result<Vec<StoredEntry>, String> {
        Ok(Vec::new())
    }

    fn head(&self) -> Head {
        self.0.lock().unwrap().head()
    }
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse().unwrap());
    let mut number = || -> usize { numbers.next().unwrap() };
    let (agents, events, resyncs) = (number(), number(), number());
    let scheduler = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let samples = scheduler.block_on(measure(agents, events, resyncs));
    println!("{samples}");
}

async fn measure(agents: usize, events: usize, resyncs: usize) -> serde_json::Value {
    let names: Vec<_> = (0..agents).map(name).collect();
    let (world, board, handle) = begin().await;
    handle.specs(Ok(Arc::new(declared(&names)))).await.unwrap();
    tokio::time::sleep(SETTLE).await;
    assert_eq!(world.running().len(), agents);

    let (mut news, mut crashes, mut looks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..resyncs {
        looks.push(cost(|| (), RESYNC).await);
    }
    // Spread over all agents: a map's two ends are no fair sample of it.
    let whose = |event: usize| &names[event * 7919 % agents];
    for event in 0..events {
        news.push(cost(|| board.wake(whose(event)), NEWS_TAKE).await);
    }
    for event in 0..events {
        let killed = ExitStatus::Signal {
            signal: 9,
            core_dumped: false,
        };
        let agent = whose(event);
        let before = world.starts(agent);
        let crash = || assert!(world.crash(agent, killed));
        crashes.push(cost(crash, RECOVERY_TAKES).await);
        assert_eq!(world.starts(agent), before + 1, "{agent} is not back");
    }
    world.assert_single_instances();
    json!({
        "agents": agents,
        "newsNs": news,
        "crashNs": crashes,
        "resyncNs": looks,
    })
}

/// Processor time from `happen` until nobody has anything to do for `long`.
async fn cost(happen: impl FnOnce(), long: Duration) -> u64 {
    let before = processor_time();
    happen();
    tokio::time::sleep(long).await;
    processor_time() - before
}

/// Of this thread, in nanoseconds.
fn processor_time() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// A loop that knows nobody yet.
async fn begin() -> (World, Board, Handle) {
    let clock = paused_clock();
    let world = World::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let options = OpenOptions::new("bench", Arc::clone(&clock) as Arc<dyn Clock>);
    let mut random = fastrand::Rng::with_seed(1);
    let edges = Edges {
        runtime: Arc::new(world.daemon()),
        profiles: Arc::new(MemoryProfiles::new()),
        journal: Memory(Mutex::new(Store::in_memory(options).unwrap())),
        senses: Arc::new(world.clone()),
        clock,
        ids: Box::new(move || InvocationId(random.u128(..).to_le_bytes())),
        offload: Offload::Inline,
    };
    let facts = NodeFacts {
        name: "bench".into(),
        version: "0".into(),
        pid: 1,
        runtime: "fake".into(),
        specs: "specs".into(),
    };
    let (mut reconciler, handle) = Reconciler::new(edges, facts);
    reconciler.restore().await.unwrap();
    let board = reconciler.board().clone();
    world.listen(Some(board.clone()));
    tokio::spawn(reconciler.run());
    (world, board, handle)
}

fn name(number: usize) -> AgentName {
    AgentName::new(&format!("agent-{number:05}")).unwrap()
}

fn declared(names: &[AgentName]) -> Loaded {
    let agent = |name: &AgentName| {
        let manifest = json!({
            "apiVersion": "osmoda/v1",
            "kind": "Agent",
            "metadata": {"name": name.as_str()},
            "spec": {
                "command": ["/bin/osmoda-test-agent"],
                "restart": {"backoff": {"resetAfter": "100ms"}, "maxRestarts": 1000},
                "rollout": {"minReady": "200ms"},
            },
        });
        let loaded = LoadedAgent {
            agent: Arc::new(specs::load_manifest(&manifest.to_string()).unwrap()),
            file: PathBuf::from("agents.yaml"),
            recipe: None,
        };
        (name.clone(), loaded)
    };
    Loaded {
        agents: names.iter().map(agent).collect(),
        ..Loaded::default()
    }
}
