//! Incidents, put together from the entries that belong to them.
//!
//! An incident begins with the first entry that carries its id and ends with the
//! HealthVerified entry that does. Times are those that the node measured on its monotonic
//! clock and recorded there; nothing is computed from wall clocks.

use std::collections::BTreeMap;

use osmoda_core::digest::Digest;
use serde::Serialize;
use serde_json::Value;

/// A failure and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// Index of its log.
    pub log: usize,
    /// Node that recorded it.
    pub node: String,
    /// The agent concerned.
    pub agent: Option<String>,
    /// Seq of its first entry.
    pub first_seq: u64,
    /// Leaf of its first entry.
    pub first_leaf: Digest,
    /// Seq of its last entry so far.
    pub last_seq: u64,
    /// When it was first recorded (RFC 3339).
    pub opened_at: String,
    /// One CamelCase word: Crashed, OomKilled, ...
    pub reason: String,
    /// For people.
    pub message: String,
    /// Failures within it.
    pub failures: u64,
    /// Acts that were tried, and of these the ones that failed.
    pub actions: u64,
    /// Acts that could not be done.
    pub failed_actions: u64,
    /// Its restart budget was spent, or nothing helped.
    pub escalated: bool,
    /// How it ended; absent while it has not.
    pub recovery: Option<Recovery>,
}

/// The verified end of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// Seq of the HealthVerified entry.
    pub seq: u64,
    /// When (RFC 3339).
    pub at: String,
    /// Recovered or Completed.
    pub reason: String,
    /// From the failure to its detection, in microseconds.
    pub time_to_detect_us: Option<u64>,
    /// From the failure to the start of what proved healthy, in microseconds.
    pub time_to_restart_us: Option<u64>,
    /// From the failure to verified health, in microseconds.
    pub time_to_verify_us: Option<u64>,
}

/// Puts incidents together, entry by entry.
#[derive(Debug, Default)]
pub struct Incidents {
    open: BTreeMap<(usize, String), Incident>,
}

impl Incidents {
    /// Takes the next entry of a log; one that belongs to no incident is passed over.
    pub fn take(&mut self, log: usize, seq: u64, leaf: Digest, entry: &Value) {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let Some(id) = entry["incident"].as_str() else {
            return;
        };
        let body = &entry["body"];
        let key = (log, id.to_owned());
        let incident = self.open.entry(key).or_insert_with(|| Incident {
            id: id.to_owned(),
            log,
            node: text("node"),
            agent: entry["agent"].as_str().map(str::to_owned),
            first_seq: seq,
            first_leaf: leaf,
            last_seq: seq,
            opened_at: text("ts"),
            reason: body["reason"].as_str().unwrap_or("Unknown").to_owned(),
            message: body["message"].as_str().unwrap_or_default().to_owned(),
            failures: 0,
            actions: 0,
            failed_actions: 0,
            escalated: false,
            recovery: None,
        });
        incident.last_seq = seq;
        match entry["kind"].as_str().unwrap_or_default() {
            "FailureDetected" => incident.failures += 1,
            "ActionIntended" | "RollbackIntended" => incident.actions += 1,
            "ActionFailed" | "RollbackFailed" => incident.failed_actions += 1,
            "EscalationExhausted" => incident.escalated = true,
            "HealthVerified" => {
                incident.recovery = Some(Recovery {
                    seq,
                    at: text("ts"),
                    reason: body["reason"].as_str().unwrap_or_default().to_owned(),
                    time_to_detect_us: body["timeToDetectUs"].as_u64(),
                    time_to_restart_us: body["timeToRestartUs"].as_u64(),
                    time_to_verify_us: body["timeToVerifyUs"].as_u64(),
                });
            }
            _ => {}
        }
    }

    /// Forgets those that have ended: they lie before what is looked at.
    pub fn forget_recovered(&mut self) {
        self.open.retain(|_, incident| incident.recovery.is_none());
    }

    /// All of them: by log, then by their first entry.
    pub fn done(self) -> Vec<Incident> {
        let mut all: Vec<_> = self.open.into_values().collect();
        all.sort_by_key(|incident| (incident.log, incident.first_seq));
        all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn collected(entries: &[Value]) -> Vec<Incident> {
        let mut incidents = Incidents::default();
        for (seq, entry) in entries.iter().enumerate() {
            incidents.take(0, seq as u64, Digest::of(b""), entry);
        }
        incidents.done()
    }

    #[test]
    fn an_incident_is_what_carries_its_id_from_failure_to_verified_health() {
        let found = collected(&[
            json!({"kind": "NodeStarted", "body": {}}),
            json!({"kind": "FailureDetected", "incident": "i", "agent": "a", "node": "n",
                "ts": "T1", "body": {"reason": "Crashed", "message": "exit code 1"}}),
            json!({"kind": "ActionIntended", "incident": "i", "body": {}}),
            json!({"kind": "ActionFailed", "incident": "i", "body": {}}),
            json!({"kind": "FailureDetected", "incident": "j", "body": {}}),
            json!({"kind": "HealthVerified", "incident": "i", "ts": "T2", "body":
                {"reason": "Recovered", "timeToDetectUs": 5, "timeToRestartUs": 70, "timeToVerifyUs": 900}}),
        ]);
        let [first, second] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!((first.first_seq, first.last_seq), (1, 5));
        assert_eq!((first.reason.as_str(), first.failures), ("Crashed", 1));
        assert_eq!((first.actions, first.failed_actions), (1, 1));
        let recovery = first.recovery.as_ref().unwrap();
        assert_eq!((recovery.seq, recovery.time_to_verify_us), (5, Some(900)));
        assert_eq!((second.id.as_str(), &second.recovery), ("j", &None));
    }
}
