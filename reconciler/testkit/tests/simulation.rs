//! The loop under simulated bad luck, and proof that the simulator would notice.
//!
//! `OSMODA_SIM_SEEDS=N` tries seeds 0 to N-1 (default 200); `OSMODA_SIM_SEED=S` replays one.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a violation is shown as it is, and what was played is worth a line"
)]

use std::env;

use osmoda_testkit::sim::{self, sabotage::Sabotage};

const SEEDS: u64 = 200;

fn variable(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number"))
    })
}

#[test]
fn every_seed_keeps_every_promise_and_converges() {
    if let Some(seed) = variable("OSMODA_SIM_SEED") {
        let summary = sim::run(seed).unwrap_or_else(|violation| panic!("{violation}"));
        println!("seed {seed}: {summary:?}");
        return;
    }
    let mut total = sim::Summary::default();
    let seeds = variable("OSMODA_SIM_SEEDS").unwrap_or(SEEDS);
    for seed in 0..seeds {
        let summary = sim::run(seed).unwrap_or_else(|violation| {
            panic!("{violation}\nreplay it with: cargo xtask sim --seed {seed}")
        });
        total.entries += summary.entries;
        total.starts += summary.starts;
        total.deaths += summary.deaths;
    }
    println!("{seeds} seeds: {total:?}");
    assert!(
        total.starts > seeds && total.deaths > seeds,
        "things happened: {total:?}"
    );
}

#[test]
fn a_seed_decides_everything() {
    assert_eq!(sim::run(7).unwrap(), sim::run(7).unwrap());
}

/// The first seed that finds the sabotage, and what it says of it.
fn caught(sabotage: Sabotage) -> String {
    let found = (0..SEEDS).find_map(|seed| sim::run_with(seed, sabotage).err());
    found
        .map(|violation| violation.what.clone())
        .unwrap_or_default()
}

#[test]
fn a_loop_that_forgets_an_exit_is_caught() {
    let what = caught(Sabotage::ForgetsExits);
    assert!(what.starts_with("not converged"), "{what}");
}

#[test]
fn a_loop_that_starts_twice_is_caught() {
    let what = caught(Sabotage::StartsTwice);
    assert!(what.contains("has 2 instances"), "{what}");
}

#[test]
fn a_loop_that_acts_before_its_intent_is_caught() {
    let what = caught(Sabotage::ActsBeforeIntent);
    assert!(what.contains("before its intent was written"), "{what}");
}

#[test]
fn a_runtime_that_acts_when_it_is_to_prepare_is_caught() {
    let what = caught(Sabotage::ActsWhilePreparing);
    assert!(
        what.contains("before its intent was written") || what.contains("without an intent"),
        "{what}"
    );
}
