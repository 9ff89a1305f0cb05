//! The real [`SystemSwitcher`]: NixOS' links, lock and switch-to-configuration.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use osmoda_core::{
    name::AgentName,
    observed::{Generation, InvocationId},
};
use tokio::time::Instant;

use super::{
    ATTEMPTS_MAX, LOCK_WAIT, Resumed, SwitchError, SwitchExit, SwitchOutcome, SwitchRequest,
    SystemState, SystemSwitcher, launch::Attempt, lock::SwitchLock, observe,
};
use crate::{
    profile::Profile,
    store::{NixStore, StoreError, Verified, Watch},
};

/// The profile's name: `system` in [`SystemPaths::profiles`].
const PROFILE: &str = "system";

/// Where everything is.
#[derive(Debug, Clone)]
pub struct SystemPaths {
    /// Directory of the system profile: /nix/var/nix/profiles.
    pub profiles: PathBuf,
    /// Link to the system that runs: /run/current-system.
    pub current: PathBuf,
    /// Link to the system that was booted: /run/booted-system.
    pub booted: PathBuf,
    /// NixOS' lock: /run/nixos/switch-to-configuration.lock.
    pub lock: PathBuf,
    /// Where outcomes are written; must survive a restart of the daemon.
    pub switches: PathBuf,
    /// systemd-run.
    pub systemd_run: PathBuf,
    /// systemctl.
    pub systemctl: PathBuf,
}

impl SystemPaths {
    /// Those of NixOS, with outcomes in `switches`.
    pub fn nixos(switches: PathBuf) -> Self {
        Self {
            profiles: "/nix/var/nix/profiles".into(),
            current: "/run/current-system".into(),
            booted: "/run/booted-system".into(),
            lock: "/run/nixos/switch-to-configuration.lock".into(),
            switches,
            systemd_run: "systemd-run".into(),
            systemctl: "systemctl".into(),
        }
    }
}

/// The real [`SystemSwitcher`].
#[derive(Debug)]
pub struct NixosSwitcher {
    paths: SystemPaths,
    profile: Profile,
    store: Option<NixStore>,
}

impl NixosSwitcher {
    /// With `store`, a generation's store path must be valid in it before it is switched to.
    pub fn new(paths: SystemPaths, store: Option<NixStore>) -> Self {
        #[expect(clippy::expect_used, reason = "a constant that is an agent's name")]
        let name = AgentName::new(PROFILE).expect("`system` is a DNS label");
        Self {
            profile: Profile::new(&paths.profiles, name),
            paths,
            store,
        }
    }

    /// Does `work` on a thread that may block.
    async fn blocking(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> Result<(), SwitchError> + Send + 'static,
    ) -> Result<(), SwitchError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this crate has no runtime; where threads lack, it is served with the next turn"
        )]
        let joined = tokio::task::spawn_blocking(work).await;
        joined.map_err(|error| SwitchError::Io {
            operation,
            path: self.profile.path(),
            source: std::io::Error::other(error),
        })?
    }
}

/// Whether there is something to run, before anything is changed.
fn check(store: Option<&NixStore>, path: &str) -> Result<(), SwitchError> {
    let unfit = |why: String| SwitchError::NotASystem {
        path: path.to_owned(),
        why,
    };
    // What lies elsewhere is in no store, and nobody's to vouch for.
    if let Some(store) = store.filter(|store| store.dir().holds(Path::new(path))) {
        let parsed = store.dir().parse(path);
        let parsed = parsed.map_err(|error| unfit(error.to_string()))?;
        if store.info(&parsed)?.is_none() {
            let path = path.to_owned();
            return Err(StoreError::Invalid { path }.into());
        }
    }
    let program = Path::new(path).join("bin/switch-to-configuration");
    let metadata = program.metadata();
    let metadata = metadata.map_err(|error| unfit(format!("{}: {error}", program.display())))?;
    match metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        true => Ok(()),
        false => Err(unfit(format!("{} is no program", program.display()))),
    }
}

impl SystemSwitcher for NixosSwitcher {
    fn observe(&self) -> Result<SystemState, SwitchError> {
        let generations = self.profile.list()?;
        let profile = self.profile.active()?;
        let is_there = |generation: &Generation| generation.path().exists();
        Ok(SystemState {
            profile_is_there: profile.as_ref().is_some_and(is_there),
            profile,
            current: observe::running(&self.paths.current, &generations)?,
            booted: observe::running(&self.paths.booted, &generations)?,
        })
    }

    fn generations(&self) -> Result<Vec<Generation>, SwitchError> {
        Ok(self.profile.list()?)
    }

    fn has_store(&self) -> bool {
        self.store.is_some()
    }

    fn verify(&self, generation: &Generation, watch: &Watch<'_>) -> Result<Verified, SwitchError> {
        let path = &generation.store_path;
        let unfit = |error: crate::store_path::StorePathError| SwitchError::NotASystem {
            path: path.to_string(),
            why: error.to_string(),
        };
        let store = self.store.as_ref();
        let store = store.ok_or_else(|| SwitchError::NoStore(path.to_string()))?;
        let parsed = store.dir().parse(path).map_err(unfit)?;
        Ok(store.verify(&parsed, watch)?)
    }

    async fn switch_to(&self, request: &SwitchRequest) -> Result<SwitchOutcome, SwitchError> {
        let SwitchRequest { id, to } = request;
        let (store, path) = (self.store.clone(), to.store_path.clone());
        let look = move || check(store.as_ref(), &path);
        self.blocking("check", look).await?;
        let deadline = Instant::now() + LOCK_WAIT;
        let mut number = 1;
        loop {
            let lock = SwitchLock::acquire(&self.paths.lock, deadline).await?;
            let (profile, to_set) = (self.profile.clone(), to.clone());
            let set = move || Ok(profile.switch_to(to_set.number, to_set.path())?);
            self.blocking("set", set).await?;
            // The switch takes it itself.
            drop(lock);
            let attempt = Attempt::new(&self.paths, *id, number);
            attempt.launch(to.path()).await?;
            let outcome = attempt.ended().await?;
            let outcome = outcome.ok_or_else(|| SwitchError::Launch {
                unit: attempt.unit(),
                message: "it ended without a word".to_owned(),
            })?;
            // Somebody was faster between the lock's release and the switch.
            if outcome.exit != SwitchExit::LockHeld || number == ATTEMPTS_MAX {
                return Ok(outcome);
            }
            number += 1;
        }
    }

    async fn resume(&self, id: InvocationId) -> Result<Resumed, SwitchError> {
        let Some(attempt) = Attempt::last(&self.paths, id) else {
            return Ok(Resumed::NotLaunched);
        };
        match attempt.ended().await? {
            Some(outcome) => Ok(Resumed::Ended(outcome)),
            None if attempt.has_begun() => Ok(Resumed::Lost),
            None => Ok(Resumed::NotLaunched),
        }
    }

    fn forget(&self, id: InvocationId) -> Result<(), SwitchError> {
        (1..=ATTEMPTS_MAX).try_for_each(|number| Attempt::new(&self.paths, id, number).forget())
    }
}
