//! `cargo xtask bench`: osmoda beside its peers, measured in one run.
//!
//! Each benchmark is a folder: [`restart`] is the one with other supervisors, [`ledger`] the one
//! with the bare disk and the bare hash, [`rollback`] the one with nix-env; [`hang`] measures the
//! stop of a silent agent, and [`idle`] what the daemon costs while nothing fails, [`cli`] how long answers take. Machines drift,
//! so contenders take turns and ratios count, and every result says its settings and versions.

mod cli;
mod hang;
mod idle;
mod ledger;
mod machine;
mod output;
mod restart;
mod rollback;

use clap::Subcommand;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// From a killed agent to the first instruction of its next instance.
    Restart(restart::Args),
    /// Appending to, verifying and opening the ledger, beside the bare disk and the bare hash.
    Ledger(ledger::Args),
    /// Back to a recorded generation, beside `nix-env --rollback`.
    Rollback(rollback::Args),
    /// From the deadline of a silent agent's heartbeat to its stop signal.
    Hang(hang::Args),
    /// How long a person waits for an answer.
    Cli(cli::Args),
    /// What the daemon costs while nothing fails: agents alone, and agents that are probed.
    Idle(idle::Args),
}

/// Runs one benchmark.
///
/// # Errors
/// It cannot be set up, or a contender did not do what it was measured for.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.benchmark {
        Benchmark::Restart(args) => restart::run(args),
        Benchmark::Ledger(args) => ledger::run(args),
        Benchmark::Rollback(args) => rollback::run(args),
        Benchmark::Hang(args) => hang::run(args),
        Benchmark::Cli(args) => cli::run(args),
        Benchmark::Idle(args) => idle::run(args),
    }
}
