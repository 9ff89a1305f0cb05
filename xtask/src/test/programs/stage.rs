//! A daemon with one agent: waiting for it to be ready, and for recoveries on record.

use std::{ops::Deref, path::Path};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::node::{self, Node};

/// The daemon and its agent.
pub struct Stage {
    node: Node,
    agent: String,
}

/// An agent that is ready.
pub struct Status {
    pub pid: u32,
    pub message: String,
}

/// What the ledger tells of a failure that is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovery {
    /// From the failure to its detection, in milliseconds.
    pub detect_ms: u64,
    /// From there to verified health, in milliseconds.
    pub back_ms: u64,
}

impl Deref for Stage {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Stage {
    /// Starts a daemon for an agent of this name and spec.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        osmoda: &Path,
        directory: &Path,
        agent: &str,
        spec: &Value,
    ) -> anyhow::Result<Self> {
        let manifest = json!({
            "apiVersion": "osmoda/v1", "kind": "Agent",
            "metadata": {"name": agent}, "spec": spec,
        });
        Ok(Self {
            node: Node::start(osmoda, directory, &manifest.to_string())?,
            agent: agent.to_owned(),
        })
    }

    /// Waits until the agent is ready as another process than this one.
    ///
    /// # Errors
    /// It does not come within [`node::BOUND`]; the error shows the last status.
    pub fn until_ready(&self, than: u32) -> anyhow::Result<Status> {
        let mut last = Value::Null;
        let found = node::until("a ready agent", || {
            last = self.ask(&["status", &self.agent])?.unwrap_or_default();
            Ok(ready(&last["status"], than))
        });
        found.with_context(|| format!("its last status: {last}"))
    }

    /// Waits for a failure with this reason and for the verified recovery from it, among the
    /// entries from number `since` on.
    ///
    /// # Errors
    /// They do not come within [`node::BOUND`], or the failure has another reason.
    pub fn recovery_since(&self, since: usize, reason: &str) -> anyhow::Result<Recovery> {
        node::until("a verified recovery", || {
            recovery(&self.entries()?[since..], reason)
        })
    }
}

/// Of `status` of an agent.
fn ready(status: &Value, than: u32) -> Option<Status> {
    let pid = u32::try_from(status["pid"].as_u64()?).ok()?;
    let is_another = status["ready"] == true && status["phase"] == "Running" && pid != than;
    is_another.then(|| Status {
        pid,
        message: status["message"].as_str().unwrap_or_default().to_owned(),
    })
}

fn recovery(entries: &[Value], reason: &str) -> anyhow::Result<Option<Recovery>> {
    let find = |kind: &str, from: usize| {
        let later = entries.iter().enumerate().skip(from);
        let mut of_kind = later.filter(|(_, entry)| entry["kind"] == kind);
        of_kind.next()
    };
    let Some((at, failure)) = find("FailureDetected", 0) else {
        return Ok(None);
    };
    let found = &failure["body"]["reason"];
    ensure!(found == reason, "a failure was found, but as {failure}");
    let Some((_, verified)) = find("HealthVerified", at) else {
        return Ok(None);
    };
    let took = |fact: &str| {
        let microseconds = verified["body"][fact].as_u64();
        microseconds.with_context(|| format!("{fact} is not in {verified}"))
    };
    let detect = took("timeToDetectUs")?;
    // Both count from the failure.
    let back = took("timeToVerifyUs")?.saturating_sub(detect);
    Ok(Some(Recovery {
        detect_ms: detect / 1000,
        back_ms: back / 1000,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: &str) -> Value {
        json!({"kind": "FailureDetected", "body": {"reason": reason}})
    }

    fn verified() -> Value {
        json!({"kind": "HealthVerified", "body": {
            "timeToDetectUs": 1500, "timeToRestartUs": 2000, "timeToVerifyUs": 302_000,
        }})
    }

    #[test]
    fn only_health_that_is_verified_after_the_failure_is_a_recovery() {
        let early = [verified(), failure("Crashed")];
        assert_eq!(recovery(&early, "Crashed").unwrap(), None);
        let whole = [failure("Crashed"), verified()];
        let expected = Recovery {
            detect_ms: 1,
            back_ms: 300,
        };
        assert_eq!(recovery(&whole, "Crashed").unwrap(), Some(expected));
    }

    #[test]
    fn a_failure_of_another_kind_is_not_taken_for_the_expected_one() {
        assert!(recovery(&[failure("Hang"), verified()], "Crashed").is_err());
    }

    #[test]
    fn the_process_that_was_struck_is_not_the_one_that_came_back() {
        let status = json!({"ready": true, "phase": "Running", "pid": 7});
        assert!(ready(&status, 7).is_none());
        assert_eq!(ready(&status, 6).unwrap().pid, 7);
        assert!(ready(&json!({"ready": false, "phase": "Running", "pid": 7}), 6).is_none());
    }
}
