//! The probes that run now.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use osmoda_core::observed::InvocationId;
use tokio::sync::Semaphore;

/// Most probes that are in the blocking part of their start at once. Each holds a thread until
/// its exec.
const STARTS_AT_ONCE: usize = 8;

/// All of them. Invariant: from its first instruction to its reaping, a probe's main process is
/// listed, or somebody is inside [`Probes::begin`].
pub(in crate::native) struct Probes {
    running: Mutex<BTreeMap<u64, Listed>>,
    serial: AtomicU64,
    births: RwLock<()>,
    pub(super) starts: Semaphore,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            serial: AtomicU64::default(),
            births: RwLock::default(),
            starts: Semaphore::new(STARTS_AT_ONCE),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Listed {
    pid: u32,
    identity: InvocationId,
}

impl Probes {
    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, Listed>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no other probe of this daemon has.
    pub fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a process and lists it.
    pub(super) fn begin<T, E>(
        self: &Arc<Self>,
        serial: u64,
        identity: InvocationId,
        spawn: impl FnOnce() -> Result<(u32, T), E>,
    ) -> Result<(Listing, u32, T), E> {
        let _birth = self.births.read().unwrap_or_else(PoisonError::into_inner);
        let (pid, rest) = spawn()?;
        self.running().insert(serial, Listed { pid, identity });
        let listing = Listing {
            probes: Arc::clone(self),
            serial,
        };
        Ok((listing, pid, rest))
    }

    /// Does something with the pids of all main processes, while there can be no others.
    pub fn while_none_begins(&self, act: impl FnOnce(Vec<u32>)) {
        let _no_births = self.births.write().unwrap_or_else(PoisonError::into_inner);
        act(self.pids());
    }

    /// Main processes, ended ones that were not reaped yet among them.
    pub fn pids(&self) -> Vec<u32> {
        self.running().values().map(|probe| probe.pid).collect()
    }

    /// `$INVOCATION_ID` of each.
    pub fn identities(&self) -> Vec<InvocationId> {
        self.running()
            .values()
            .map(|probe| probe.identity)
            .collect()
    }
}

/// A place on the list; dropped when the main process was reaped.
pub(super) struct Listing {
    probes: Arc<Probes>,
    serial: u64,
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.probes.running().remove(&self.serial);
    }
}
