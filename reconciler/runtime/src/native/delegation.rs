//! Where agents' cgroups go, and which controllers work there.
//!
//! Found once, when the runtime is opened: the cgroup2 mount in /proc/self/mountinfo, the
//! daemon's own cgroup in /proc/self/cgroup, and below it `osmoda-HASH` for this state directory.
//! A cgroup with processes of its own cannot hand controllers to its children, so in a cgroup
//! that is the daemon's alone (systemd's Delegate=yes) the daemon first moves into the leaf
//! `daemon`. Where that is not possible agents still get cgroups, for killing; the reason is kept
//! for `doctor`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use osmoda_core::{
    digest::Digest,
    spec::{AgentSpec, Resources, Sandbox},
};

/// Controllers that limits need.
pub(super) const WANTED: [&str; 3] = ["memory", "cpu", "pids"];

/// Leaf that the daemon itself moves into.
const DAEMON_LEAF: &str = "daemon";

/// Which cgroups the runtime may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cgroups {
    /// Those below the daemon's own cgroup, if it may create any.
    #[default]
    Auto,
    /// Those below this directory of a cgroup2 file system.
    Under(PathBuf),
    /// None: process sessions and environments are used instead.
    Off,
}

/// What the host lets the runtime enforce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enforcement {
    /// Directory that holds one cgroup per agent. `None`: a process that calls setsid and clears
    /// its environment can outlive its agent.
    pub cgroup: Option<PathBuf>,
    /// Controllers in force there: of memory, cpu and pids.
    pub controllers: Vec<String>,
    /// Why there is no cgroup, or not every controller.
    pub reason: Option<String>,
}

impl Enforcement {
    /// Limits of `resources` that nothing here enforces, by their names in the spec.
    pub fn missing(&self, resources: &Resources) -> Vec<&'static str> {
        let asked = [
            (
                "memory",
                "resources.memory.max",
                resources.memory_max.is_some(),
            ),
            ("cpu", "resources.cpu.max", resources.cpu_max.is_some()),
            ("pids", "resources.tasksMax", resources.tasks_max.is_some()),
        ];
        asked
            .into_iter()
            .filter(|(controller, _, asked)| {
                *asked && !self.controllers.iter().any(|enabled| enabled == controller)
            })
            .map(|(_, field, _)| field)
            .collect()
    }

    /// What of `spec` the native runtime does not enforce here, each with the reason. A sandbox
    /// counts only where somebody asked for one.
    pub(super) fn unenforced(&self, spec: &AgentSpec) -> Vec<(&'static str, String)> {
        let reason = self
            .reason
            .as_deref()
            .unwrap_or("its controller is missing");
        let missing = self.missing(&spec.resources).into_iter();
        let mut found: Vec<_> = missing.map(|field| (field, reason.to_owned())).collect();
        if spec.sandbox == Some(Sandbox::Default) {
            let reason = "only the systemd runtime confines agents";
            found.push(("sandbox", reason.to_owned()));
        }
        found
    }

    fn without_cgroup(reason: String) -> Self {
        Self {
            cgroup: None,
            controllers: Vec::new(),
            reason: Some(reason),
        }
    }
}

/// Finds and prepares the place for agents' cgroups.
pub(super) fn prepare(choice: &Cgroups, state_dir: &Path) -> Enforcement {
    let parent = match choice {
        Cgroups::Off => return Enforcement::without_cgroup("cgroups are switched off".to_owned()),
        Cgroups::Under(directory) => Ok(directory.clone()),
        Cgroups::Auto => cgroup_of("self"),
    };
    let parent = match parent {
        Ok(parent) => parent,
        Err(reason) => return Enforcement::without_cgroup(reason),
    };
    let place = parent.join(place_name(state_dir));
    if let Err(error) = fs::create_dir_all(&place) {
        let reason = format!("cannot create the cgroup {}: {error}", place.display());
        return Enforcement::without_cgroup(reason);
    }
    let refused = enable_controllers(&parent, &place);
    let controllers = words(&place.join("cgroup.subtree_control"));
    Enforcement {
        reason: refused.filter(|_| controllers.len() < WANTED.len()),
        cgroup: Some(place),
        controllers,
    }
}

/// `osmoda-` and the first 16 digits of the SHA-256 of the state directory's path: two daemons
/// with different state share a parent without meeting.
fn place_name(state_dir: &Path) -> String {
    let digest = Digest::of(state_dir.as_os_str().as_encoded_bytes()).to_string();
    format!("osmoda-{}", &digest[..16])
}

