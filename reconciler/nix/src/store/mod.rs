//! The Nix store: what is valid in it, how to put a text into it, how to fetch and to check what
//! should be there.
//!
//! Everything that changes the store goes through Nix' own commands, which find a daemon by
//! themselves where there is one. Whether a path is valid is read from Nix' database where that
//! can be read, and asked of `nix-store` where it cannot.
//!
//! Where to start: [`NixStore`]. Each call blocks, for at most a named time.

mod command;
mod database;
mod error;
pub(crate) mod nar;
mod root;
mod verify;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use osmoda_core::digest::Digest;

use self::database::Database;
pub use self::{
    error::StoreError,
    verify::{Damage, Fault, Progress, Verified, Watch},
};
use crate::store_path::{StoreDir, StorePath};

/// Time for a question, or to add a text.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to fetch the store paths that a manifest names.
pub const REALISE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Time to build what a spec mentions.
pub const BUILD_TIMEOUT: Duration = Duration::from_secs(2 * 3600);
/// Most bytes of a message taken over from Nix.
pub const MESSAGE_MAX: usize = 2048;
/// Where Nix keeps database, roots and profiles, unless NIX_STATE_DIR says otherwise.
pub const STATE_DIR: &str = "/nix/var/nix";

/// Variables that the commands of Nix see: which store, which configuration, who we are, how to
/// reach the network.
const ENVIRONMENT: [&str; 20] = [
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "NIX_REMOTE",
    "NIX_CONF_DIR",
    "NIX_CONFIG",
    "NIX_USER_CONF_FILES",
    "NIX_DAEMON_SOCKET_PATH",
    "NIX_LOCALSTATE_DIR",
    "NIX_LOG_DIR",
    "NIX_SSL_CERT_FILE",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// A Nix store and how to work with it. Holds nothing of Nix' but its database, open to be read.
#[derive(Debug, Clone)]
pub struct NixStore {
    dir: StoreDir,
    state_dir: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    database: Arc<Database>,
}

/// What Nix knows of a valid path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathInfo {
    /// SHA-256 of its NAR.
    pub nar_hash: Digest,
    /// Bytes of its NAR; 0 if Nix did not note it.
    pub nar_size: u64,
}

impl NixStore {
    /// The store that Nix itself would use in this environment: NIX_STORE_DIR and NIX_STATE_DIR
    /// are honoured.
    ///
    /// # Errors
    /// [`StoreError::NotUsable`] if those name what cannot be a store.
    pub fn from_env() -> Result<Self, StoreError> {
        let dir = match std::env::var_os("NIX_STORE_DIR") {
            None => StoreDir::default(),
            Some(dir) => StoreDir::new(Path::new(&dir))
                .ok_or_else(|| StoreError::NotUsable(format!("NIX_STORE_DIR is {dir:?}")))?,
        };
        let state_dir = std::env::var_os("NIX_STATE_DIR").unwrap_or_else(|| STATE_DIR.into());
        let kept = ENVIRONMENT
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        Ok(Self {
            dir,
            state_dir: state_dir.into(),
            environment: kept.collect(),
            database: Arc::default(),
        })
    }

