//! Where files live: one answer for the daemon and for the command line.
//!
//! Start at [`Paths::resolve`]. It is pure: what it needs to know of the process is in [`Host`],
//! and what a flag or a variable says comes first. Every path in [`Paths`] is absolute.

use std::path::{Path, PathBuf};

/// State directory of root.
const ROOT_STATE: &str = "/var/lib/osmoda";
/// Runtime directory of root.
const ROOT_RUNTIME: &str = "/run/osmoda";
/// Logs of root's agents under the native runtime.
const ROOT_LOGS: &str = "/var/log/osmoda";
/// Specs of root.
const ROOT_SPECS: &str = "/etc/osmoda/agents";
/// Agent profiles of root; only beside [`ROOT_STATE`].
const ROOT_PROFILES: &str = "/nix/var/nix/profiles/osmoda";

/// Every place that osmoda reads or writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Ledger, keys, bundles.
    pub state: PathBuf,
    /// Socket, notify socket, instance notes, credentials.
    pub runtime: PathBuf,
    /// Output of agents under the native runtime.
    pub logs: PathBuf,
    /// Specs, where none are named.
    pub specs: PathBuf,
    /// Profile links of agents.
    pub profiles: PathBuf,
}

/// What was asked for; the rest follows from [`Host`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `--state-dir`.
    pub state: Option<PathBuf>,
    /// `--runtime-dir`.
    pub runtime: Option<PathBuf>,
    /// `--profile-dir`.
    pub profiles: Option<PathBuf>,
}

/// What the process knows of its surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The effective user is root.
    pub root: bool,
    /// The working directory; relative paths start here.
    pub cwd: PathBuf,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// `$XDG_STATE_HOME` (XDG Base Directory Specification).
    pub xdg_state_home: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
}

/// Why no place could be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    /// A user without a home.
    #[error("neither HOME nor XDG_STATE_HOME is set, so there is no place for the state")]
    NoHome,
}

impl Host {
    /// Reads the process's own surroundings. A variable that is empty or holds a relative path
    /// counts as not set, as the XDG specification asks.
    pub fn of_process() -> Self {
        let variable = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|p| p.is_absolute())
        };
        Self {
            root: rustix::process::geteuid().is_root(),
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            home: variable("HOME"),
            xdg_state_home: variable("XDG_STATE_HOME"),
            xdg_runtime_dir: variable("XDG_RUNTIME_DIR"),
        }
    }
}

impl Paths {
    /// Chooses every place.
    ///
    /// Logs and profiles follow the state directory: two daemons with a state directory each
    /// share neither. A user without `$XDG_RUNTIME_DIR` gets `STATE/run`.
    ///
    /// # Errors
    /// [`PathsError::NoHome`] for a user other than root who has no home and names no directory.
    pub fn resolve(wanted: &Wanted, host: &Host) -> Result<Self, PathsError> {
        let absolute = |path: &Path| host.cwd.join(path);
        let default_state = default_state(host);
        let state = match (&wanted.state, &default_state) {
            (Some(path), _) => absolute(path),
            (None, Some(path)) => path.clone(),
            (None, None) => return Err(PathsError::NoHome),
        };
        let is_system = host.root && state == Path::new(ROOT_STATE);
        let runtime = wanted.runtime.as_deref().map(absolute);
        let profiles = wanted.profiles.as_deref().map(absolute);
        let beside_state = |system: &str, name: &str| match is_system {
            true => PathBuf::from(system),
            false => state.join(name),
        };
        Ok(Self {
            runtime: runtime.unwrap_or_else(|| default_runtime(host, &state)),
            logs: beside_state(ROOT_LOGS, "logs"),
            specs: if host.root {
                PathBuf::from(ROOT_SPECS)
            } else {
                host.cwd.join("specs")
            },
            profiles: profiles.unwrap_or_else(|| beside_state(ROOT_PROFILES, "profiles")),
            state,
        })
    }

