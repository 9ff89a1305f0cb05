//! `osmoda ledger`: commands on the ledger's file.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use osmoda_core::name::AgentName;
use osmoda_ledger::note::VerifierKey;

use super::{
    Output, agent_name,
    auditor::{Anchor, Report, Timeline},
};

/// Commands on the ledger's file.
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Check every hash of a ledger or an export; exits 1 if one fails
    Verify {
        /// [default: STATE_DIR/ledger.db]
        file: Option<PathBuf>,
        /// A checkpoint that was kept elsewhere: the log must begin as it says [-: stdin]
        #[arg(long, value_name = "NOTE", env = "OSMODA_CHECKPOINT", hide_env = true)]
        checkpoint: Vec<PathBuf>,
        /// A key to trust (C2SP vkey) [default: the first key that the log names]
        #[arg(long, value_name = "VKEY", env = "OSMODA_KEY", hide_env = true)]
        key: Vec<VerifierKey>,
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
    /// Sign the log as it stands, and show the checkpoint to be kept elsewhere
    Checkpoint {
        /// Which file.
        #[command(flatten)]
        file: LedgerFile,
        /// In which format.
        #[command(flatten)]
        output: Output,
    },
    /// Show the public key that signs the log
    Key {
        /// Make a new key first; the old one vouches for it
        #[arg(long, env = "OSMODA_ROTATE", hide_env = true)]
        rotate: bool,
        /// Which file.
        #[command(flatten)]
        file: LedgerFile,
        /// In which format.
        #[command(flatten)]
        output: Output,
    },
    /// Show the proof that one entry is in the log (C2SP tlog-proof)
    Prove {
        /// Its number
        seq: u64,
        /// Which file.
        #[command(flatten)]
        file: LedgerFile,
        /// In which format.
        #[command(flatten)]
        output: Output,
    },
    /// Check a proof with nothing but a key; exits 1 if it does not hold
    VerifyProof {
        /// The proof [-: stdin]
        proof: PathBuf,
        /// A key of the log (C2SP vkey)
        #[arg(
            long,
            value_name = "VKEY",
            required = true,
            env = "OSMODA_KEY",
            hide_env = true
        )]
        key: Vec<VerifierKey>,
        /// The exact bytes of the entry [default: those that the proof carries]
        #[arg(long, value_name = "FILE", env = "OSMODA_ENTRY", hide_env = true)]
        entry: Option<PathBuf>,
        /// In which format.
        #[command(flatten)]
        output: Output,
    },
    /// Drop what old entries say; what they hash to stays, and everything still verifies
    Prune {
        /// Only from before then: 90d (ago) or 2026-01-31T12:00:00Z
        #[arg(long, value_name = "T", env = "OSMODA_BEFORE", hide_env = true)]
        before: String,
        /// Which file.
        #[command(flatten)]
        file: LedgerFile,
        /// In which format.
        #[command(flatten)]
        output: Output,
    },
    /// Drop what one entry says, such as a secret that got into it
    Redact {
        /// Its number
        seq: u64,
        /// Why, for those who come after
        #[arg(
            long,
            value_name = "R",
            default_value = "",
            hide_default_value = true,
            env = "OSMODA_REASON",
            hide_env = true
        )]
        reason: String,
        /// Which file.
        #[command(flatten)]
        file: LedgerFile,
        /// In which format.
        #[command(flatten)]
        output: Output,
    },
    /// Tell what happened on several nodes as one story; exits 1 if a ledger is not sound
    Timeline(Timeline),
    /// Report on a period for an auditor; exits 1 if it is not complete
    Report(Report),
    /// Show how far each anchor has come, or print the checkpoint that one took
    Anchor(Anchor),
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
