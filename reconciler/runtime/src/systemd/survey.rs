//! Whether this host can run agents under systemd, and what of them it can enforce.

use std::{fs, io, path::Path, process::Command};

use rustix::fs::statfs;

use super::{options::OpenError, shared::cgroup_root};
use crate::native::Enforcement;

/// sd_booted(3).
const BOOTED: &str = "/run/systemd/system";
/// Where cgroups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
/// CGROUP2_SUPER_MAGIC of statfs(2).
const CGROUP2: i64 = 0x6367_7270;
/// Why a limit is not enforced.
pub(super) const NO_CONTROLLER: &str = "this host's cgroup v2 has no controller for it";
/// The oldest systemd that the properties of agents' units are known to.
const OLDEST: u32 = 252;

/// What systemd is on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its version.
    pub version: u32,
    /// Controllers of the cgroup v2.
    pub controllers: Vec<String>,
    /// Whether its journal can be read; else why not.
    pub journal: Result<(), String>,
}

/// Looks at this host. Blocks.
///
/// # Errors
/// [`OpenError`] says why agents cannot run under systemd here.
pub fn survey() -> Result<Survey, OpenError> {
    check()?;
    Ok(Survey {
        version: version()?,
        controllers: controllers(),
        journal: journal(),
    })
}

/// The part that no bus and no program is needed for: which runtime a daemon gets.
///
/// # Errors
/// As [`survey`].
pub fn check() -> Result<(), OpenError> {
    if !Path::new(BOOTED).is_dir() {
        return Err(OpenError::NotBooted {
            what: format!("there is no {BOOTED}"),
        });
    }
    let failed = |source: io::Error| OpenError::Io {
        what: format!("cannot look at {CGROUPS}"),
        source,
    };
    let mounted = statfs(CGROUPS).map_err(|errno| failed(errno.into()))?;
    if mounted.f_type != CGROUP2 {
        let hybrid = Path::new(CGROUPS).join("unified").is_dir();
        let what = match hybrid {
            true => format!("the hybrid layout: v2 is only at {CGROUPS}/unified"),
            false => format!("{CGROUPS} is no cgroup v2"),
        };
        return Err(OpenError::CgroupV1 { what });
    }
    if !rustix::process::geteuid().is_root() {
        return Err(OpenError::NotRoot);
    }
    Ok(())
}

/// Of `systemctl --version`: `systemd 252 (252.39-1~deb12u2)`.
fn version() -> Result<u32, OpenError> {
    let output = Command::new("systemctl").arg("--version").output();
    let output = output.map_err(|source| OpenError::Io {
        what: "cannot run systemctl --version".to_owned(),
        source,
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    parse_version(&text).ok_or_else(|| OpenError::NotBooted {
        what: "systemctl does not tell its version".to_owned(),
    })
}

/// The number that a version begins with.
pub(super) fn parse_version(text: &str) -> Option<u32> {
    let word = text.split_ascii_whitespace().find(|word| {
        word.bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_digit())
    })?;
    let digits = word.split(|letter: char| !letter.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Refuses a systemd that is too old.
pub(super) fn check_version(version: u32) -> Result<(), OpenError> {
    match version >= OLDEST {
        true => Ok(()),
        false => Err(OpenError::TooOld { version }),
    }
}

fn journal() -> Result<(), String> {
    let output = Command::new("journalctl")
        .args(["--quiet", "--no-pager", "--lines=1", "--output=cat"])
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("cannot run journalctl: {error}")),
    }
}

/// Controllers that systemd may use.
pub(super) fn controllers() -> Vec<String> {
    let root = cgroup_root().unwrap_or_else(|_| CGROUPS.into());
    let words = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    words.split_ascii_whitespace().map(str::to_owned).collect()
}

/// What of an agent's limits systemd can have the kernel enforce.
pub(super) fn enforcement() -> Enforcement {
    Enforcement {
        cgroup: None,
        controllers: controllers(),
        reason: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_number_that_it_begins_with() {
        let versions = [
            ("systemd 252 (252.39-1~deb12u2)\n+PAM", Some(252)),
            ("257.9-1", Some(257)),
            ("258~rc1", Some(258)),
            ("systemd", None),
        ];
        for (text, version) in versions {
            assert_eq!(parse_version(text), version, "{text}");
        }
        assert!(check_version(252).is_ok());
        let error = check_version(251).unwrap_err().to_string();
        assert!(error.contains("251") && error.contains("252"), "{error}");
    }
}
