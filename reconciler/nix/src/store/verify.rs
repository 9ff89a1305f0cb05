//! Whether a closure is what Nix' database says: every path of it hashed again.
//!
//! Some paths at a time, the largest first so that no worker is left with one at the end. What
//! cannot be made into an archive here (a name that is not UTF-8) is left to
//! `nix-store --verify-path`.

use std::{
    fmt,
    ops::ControlFlow,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    thread,
};

use osmoda_core::digest::Digest;

use super::{
    NixStore, PathInfo, REALISE_TIMEOUT, StoreError,
    nar::{self, NarError},
};
use crate::{hash, store_path::StorePath};

/// Most paths hashed at the same time.
pub const WORKERS_MAX: usize = 4;
/// Bytes of one path between two reports of progress, each of which may cancel.
const REPORT_EVERY: u64 = 4 << 20;

/// How far a verification has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Store paths checked.
    pub paths: u64,
    /// Of so many.
    pub paths_total: u64,
    /// Bytes of archives hashed.
    pub bytes: u64,
    /// Of so many, as far as Nix knows.
    pub bytes_total: u64,
}

/// Is told of progress, from several threads; [`ControlFlow::Break`] cancels.
pub type Watch<'a> = dyn Fn(Progress) -> ControlFlow<()> + Sync + 'a;

/// The outcome of a verification that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Store paths checked.
    pub paths: u64,
    /// Bytes of archives hashed.
    pub bytes: u64,
    /// What is wrong, by path; empty: all is as it should be.
    pub damage: Vec<Damage>,
}

/// A path of a closure that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The path.
    pub path: String,
    /// What is wrong with it.
    pub fault: Fault,
    /// What a person can do about it.
    pub repair: String,
}

/// What is wrong with a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nix does not know it.
    Invalid,
    /// Nix says it is there, and it is not.
    Missing,
    /// Its content has changed.
    Modified {
        /// What Nix noted.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// It could not be read; what the system or Nix said.
    Unreadable(String),
}

impl Damage {
    /// With the repair that Nix offers for such a fault.
    pub fn new(path: String, fault: Fault) -> Self {
        let repair = match fault {
            Fault::Invalid => format!("`nix-store --realise {path}` fetches it"),
            _ => format!("`nix-store --repair-path {path}` fetches or builds it anew"),
        };
        Self {
            path,
            fault,
            repair,
        }
    }
}

impl fmt::Display for Damage {
    /// What is wrong, and what can be done about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.fault {
            Fault::Invalid => write!(f, "{path} is not valid to Nix"),
            Fault::Missing => write!(f, "{path} is missing"),
            Fault::Modified { expected, found } => write!(
                f,
                "{path} was modified (its hash is {}, not {})",
                hash::show(found),
                hash::show(expected)
            ),
            Fault::Unreadable(why) => write!(f, "{path} cannot be read ({why})"),
        }?;
        write!(f, "; {}", self.repair)
    }
}

impl NixStore {
    /// Hashes the closure of `path` and compares it with Nix' database.
    ///
    /// Reads every byte of it, some [`WORKERS_MAX`] paths at a time, in bounded memory.
    ///
    /// # Errors
    /// [`StoreError::Cancelled`] if `watch` said so; others if Nix could not be asked. What is
    /// found damaged is no error but the answer.
    pub fn verify(&self, path: &StorePath, watch: &Watch<'_>) -> Result<Verified, StoreError> {
        let shown = self.dir.show(path);
        if self.info(path)?.is_none() {
            return Ok(Verified {
                damage: vec![Damage::new(shown, Fault::Invalid)],
                ..Verified::default()
            });
        }
        let closure = self.closure(&shown)?;
        let infos = self.infos(&closure)?;
        let mut paths: Vec<(String, PathInfo)> = closure.into_iter().zip(infos).collect();
        paths.sort_by_key(|(_, info)| std::cmp::Reverse(info.nar_size));
        let work = Work {
            store: self,
            total: Progress {
                paths_total: paths.len() as u64,
                bytes_total: paths.iter().map(|(_, info)| info.nar_size).sum(),
                ..Progress::default()
            },
            paths,
            next: AtomicUsize::new(0),
            done: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            watch,
        };
        let mut damage = work.share()?;
        if work.stopped.load(Ordering::Relaxed) {
            return Err(StoreError::Cancelled { path: shown });
        }
        damage.sort();
        Ok(Verified {
            paths: work.total.paths_total,
            bytes: work.bytes.load(Ordering::Relaxed),
            damage,
        })
    }
}

/// One verification, shared by its workers.
struct Work<'a> {
    store: &'a NixStore,
    paths: Vec<(String, PathInfo)>,
    total: Progress,
    next: AtomicUsize,
    done: AtomicU64,
    bytes: AtomicU64,
    stopped: AtomicBool,
    watch: &'a Watch<'a>,
}

impl Work<'_> {
    fn share(&self) -> Result<Vec<Damage>, StoreError> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let workers = processors.min(WORKERS_MAX).min(self.paths.len());
        thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| self.some())).collect();
            let mut damage = Vec::new();
            for worker in workers {
                match worker.join() {
                    Ok(found) => damage.extend(found?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(damage)
        })
    }

    /// One worker's part: whatever is next, until nothing is left.
    fn some(&self) -> Result<Vec<Damage>, StoreError> {
        let mut damage = Vec::new();
        while !self.stopped.load(Ordering::Relaxed) {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((path, info)) = self.paths.get(index) else {
                break;
            };
            let fault = self.check(path, info).inspect_err(|_| self.stop())?;
            damage.extend(fault.map(|fault| Damage::new(path.clone(), fault)));
            self.done.fetch_add(1, Ordering::Relaxed);
            self.report();
        }
        Ok(damage)
    }

    fn check(&self, path: &str, info: &PathInfo) -> Result<Option<Fault>, StoreError> {
        let place = Path::new(path);
        if place
            .symlink_metadata()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        {
            return Ok(Some(Fault::Missing));
        }
        let mut unreported = 0;
        let hashed = nar::hash(place, nar::PIECE, |count| {
            self.bytes.fetch_add(count, Ordering::Relaxed);
            unreported += count;
            if unreported >= REPORT_EVERY {
                unreported = 0;
                self.report();
            }
            match self.stopped.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        match hashed {
            Ok(nar) if nar.digest == info.nar_hash => Ok(None),
            Ok(nar) => Ok(Some(Fault::Modified {
                expected: info.nar_hash,
                found: nar.digest,
            })),
            Err(NarError::Cancelled) => Ok(None),
            Err(NarError::Io(error)) => {
                tracing::debug!(path, %error, "leaving the check to nix-store");
                let complaint = self.store.verify_path(path, REALISE_TIMEOUT)?;
                Ok(complaint.map(|said| Fault::Unreadable(format!("{error}; nix-store: {said}"))))
            }
        }
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn report(&self) {
        let progress = Progress {
            paths: self.done.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            ..self.total
        };
        if (self.watch)(progress).is_break() {
            self.stop();
        }
    }
}
