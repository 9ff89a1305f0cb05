//! Which entries are evidence for which of the Trust Services Criteria (AICPA, TSP section
//! 100), as SOC 2 examinations use them.
//!
//! This is an index into the ledger and no judgement: whether a control is designed well and
//! worked is for the auditor. Each row therefore says, too, what the entries do not show. The
//! headings are our own words for what a criterion asks.

use std::collections::BTreeMap;

use serde::Serialize;

/// One criterion and the entries that bear on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Criterion {
    /// Its number, such as CC7.2.
    pub id: &'static str,
    /// What it asks, in a few words of ours.
    pub asks: &'static str,
    /// What the ledger records that bears on it.
    pub shows: &'static str,
    /// What the ledger cannot show and an auditor must find elsewhere.
    pub does_not_show: &'static str,
    /// How many entries of each kind that bears on it lie in the period.
    pub entries: BTreeMap<&'static str, u64>,
}

struct Row {
    id: &'static str,
    asks: &'static str,
    shows: &'static str,
    does_not_show: &'static str,
    kinds: &'static [&'static str],
}

const ROWS: [Row; 6] = [
    Row {
        id: "CC7.1",
        asks: "Configuration changes that open a weakness are noticed",
        shows: "Every change of an agent's declared configuration with the digests before and after, \
                every refused one, every difference between declared and observed state, and \
                changes made past osmoda.",
        does_not_show: "Scanning for vulnerabilities, and whether a declared configuration is a safe one.",
        kinds: &[
            "SpecChanged",
            "SpecRejected",
            "Diff",
            "OutsideAction",
            "GenerationActivated",
        ],
    },
    Row {
        id: "CC7.2",
        asks: "The system is watched for anomalies",
        shows: "Each failure that was detected, by which detector and how soon; gaps in the \
                recording itself, clocks set back, and anchors that could not be reached.",
        does_not_show: "Anomalies that no configured detector looks for, and anything outside the agents.",
        kinds: &[
            "FailureDetected",
            "RecordingDegraded",
            "ClockRegressed",
            "LogReset",
            "AnchorFailed",
            "NodeStarted",
            "NodeStopped",
        ],
    },
    Row {
        id: "CC7.3",
        asks: "Events are judged, and those that are incidents are treated as such",
        shows: "Which events were grouped into an incident, which generation was found bad, and \
                when the budget for automatic recovery was spent.",
        does_not_show: "A person's judgement of what an event meant for security.",
        kinds: &["FailureDetected", "GenerationBad", "EscalationExhausted"],
    },
    Row {
        id: "CC7.4",
        asks: "Incidents are responded to by a defined procedure",
        shows: "Each act, recorded before it was done and again with its outcome; each alert and \
                whether it arrived; each command of an operator with who gave it.",
        does_not_show: "Work of people outside osmoda, and communication with those affected.",
        kinds: &[
            "ActionIntended",
            "ActionSucceeded",
            "ActionFailed",
            "RollbackIntended",
            "RollbackSucceeded",
            "RollbackFailed",
            "AlertQueued",
            "AlertDelivered",
            "AlertFailed",
            "OperatorCommand",
            "Paused",
            "Resumed",
        ],
    },
    Row {
        id: "CC7.5",
        asks: "Operation is restored after an incident",
        shows: "When health was verified after each failure, the time that took, and which \
                incidents have no verified end.",
        does_not_show: "Restoring of data, and what was learned and changed afterwards.",
        kinds: &["HealthVerified", "RollbackSucceeded", "GenerationGood"],
    },
    Row {
        id: "CC8.1",
        asks: "Changes are authorised, tested and put in place in a controlled way",
        shows: "What became active when, by the digest of its manifest, with what was active \
                before; changes that were refused; rollbacks; commands with the user who gave \
                them, and attempts that were not allowed.",
        does_not_show: "Who approved a change before it was deployed, its review, and its tests.",
        kinds: &[
            "SpecChanged",
            "SpecRejected",
            "GenerationActivated",
            "GenerationGood",
            "GenerationBad",
            "RollbackSucceeded",
            "OperatorCommand",
            "OutsideAction",
        ],
    },
];

/// Every criterion with its entries, counted by kind.
pub fn criteria(kinds: &BTreeMap<String, u64>) -> Vec<Criterion> {
    let count = |kind: &'static str| (kind, kinds.get(kind).copied().unwrap_or(0));
    ROWS.iter()
        .map(|row| Criterion {
            id: row.id,
            asks: row.asks,
            shows: row.shows,
            does_not_show: row.does_not_show,
            entries: row.kinds.iter().map(|kind| count(kind)).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use osmoda_core::event::EventKind;

    use super::*;

    #[test]
    fn every_kind_that_is_named_exists() {
        for kind in ROWS.iter().flat_map(|row| row.kinds) {
            let known: Result<EventKind, _> = serde_json::from_value((*kind).into());
            assert!(known.is_ok(), "{kind}");
        }
    }

    #[test]
    fn a_kind_without_entries_counts_zero_and_is_listed() {
        let kinds = BTreeMap::from([("Diff".to_owned(), 3)]);
        let first = &criteria(&kinds)[0];
        assert_eq!(first.entries["Diff"], 3);
        assert_eq!(first.entries["SpecChanged"], 0);
    }
}
