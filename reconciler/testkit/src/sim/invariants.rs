//! What must hold after every step, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use osmoda_core::{digest::Digest, memory::Memory, name::AgentName, status::Phase};
use osmoda_ledger::tlog;
use osmoda_node::reconcile::journal::Journal as _;
use serde_json::Value;

use super::{AGENTS, Simulation, name};

/// What has been checked already, so that each entry is read once.
#[derive(Debug, Default)]
pub struct Checked {
    size: u64,
    chain: Option<Digest>,
    /// Start intents by invocation: when they were written, and whether late.
    intents: BTreeMap<String, Intent>,
    /// Invocations that are on record as started.
    started: BTreeMap<String, AgentName>,
    /// Invocations whose end is on record.
    ended: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy)]
struct Intent {
    mono_us: u64,
    late: bool,
}

impl Simulation {
    /// Holds after every step.
    pub(super) fn check(&mut self) -> Result<(), String> {
        for agent in AGENTS.map(name) {
            if self.world.alive(&agent) > 1 {
                return Err(format!(
                    "{agent} has {} instances",
                    self.world.alive(&agent)
                ));
            }
        }
        self.world.assert_single_instances();
        self.check_chain()?;
        self.read_new_entries()?;
        self.check_intents()
    }

    /// The ledger verifies: leaves, chain and head.
    fn check_chain(&mut self) -> Result<(), String> {
        let head = self.disk.head();
        let mut chain = self
            .checked
            .chain
            .unwrap_or_else(|| tlog::chain_start(&head.origin));
        for record in self.disk.records(self.checked.size) {
            let bytes = record
                .entry
                .as_deref()
                .ok_or("an entry has lost its body")?;
            if tlog::leaf(bytes) != record.leaf {
                return Err(format!("entry {} does not hash to its leaf", record.seq));
            }
            chain = tlog::chain_next(&chain, &record.leaf);
            if chain != record.chain {
                return Err(format!("the chain breaks at entry {}", record.seq));
            }
        }
        if chain != head.chain {
            return Err("the chain does not lead to its head".into());
        }
        self.checked.chain = Some(chain);
        Ok(())
    }

    fn read_new_entries(&mut self) -> Result<(), String> {
        for stored in self.disk.entries(self.checked.size) {
            let entry = &stored.entry;
            let body = &entry["body"];
            let kind = entry["kind"].as_str().unwrap_or_default();
            let invocation = body["invocation"].as_str().unwrap_or_default().to_owned();
            let action = body["action"].as_str().unwrap_or_default();
            let checked = &mut self.checked;
            match (kind, action) {
                ("ActionIntended", "Start") => {
                    let intent = Intent {
                        mono_us: mono(entry),
                        late: body.get("late").is_some(),
                    };
                    if checked.intents.insert(invocation.clone(), intent).is_some() {
                        return Err(format!("instance {invocation} was intended twice"));
                    }
                }
                ("ActionSucceeded", "Start") => {
                    let agent = entry["agent"].as_str().unwrap_or_default();
                    checked.started.insert(invocation, name(agent));
                }
                ("ActionSucceeded", "Stop") | ("FailureDetected" | "HealthVerified", _) => {
                    let recovered = body["reason"] == "Recovered";
                    let failed = kind == "FailureDetected";
                    if failed && checked.ended.contains(&invocation) {
                        return Err(format!("the end of {invocation} was recorded twice"));
                    }
                    if !recovered {
                        checked.ended.insert(invocation);
                    }
                }
                _ => {}
            }
        }
        self.checked.size = self.disk.head().size;
        Ok(())
    }

    /// Every act has its intent before it, unless recording was degraded and says so.
    fn check_intents(&self) -> Result<(), String> {
        for (agent, invocation, started_at) in self.world.running() {
            match self.checked.intents.get(&invocation.to_string()) {
                Some(intent) if intent.late || intent.mono_us <= started_at.0 => {}
                Some(_) => {
                    return Err(format!("{agent} was started before its intent was written"));
                }
                None if self.disk.is_or_was_full() => {}
                None => {
                    return Err(format!(
                        "{agent} runs {invocation} without an intent on record"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Holds once the faults have ended: everything is as desired.
    pub(super) async fn check_converged(&mut self) -> Result<(), String> {
        let daemon = self.daemon.as_ref().ok_or("there is no daemon")?;
        let diff = daemon
            .handle
            .diff(Default::default())
            .await
            .map_err(|gone| gone.to_string())?;
        let differences = diff.agents.iter().flat_map(|agent| &agent.differences);
        if differences.clone().any(|difference| !difference.is_kept()) {
            return Err(format!("not converged: {:?}", diff.agents));
        }
        let status = daemon
            .handle
            .status()
            .await
            .map_err(|gone| gone.to_string())?;
        for agent in AGENTS.map(name) {
            let shown = status
                .items
                .iter()
                .find(|item| item.metadata.name == agent.as_str());
            let alive = self.world.alive(&agent);
            let phase = shown.map(|item| item.status.phase);
            match (self.desired.contains_key(&agent), phase) {
                (false, None) if alive == 0 => {}
                (true, Some(Phase::Running)) if alive == 1 => {}
                (true, Some(Phase::Succeeded | Phase::Failed)) if alive == 0 => {}
                (declared, phase) => {
                    return Err(format!(
                        "{agent}: declared {declared}, {phase:?}, {alive} alive"
                    ));
                }
            }
        }
        self.check_ends_are_recorded()
    }

    /// No exit is forgotten: what was started and no longer runs has its end on record, unless
    /// its agent is gone. What a daemon could not write when it died is lost with it.
    fn check_ends_are_recorded(&self) -> Result<(), String> {
        if self.disk.is_or_was_full() && self.deaths > 0 {
            return Ok(());
        }
        let running: BTreeSet<_> = self
            .world
            .running()
            .into_iter()
            .map(|(_, invocation, _)| invocation.to_string())
            .collect();
        let memories = self.disk.state("agent/")?;
        for (invocation, agent) in &self.checked.started {
            let known = memories.get(&format!("agent/{agent}"));
            let known: Option<Memory> = known.and_then(|bytes| serde_json::from_slice(bytes).ok());
            let accounted = self.checked.ended.contains(invocation) || running.contains(invocation);
            if !accounted && known.is_some() && !self.removed_since(agent, invocation) {
                return Err(format!(
                    "the end of {agent} {invocation} was never recorded"
                ));
            }
        }
        Ok(())
    }

    /// Whether the agent was removed from the specs after this instance was intended.
    fn removed_since(&self, agent: &AgentName, invocation: &str) -> bool {
        let mut seen = false;
        self.disk.entries(0).iter().any(|stored| {
            let body = &stored.entry["body"];
            seen |= body["invocation"] == invocation;
            seen && stored.entry["agent"] == agent.as_str() && body["change"] == "Removed"
        })
    }
}

fn mono(entry: &Value) -> u64 {
    entry["mono"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(u64::MAX)
}
