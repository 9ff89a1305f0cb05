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
pub(crate) type Gate = Arc<tokio::sync::Mutex<()>>;

/// An agent's latest instance.
#[derive(Clone)]
pub(crate) struct Latest {
    pub instance: Instance,
    /// Its processes, to be ended before the next start.
    pub tree: Tree,
    /// Present exactly while the instance is running.
    pub process: Option<Arc<Process>>,
}

impl Latest {
    /// An instance that runs with this main process.
    pub fn running(instance: Instance, process: Process) -> Self {
        Self {
            instance,
            tree: process.tree.clone(),
            process: Some(Arc::new(process)),
        }
    }
}

#[derive(Default)]
struct Slot {
    gate: Gate,
    latest: Option<Latest>,
    /// The instance that is being started, until it is the latest.
    starting: Option<InvocationId>,
    /// The main process that the instance named while it was being started.
    told_main: Option<u32>,
    watcher: Option<AbortHandle>,
}

impl Slot {
    fn put(&mut self, latest: Latest) {
        self.latest = Some(latest);
        self.starting = None;
        self.watcher = None;
    }
}

/// All slots.
#[derive(Default)]
pub(crate) struct Table {
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

    /// Whether this holds of the latest instance of any agent.
    pub fn any_latest(&self, holds: impl FnMut(&Latest) -> bool) -> bool {
        let slots = self.slots();
        let mut latest = slots.values().filter_map(|slot| slot.latest.as_ref());
        latest.any(holds)
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

    pub fn all_latest(&self) -> Vec<Latest> {
        let slots = self.slots();
        slots
            .values()
            .filter_map(|slot| slot.latest.clone())
            .collect()
    }

    /// Notes that an instance is being started: its processes may speak before it is registered.
    pub fn set_starting(&self, agent: &AgentName, invocation: InvocationId) {
        let mut slots = self.slots();
        let slot = slots.entry(agent.clone()).or_default();
        slot.starting = Some(invocation);
        slot.told_main = None;
    }

    /// Keeps the main process that an instance names before it is registered. False: it is not
    /// being started.
    pub fn tell_main(&self, agent: &AgentName, invocation: InvocationId, pid: u32) -> bool {
        let mut slots = self.slots();
        let slot = slots
            .get_mut(agent)
            .filter(|slot| slot.starting == Some(invocation));
        slot.map(|slot| slot.told_main = Some(pid)).is_some()
    }

    /// Makes `latest` the agent's instance, as its start ends; unless it has named another main
    /// process meanwhile, which is given instead.
    pub fn put_started(&self, agent: &AgentName, latest: &Latest) -> Result<(), u32> {
        let mut slots = self.slots();
        let slot = slots.entry(agent.clone()).or_default();
        match slot.told_main.take() {
            Some(told) => Err(told),
            None => {
                slot.put(latest.clone());
                Ok(())
            }
        }
    }

    /// Whose this instance is, if it is being started.
    pub fn starting(&self, invocation: InvocationId) -> Option<AgentName> {
        let slots = self.slots();
        let mut slots = slots.iter();
        let (agent, _) = slots.find(|(_, slot)| slot.starting == Some(invocation))?;
        Some(agent.clone())
    }

    /// The instance that a process of this agent belongs to: the one that runs, else the one
    /// that is being started, else the one that ran last.
    pub fn invocation(&self, agent: &AgentName) -> Option<InvocationId> {
        let slots = self.slots();
        let slot = slots.get(agent)?;
        let latest = slot.latest.as_ref();
        let running = latest.filter(|latest| latest.process.is_some());
        let running = running.map(|latest| latest.instance.invocation);
        let last = || latest.map(|latest| latest.instance.invocation);
        running.or(slot.starting).or_else(last)
    }

    /// Whether the agent's latest instance runs with another main process than this one.
    pub fn is_replaced(&self, agent: &AgentName, process: &Arc<Process>) -> bool {
        let slots = self.slots();
        let latest = slots.get(agent).and_then(|slot| slot.latest.as_ref());
        let main = latest.and_then(|latest| latest.process.as_ref());
        main.is_some_and(|main| !Arc::ptr_eq(main, process))
    }

    /// Makes `latest` the agent's instance.
    pub fn put(&self, agent: &AgentName, latest: Latest) {
        self.slots().entry(agent.clone()).or_default().put(latest);
    }

    /// Remembers the task that waits for the end of the agent's instance.
    pub fn set_watcher(&self, agent: &AgentName, watcher: AbortHandle) {
        if let Some(slot) = self.slots().get_mut(agent) {
            slot.watcher = Some(watcher);
        }
    }

    /// Marks an instance as ended by the end of this main process; one that is no longer the
    /// latest, has another main process or already has its end, is left alone, and false is given.
    pub fn record_exit(
        &self,
        agent: &AgentName,
        invocation: InvocationId,
        main: &Process,
        exit: &Exit,
    ) -> bool {
        let mut slots = self.slots();
        let latest = slots.get_mut(agent).and_then(|slot| slot.latest.as_mut());
        let has_main = |latest: &Latest| {
            let process = latest.process.as_ref();
            process.is_some_and(|process| process.pid == main.pid)
        };
        let running =
            latest.filter(|latest| latest.instance.invocation == invocation && has_main(latest));
        let Some(latest) = running else { return false };
        latest.instance.state = InstanceState::Exited(exit.clone());
        latest.process = None;
        true
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
