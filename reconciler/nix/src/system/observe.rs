//! What the machine runs, booted and will boot, and where those three disagree.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use osmoda_core::observed::Generation;

use super::SwitchError;

/// What of a system only a boot brings into force.
const BOOT_PARTS: [&str; 3] = ["kernel", "initrd", "kernel-modules"];

/// The three places that name a system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemState {
    /// The system profile's active generation: what will be booted.
    pub profile: Option<Generation>,
    /// Whether that generation's store path is there.
    pub profile_is_there: bool,
    /// /run/current-system.
    pub current: Option<Running>,
    /// /run/booted-system.
    pub booted: Option<Running>,
}

/// A system that runs or was booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its store path.
    pub store_path: String,
    /// The highest generation of the system profile that is this very path.
    pub number: Option<u64>,
    /// Whose specialisation it is, if it is no generation itself.
    pub specialisation: Option<Specialisation>,
    /// What its kernel, initrd and modules are; `None` where it has none.
    pub boot_parts: [Option<PathBuf>; 3],
}

/// A specialisation of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specialisation {
    /// Its name.
    pub name: String,
    /// Of which generation.
    pub number: u64,
}

/// One disagreement between profile, running and booted system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disagreement {
    /// There is no /run/current-system: not NixOS, or not activated yet.
    NothingRuns,
    /// The profile has no active generation.
    NoProfile,
    /// The generation that will be booted is not in the store.
    ProfileDangles {
        /// Its number.
        number: u64,
        /// Where it should be.
        store_path: String,
    },
    /// A system runs that is no generation, as after `nixos-rebuild test`; it is gone after the
    /// next boot.
    Test {
        /// What runs.
        store_path: String,
    },
    /// A specialisation runs.
    Specialisation(Specialisation),
    /// Another generation runs than will be booted, as after `nixos-rebuild boot`.
    Boot {
        /// The generation that runs.
        current: u64,
        /// The one that the next boot brings.
        next: u64,
    },
    /// The running system's kernel, initrd or modules are not those that were booted.
    RebootDue,
    /// Another system was booted than now runs, with the same kernel: nothing to be done.
    SwitchedSinceBoot,
}

impl fmt::Display for Disagreement {
    /// For people, one clause.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingRuns => f.write_str("no system is active"),
            Self::NoProfile => f.write_str("the system profile has no generation"),
            Self::ProfileDangles { number, store_path } => {
                write!(f, "generation {number} is missing: {store_path}")
            }
            Self::Test { store_path } => {
                write!(f, "running a test that no boot brings back: {store_path}")
            }
            Self::Specialisation(which) => write!(
                f,
                "running the specialisation {} of generation {}",
                which.name, which.number
            ),
            Self::Boot { current, next } => {
                write!(
                    f,
                    "running generation {current}, the next boot brings {next}"
                )
            }
            Self::RebootDue => f.write_str("a reboot is due: kernel, initrd or modules changed"),
            Self::SwitchedSinceBoot => f.write_str("switched since boot"),
        }
    }
}

impl SystemState {
    /// Everything in which the three places disagree, the gravest first; empty: they agree.
    pub fn disagreements(&self) -> Vec<Disagreement> {
        let mut found = Vec::new();
        match &self.profile {
            None => found.push(Disagreement::NoProfile),
            Some(next) if !self.profile_is_there => found.push(Disagreement::ProfileDangles {
                number: next.number,
                store_path: next.store_path.to_string(),
            }),
            Some(_) => {}
        }
        match &self.current {
            None => found.push(Disagreement::NothingRuns),
            Some(current) => found.extend(self.difference(current)),
        }
        if let (Some(current), Some(booted)) = (&self.current, &self.booted)
            && current.store_path != booted.store_path
        {
            found.push(match current.boot_parts == booted.boot_parts {
                true => Disagreement::SwitchedSinceBoot,
                false => Disagreement::RebootDue,
            });
        }
        found
    }

    fn difference(&self, current: &Running) -> Option<Disagreement> {
        let next = self.profile.as_ref()?;
        if *current.store_path == *next.store_path {
            return None;
        }
        Some(match (current.number, &current.specialisation) {
            (Some(number), _) => Disagreement::Boot {
                current: number,
                next: next.number,
            },
            (None, Some(which)) => Disagreement::Specialisation(which.clone()),
            (None, None) => Disagreement::Test {
                store_path: current.store_path.clone(),
            },
        })
    }
}

