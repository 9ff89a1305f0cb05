//! Whose a process is: who asks the API to act must not be an agent's, who sends a notification
//! must be.
//!
//! A cgroup tells for certain, and on newer kernels (6.15) even of a process that has ended.
//! Without one a process is known by its session or by the INVOCATION_ID it was executed with.
//!
//! Invariant: what /proc says by a pid counts only if the process behind the pidfd, where there
//! is one, still lived after it was read.

use std::{
    collections::BTreeMap,
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use osmoda_core::{
    name::AgentName,
    observed::{Instance, InstanceState, InvocationId},
};
use rustix::event::PollFlags;

use super::{
    NativeRuntime, probe, process, procfs, shared::Shared, sys::exit_info::cgroup_id,
    table::Latest, tree::Tree,
};
use crate::Sender;

/// Most ancestors of a process that are looked at.
const ANCESTORS_MAX: usize = 64;

/// Which agent each cgroup belongs to, by the inode number of its directory.
#[derive(Default)]
pub(crate) struct CgroupIds {
    agents: Mutex<BTreeMap<u64, AgentName>>,
}

impl CgroupIds {
    fn agents(&self) -> MutexGuard<'_, BTreeMap<u64, AgentName>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the cgroup in which an agent is about to live. The kernel never gives such a
    /// number twice.
    pub fn learn_open(&self, agent: &AgentName, directory: &OwnedFd) -> io::Result<()> {
        self.set(agent, rustix::fs::fstat(directory)?.st_ino);
        Ok(())
    }

    /// Remembers where an instance lives that runs already.
    pub fn learn(&self, agent: &AgentName, tree: &Tree) {
        let Tree::Cgroup(cgroup) = tree else { return };
        if let Ok(directory) = fs::metadata(cgroup.path()) {
            self.set(agent, directory.ino()); // else its processes are known by /proc
        }
    }

    fn set(&self, agent: &AgentName, id: u64) {
        let mut agents = self.agents();
        agents.retain(|_, other| other != agent);
        agents.insert(id, agent.clone());
    }

    pub fn forget(&self, agent: &AgentName) {
        self.agents().retain(|_, other| other != agent);
    }

    pub fn agent(&self, pidfd: &OwnedFd) -> Option<AgentName> {
        let id = cgroup_id(pidfd.as_fd())?;
        self.agents().get(&id).cloned()
    }
}

/// Whose process sent something; see [`crate::Runtime::owner`].
pub(super) fn owner(shared: &Shared, sender: &Sender) -> Option<(AgentName, InvocationId)> {
    let by_id = sender
        .pidfd
        .as_ref()
        .and_then(|pidfd| shared.cgroup_ids.agent(pidfd));
    let by_path = || by_cgroup_path(shared, sender);
    if let Some(agent) = by_id.or_else(by_path) {
        let invocation = shared.table.invocation(&agent)?;
        return Some((agent, invocation));
    }
    by_session(shared, sender)
}

fn by_cgroup_path(shared: &Shared, sender: &Sender) -> Option<AgentName> {
    let place = shared.enforcement.cgroup.as_ref()?.file_name()?;
    let cgroup = own_cgroup(sender.pid).ok()??;
    let mut parts = Path::new(&cgroup).components().map(|part| part.as_os_str());
    parts.find(|part| *part == place)?;
    let agent = AgentName::new(parts.next()?.to_str()?).ok()?;
    lives(sender).then_some(agent)
}

fn by_session(shared: &Shared, sender: &Sender) -> Option<(AgentName, InvocationId)> {
    let all = shared.table.all_latest();
    let owned = |latest: &Latest| (latest.instance.agent.clone(), latest.instance.invocation);
    let without_cgroup = |latest: &&Latest| matches!(latest.tree, Tree::Session(_));
    let mut sessions = all.iter().filter(without_cgroup);
    // An instance keeps the number of its main process until the next start.
    let is_main = |latest: &&Latest| match &latest.tree {
        Tree::Session(session) => session.leader_known && session.leader == sender.pid,
        Tree::Cgroup(_) => false,
    };
    if let Some(main) = sessions.clone().find(is_main) {
        return Some(owned(main));
    }
    let stat = procfs::stat(sender.pid).ok()?;
    let in_session = sessions.find(|latest| match &latest.tree {
        Tree::Session(session) => session.leader_known && session.leader == stat.session,
        Tree::Cgroup(_) => false,
    });
    let found = in_session.map(owned).or_else(|| {
        let id = procfs::variable(sender.pid, "INVOCATION_ID")?;
        let id = InvocationId::from_hex(&id).ok()?;
        let known = all.iter().find(|latest| latest.instance.invocation == id);
        known
            .map(owned)
            .or_else(|| shared.table.starting(id).map(|agent| (agent, id)))
    });
    found.filter(|_| lives(sender))
}

/// Whether it has not ended, as far as can be told: without a pidfd it is taken for the process
/// that has its number now.
pub(crate) fn lives(sender: &Sender) -> bool {
    let ended = |pidfd| process::wait_for(pidfd, PollFlags::IN, Duration::ZERO);
    !sender.pidfd.as_ref().is_some_and(ended)
}

impl NativeRuntime {
    /// Whether `pid` is in the process tree of any agent, or of a probe of one. A process that
    /// cannot be looked at is taken for one: it may have hidden itself.
    pub fn is_in_agent_tree(&self, pid: u32) -> bool {
        let Ok(cgroup) = own_cgroup(pid) else {
            return true;
        };
        let instances = self.shared.table.instances();
        let in_cgroup = cgroup.as_deref().is_some_and(|cgroup| {
            self.shared.table.any_latest(|latest| match &latest.tree {
                Tree::Cgroup(own) => holds(own.path(), cgroup),
                Tree::Session(_) => false,
            })
        });
        in_cgroup
            || probe::is_of_a_probe(&self.shared, pid, cgroup.as_deref())
            || is_descendant(pid, &instances, &self.shared.probes.pids())
    }
}

/// The path of a process's cgroup v2 below its mount (cgroups(7)); `None` without cgroup v2.
pub(crate) fn own_cgroup(pid: u32) -> std::io::Result<Option<String>> {
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    Ok(lines
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned))
}

