//! Entries of the ledger as `osmoda ledger export` gives them.

use serde_json::Value;

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number.
    pub seq: u64,
    /// Its leaf hash, hex.
    pub leaf: String,
    /// Its fields.
    pub fields: Value,
}

impl Entry {
    /// Of a line with `seq`, `leaf` and `entry`; `None` for a line that holds none.
    pub fn of(line: &str) -> Option<Self> {
        let mut line: Value = serde_json::from_str(line).unwrap();
        Some(Self {
            seq: line.get("seq")?.as_u64()?,
            leaf: line["leaf"].as_str()?.to_owned(),
            fields: line["entry"].take(),
        })
    }

    pub fn kind(&self) -> &str {
        self.fields["kind"].as_str().unwrap_or_default()
    }

    pub fn agent(&self) -> &str {
        self.fields["agent"].as_str().unwrap_or_default()
    }

    pub fn body(&self) -> &Value {
        &self.fields["body"]
    }

    /// Number of the entry that it names as its first cause.
    pub fn cause(&self) -> Option<u64> {
        self.fields["causes"][0]["seq"].as_u64()
    }

    /// Of this kind, about this agent.
    pub fn is(&self, kind: &str, agent: &str) -> bool {
        self.kind() == kind && self.agent() == agent
    }

    /// Of this kind, about this action on this agent.
    pub fn is_about(&self, kind: &str, action: &str, agent: &str) -> bool {
        self.is(kind, agent) && self.body()["action"] == action
    }
}

/// Kinds of entries, in order, with the action where there is one: `ActionIntended Start`.
pub fn kinds<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<String> {
    let name = |entry: &Entry| match entry.body()["action"].as_str() {
        Some(action) => format!("{} {action}", entry.kind()),
        None => entry.kind().to_owned(),
    };
    entries.into_iter().map(name).collect()
}
