//! A message that waits: what its row of the ledger's file holds. No secret is in it.

use std::{collections::BTreeSet, time::Duration};

use osmoda_core::{alert::Change, digest::Digest, spec::Severity, time::Wall};
use serde::{Deserialize, Serialize};

/// Most agents that a counting message names.
const NAMED_MAX: usize = 20;
/// How long a message that counts waits for more, with a margin for the clock.
const COLLECT: Duration = Duration::from_secs(65);

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The same for every try; other for any other message.
    pub id: String,
    /// Dedup key at the provider.
    pub key: String,
    /// Messages of one lane are sent in their order.
    pub lane: String,
    /// Trigger, Resolve or Note.
    pub change: Change,
    /// How urgent it is.
    pub severity: Severity,
    /// Kind of the entry; `Storm`, `Overflow`, `Digest` and `Test` are none.
    pub kind: String,
    /// Name of the node.
    pub node: String,
    /// The agent concerned.
    pub agent: Option<String>,
    /// The incident.
    pub incident: Option<String>,
    /// One line.
    pub title: String,
    /// What is known, by name, in the order to be shown.
    pub facts: Vec<(String, String)>,
    /// The last lines of the agent's output.
    pub output: Vec<String>,
    /// When it was queued.
    pub at: Wall,
    /// It stands for several.
    pub counted: Option<Counted>,
    /// How often it was sent without success.
    #[serde(default)]
    pub tries: u32,
    /// How often the provider refused it as such.
    #[serde(default)]
    pub refusals: u32,
    /// Why the last try failed.
    #[serde(default)]
    pub last_error: Option<String>,
}

/// What a message stands for, if it stands for several.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// Whose, the first ones by name.
    pub agents: BTreeSet<String>,
}

impl Item {
    /// Its id: one for each message, so that a receiver knows a second try.
    pub fn id_of(key: &str, change: Change, at: Wall) -> String {
        let digest = Digest::of(format!("{key}|{change:?}|{}", at.0).as_bytes()).to_string();
        format!("msg_{}", &digest[..32])
    }

    /// When it may be sent.
    pub fn due(&self) -> Wall {
        let collects = self.counted.is_some() && self.kind == "Storm";
        let wait = if collects { COLLECT } else { Duration::ZERO };
        Wall(self.at.0.saturating_add(micros(wait)))
    }
}

impl Counted {
    /// Counts `more` messages of `agents` in.
    pub fn add(&mut self, more: u64, agents: impl IntoIterator<Item = String>) {
        self.count += more;
        for agent in agents {
            if self.agents.len() < NAMED_MAX {
                self.agents.insert(agent);
            }
        }
    }

    /// `3 more alerts, of a, b`.
    pub fn sentence(&self, what: &str) -> String {
        let plural = if self.count == 1 { "" } else { "s" };
        let mut text = format!("{} {what}{plural}", self.count);
        if !self.agents.is_empty() {
            let names: Vec<&str> = self.agents.iter().map(String::as_str).collect();
            text.push_str(&format!(", of {}", names.join(", ")));
            if self.agents.len() == NAMED_MAX {
                text.push_str(", …");
            }
        }
        text
    }
}

/// The name of a node, as short as keys need it: PagerDuty takes 255 characters in all.
pub fn in_key(node: &str) -> &str {
    super::facts::cut(node, 63)
}

/// A duration as the wall clock counts.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
