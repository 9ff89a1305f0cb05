//! `cargo xtask sim`: the deterministic simulator on as many seeds as one likes.
//!
//! The simulator is a test of the testkit; it reads how many seeds to try, or which one to
//! replay, from two variables.

use std::process::Command;

use anyhow::{Context, bail};

use crate::project;

/// Number of seeds to try, from 0.
const SEEDS_VARIABLE: &str = "OSMODA_SIM_SEEDS";

/// The one seed to replay.
const SEED_VARIABLE: &str = "OSMODA_SIM_SEED";

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// How many seeds to try.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Replay this seed alone, with its whole output.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
}

/// Runs the simulator.
///
/// # Errors
/// A seed fails; its number is in the output.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut command = match args.seed {
        Some(seed) => replay(seed),
        None => command(args.seeds),
    };
    let status = command.status().context("running cargo nextest")?;
    if !status.success() {
        bail!("the simulator found a failure: replay its seed with cargo xtask sim --seed SEED");
    }
    Ok(())
}

/// The command that tries the first `seeds` seeds.
pub fn command(seeds: u32) -> Command {
    let mut command = simulation();
    command.env(SEEDS_VARIABLE, seeds.to_string());
    command.env_remove(SEED_VARIABLE);
    command
}

/// The command that lets many agents live for a simulated day.
pub fn day() -> Command {
    let mut command = simulation();
    command.args(["--run-ignored", "only", "a_day_of_many_agents"]);
    command
}

fn replay(seed: u64) -> Command {
    let mut command = simulation();
    command.arg("--no-capture");
    command.env(SEED_VARIABLE, seed.to_string());
    command
}

fn simulation() -> Command {
    let mut command = project::nextest();
    command.args(["--profile", "simulation"]);
    // Any choice of packages or targets has cargo build dependencies in yet another way.
    command.args(["--workspace", "-E", "binary(simulation)"]);
    command
}
