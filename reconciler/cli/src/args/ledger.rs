//! `osmoda ledger`: commands on the ledger's file.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use osmoda_core::name::AgentName;

use super::{
    Output, agent_name,
    auditor::{Report, Timeline},
};

/// Commands on the ledger's file.
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Check every hash of a ledger or an export; exits 1 if one fails
    Verify {
        /// [default: STATE_DIR/ledger.db]
        file: Option<PathBuf>,
        /// In which format.
        #[command(flatten)]
        output: Output,
    },
    /// Show how far the ledger goes
    Head {
        /// Which file.
        #[command(flatten)]
        file: LedgerFile,
        /// In which format.
        #[command(flatten)]
        output: Output,
    },
    /// Show one entry
    Show {
        /// Its number
        seq: u64,
        /// Which file.
        #[command(flatten)]
        file: LedgerFile,
        /// In which format.
        #[command(flatten)]
        output: Output,
    },
    /// Write entries to stdout, byte for byte, so that they can be verified again
    Export {
        /// In which format
        #[arg(
            long,
            value_enum,
            default_value_t,
            env = "OSMODA_FORMAT",
            hide_env = true
        )]
        format: ExportFormat,
        /// From here on: 10m (ago) or 2026-01-31T12:00:00Z
        #[arg(long, value_name = "T", env = "OSMODA_SINCE", hide_env = true)]
        since: Option<String>,
        /// Only this one's
        #[arg(long, value_parser = agent_name, env = "OSMODA_AGENT_FILTER", hide_env = true)]
        agent: Option<AgentName>,
        /// Which file.
        #[command(flatten)]
        file: LedgerFile,
    },
    /// Copy the ledger, also while the daemon writes it
    Backup {
        /// Where to; must not exist
        target: PathBuf,
        /// Which file.
        #[command(flatten)]
        file: LedgerFile,
    },
    /// Tell what happened on several nodes as one story; exits 1 if a ledger is not sound
    Timeline(Timeline),
    /// Report on a period for an auditor; exits 1 if it is not complete
    Report(Report),
}

/// A ledger other than the state directory's.
#[derive(Debug, Args)]
pub struct LedgerFile {
    /// The ledger's file [default: STATE_DIR/ledger.db]
    #[arg(
        long = "ledger",
        value_name = "FILE",
        env = "OSMODA_LEDGER",
        hide_env = true
    )]
    pub path: Option<PathBuf>,
}

/// Format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ExportFormat {
    /// One JSON object a line
    #[default]
    Jsonl,
}
