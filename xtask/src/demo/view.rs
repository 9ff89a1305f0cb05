//! What `osmoda -o json` says, as far as the story reads it. Other fields are ignored: the
//! whole contract is tested elsewhere.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

/// `osmoda status -o json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Status {
    pub node: Node,
    items: Vec<Item>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    pub pid: u32,
    pub ledger: LedgerEnd,
}

#[derive(Debug, Clone, Deserialize)]
pub struct LedgerEnd {
    /// Number of the next entry.
    pub size: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct Item {
    metadata: Named,
    status: AgentStatus,
}

#[derive(Debug, Clone, Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, Clone, Deserialize)]
struct AgentStatus {
    ready: bool,
    pid: Option<u32>,
    invocation: Option<String>,
    generation: Generations,
}

#[derive(Debug, Clone, Deserialize)]
struct Generations {
    active: Option<Generation>,
}

#[derive(Debug, Clone, Deserialize)]
struct Generation {
    number: u64,
}

/// An agent that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    pub pid: u32,
    pub invocation: String,
    pub generation: u64,
}

impl Status {
    /// These agents, by name, if all of them are ready. A daemon that has just started may not
    /// know of them yet.
    pub fn all_ready(&self, names: &[&str]) -> Option<BTreeMap<String, Agent>> {
        let ready = |name: &&str| Some(((*name).to_owned(), self.ready(name)?));
        names.iter().map(ready).collect()
    }

    /// This agent, if it is ready.
    pub fn ready(&self, name: &str) -> Option<Agent> {
        let item = self.items.iter().find(|item| item.metadata.name == name)?;
        item.status.as_ready()
    }
}

impl AgentStatus {
    fn as_ready(&self) -> Option<Agent> {
        let agent = Agent {
            pid: self.pid?,
            invocation: self.invocation.clone()?,
            generation: self.generation.active.as_ref()?.number,
        };
        self.ready.then_some(agent)
    }
}

/// An entry of the ledger.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    pub seq: u64,
    pub kind: String,
    pub agent: Option<String>,
    /// Microseconds of CLOCK_BOOTTIME, as text.
    mono: String,
    pub actor: Value,
    pub body: Value,
}

impl Entry {
    /// When it was written, in microseconds of CLOCK_BOOTTIME.
    ///
    /// # Errors
    /// It holds no number.
    pub fn mono(&self) -> anyhow::Result<u64> {
        let seq = self.seq;
        self.mono
            .parse()
            .with_context(|| format!("reading the time of entry {seq}"))
    }
}

/// The entries in the order of the ledger: `osmoda events -o json`.
///
/// # Errors
/// It is not the object that the contract describes.
pub fn entries(events: &Value) -> anyhow::Result<Vec<Entry>> {
    let items = events["items"].as_array().context("events without items")?;
    items
        .iter()
        .map(|item| Entry::deserialize(&item["entry"]).context("reading an entry"))
        .collect()
}

/// The first entry of a kind that `is` the one.
///
/// # Errors
/// There is none.
pub fn find<'a>(
    entries: &'a [Entry],
    kind: &str,
    is: impl Fn(&Entry) -> bool,
) -> anyhow::Result<&'a Entry> {
    entries
        .iter()
        .find(|entry| entry.kind == kind && is(entry))
        .with_context(|| format!("the ledger has no such {kind} entry"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(ready: bool) -> Status {
        let agent = |name: &str, ready: bool| {
            json!({
                "metadata": {"name": name},
                "status": {
                    "ready": ready, "pid": 7, "invocation": "abc",
                    "generation": {"active": {"number": 2, "storePath": "/x"}},
                },
            })
        };
        let value = json!({
            "node": {"pid": 1, "ledger": {"size": 9}},
            "items": [agent("a", true), agent("b", ready)],
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn one_agent_that_is_not_ready_is_enough_to_wait() {
        assert!(status(false).all_ready(&["a", "b"]).is_none());
        assert!(status(true).all_ready(&["a", "unknown"]).is_none());
        assert!(status(false).ready("b").is_none());
        let all = status(true).all_ready(&["a", "b"]).unwrap();
        assert_eq!(Vec::from_iter(all.keys()), ["a", "b"]);
        assert_eq!(status(false).ready("a").unwrap().generation, 2);
        assert!(status(true).ready("c").is_none());
    }

    #[test]
    fn an_entry_is_found_by_kind_and_content() {
        let entry = |seq: u64, pid: u64| {
            json!({"seq": seq, "leaf": "", "entry": {
                "seq": seq, "kind": "Adopted", "mono": "5", "actor": {}, "body": {"pid": pid},
            }})
        };
        let entries = entries(&json!({"items": [entry(3, 7), entry(4, 8)]})).unwrap();
        let found = find(&entries, "Adopted", |entry| entry.body["pid"] == 8).unwrap();
        assert_eq!((found.seq, found.mono().unwrap()), (4, 5));
        assert!(find(&entries, "Adopted", |entry| entry.body["pid"] == 9).is_err());
        assert!(find(&entries, "Paused", |_| true).is_err());
    }
}
