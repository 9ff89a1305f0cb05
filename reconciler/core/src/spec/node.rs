//! `kind: Node`: what is the machine's and not an agent's, with every default in one place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Probe;
use crate::units::Period;

/// `kind: Node`: what is the machine's and not an agent's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Name in the ledger; default: the host name.
    pub name: Option<String>,
    /// Who may act besides root and the daemon's user.
    pub operators: Operators,
    /// Loopback address of /metrics over TCP, such as `127.0.0.1:9464`.
    pub metrics: Option<std::net::SocketAddr>,
    /// Health checks of the machine.
    pub health_checks: BTreeMap<String, Probe>,
    /// Whether and how often the system may be rolled back.
    pub rollback: NodeRollback,
    /// Where alerts go.
    pub alerts: Vec<Alert>,
    /// Cadence and anchors of the ledger.
    pub ledger: LedgerSettings,
}

/// Users and groups that may act.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Operators {
    /// User names.
    pub users: Vec<String>,
    /// Group names.
    pub groups: Vec<String>,
}

/// System rollback settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRollback {
    /// Auto or Never.
    pub system: SystemRollback,
    /// Most system rollbacks in `per`; default 3.
    pub budget: u32,
    /// Default 24 h.
    pub per: Period,
}

impl Default for NodeRollback {
    fn default() -> Self {
        Self {
            system: SystemRollback::Auto,
            budget: 3,
            per: Period::secs(86_400),
        }
    }
}

/// Whether the system may be rolled back by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemRollback {
    /// When agents' rollbacks did not help.
    Auto,
    /// Not at all.
    Never,
}

/// One receiver of alerts. Serialized, it holds names of files and no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Its name, for `alerts test`.
    pub name: String,
    /// Format and provider.
    pub provider: AlertProvider,
    /// File that holds the URL (a webhook URL is a secret).
    pub url_file: Option<String>,
    /// File that holds the key or token.
    pub key_file: Option<String>,
    /// Telegram chat.
    pub chat_id: Option<String>,
    /// Least severity sent; default Warning.
    pub min_severity: Severity,
    /// Only agents with these labels; empty: all.
    pub labels: BTreeMap<String, String>,
    /// Only these entry kinds; empty: all that alert.
    pub kinds: Vec<String>,
}

/// Format of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum AlertProvider {
    Slack,
    PagerDuty,
    Opsgenie,
    Telegram,
    Webhook,
}

/// Severity of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Severity {
    Info,
    #[default]
    Warning,
    Critical,
}

/// Ledger settings of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerSettings {
    /// Longest time an entry stays unsigned; default 30 s.
    pub checkpoint_every: Period,
    /// Where checkpoints are carried.
    pub anchors: Vec<Anchor>,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self {
            checkpoint_every: Period::secs(30),
            anchors: Vec::new(),
        }
    }
}

/// A place outside the machine that keeps checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// A directory, such as another host's mount (absolute path).
    Directory(String),
    /// A webhook; the file holds its URL.
    Webhook {
        /// Absolute path of the file with the URL.
        url_file: String,
    },
    /// A C2SP tlog-witness.
    Witness {
        /// Its submission URL prefix.
        url: String,
        /// Its public key (C2SP vkey).
        key: String,
    },
}
