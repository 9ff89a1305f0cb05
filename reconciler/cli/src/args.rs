//! The command line as clap sees it. What each command does is in [`crate::commands`].
//!
//! Every flag has an environment variable, `OSMODA_` and its name.

mod alerts;
mod auditor;
mod ledger;

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use osmoda_core::{name::AgentName, units::Period};

pub use self::{
    alerts::Alerts,
    auditor::{Anchor, Report, Timeline, Witness},
    ledger::Ledger,
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

/// Flags of `mcp`.
#[derive(Debug, Args)]
pub struct Mcp {
    /// Offer restart, pause, resume and rollback too, with the rights of who started this
    #[arg(long, env = "OSMODA_ALLOW_ACTIONS", hide_env = true)]
    pub allow_actions: bool,
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
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_variable_and_every_command_a_sentence() {
        fn look(command: &clap::Command) {
            assert!(
                command.get_about().is_some(),
                "{} says nothing",
                command.get_name()
            );
            for flag in command
                .get_arguments()
                .filter(|arg| arg.get_long().is_some())
            {
                let name = flag.get_long().unwrap();
                if ["help", "version"].contains(&name) {
                    continue;
                }
                let variable = flag.get_env().unwrap_or_else(|| panic!("--{name}"));
                let expected = format!("OSMODA_{}", name.to_uppercase().replace('-', "_"));
                let variable = variable.to_str().unwrap();
                // An agent's own environment has OSMODA_AGENT: it must not choose here.
                let filter = format!("{expected}_FILTER");
                // OSMODA_LOG says what a daemon logs, not which logs a witness watches.
                let witness = name == "log" && variable == "OSMODA_WITNESS_LOG";
                assert!(
                    variable == expected || variable == filter || witness,
                    "{variable} for --{name}"
                );
                assert!(flag.get_help().is_some(), "--{name} says nothing");
            }
            command.get_subcommands().for_each(look);
        }
        look(&Cli::command());
    }
}
