//! `osmoda run`, and where it finds the specs.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ValueEnum};
use osmoda_core::name::AgentName;

use super::{Machine, agent_name};

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Directory, file or FLAKE#attr [default: /etc/osmoda/agents, or ./specs for users]
    #[arg(env = "OSMODA_SPECS", hide_env = true)]
    pub specs: Option<String>,
    /// What starts and watches agents
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
    /// Leave agents running when the daemon ends
    #[arg(long, env = "OSMODA_KEEP_AGENTS", hide_env = true)]
    pub keep_agents: bool,
    /// What `pkgs` and `lib` of .nix specs come from
    #[arg(long, value_name = "DIR", env = "OSMODA_NIXPKGS", hide_env = true)]
    pub nixpkgs: Option<PathBuf>,
    /// The ledger's file [default: STATE_DIR/ledger.db]
    #[arg(long, value_name = "FILE", env = "OSMODA_LEDGER", hide_env = true)]
    pub ledger: Option<PathBuf>,
    /// Where profiles of agents are
    #[arg(long, value_name = "DIR", env = "OSMODA_PROFILE_DIR", hide_env = true)]
    pub profile_dir: Option<PathBuf>,
    /// Below which directory the machine's own generations are, for tests
    #[arg(
        long,
        value_name = "DIR",
        env = "OSMODA_SYSTEM_ROOT",
        default_value = "/",
        hide = true
    )]
    pub system_root: PathBuf,
}

/// What starts and watches agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Runtime {
    /// systemd where it can be used, else native
    #[default]
    Auto,
    /// Children of the daemon
    Native,
    /// Transient units
    Systemd,
}

impl From<Runtime> for osmoda_node::daemon::RuntimeChoice {
    fn from(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Auto => Self::Auto,
            Runtime::Native => Self::Native,
            Runtime::Systemd => Self::Systemd,
        }
    }
}

/// Where the bundles of new generations are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Bundles {
    /// In the Nix store if one is usable, else in the state directory
    #[default]
    Auto,
    /// In the Nix store
    Store,
    /// In the state directory
    Directory,
}

impl From<Bundles> for osmoda_node::daemon::BundlesChoice {
    fn from(bundles: Bundles) -> Self {
        match bundles {
            Bundles::Auto => Self::Auto,
            Bundles::Store => Self::Store,
            Bundles::Directory => Self::Directory,
        }
    }
}

/// SPECS that must be there.
#[derive(Debug, Args)]
pub struct Specs {
    /// Directory, file or FLAKE#attr
    #[arg(env = "OSMODA_SPECS", hide_env = true)]
    pub specs: String,
    /// What `pkgs` and `lib` of .nix specs come from
    #[arg(long, value_name = "DIR", env = "OSMODA_NIXPKGS", hide_env = true)]
    pub nixpkgs: Option<PathBuf>,
}

/// Flags of `render`.
#[derive(Debug, Args)]
pub struct Render {
    /// Which specs.
    #[command(flatten)]
    pub specs: Specs,
    /// In which format
    #[arg(
        short,
        long,
        value_enum,
        default_value = "yaml",
        env = "OSMODA_OUTPUT",
        hide_env = true
    )]
    pub output: Machine,
}

/// Flags of `new`.
#[derive(Debug, Args)]
pub struct New {
    /// Name of the agent
    #[arg(value_parser = agent_name)]
    pub name: AgentName,
    /// Where to write NAME.nix
    #[arg(
        long,
        value_name = "DIR",
        default_value = "specs",
        env = "OSMODA_SPECS",
        hide_env = true
    )]
    pub specs: PathBuf,
    /// What it runs, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
