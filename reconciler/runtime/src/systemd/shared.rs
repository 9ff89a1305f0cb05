//! What the daemon's runtime and the work under way have in common.

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use osmoda_core::{
    name::AgentName,
    observed::{InvocationId, Limits},
    time::Mono,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
};

use super::{
    SLICE,
    bus::{Bus, BusError, Property},
    ear::{Ear, Unit},
    environment,
    journal::{ManagerId, Stamp},
    options::SystemdOptions,
    unit_name,
};
use crate::{
    RuntimeEvent,
    native::{
        cgroup::AgentCgroup, credentials, membership::CgroupIds, note, table::Table, tree::Tree,
    },
};

pub(super) struct Shared {
    pub options: SystemdOptions,
    pub instances_dir: PathBuf,
    /// Held for as long as this daemon is the one: of its directory, and of the host.
    pub _locks: [OwnedFd; 2],
    pub table: Table,
    pub bus: Arc<Bus>,
    pub ear: Arc<Ear>,
    pub records: Mutex<BTreeMap<AgentName, Record>>,
    /// Where systemd's own cgroup tree begins.
    pub cgroup_root: PathBuf,
    pub cgroup_ids: CgroupIds,
    /// Where everything of this runtime is waited for.
    pub scheduler: Handle,
    pub events: Mutex<Option<mpsc::UnboundedSender<RuntimeEvent>>>,
    /// Takes in what agents have sent before their ends are judged.
    pub before_ends: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// PID 1 noted in the journal how the latest run ended.
    pub ends_are_noted: AtomicBool,
    /// The number of the next probe.
    pub probes: AtomicU64,
    /// Bounds the probes that are being started.
    pub probe_starts: Semaphore,
}

/// What is known of an agent's unit besides its instance.
#[derive(Default)]
pub(super) struct Record {
    /// The definition that is loaded and kept so by this connection's reference.
    pub definition: Option<Vec<Property>>,
    /// Somebody has changed it.
    pub foreign: bool,
    /// The limits that it began with.
    pub limits: Option<Limits>,
    /// The run that is the latest instance.
    pub run: Option<ManagerId>,
    /// Its last line so far that was asked about, and when that was.
    pub last_line: Option<(Stamp, Mono)>,
    /// What that instance wrote last, read at its end and not asked for yet.
    pub last_words: Option<Vec<String>>,
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, BTreeMap<AgentName, Record>> {
        // Nothing panics while it is held.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at or changes what is known of an agent's unit.
    pub fn record<T>(&self, agent: &AgentName, with: impl FnOnce(&mut Record) -> T) -> T {
        with(self.records().entry(agent.clone()).or_default())
    }

    /// The unit of an agent, listened to from now on.
    pub async fn unit(&self, agent: &AgentName) -> Result<Arc<Unit>, BusError> {
        self.ear.unit(&self.bus, &unit_name(agent)).await
    }

    /// The cgroup of a unit of ours.
    pub fn cgroup(&self, unit: &str) -> AgentCgroup {
        AgentCgroup::new(self.cgroup_root.join(SLICE).join(unit))
    }

    pub fn tree(&self, agent: &AgentName) -> Tree {
        Tree::Cgroup(self.cgroup(&unit_name(agent)))
    }

    /// Takes in what agents have sent: one may have named another main process with its last
    /// breath.
    pub fn listen(&self) {
        if let Some(listen) = self.before_ends.get() {
            listen();
        }
    }

    pub fn announce(&self, agent: AgentName) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(events) = &*events {
            let _ = events.send(RuntimeEvent::Changed(agent)); // the loop has gone: nobody to tell
        }
    }

    pub fn next_probe(&self) -> u64 {
        self.probes.fetch_add(1, Ordering::Relaxed)
    }

    /// Removes the secrets of an instance that is no more; those of a newer one stay.
    pub async fn remove_secrets(&self, agent: &AgentName, invocation: InvocationId) {
        let _gate = self.table.gate(agent).lock_owned().await;
        let instance = self.table.instance(agent);
        if instance.is_some_and(|latest| latest.invocation == invocation) {
            self.remove_files(agent);
        }
    }

    /// Removes the secrets of an agent that does not run.
    pub fn remove_files(&self, agent: &AgentName) {
        let removed = [
            credentials::remove(&self.options.runtime_dir, agent),
            environment::remove(&self.options.environment(agent)),
        ];
        for error in removed.into_iter().filter_map(Result::err) {
            tracing::warn!(%agent, %error, "cannot remove the secrets of an agent");
        }
    }

    /// Removes every trace of an agent that does not run, but its output and its directory. Its
    /// gate is to be held until it is done.
    pub fn forget(self: &Arc<Self>, agent: &AgentName, gate: tokio::sync::OwnedMutexGuard<()>) {
        if let Err(error) = note::remove(&self.instances_dir, agent) {
            tracing::warn!(%agent, %error, "cannot remove an instance note");
        }
        self.remove_files(agent);
        self.cgroup_ids.forget(agent);
        self.table.remove(agent);
        self.records().remove(agent);
        let (bus, ear, unit) = (
            Arc::clone(&self.bus),
            Arc::clone(&self.ear),
            unit_name(agent),
        );
        self.scheduler.spawn(async move {
            let _gate = gate;
            let _ = bus.reset_failed(&unit).await; // it may not be loaded
            let _ = bus.unreference(&unit).await; // nor have a reference
            ear.forget(&bus, &unit).await;
        });
    }
}

/// systemd's cgroup tree: where the cgroup v2 is mounted, and what lies above PID 1's own.
pub(super) fn cgroup_root() -> io::Result<PathBuf> {
    let mounted = Path::new("/sys/fs/cgroup");
    let of_first = std::fs::read_to_string("/proc/1/cgroup")?;
    let path = of_first.lines().find_map(|line| line.strip_prefix("0::"));
    let above = path.and_then(|path| path.strip_suffix("/init.scope"));
    let above = above.unwrap_or_default().trim_start_matches('/');
    Ok(mounted.join(above))
}