/// Directory of a daemon's own cgroup, or of its parent if it already sits in its leaf.
/// `process`: its pid, or `self`.
///
/// # Errors
/// There is no cgroup v2 for it, in a sentence.
pub(super) fn cgroup_of(process: &str) -> Result<PathBuf, String> {
    let read = |file: &str| fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
    let (mount, root) = cgroup2_mount(&read("/proc/self/mountinfo")?)
        .ok_or("no cgroup v2 file system is mounted")?;
    let own = read(&format!("/proc/{process}/cgroup"))?;
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or("the daemon is in no cgroup v2")?;
    let below = Path::new(own).strip_prefix(&root).map_err(|_| {
        format!(
            "the cgroup {own} lies outside of what {} shows",
            mount.display()
        )
    })?;
    let directory = mount.join(below);
    Ok(match directory.file_name() {
        Some(name) if name == DAEMON_LEAF => directory.parent().unwrap_or(&mount).to_owned(),
        _ => directory,
    })
}

/// Mount point and root of the first cgroup2 in mountinfo (proc_pid_mountinfo(5)).
fn cgroup2_mount(mountinfo: &str) -> Option<(PathBuf, PathBuf)> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        if filesystem.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let root = fields.next()?;
        let point = fields.next()?;
        Some((unescape(point), unescape(root)))
    })
}

/// Undoes the octal escapes of mountinfo: `\040` is a space.
fn unescape(text: &str) -> PathBuf {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after
            .get(..3)
            .and_then(|code| u8::from_str_radix(code, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out.into()
}

/// Hands the wanted controllers from `parent` to `place` and from there to the agents. Returns
/// why one could not be had.
fn enable_controllers(parent: &Path, place: &Path) -> Option<String> {
    let offered = words(&parent.join("cgroup.controllers"));
    let mut refused = None;
    for controller in WANTED {
        if !offered.iter().any(|name| name == controller) {
            refused = Some(format!(
                "the {controller} controller is not in {}",
                parent.display()
            ));
            continue;
        }
        let enable = || {
            enable(parent, controller)?;
            enable(place, controller)
        };
        let result = match enable() {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                move_into_leaf(parent).and_then(|()| enable())
            }
            other => other,
        };
        if let Err(error) = result {
            let place = parent.display();
            refused = Some(format!(
                "cannot enable the {controller} controller below {place}: {error}"
            ));
        }
    }
    refused
}

fn enable(cgroup: &Path, controller: &str) -> io::Result<()> {
    fs::write(
        cgroup.join("cgroup.subtree_control"),
        format!("+{controller}"),
    )
}

/// Makes room in `parent` by moving this process out of it, if it is there alone.
fn move_into_leaf(parent: &Path) -> io::Result<()> {
    let me = std::process::id().to_string();
    let mut others = words(&parent.join("cgroup.procs"));
    others.retain(|pid| *pid != me);
    if !others.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "other processes live in it; run the daemon as a service with Delegate=yes",
        ));
    }
    let leaf = parent.join(DAEMON_LEAF);
    fs::create_dir_all(&leaf)?;
    fs::write(leaf.join("cgroup.procs"), me)
}

pub(super) fn words(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use osmoda_core::units::ByteSize;

    use super::*;

    #[test]
    fn the_cgroup2_mount_is_found_among_others_and_unescaped() {
        let mountinfo = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
38 31 0:31 /a /mnt/with\\040space rw,relatime shared:9 - cgroup2 cgroup2 rw
";
        let found = cgroup2_mount(mountinfo);
        assert_eq!(found, Some(("/mnt/with space".into(), "/a".into())));
        assert_eq!(cgroup2_mount("31 23 0:28 / /x rw - tmpfs tmpfs rw"), None);
    }

    #[test]
    fn limits_without_their_controller_are_named() {
        let enforcement = Enforcement {
            cgroup: None,
            controllers: vec!["cpu".to_owned()],
            reason: None,
        };
        let resources = Resources {
            memory_max: Some(ByteSize(1)),
            tasks_max: Some(1),
            ..Resources::default()
        };
        let missing = enforcement.missing(&resources);
        assert_eq!(missing, ["resources.memory.max", "resources.tasksMax"]);
        assert!(enforcement.missing(&Resources::default()).is_empty());
    }

    #[test]
    fn a_place_that_cannot_be_made_leaves_a_reason_and_no_cgroup() {
        let unusable = Cgroups::Under("/proc/self/no/such".into());
        let enforcement = prepare(&unusable, Path::new("/var/lib/osmoda"));
        assert_eq!(enforcement.cgroup, None);
        assert!(enforcement.reason.unwrap().contains("/proc/self/no/such"));
    }
}
