//! The command line as clap sees it. What each command does is in [`crate::commands`].
//!
//! Every flag has an environment variable, `OSMODA_` and its name.

mod acting;
mod alerts;
mod auditor;
mod daemon;
mod ledger;
mod looking;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use osmoda_core::{name::AgentName, units::Period};

pub use self::{
    acting::{Awaited, Pause, Restart, Resume, Rollback, Wait},
    alerts::Alerts,
    auditor::{Anchor, Report, Timeline, Witness},
    daemon::{New, Render, Run, Specs},
    ledger::Ledger,
    looking::{Describe, Doctor, Events, Generations, Logs, Mcp, Plan, Status},
};

/// Keeps AI agents alive on Linux, and proves what it did.
#[derive(Debug, Parser)]
#[command(
    name = "osmoda",
    version,
    max_term_width = 100,
    propagate_version = false
)]
#[command(
    after_help = "Exit codes: 0 done; 1 the answer is no; 2 wrong usage or an invalid spec; \
    3 the daemon cannot be reached; 4 refused; more: internal error."
)]
pub struct Cli {
    /// What every command knows.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where ledger, keys and bundles are [default: /var/lib/osmoda, or the user's state directory]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "OSMODA_STATE_DIR",
        hide_env = true
    )]
    pub state_dir: Option<PathBuf>,
    /// Where the daemon's socket is [default: /run/osmoda, or the user's runtime directory]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "OSMODA_RUNTIME_DIR",
        hide_env = true
    )]
    pub runtime_dir: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the node daemon in the foreground until SIGTERM
    Run(Run),
    /// Check specs, without a daemon
    Validate(Specs),
    /// Print the manifests that specs amount to, without a daemon
    Render(Render),
    /// Show what a reconcile would do now, doing nothing; exits 1 if it would do something
    Plan(Plan),
    /// Show agents and the node; with AGENT, exits 1 if that is not Ready
    Status(Status),
    /// Show everything about one agent
    Describe(Describe),
    /// Show an agent's output
    Logs(Logs),
    /// Show what happened, from the ledger
    Events(Events),
    /// Stop an agent and start it again
    Restart(Restart),
    /// Observe and record, but do not act, until resumed
    Pause(Pause),
    /// End a pause
    Resume(Resume),
    /// Show an agent's generations: what was deployed, and what became of it
    Generations(Generations),
    /// Go back to an earlier generation, and stay there until the spec changes
    Rollback(Rollback),
    /// Wait until agents are in a state; exits 1 if they failed, or time is up
    Wait(Wait),
    /// Write specs/NAME.nix, with sensible probes to edit
    New(New),
    /// Read and verify the audit ledger, without a daemon
    #[command(subcommand)]
    Ledger(Ledger),
    /// Show everything live on the whole terminal; press ? there for its keys
    Top,
    /// Show who is told of failures and what waits to be sent, or send a test message
    #[command(subcommand)]
    Alerts(Alerts),
    /// Check this host, and name a remedy for what is wrong
    Doctor(Doctor),
    /// Serve the Model Context Protocol on stdin and stdout, for AI assistants
    Mcp(Mcp),
    /// Cosign the checkpoints of other nodes' ledgers, until SIGTERM
    Witness(Witness),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page, or write all of them
    Man(Man),
}

/// Flags of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Of this command, such as: ledger verify [default: of osmoda itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub command: Vec<String>,
    /// Write the page of every command into this directory
    #[arg(long, value_name = "DIR", env = "OSMODA_DIR", hide_env = true)]
    pub dir: Option<PathBuf>,
}

/// Format of the output.
#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// For programs: the objects of the API, and nothing else on stdout
    #[arg(short, long, value_enum, env = "OSMODA_OUTPUT", hide_env = true)]
    pub output: Option<Machine>,
}

/// A format for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Machine {
    Json,
    Yaml,
}

fn agent_name(text: &str) -> Result<AgentName, String> {
    AgentName::new(text).map_err(|why| format!("it {why}"))
}

fn period(text: &str) -> Result<Period, String> {
    Period::parse(text).map_err(|why| format!("it {why}"))
}

#[cfg(test)]
mod tests;
