//! What a host offers the native runtime, looked at without a runtime: what `doctor` shows.
//!
//! Nothing is changed, except that a cgroup is made and removed again to see whether it can be.

use std::{
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{PidfdFlags, pidfd_open},
};

use super::{
    delegation::{self, WANTED},
    sys::{
        exit_info::{ExitInfo, exit_info},
        features,
        receive::{identify_senders, receive},
    },
};

/// Something of the kernel that osmoda uses.
#[derive(Debug)]
pub struct Feature {
    /// Its name, as in the manual pages.
    pub name: &'static str,
    /// First Linux that has it.
    pub since: &'static str,
    /// Whether it works here, or what the kernel says.
    pub works: io::Result<()>,
    /// What is worse without it; empty: nothing works without it.
    pub without: &'static str,
}

/// Tries everything that the native runtime uses and an older kernel, or a container's filter,
/// may not have.
pub fn kernel_features() -> Vec<Feature> {
    let feature = |name, since, works, without| Feature {
        name,
        since,
        works,
        without,
    };
    vec![
        feature("pidfd_open", "5.3", pidfd().map(|_| ()), ""),
        feature(
            "clone3 with CLONE_INTO_CGROUP",
            "5.7",
            features::clone_into_cgroup(),
            "agents enter their cgroup after their birth, which makes starts slower",
        ),
        feature(
            "close_range",
            "5.9",
            features::close_range(),
            "descriptors are closed one by one, which makes starts slower",
        ),
        feature(
            "SO_PASSPIDFD",
            "6.5",
            senders_pidfd(),
            "who sent a notification is known by its pid alone, and not if it has ended at once",
        ),
        feature(
            "PIDFD_GET_INFO with the exit code",
            "6.15",
            foreign_exit(),
            "how an adopted agent ended may be unknown",
        ),
    ]
}

/// Whether somebody keeps the wall clock in step.
///
/// # Errors
/// The kernel does not tell.
pub fn clock_is_synchronised() -> io::Result<bool> {
    features::clock_is_synchronised()
}

fn pidfd() -> io::Result<std::os::fd::OwnedFd> {
    let me = rustix::process::getpid();
    Ok(pidfd_open(me, PidfdFlags::empty())?)
}

