//! What the runtime knows in memory: one slot an agent, read without I/O.
//!
//! A slot's gate is held from the first step of a start to its registration, so that two starts
//! of one agent never overlap. The table's own lock is held for look-ups only, never across I/O.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use osmoda_core::{
    name::AgentName,
    observed::{Exit, Instance, InstanceState, InvocationId},
};
use tokio::task::AbortHandle;

use super::{process::Process, tree::Tree};

/// Serialises what is done to one agent.
pub(super) type Gate = Arc<tokio::sync::Mutex<()>>;

/// An agent's latest instance.
#[derive(Clone)]
pub(super) struct Latest {
    pub instance: Instance,
    /// Its processes, to be ended before the next start.
    pub tree: Tree,
    /// Present exactly while the instance is running.
    pub process: Option<Arc<Process>>,
}

#[derive(Default)]
struct Slot {
    gate: Gate,
    latest: Option<Latest>,
    watcher: Option<AbortHandle>,
}

/// All slots.
#[derive(Default)]
pub(super) struct Table {
    slots: Mutex<BTreeMap<AgentName, Slot>>,
}

impl Table {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<AgentName, Slot>> {
        // No code panics while it holds this lock, and each change is a single assignment.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn gate(&self, agent: &AgentName) -> Gate {
        Arc::clone(&self.slots().entry(agent.clone()).or_default().gate)
    }

    pub fn latest(&self, agent: &AgentName) -> Option<Latest> {
        self.slots().get(agent)?.latest.clone()
    }

    pub fn instance(&self, agent: &AgentName) -> Option<Instance> {
        let slots = self.slots();
        let latest = slots.get(agent)?.latest.as_ref()?;
        Some(latest.instance.clone())
    }

    pub fn instances(&self) -> Vec<Instance> {
        let slots = self.slots();
        let latest = slots.values().filter_map(|slot| slot.latest.as_ref());
        latest.map(|latest| latest.instance.clone()).collect()
    }

    pub fn processes(&self) -> Vec<(AgentName, InvocationId, Arc<Process>)> {
        let slots = self.slots();
        let running = slots.iter().filter_map(|(agent, slot)| {
            let latest = slot.latest.as_ref()?;
            let process = Arc::clone(latest.process.as_ref()?);
            Some((agent.clone(), latest.instance.invocation, process))
        });
        running.collect()
    }

    /// Makes `latest` the agent's instance.
    pub fn put(&self, agent: &AgentName, latest: Latest) {
        let mut slots = self.slots();
        let slot = slots.entry(agent.clone()).or_default();
        slot.latest = Some(latest);
        slot.watcher = None;
    }

    /// Remembers the task that waits for the end of the agent's instance.
    pub fn set_watcher(&self, agent: &AgentName, watcher: AbortHandle) {
        if let Some(slot) = self.slots().get_mut(agent) {
            slot.watcher = Some(watcher);
        }
    }

    /// Marks an instance as ended; one that is no longer the latest, or already has its end, is
    /// left alone.
    pub fn record_exit(&self, agent: &AgentName, invocation: InvocationId, exit: &Exit) {
        let mut slots = self.slots();
        let latest = slots.get_mut(agent).and_then(|slot| slot.latest.as_mut());
        if let Some(latest) = latest
            .filter(|latest| latest.instance.invocation == invocation && latest.process.is_some())
        {
            latest.instance.state = InstanceState::Exited(exit.clone());
            latest.process = None;
        }
    }

    /// Drops an agent's slot.
    pub fn remove(&self, agent: &AgentName) {
        self.slots().remove(agent);
    }

    /// Ends all watching and drops everything; the processes go on.
    pub fn clear(&self) {
        for slot in std::mem::take(&mut *self.slots()).into_values() {
            if let Some(watcher) = slot.watcher {
                watcher.abort();
            }
        }
    }
}
