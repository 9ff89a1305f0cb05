//! Whether a process belongs to an agent: who asks the API to act must not be one.

use std::{fs, path::Path};

use osmoda_core::observed::{Instance, InstanceState};

use super::{NativeRuntime, procfs, tree::Tree};

/// Most ancestors of a process that are looked at.
const ANCESTORS_MAX: usize = 64;

impl NativeRuntime {
    /// Whether `pid` is in the process tree of any agent. A process that cannot be looked at is
    /// taken for one: it may have hidden itself.
    pub fn is_in_agent_tree(&self, pid: u32) -> bool {
        let Ok(cgroup) = own_cgroup(pid) else {
            return true;
        };
        let instances = self.shared.table.instances();
        let in_cgroup = cgroup.as_deref().is_some_and(|cgroup| {
            instances
                .iter()
                .any(|instance| self.has_cgroup(instance, cgroup))
        });
        in_cgroup || is_descendant(pid, &instances)
    }

    fn has_cgroup(&self, instance: &Instance, cgroup: &str) -> bool {
        match self
            .shared
            .table
            .latest(&instance.agent)
            .map(|latest| latest.tree)
        {
            Some(Tree::Cgroup(own)) => holds(own.path(), cgroup),
            Some(Tree::Session(_)) | None => false,
        }
    }
}

/// The path of a process's cgroup v2 below its mount (cgroups(7)); `None` without cgroup v2.
fn own_cgroup(pid: u32) -> std::io::Result<Option<String>> {
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

/// Whether an instance's main process is among its ancestors, or leads its session, or its
/// environment names an instance.
fn is_descendant(pid: u32, instances: &[Instance]) -> bool {
    let is_main = |pid: u32| {
        instances
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
    instances
        .iter()
        .any(|i| procfs::has_variable(pid, &format!("INVOCATION_ID={}", i.invocation)))
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
