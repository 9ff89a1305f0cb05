//! Which runtime a daemon gets on this host.
//!
//! [`choose`] is pure; [`HostFacts::of_host`] looks.

use std::path::Path;

use rustix::{fs::statfs, process::geteuid};

/// Which runtime was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RuntimeChoice {
    /// The best that the host has.
    #[default]
    Auto,
    /// Children of the daemon.
    Native,
    /// Transient units of systemd.
    Systemd,
}

/// Which runtime it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeKind {
    /// Children of the daemon.
    Native,
    /// Transient units of systemd.
    Systemd,
}

/// What of the host the choice depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostFacts {
    /// This process is root's.
    pub root: bool,
    /// systemd is the host's service manager (sd_booted(3)).
    pub booted: bool,
    /// cgroup v2 alone, at /sys/fs/cgroup, as systemd calls unified.
    pub unified: bool,
}

/// Where sd_booted(3) looks.
const BOOTED: &str = "/run/systemd/system";
/// Where systemd has cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";
/// f_type of a cgroup v2 file system (statfs(2)).
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

impl HostFacts {
    /// Looks at this host.
    pub fn of_host() -> Self {
        let unified = |stat: rustix::fs::StatFs| stat.f_type == CGROUP2_SUPER_MAGIC;
        Self {
            root: geteuid().is_root(),
            booted: Path::new(BOOTED).is_dir(),
            unified: statfs(CGROUPS).is_ok_and(unified),
        }
    }

    /// Why the systemd runtime cannot be used here, and what to do about it.
    pub(crate) fn against_systemd(self) -> Option<(&'static str, &'static str)> {
        if !self.booted {
            return Some((
                "systemd does not run this host",
                "boot with systemd as PID 1",
            ));
        }
        if !self.unified {
            return Some((
                "systemd has cgroup v1 here, alone or beside v2, and osmoda's units need v2",
                "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line",
            ));
        }
        (!self.root).then_some(("units of the host are root's to make", "run osmoda as root"))
    }
}

/// The runtime that `wanted` comes to; beside `Native` from `Auto`, why it is not the other.
///
/// # Errors
/// A sentence for people: what was demanded cannot be had.
pub fn choose(
    wanted: RuntimeChoice,
    facts: HostFacts,
) -> Result<(RuntimeKind, Option<&'static str>), String> {
    match (wanted, facts.against_systemd()) {
        (RuntimeChoice::Native, _) => Ok((RuntimeKind::Native, None)),
        (RuntimeChoice::Auto | RuntimeChoice::Systemd, None) => Ok((RuntimeKind::Systemd, None)),
        (RuntimeChoice::Auto, Some((why, _))) => Ok((RuntimeKind::Native, Some(why))),
        (RuntimeChoice::Systemd, Some((why, remedy))) => Err(format!(
            "the systemd runtime cannot be used: {why}; {remedy}, or use --runtime native"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIT: HostFacts = HostFacts {
        root: true,
        booted: true,
        unified: true,
    };

    #[test]
    fn auto_takes_systemd_where_root_systemd_and_cgroup_v2_come_together() {
        let auto = |facts| choose(RuntimeChoice::Auto, facts).unwrap();
        assert_eq!(auto(FIT), (RuntimeKind::Systemd, None));
        for facts in unfit() {
            let (kind, why) = auto(facts);
            assert_eq!(
                (kind, why.is_some()),
                (RuntimeKind::Native, true),
                "{facts:?}"
            );
        }
    }

    fn unfit() -> [HostFacts; 3] {
        [
            HostFacts { root: false, ..FIT },
            HostFacts {
                booted: false,
                ..FIT
            },
            HostFacts {
                unified: false,
                ..FIT
            },
        ]
    }

    #[test]
    fn systemd_is_refused_with_the_reason_and_what_to_do() {
        let refused = unfit().map(|facts| choose(RuntimeChoice::Systemd, facts).unwrap_err());
        for (sentence, part) in refused.iter().zip([
            "run osmoda as root",
            "systemd does not run this host",
            "cgroup v1",
        ]) {
            assert!(sentence.contains(part), "{sentence}");
            assert!(sentence.contains("--runtime native"), "{sentence}");
        }
        assert!(choose(RuntimeChoice::Systemd, FIT).is_ok());
    }

    #[test]
    fn native_goes_everywhere() {
        for facts in unfit().into_iter().chain([FIT]) {
            let chosen = choose(RuntimeChoice::Native, facts);
            assert_eq!(chosen, Ok((RuntimeKind::Native, None)));
        }
    }
}