fn senders_pidfd() -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let (to, from) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    identify_senders(to.as_fd())?;
    rustix::io::write(&from, b"?")?;
    let sender = receive(to.as_fd(), &mut [0; 8])?.sender;
    match sender.and_then(|sender| sender.pidfd) {
        Some(_) => Ok(()),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn foreign_exit() -> io::Result<()> {
    match exit_info(pidfd()?.as_fd()) {
        ExitInfo::Unsupported => Err(io::ErrorKind::Unsupported.into()),
        ExitInfo::NotYet | ExitInfo::Ended(_) => Ok(()),
    }
}

/// What cgroup v2 offers a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupSurvey {
    /// Where agents' cgroups go, or would.
    pub parent: PathBuf,
    /// Whether one can be made there, or why not.
    pub creatable: Result<(), String>,
    /// Whether a whole cgroup can be killed with one write (Linux 5.14).
    pub kill: bool,
    /// Of memory, cpu and pids: those that agents get, or would.
    pub controllers: Vec<&'static str>,
    /// The others of them, each with the reason.
    pub missing: Vec<(&'static str, String)>,
}

/// Looks at the place where the daemon `pid` has its agents' cgroups, or where this process would
/// have them if it were the daemon.
///
/// # Errors
/// Why there is no cgroup v2 for it.
pub fn cgroups(pid: Option<u32>) -> Result<CgroupSurvey, String> {
    let process = pid.map_or("self".to_owned(), |pid| pid.to_string());
    let parent = delegation::cgroup_of(&process)?;
    let me = pid.unwrap_or_else(std::process::id);
    Ok(survey(&parent, me))
}

fn survey(parent: &Path, daemon: u32) -> CgroupSurvey {
    let trial = parent.join(format!("osmoda-doctor-{}", std::process::id()));
    let creatable = fs::create_dir(&trial).map_err(|error| error.to_string());
    let kill = trial.join("cgroup.kill").exists();
    if creatable.is_ok()
        && let Err(error) = fs::remove_dir(&trial)
    {
        tracing::warn!(cgroup = %trial.display(), %error, "a cgroup was made and cannot be removed");
    }
    let offered = delegation::words(&parent.join("cgroup.controllers"));
    let enabled = delegation::words(&parent.join("cgroup.subtree_control"));
    let has = |list: &[String], name: &str| list.iter().any(|word| word == name);
    let mut controllers = Vec::new();
    let mut missing = Vec::new();
    for name in WANTED {
        if has(&enabled, name) {
            controllers.push(name);
        } else if !has(&offered, name) {
            missing.push((name, format!("it is not offered in {}", parent.display())));
        } else {
            match can_enable(parent, daemon) {
                Ok(()) => controllers.push(name),
                Err(why) => missing.push((name, why)),
            }
        }
    }
    CgroupSurvey {
        parent: parent.to_owned(),
        creatable,
        kill,
        controllers,
        missing,
    }
}

/// Whether the daemon could hand controllers on: not from a cgroup in which others live, unless
/// that is the root (cgroup-v2.rst, "No Internal Process Constraint").
fn can_enable(parent: &Path, daemon: u32) -> Result<(), String> {
    let control = parent.join("cgroup.subtree_control");
    rustix::fs::access(&control, rustix::fs::Access::WRITE_OK)
        .map_err(|error| format!("{} cannot be written: {error}", control.display()))?;
    let is_root = !parent.join("cgroup.type").exists();
    let daemon = daemon.to_string();
    let mut others = delegation::words(&parent.join("cgroup.procs"));
    others.retain(|pid| *pid != daemon);
    match is_root || others.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "other processes live in {}, so that it cannot hand controllers on",
            parent.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like a cgroup which is not the root.
    fn cgroup(offered: &str, enabled: &str, procs: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            ("cgroup.controllers", offered),
            ("cgroup.subtree_control", enabled),
            ("cgroup.procs", procs),
            ("cgroup.type", "domain"),
        ];
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn controllers_that_are_enabled_or_can_be_are_had() {
        let alone = cgroup("cpu io memory pids\n", "pids\n", "42\n");
        let seen = survey(alone.path(), 42);
        assert_eq!(seen.controllers, ["memory", "cpu", "pids"]);
        assert_eq!((seen.creatable, seen.missing), (Ok(()), vec![]));
        assert!(!seen.kill, "a plain directory has no such file");
        let left = fs::read_dir(alone.path()).unwrap().count();
        assert_eq!(left, 4, "the trial is gone");
    }

    #[test]
    fn what_is_missing_has_its_reason() {
        let crowded = cgroup("cpu pids\n", "pids\n", "42\n43\n");
        let seen = survey(crowded.path(), 42);
        assert_eq!(seen.controllers, ["pids"]);
        let reasons: Vec<_> = seen
            .missing
            .iter()
            .map(|(name, why)| (*name, &**why))
            .collect();
        let [("memory", not_offered), ("cpu", not_alone)] = reasons[..] else {
            panic!("{reasons:?}")
        };
        assert!(not_offered.contains("not offered"), "{not_offered}");
        assert!(not_alone.contains("other processes live"), "{not_alone}");
        let nowhere = survey(Path::new("/nonexistent"), 42);
        assert!(nowhere.creatable.is_err() && nowhere.controllers.is_empty());
    }

    #[test]
    fn every_feature_has_an_answer() {
        let features = kernel_features();
        assert_eq!(features.len(), 5);
        assert!(features[0].works.is_ok(), "nothing works without pidfds");
    }
}