    /// A store of its own below `root` (`root/store`, `root/state`), single-user, without a
    /// substituter: for tests, trials and benchmarks. [`None`] if `root` is not absolute UTF-8.
    pub fn private(root: &Path) -> Option<Self> {
        let environment = [
            ("HOME", root.to_path_buf()),
            ("NIX_LOCALSTATE_DIR", root.join("state")),
            ("NIX_LOG_DIR", root.join("log")),
            ("NIX_CONF_DIR", root.join("conf")),
        ];
        let mut environment: Vec<(&'static str, OsString)> = environment
            .map(|(name, value)| (name, value.into_os_string()))
            .into();
        environment.extend(std::env::var_os("PATH").map(|path| ("PATH", path)));
        environment.push(("NIX_CONFIG", "substituters =\nsandbox = false".into()));
        Some(Self {
            dir: StoreDir::new(&root.join("store"))?,
            state_dir: root.join("state"),
            environment,
            database: Arc::default(),
        })
    }

    /// Whether texts can be added here: adds a tiny one, the very act that everything rests on.
    /// Asked once, when the daemon starts; nothing is created where no store is.
    ///
    /// # Errors
    /// [`StoreError::NotUsable`] says why not.
    pub fn probe(&self) -> Result<(), StoreError> {
        let dir = self.dir.as_str();
        if !Path::new(dir).is_dir() {
            return Err(StoreError::NotUsable(format!("{dir} is not there")));
        }
        self.add_text("osmoda-probe", "osmoda\n", &BTreeSet::new())
            .map(drop)
            .map_err(|error| StoreError::NotUsable(one_line(&error)))
    }

    /// Its directory.
    pub fn dir(&self) -> &StoreDir {
        &self.dir
    }

    /// Where its database, roots and profiles are.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// What Nix knows of a path; `None` if it is not valid.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be asked: then nothing is known.
    pub fn info(&self, path: &StorePath) -> Result<Option<PathInfo>, StoreError> {
        let shown = self.dir.show(path);
        if self.is_local() {
            match self.database.look_up(&self.state_dir, &shown) {
                Ok(info) => return Ok(info),
                Err(error) => tracing::debug!(%error, "asking nix-store instead of its database"),
            }
        }
        if !self.invalid(std::slice::from_ref(&shown))?.is_empty() {
            return Ok(None);
        }
        let infos = self.infos(&[shown])?;
        Ok(infos.first().copied())
    }

    /// Puts a text into the store, with these references, and gives its path. What is there
    /// already is left alone. The references must be valid.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Answer`] if Nix names it differently than we do.
    pub fn add_text(
        &self,
        name: &str,
        text: &str,
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath, StoreError> {
        let what = format!("add {name} to the store");
        let unclear = |answer: String| StoreError::Answer {
            command: command::INSTANTIATE,
            what: what.clone(),
            answer,
        };
        let expected = self.dir.text_path(name, text, references);
        let expected = expected.map_err(|error| unclear(error.to_string()))?;
        let references: Vec<String> = references.iter().map(|path| self.dir.show(path)).collect();
        let answer = self.evaluate(&to_file(name, text, &references), &what)?;
        let path: String = serde_json::from_str(&answer).map_err(|_| unclear(answer.clone()))?;
        if path == self.dir.show(&expected) {
            Ok(expected)
        } else {
            Err(unclear(path))
        }
    }

    /// Whether all these paths are valid.
    ///
    /// # Errors
    /// [`StoreError`] if that could not be found out.
    pub fn has_all(&self, paths: &BTreeSet<StorePath>) -> Result<bool, StoreError> {
        for path in paths {
            if self.info(path)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Builds derivations (`DRV!OUTPUT`), or fetches what they give where a substituter has it,
    /// within [`BUILD_TIMEOUT`].
    ///
    /// # Errors
    /// [`StoreError::Build`] with the end of the builder's log.
    pub fn build(&self, derivations: &[String]) -> Result<(), StoreError> {
        if derivations.is_empty() {
            return Ok(());
        }
        tracing::info!(derivations = ?derivations, "building");
        match self.build_all(derivations) {
            Err(StoreError::Refused { message, .. }) => Err(StoreError::Build { message }),
            other => other,
        }
    }

    /// Sees to it that all these paths are valid: those that are not are fetched, within
    /// [`REALISE_TIMEOUT`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] names those that cannot be had.
    pub fn realise(&self, paths: &BTreeSet<StorePath>) -> Result<(), StoreError> {
        let mut absent = Vec::new();
        for path in paths {
            if self.info(path)?.is_none() {
                absent.push(self.dir.show(path));
            }
        }
        if absent.is_empty() {
            return Ok(());
        }
        tracing::info!(paths = ?absent, "fetching store paths");
        match self.fetch(&absent) {
            Err(StoreError::Refused { message, .. }) => {
                // Some may have come all the same.
                let paths = self.invalid(&absent).unwrap_or(absent);
                Err(StoreError::Unavailable { paths, message })
            }
            other => other,
        }
    }

    /// Makes the link of a generation a root for the garbage collector, as nix-env does: for
    /// every generation, wherever its profile is. The link must be there.
    ///
    /// # Errors
    /// [`StoreError::Root`], or those of `nix-store` where the state directory is not ours to
    /// write to and Nix must be asked.
    pub fn add_root(&self, link: &Path, target: &StorePath) -> Result<(), StoreError> {
        match root::register(&self.state_dir, link) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.register_root(link, &self.dir.show(target))
            }
            Err(source) => Err(StoreError::Root {
                link: link.display().to_string(),
                source,
            }),
        }
    }
}

/// The expression that puts a text into the store. `toFile` takes references to store paths
/// (not to outputs that are yet to be built), which is what `appendContext` makes of them.
fn to_file(name: &str, text: &str, references: &[String]) -> String {
    let context: String = references
        .iter()
        .map(|path| format!(" {} = {{ path = true; }};", crate::expression::string(path)))
        .collect();
    format!(
        "builtins.toFile {} (builtins.appendContext {} {{{context} }})",
        crate::expression::string(name),
        crate::expression::string(text)
    )
}

/// An error with its causes, in one line.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
