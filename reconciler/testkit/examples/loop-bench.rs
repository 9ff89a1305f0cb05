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

use std::time::Duration;

use osmoda_core::{name::AgentName, observed::ExitStatus, spec::Agent};
use osmoda_node::{reconcile::RESYNC, specs};
use osmoda_testkit::alone::Alone;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

/// Simulated time in which news are taken in.
const NEWS_TAKE: Duration = Duration::from_millis(1);
/// Simulated time in which a crashed agent is back, and verified: more than its `minReady`.
const RECOVERY_TAKES: Duration = Duration::from_millis(500);
/// Simulated time in which agents become what they are.
const SETTLE: Duration = Duration::from_secs(600);

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
    let alone = Alone::begin().await;
    let (world, board) = (&alone.world, &alone.board);
    alone.declare(names.iter().map(declared)).await;
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

fn name(number: usize) -> AgentName {
    AgentName::new(&format!("agent-{number:05}")).unwrap()
}

fn declared(name: &AgentName) -> Agent {
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
    specs::load_manifest(&manifest.to_string()).unwrap()
}
