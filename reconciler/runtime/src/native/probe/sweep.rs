//! What belongs to a probe: for the question who may act, and for a new daemon that kills what
//! the probes of a dead one left.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::process::{PidfdFlags, pidfd_open};

use super::launch::{CGROUP_MARK, MARK};
use crate::native::{
    cgroup::{AgentCgroup, kill_through},
    procfs,
    shared::Shared,
    sys::spawn::pid,
    tree::END_WAIT,
};

/// Whether a process was started by a probe that runs: `cgroup` is the path of its cgroup below
/// the mount.
pub(in crate::native) fn is_of_a_probe(shared: &Shared, number: u32, cgroup: Option<&str>) -> bool {
    let place = shared.enforcement.cgroup.as_deref();
    if let (Some(place), Some(cgroup)) = (place, cgroup)
        && is_in_cgroup(place, cgroup)
    {
        return true;
    }
    let identities = shared.probes.identities();
    let named = procfs::invocations(number);
    identities.iter().any(|identity| named.contains(identity))
}

fn is_in_cgroup(place: &Path, cgroup: &str) -> bool {
    let Some(place) = place.file_name() else {
        return false;
    };
    let mut parts = Path::new(cgroup).components();
    parts.any(|part| part.as_os_str() == place)
        && parts
            .next()
            .is_some_and(|part| is_cgroup_name(&part.as_os_str().to_string_lossy()))
}

fn is_cgroup_name(name: &str) -> bool {
    name.contains(CGROUP_MARK)
}

/// Kills what the probes of a former daemon left. What cannot be killed is reported and left.
pub(in crate::native) fn sweep(shared: &Shared) {
    let swept = match &shared.enforcement.cgroup {
        Some(place) => sweep_cgroups(place),
        None => sweep_processes(&shared.options.runtime_dir),
    };
    if let Err(error) = swept {
        tracing::warn!(%error, "cannot end what probes of a former daemon left");
    }
}

fn sweep_cgroups(place: &Path) -> io::Result<()> {
    let entries = fs::read_dir(place)?.flatten();
    let left = entries.filter(|entry| is_cgroup_name(&entry.file_name().to_string_lossy()));
    for entry in left.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let cgroup = AgentCgroup::new(entry.path());
        if cgroup.kill_and_wait(END_WAIT)? {
            cgroup.remove()?;
        }
    }
    Ok(())
}

/// By their environment: the mark of a probe, and a directory of credentials of this daemon's.
fn sweep_processes(runtime_dir: &Path) -> io::Result<()> {
    for number in procfs::pids()? {
        let pidfd = pid(number).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let Some(pidfd) = pidfd else { continue };
        // Looked at now that the number cannot become another process.
        if is_marked(number, runtime_dir) {
            kill_through(&pidfd)?;
        }
    }
    Ok(())
}

fn is_marked(number: u32, runtime_dir: &Path) -> bool {
    let environment = fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
    let environment = String::from_utf8_lossy(&environment);
    let value = |name: &str| {
        let mut items = environment.split('\0');
        items.find_map(|item| item.strip_prefix(name)?.strip_prefix('='))
    };
    let place = value("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    value(MARK).is_some() && place.is_some_and(|place| place.starts_with(runtime_dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probes_cgroup_is_known_by_its_name_beside_the_agents() {
        let place = Path::new("/sys/fs/cgroup/unified/osmoda-1");
        for inside in ["/osmoda-1/a.probe.7", "/x/osmoda-1/a.probe.7/deeper"] {
            assert!(is_in_cgroup(place, inside), "{inside}");
        }
        for other in [
            "/",
            "/osmoda-1",
            "/osmoda-1/a",
            "/osmoda-2/a.probe.7",
            "/a.probe.7",
        ] {
            assert!(!is_in_cgroup(place, other), "{other}");
        }
    }
}
