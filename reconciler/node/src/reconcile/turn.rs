//! One turn's entries: facts and plans of many agents, assembled into one commit.

use std::collections::BTreeMap;

use osmoda_core::{
    event::{Actor, Event},
    name::AgentName,
    plan::Record,
};
use osmoda_ledger::{Cause, Commit, Draft, IncidentRef, StateChange};
use serde_json::{Map, Value};

/// Key of an agent's memory in the state table.
pub fn agent_key(name: &AgentName) -> String {
    format!("agent/{name}")
}

/// The commit of one turn in the making.
#[derive(Debug, Default)]
pub struct Turn {
    drafts: Vec<Draft>,
    state: BTreeMap<String, StateChange>,
    last_of: BTreeMap<AgentName, usize>,
}

impl Turn {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty() && self.state.is_empty()
    }

    /// Adds an entry that no agent's chain of causes leads to.
    pub fn note(&mut self, agent: Option<&AgentName>, actor: Actor, event: &Event) -> usize {
        self.push(agent, actor, event, None, Vec::new())
    }

    /// Adds the records of one agent: the first is caused by what this turn already says of
    /// the agent, else by `root`; each other by the one before it. Gives the first one's index.
    pub fn records(&mut self, agent: &AgentName, root: Option<Cause>, records: &[Record]) -> usize {
        let first = self.drafts.len();
        for (n, record) in records.iter().enumerate() {
            let cause = match self.last_of.get(agent) {
                Some(last) => Some(Cause::InCommit(*last)),
                None => root.clone(),
            };
            // Whatever else the turn says: an outcome's first cause is its intent, and what a
            // dependency's failure explains points to that failure.
            let cause = match &root {
                Some(root) if n == 0 && (is_outcome(&record.event) || is_effect(&record.event)) => {
                    Some(root.clone())
                }
                _ => cause,
            };
            let incident = record.incident.clone();
            let causes = cause.into_iter().collect();
            self.push(
                Some(agent),
                Actor::Reconciler,
                &record.event,
                incident,
                causes,
            );
        }
        first
    }

    /// Adds records of the system: the first is caused by `root`, each other by the one before
    /// it. Gives the first one's index.
    pub fn system_records(&mut self, root: Option<Cause>, records: &[Event]) -> usize {
        let first = self.drafts.len();
        let mut cause = root;
        for event in records {
            let causes = cause.take().into_iter().collect();
            let index = self.push(None, Actor::Reconciler, event, None, causes);
            cause = Some(Cause::InCommit(index));
        }
        first
    }

    fn push(
        &mut self,
        agent: Option<&AgentName>,
        actor: Actor,
        event: &Event,
        incident: Option<String>,
        causes: Vec<Cause>,
    ) -> usize {
        let index = self.drafts.len();
        self.drafts.push(Draft {
            kind: event.kind(),
            agent: agent.cloned(),
            incident: incident.map(IncidentRef::Known),
            causes,
            actor,
            body: body(event),
        });
        if let Some(agent) = agent {
            self.last_of.insert(agent.clone(), index);
        }
        index
    }

    /// Sets a row of the state table.
    pub fn put(&mut self, key: String, value: Vec<u8>) {
        self.state
            .insert(key.clone(), StateChange::Put { key, value });
    }

    /// Deletes a row of the state table.
    pub fn delete(&mut self, key: String) {
        self.state.insert(key.clone(), StateChange::Delete { key });
    }

    /// The commit, whole.
    pub fn into_commit(self) -> Commit {
        Commit {
            entries: self.drafts,
            state: self.state.into_values().collect(),
        }
    }
}

fn is_outcome(event: &Event) -> bool {
    matches!(
        event,
        Event::ActionSucceeded(_)
            | Event::ActionFailed(_)
            | Event::RollbackSucceeded(_)
            | Event::RollbackFailed(_)
    )
}

fn is_effect(event: &Event) -> bool {
    matches!(event, Event::FailureDetected(failure) if !failure.because_of.is_empty())
}

/// The body of an entry; fields without a value are left out.
fn body(event: &Event) -> Map<String, Value> {
    match serde_json::to_value(event) {
        Ok(Value::Object(mut map)) => {
            map.retain(|_, value| !value.is_null());
            map
        }
        // Bodies are structs of text, whole numbers and lists: they always serialize to objects.
        _ => Map::new(),
    }
}