/// Reads what a link such as /run/current-system names; `None` if it is not there.
pub(super) fn running(
    link: &Path,
    generations: &[Generation],
) -> Result<Option<Running>, SwitchError> {
    let target = match fs::read_link(link) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(SwitchError::Io {
                operation: "read",
                path: link.to_path_buf(),
                source,
            });
        }
    };
    let store_path = target.display().to_string();
    let same = generations
        .iter()
        .rev()
        .find(|g| *g.store_path == *store_path);
    let number = same.map(|generation| generation.number);
    let specialisation = match number {
        Some(_) => None,
        None => generations.iter().rev().find_map(|generation| {
            let name = specialisation_name(generation.path(), &target)?;
            let number = generation.number;
            Some(Specialisation { name, number })
        }),
    };
    Ok(Some(Running {
        store_path,
        number,
        specialisation,
        boot_parts: BOOT_PARTS.map(|part| fs::canonicalize(target.join(part)).ok()),
    }))
}

/// The name under which `system` has `target` among its specialisations.
fn specialisation_name(system: &Path, target: &Path) -> Option<String> {
    let entries = system.join("specialisation").read_dir().ok()?;
    let mut same = entries
        .filter_map(Result::ok)
        .filter(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == target));
    same.next()?.file_name().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u64, store_path: &str) -> Generation {
        Generation {
            number,
            store_path: store_path.into(),
        }
    }

    fn system(store_path: &str, number: Option<u64>, kernel: &str) -> Running {
        Running {
            store_path: store_path.to_owned(),
            number,
            specialisation: None,
            boot_parts: [Some(kernel.into()), None, None],
        }
    }

    fn state(profile: u64, current: Running, booted: Running) -> SystemState {
        SystemState {
            profile: Some(generation(profile, &format!("/s{profile}"))),
            profile_is_there: true,
            current: Some(current),
            booted: Some(booted),
        }
    }

    #[test]
    fn a_machine_that_was_just_booted_agrees_with_itself() {
        let one = system("/s1", Some(1), "k");
        assert!(state(1, one.clone(), one).disagreements().is_empty());
    }

    #[test]
    fn each_disagreement_has_its_name() {
        let one = || system("/s1", Some(1), "k");
        let two = |kernel| system("/s2", Some(2), kernel);
        let switched = state(2, two("k"), one());
        assert_eq!(switched.disagreements(), [Disagreement::SwitchedSinceBoot]);
        let new_kernel = state(2, two("l"), one());
        assert_eq!(new_kernel.disagreements(), [Disagreement::RebootDue]);
        let boot = state(2, one(), one());
        let expected = Disagreement::Boot {
            current: 1,
            next: 2,
        };
        assert_eq!(boot.disagreements(), [expected]);
        let test = state(1, system("/t", None, "k"), one());
        assert_eq!(
            test.disagreements(),
            [
                Disagreement::Test {
                    store_path: "/t".to_owned()
                },
                Disagreement::SwitchedSinceBoot
            ]
        );
        let gone = SystemState {
            profile_is_there: false,
            ..state(1, one(), one())
        };
        assert!(matches!(
            gone.disagreements()[..],
            [Disagreement::ProfileDangles { number: 1, .. }]
        ));
        assert_eq!(
            SystemState::default().disagreements(),
            [Disagreement::NoProfile, Disagreement::NothingRuns]
        );
    }

    #[test]
    fn a_specialisation_is_told_from_a_test() {
        let dir = tempfile::tempdir().unwrap();
        let [base, special, other] = ["base", "special", "other"].map(|n| dir.path().join(n));
        fs::create_dir_all(base.join("specialisation")).unwrap();
        std::os::unix::fs::symlink(&special, base.join("specialisation/quiet")).unwrap();
        let generations = [generation(7, base.to_str().unwrap())];
        let link = dir.path().join("current");
        let read = |target: &Path| {
            fs::remove_file(&link).ok();
            std::os::unix::fs::symlink(target, &link).unwrap();
            running(&link, &generations).unwrap().unwrap()
        };
        assert_eq!(read(&base).number, Some(7));
        let expected = Specialisation {
            name: "quiet".to_owned(),
            number: 7,
        };
        assert_eq!(read(&special).specialisation, Some(expected));
        assert_eq!(read(&other).specialisation, None);
        assert_eq!(running(&dir.path().join("absent"), &[]).unwrap(), None);
    }
}
