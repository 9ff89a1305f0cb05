//! The live view without a terminal: keys and news in, pictures out.

mod keys;
mod pictures;

use std::time::Duration;

use osmoda_core::{rollout::Verdict, status::Phase};
use osmoda_node::api::types::{AgentList, AgentObject, EntryObject, LedgerHead};
use serde_json::{Value, json};

use super::model::{Model, News};
use crate::show::describe::tests::sample;

const NOW: &str = "2026-01-31T12:05:10.000000Z";

fn agent(name: &str, phase: Phase, ready: bool) -> AgentObject {
    let mut agent = sample(name);
    let status = &mut agent.status;
    (status.phase, status.ready, status.next_action) = (phase, ready, None);
    status.generation.verdict = Some(Verdict::Good);
    if phase != Phase::Running {
        (status.pid, status.uptime_ms) = (None, None);
    }
    agent
}

fn with_next(mut agent: AgentObject, what: &str, in_ms: u64, message: &str) -> AgentObject {
    let next = json!({"what": what, "at": NOW, "inMs": in_ms});
    agent.status.next_action = serde_json::from_value(next).unwrap();
    agent.status.message = message.to_owned();
    agent
}

fn list() -> AgentList {
    let node = json!({
        "name": "alpha", "version": "0.1.0", "pid": 7, "runtime": "native",
        "specs": "/etc/osmoda/agents", "uptimeMs": 3_600_000,
        "ledger": {"origin": "o", "size": 12_345, "root": "r", "chain": "c", "unanchored": 7,
            "anchors": [{"name": "directory /mnt/a", "size": 12_338, "at": null,
                "failingSince": null, "reason": null, "fork": false, "failures": 0}]},
        "specErrors": []
    });
    let mut proving = with_next(agent("crawler", Phase::Running, true), "Prove", 8000, "");
    proving.status.generation.verdict = Some(Verdict::Unproven);
    let why = "Exited: exit code 3";
    let mut failing = with_next(
        agent("summarizer", Phase::Backoff, false),
        "Start",
        94_000,
        why,
    );
    failing.status.restarts = 11;
    failing.status.generation.verdict = Some(Verdict::Bad);
    AgentList {
        api_version: "osmoda/v1".to_owned(),
        kind: "AgentList".to_owned(),
        node: serde_json::from_value(node).unwrap(),
        items: vec![
            proving,
            agent("日本語-too-wide-for-the-table", Phase::Running, true),
            agent("nightly-report", Phase::Succeeded, false),
            failing,
        ],
    }
}

fn used(list: &mut AgentList, name: &str, memory: u64, cpu: u32) {
    let mut agents = list.items.iter_mut();
    let agent = agents.find(|agent| agent.metadata.name == name).unwrap();
    let used = json!({"memoryBytes": memory, "cpuPercent": cpu});
    agent.status.resources = serde_json::from_value(used).unwrap();
}

fn entry(seq: u64, agent: &str, incident: &str, kind: &str, body: Value) -> EntryObject {
    EntryObject {
        seq,
        leaf: String::new(),
        entry: json!({
            "kind": kind, "agent": agent, "incident": incident, "actor": {"type": "Reconciler"},
            "ts": format!("2026-01-31T12:0{}:00.000000Z", seq / 2), "body": body,
            "causes": if incident == "leaf" { json!([{"seq": 0}]) } else { json!([]) }
        }),
    }
}

fn entries() -> Vec<EntryObject> {
    let exited = json!({"reason": "Exited", "message": "the main process ended: exit code 3",
        "uptimeMs": 1000});
    let held = json!({"reason": "Unhealthy", "message": "connection refused",
        "becauseOf": ["summarizer"]});
    vec![
        entry(0, "summarizer", "root", "FailureDetected", exited.clone()),
        entry(1, "crawler", "leaf", "FailureDetected", held),
        entry(2, "summarizer", "root", "FailureDetected", exited.clone()),
        entry(
            3,
            "summarizer",
            "root",
            "ActionSucceeded",
            json!({"action": "Start", "pid": 9, "tookUs": 4000}),
        ),
        entry(4, "nightly-report", "other", "FailureDetected", exited),
        entry(
            5,
            "nightly-report",
            "other",
            "HealthVerified",
            json!({"reason": "Recovered", "timeToVerifyUs": 2_000_000}),
        ),
    ]
}

/// A model that has looked `looks` times, once a second.
fn looked(looks: u64) -> Model {
    let mut model = Model::new();
    for look in 0..looks {
        let mut list = list();
        used(&mut list, "crawler", (look + 1) << 24, 10);
        used(
            &mut list,
            "summarizer",
            1 << 20,
            u32::try_from(look * 20).unwrap(),
        );
        model.tick(Duration::from_secs(look), NOW.to_owned());
        model.take(News::Looked {
            list: Box::new(list),
            head: serde_json::from_value::<LedgerHead>(json!({
                "origin": "o", "size": 12_345, "root": "r", "chain": "c", "unanchored": 7,
                "checkpoint": {"size": 12_340, "signedAt": "2026-01-31T12:00:00Z"}
            }))
            .ok(),
            entries: if look == 0 { entries() } else { Vec::new() },
        });
    }
    model
}
