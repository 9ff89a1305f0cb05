//! Commands that look.

use std::path::PathBuf;

use clap::Args;
use osmoda_core::name::AgentName;

use super::{
    Output, agent_name,
    daemon::{Bundles, Runtime},
};

/// Flags of `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// As if these were desired: directory, file or FLAKE#attr [default: what the daemon has]
    pub specs: Option<String>,
    /// What `pkgs` and `lib` of .nix specs come from
    #[arg(long, value_name = "DIR", env = "OSMODA_NIXPKGS", hide_env = true)]
    pub nixpkgs: Option<PathBuf>,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this one
    #[arg(value_parser = agent_name)]
    pub agent: Option<AgentName>,
    /// Desired against observed, field by field; exits 1 if they differ
    #[arg(long, env = "OSMODA_DIFF", hide_env = true)]
    pub diff: bool,
    /// Show every change until interrupted
    #[arg(long, env = "OSMODA_WATCH", hide_env = true)]
    pub watch: bool,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// Which one
    #[arg(value_parser = agent_name)]
    pub agent: AgentName,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Whose
    #[arg(value_parser = agent_name)]
    pub agent: AgentName,
    /// Show what comes, until interrupted
    #[arg(
        short,
        long,
        conflicts_with = "previous",
        env = "OSMODA_FOLLOW",
        hide_env = true
    )]
    pub follow: bool,
    /// Most lines to begin with
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(0..=10_000), env = "OSMODA_LINES", hide_env = true)]
    pub lines: u32,
    /// Output of the run before the latest one
    #[arg(long, env = "OSMODA_PREVIOUS", hide_env = true)]
    pub previous: bool,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Only this one's
    #[arg(value_parser = agent_name)]
    pub agent: Option<AgentName>,
    /// Show what comes, until interrupted
    #[arg(short, long, env = "OSMODA_FOLLOW", hide_env = true)]
    pub follow: bool,
    /// Also differences and intents, which what follows them tells better; with -o, always
    #[arg(short, long, env = "OSMODA_ALL", hide_env = true)]
    pub all: bool,
    /// From here on: 10m (ago), 2026-01-31T12:00:00Z, or an entry's number
    #[arg(long, value_name = "T", env = "OSMODA_SINCE", hide_env = true)]
    pub since: Option<String>,
    /// Most entries
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(0..=1000), env = "OSMODA_LIMIT", hide_env = true)]
    pub limit: u32,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Directory, file or FLAKE#attr [default: /etc/osmoda/agents, or ./specs for users]
    #[arg(env = "OSMODA_SPECS", hide_env = true)]
    pub specs: Option<String>,
    /// What `pkgs` and `lib` of .nix specs come from
    #[arg(long, value_name = "DIR", env = "OSMODA_NIXPKGS", hide_env = true)]
    pub nixpkgs: Option<PathBuf>,
    /// What starts and watches agents, as the daemon is told
    #[arg(
        long,
        value_enum,
        default_value_t,
        env = "OSMODA_RUNTIME",
        hide_env = true
    )]
    pub runtime: Runtime,
    /// Where the bundles of new generations are made
    #[arg(
        long,
        value_enum,
        default_value_t,
        env = "OSMODA_BUNDLES",
        hide_env = true
    )]
    pub bundles: Bundles,
    /// The ledger's file [default: STATE_DIR/ledger.db]
    #[arg(long, value_name = "FILE", env = "OSMODA_LEDGER", hide_env = true)]
    pub ledger: Option<PathBuf>,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `generations`.
#[derive(Debug, Args)]
pub struct Generations {
    /// Whose
    #[arg(value_parser = agent_name, required_unless_present = "system")]
    pub agent: Option<AgentName>,
    /// Those of the whole machine (NixOS)
    #[arg(long, env = "OSMODA_SYSTEM", hide_env = true, conflicts_with = "agent")]
    pub system: bool,
    /// Hash all that they need, and exit 1 if something is damaged
    #[arg(long, env = "OSMODA_VERIFY", hide_env = true)]
    pub verify: bool,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `mcp`.
#[derive(Debug, Args)]
pub struct Mcp {
    /// Offer restart, pause, resume and rollback too, with the rights of who started this
    #[arg(long, env = "OSMODA_ALLOW_ACTIONS", hide_env = true)]
    pub allow_actions: bool,
}
