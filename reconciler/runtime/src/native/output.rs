//! When an agent wrote last, for those whose output is their heartbeat.
//!
//! The file of the current run is looked at only when somebody asks; [`osmoda_core::sign`] tells
//! what two looks amount to. Rotation cuts a file that was written to, so a cut counts as output.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use osmoda_core::{
    name::AgentName,
    observed::InvocationId,
    sign::{Looks, Stamp},
    time::Mono,
};

use super::{log_files, shared::Shared};
use crate::blocking::spawn_blocking;

/// Looks so far, by agent: those at its latest instance that was asked about.
#[derive(Default)]
pub(super) struct OutputLooks {
    looks: Mutex<BTreeMap<AgentName, (InvocationId, Looks)>>,
}

impl OutputLooks {
    pub fn forget(&self, agent: &AgentName) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.remove(agent);
    }

    fn look(
        &self,
        shared: &Shared,
        agent: &AgentName,
        of: (InvocationId, Mono),
        stamp: Option<Stamp>,
    ) -> Option<Mono> {
        let (invocation, started_at) = of;
        let clock = &shared.options.clock;
        let mut all = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = (invocation, Looks::since(started_at));
        let slot = all.entry(agent.clone()).or_insert(fresh);
        if slot.0 != invocation {
            *slot = fresh;
        }
        slot.1.look(stamp, clock.mono(), clock.wall())
    }
}

/// See [`crate::Runtime::last_output_at`]. Blocks nobody: a file system that hangs holds one
/// thread and the answer of who asked.
pub(super) async fn last_output_at(
    shared: &Arc<Shared>,
    agent: &AgentName,
    invocation: InvocationId,
) -> io::Result<Option<Mono>> {
    let instance = shared.table.instance(agent);
    let instance = instance.filter(|instance| instance.invocation == invocation);
    let started_at = instance.ok_or(io::ErrorKind::NotFound)?.started_at;
    let (shared, agent) = (Arc::clone(shared), agent.clone());
    let look = move || {
        let current = log_files(&shared.options.log_dir, &agent).current;
        // An empty file was made by the start, and says nothing.
        let found = stamp(&current)?.filter(|stamp| stamp.length > 0);
        Ok(shared
            .output_looks
            .look(&shared, &agent, (invocation, started_at), found))
    };
    spawn_blocking(look).await.map_err(io::Error::other)?
}

/// What stat(2) says of a file; `None`: there is none.
///
/// # Errors
/// It cannot be asked.
pub fn stamp(file: &Path) -> io::Result<Option<Stamp>> {
    match fs::metadata(file) {
        Ok(data) => Ok(Some(Stamp {
            file: data.ino(),
            length: data.len(),
            changed_ns: i128::from(data.mtime()) * 1_000_000_000 + i128::from(data.mtime_nsec()),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