    /// Socket of the API.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("osmoda.sock")
    }

    /// Socket of agents' notifications.
    pub fn notify(&self) -> PathBuf {
        self.runtime.join("notify")
    }

    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.state.join("ledger.db")
    }

    /// The private key that signs the ledger.
    pub fn ledger_key(&self) -> PathBuf {
        self.state.join("ledger.key")
    }
}

fn default_state(host: &Host) -> Option<PathBuf> {
    if host.root {
        return Some(PathBuf::from(ROOT_STATE));
    }
    let home = host.home.as_ref().map(|home| home.join(".local/state"));
    let base = host.xdg_state_home.clone().or(home)?;
    Some(base.join("osmoda"))
}

fn default_runtime(host: &Host, state: &Path) -> PathBuf {
    match (host.root, &host.xdg_runtime_dir) {
        (true, _) => PathBuf::from(ROOT_RUNTIME),
        (false, Some(base)) => base.join("osmoda"),
        (false, None) => state.join("run"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Host {
        Host {
            root: false,
            cwd: "/srv".into(),
            home: Some("/home/ada".into()),
            xdg_state_home: None,
            xdg_runtime_dir: Some("/run/user/1000".into()),
        }
    }

    fn root() -> Host {
        Host {
            root: true,
            ..user()
        }
    }

    fn chosen(wanted: &Wanted, host: &Host) -> [String; 5] {
        let paths = Paths::resolve(wanted, host).unwrap();
        [
            paths.state,
            paths.runtime,
            paths.logs,
            paths.specs,
            paths.profiles,
        ]
        .map(|path| path.display().to_string())
    }

    #[test]
    fn root_uses_the_systems_directories() {
        assert_eq!(
            chosen(&Wanted::default(), &root()),
            [
                "/var/lib/osmoda",
                "/run/osmoda",
                "/var/log/osmoda",
                "/etc/osmoda/agents",
                "/nix/var/nix/profiles/osmoda"
            ]
        );
    }

    #[test]
    fn a_user_stays_in_their_own_directories() {
        let state = "/home/ada/.local/state/osmoda";
        assert_eq!(
            chosen(&Wanted::default(), &user()),
            [
                state.to_owned(),
                "/run/user/1000/osmoda".to_owned(),
                format!("{state}/logs"),
                "/srv/specs".to_owned(),
                format!("{state}/profiles"),
            ]
        );
        let elsewhere = Host {
            xdg_state_home: Some("/xdg".into()),
            xdg_runtime_dir: None,
            ..user()
        };
        let [state, runtime, ..] = chosen(&Wanted::default(), &elsewhere);
        assert_eq!([state, runtime], ["/xdg/osmoda", "/xdg/osmoda/run"]);
    }

    #[test]
    fn a_state_directory_of_ones_own_brings_logs_and_profiles_along() {
        let wanted = Wanted {
            state: Some("mine".into()),
            ..Wanted::default()
        };
        assert_eq!(
            chosen(&wanted, &root()),
            [
                "/srv/mine",
                "/run/osmoda",
                "/srv/mine/logs",
                "/etc/osmoda/agents",
                "/srv/mine/profiles"
            ]
        );
    }

    #[test]
    fn flags_come_first() {
        let wanted = Wanted {
            state: Some("/s".into()),
            runtime: Some("r".into()),
            profiles: Some("/p".into()),
        };
        let [state, runtime, _, _, profiles] = chosen(&wanted, &user());
        assert_eq!([state, runtime, profiles], ["/s", "/srv/r", "/p"]);
    }

    #[test]
    fn a_user_without_a_home_must_name_a_directory() {
        let lost = Host {
            home: None,
            ..user()
        };
        assert_eq!(
            Paths::resolve(&Wanted::default(), &lost),
            Err(PathsError::NoHome)
        );
        let wanted = Wanted {
            state: Some("/s".into()),
            ..Wanted::default()
        };
        assert!(Paths::resolve(&wanted, &lost).is_ok());
    }
}
