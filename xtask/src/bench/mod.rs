//! `cargo xtask bench`: osmoda beside its peers, measured in one run.
//!
//! Each benchmark is a module: [`restart`] is the one with other supervisors, [`ledger`] the one
//! with the bare disk and the bare hash, [`rollback`] the one with nix-env; [`hang`] measures the
//! stop of a silent agent, [`idle`] what the daemon costs while nothing fails, [`cli`] how
//! long answers take, [`start`] how soon a daemon is at work, and [`scale`] what an event costs among many agents. Machines drift, so contenders take turns and ratios count, and every result
//! says its settings and versions. [`goal`] holds what was measured against the design's targets;
//! [`all`] runs everything, but for [`soak`], which takes its time.

mod all;
mod build;
mod cli;
mod goal;
mod hang;
mod idle;
mod ledger;
mod machine;
mod output;
mod plot;
mod restart;
mod rollback;
mod scale;
mod soak;
mod start;
mod stats;

use clap::Subcommand;

use build::Common;
use goal::Goal;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Which; without one, all of them in sequence, and a summary.
    #[command(subcommand)]
    benchmark: Option<Benchmark>,
    #[command(flatten)]
    common: Common,
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
    /// What an event costs among few agents and among many.
    Scale(scale::Args),
    /// From the exec of the daemon to its first agent: on a new machine, and on a long ledger.
    Start(start::Args),
    /// osmoda's systemd runtime beside systemd's own RestartSec=0, under the same manager.
    Systemd(restart::SystemdArgs),
    /// Hundreds of agents, a fault every second, for 15 minutes: nothing may grow.
    Soak(soak::Args),
}

/// Runs one benchmark, or all.
///
/// # Errors
/// It cannot be set up, or a contender did not do what it was measured for.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.benchmark {
        Some(benchmark) => benchmark.run(&args.common).map(drop),
        None => all::run(&args.common),
    }
}

impl Benchmark {
    fn run(&self, common: &Common) -> anyhow::Result<Vec<Goal>> {
        match self {
            Self::Restart(args) => restart::run(args, common),
            Self::Ledger(args) => ledger::run(args, common),
            Self::Rollback(args) => rollback::run(args, common),
            Self::Hang(args) => hang::run(args, common),
            Self::Cli(args) => cli::run(args, common),
            Self::Idle(args) => idle::run(args, common),
            Self::Scale(args) => scale::run(args, common),
            Self::Start(args) => start::run(args, common),
            Self::Systemd(args) => restart::run_under_systemd(args, common),
            // It has a verdict of its own, and no number among the targets.
            Self::Soak(args) => soak::run(args, common).map(|()| Vec::new()),
        }
    }
}
