//! Commands that act, and that wait for what comes of it.

use clap::{Args, ValueEnum};
use osmoda_core::{name::AgentName, units::Period};

use super::{Output, agent_name, period};

/// Flags of `restart`.
#[derive(Debug, Args)]
pub struct Restart {
    /// Which one
    #[arg(value_parser = agent_name)]
    pub agent: AgentName,
    /// Return when it is Ready again; exits 1 if it fails
    #[command(flatten)]
    pub waiting: Waiting,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `pause`.
#[derive(Debug, Args)]
pub struct Pause {
    /// Which one [default: all, also future ones]
    #[arg(value_parser = agent_name)]
    pub agent: Option<AgentName>,
    /// Why, for those who come after
    #[arg(
        long,
        value_name = "R",
        default_value = "",
        hide_default_value = true,
        env = "OSMODA_REASON",
        hide_env = true
    )]
    pub reason: String,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// Which one [default: the pause of all]
    #[arg(value_parser = agent_name)]
    pub agent: Option<AgentName>,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Whether to return at once.
#[derive(Debug, Clone, Args)]
pub struct Waiting {
    /// Return when it is done and verified; exits 1 if it failed
    #[arg(long, env = "OSMODA_WAIT", hide_env = true)]
    pub wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "T", default_value = "5m", value_parser = period,
        env = "OSMODA_TIMEOUT", hide_env = true)]
    pub timeout: Period,
}

/// Flags of `rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// Which one
    #[arg(value_parser = agent_name, required_unless_present = "system")]
    pub agent: Option<AgentName>,
    /// The whole machine (NixOS)
    #[arg(long, env = "OSMODA_SYSTEM", hide_env = true, conflicts_with = "agent")]
    pub system: bool,
    /// To the generation of this number [default: the newest Good one other than the active one]
    #[arg(long, value_name = "N", env = "OSMODA_TO", hide_env = true)]
    pub to: Option<u64>,
    /// Whether to return at once.
    #[command(flatten)]
    pub waiting: Waiting,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// Which one [default: all]
    #[arg(value_parser = agent_name)]
    pub agent: Option<AgentName>,
    /// For which state
    #[arg(
        long = "for",
        value_enum,
        value_name = "STATE",
        env = "OSMODA_FOR",
        hide_env = true
    )]
    pub state: Awaited,
    /// How long at most
    #[arg(long, value_name = "T", default_value = "5m", value_parser = period,
        env = "OSMODA_TIMEOUT", hide_env = true)]
    pub timeout: Period,
}

/// A state to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Awaited {
    /// It does its work, or has done it
    #[value(name = "Ready", alias = "ready")]
    Ready,
    /// The generation that its spec asks for was found good
    #[value(name = "Proven", alias = "proven")]
    Proven,
    /// No process of it runs, and none is about to
    #[value(name = "Stopped", alias = "stopped")]
    Stopped,
}