/// Whether `cgroup` (below the mount) is `own` (below the root directory) or inside it.
fn holds(own: &Path, cgroup: &str) -> bool {
    let relative = Path::new(cgroup.trim_start_matches('/'));
    let mut within = relative
        .ancestors()
        .filter(|part| part.components().count() >= 2);
    within.any(|part| own.ends_with(part))
}

/// Whether the main process of an instance or a probe is among its ancestors, or leads its
/// session, or its environment names an instance.
fn is_descendant(pid: u32, instances: &[Instance], probes: &[u32]) -> bool {
    let is_main = |pid: u32| {
        probes.contains(&pid)
            || instances
                .iter()
                .any(|i| i.state == InstanceState::Running { pid })
    };
    let mut at = pid;
    for _ in 0..ANCESTORS_MAX {
        let Ok(stat) = procfs::stat(at) else { break };
        if is_main(at) || is_main(stat.session) {
            return true;
        }
        if stat.parent <= 1 {
            break;
        }
        at = stat.parent;
    }
    let named = procfs::invocations(pid);
    instances.iter().any(|i| named.contains(&i.invocation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_holds_itself_and_what_is_inside() {
        let own = Path::new("/sys/fs/cgroup/unified/osmoda-1/a");
        assert!(holds(own, "/osmoda-1/a"));
        assert!(holds(own, "/osmoda-1/a/probe"));
        for other in ["/", "/a", "/osmoda-1", "/osmoda-1/b", "/osmoda-2/a"] {
            assert!(!holds(own, other), "{other}");
        }
    }
}
