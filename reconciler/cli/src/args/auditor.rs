//! Flags of what an auditor asks of ledgers, and of `osmoda witness`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use osmoda_core::name::AgentName;

use super::{Output, agent_name, ledger::LedgerFile};

/// Flags of `ledger timeline`.
#[derive(Debug, Args)]
pub struct Timeline {
    /// Ledgers, or whole exports of them, of one node or of many
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Tell also what a ledger says that fails verification, marked as such
    #[arg(long, env = "OSMODA_UNVERIFIED", hide_env = true)]
    pub unverified: bool,
    /// From here on: 10m (ago) or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "T", env = "OSMODA_SINCE", hide_env = true)]
    pub since: Option<String>,
    /// Up to here, in the same forms
    #[arg(long, value_name = "T", env = "OSMODA_UNTIL", hide_env = true)]
    pub until: Option<String>,
    /// Only this one's
    #[arg(long, value_parser = agent_name, env = "OSMODA_AGENT_FILTER", hide_env = true)]
    pub agent: Option<AgentName>,
    /// Only the entries of this incident
    #[arg(long, value_name = "ID", env = "OSMODA_INCIDENT", hide_env = true)]
    pub incident: Option<String>,
    /// Write a page for browsers and printers to FILE, which must not exist
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "output",
        env = "OSMODA_HTML",
        hide_env = true
    )]
    pub html: Option<PathBuf>,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `ledger report`.
#[derive(Debug, Args)]
pub struct Report {
    /// Where the period begins: a checkpoint's file, a number of entries, 10m (ago) or a time
    /// [default: the beginning]
    #[arg(long, value_name = "WHERE", env = "OSMODA_FROM", hide_env = true)]
    pub from: Option<String>,
    /// Where it ends, in the same forms [default: the end]
    #[arg(long, value_name = "WHERE", env = "OSMODA_TO", hide_env = true)]
    pub to: Option<String>,
    /// Whose signature on the checkpoints is to be checked (C2SP vkey); may be repeated
    #[arg(
        long = "key",
        value_name = "VKEY",
        value_delimiter = ',',
        env = "OSMODA_KEY",
        hide_env = true
    )]
    pub keys: Vec<String>,
    /// Write a page for browsers and printers to FILE, which must not exist
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "output",
        env = "OSMODA_HTML",
        hide_env = true
    )]
    pub html: Option<PathBuf>,
    /// Which file.
    #[command(flatten)]
    pub file: LedgerFile,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `ledger anchor`.
#[derive(Debug, Args)]
pub struct Anchor {
    /// Print the last checkpoint that this anchor took, with its cosignatures
    pub name: Option<String>,
    /// Which file.
    #[command(flatten)]
    pub file: LedgerFile,
    /// In which format.
    #[command(flatten)]
    pub output: Output,
}

/// Flags of `witness`.
#[derive(Debug, Args)]
pub struct Witness {
    /// Address and port on which logs are waited for
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "OSMODA_LISTEN",
        hide_env = true
    )]
    pub listen: SocketAddr,
    /// The witness's private key; made at first start [default: STATE_DIR/witness.key]
    #[arg(long, value_name = "FILE", env = "OSMODA_KEY", hide_env = true)]
    pub key: Option<PathBuf>,
    /// Name of a key that is made [default: HOST/osmoda-witness]
    #[arg(long, value_name = "NAME", env = "OSMODA_NAME", hide_env = true)]
    pub name: Option<String>,
    /// Public key of a log to be watched, as `osmoda ledger key` prints it; may be repeated
    #[arg(
        long = "log",
        required = true,
        value_name = "VKEY",
        value_delimiter = ',',
        env = "OSMODA_WITNESS_LOG",
        hide_env = true
    )]
    pub logs: Vec<String>,
}
