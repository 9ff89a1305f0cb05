//! A Nix profile: numbered generations and the one that is active, as symbolic links.
//!
//! ```text
//! DIR/NAME          -> NAME-7-link        relative: the active generation
//! DIR/NAME-7-link   -> /nix/store/…       absolute: generation 7
//! DIR/NAME.lock                           held while links are changed
//! ```
//! The layout and its rules are Nix' (profiles.cc; checked against nix-env on 2.8 and 2.26):
//! a new number is the highest plus one; if the highest already has that target, it is used
//! again. `nix-env --profile DIR/NAME` reads and changes what this module writes, and the other
//! way round.
//!
//! Invariants: `NAME` changes by rename(2) alone, so it never fails to exist in between; the
//! directory is synced before a call returns; the active generation is never deleted; what is
//! not exactly a link of this profile - foreign files, `NAME-x-link`, `NAME-0-link`,
//! `NAME-007-link`, numbers that Nix cannot hold - is left alone and not listed.

mod error;
mod lock;

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use osmoda_core::{name::AgentName, observed::Generation};

use self::lock::Lock;
pub use self::{error::ProfileError, lock::LOCK_WAIT};

/// Highest number of a generation: what Nix reads back from a link's name.
pub const NUMBER_MAX: u64 = u32::MAX as u64;
/// Tries to make a new generation's link while somebody else, who takes no lock
/// (`nix-env --set`), makes links too.
const SET_TRIES: u32 = 16;

/// One profile. Holds no state: each call reads the links afresh.
#[derive(Debug, Clone)]
pub struct Profile {
    dir: PathBuf,
    name: AgentName,
}

impl Profile {
    /// The profile `name` in the directory `dir`, which must exist before something is set.
    pub fn new(dir: impl Into<PathBuf>, name: AgentName) -> Self {
        Self {
            dir: dir.into(),
            name,
        }
    }

    /// The profile's own link, as `nix-env --profile` wants it.
    pub fn path(&self) -> PathBuf {
        self.dir.join(self.name.as_str())
    }

    /// All generations, by number. Links that dangle are listed too.
    ///
    /// # Errors
    /// [`ProfileError::Io`]. A directory that does not exist holds none.
    pub fn list(&self) -> Result<Vec<Generation>, ProfileError> {
        let mut found = Vec::new();
        for file in file_names(&self.dir)? {
            let Some((name, number)) = parse_link(&file) else {
                continue;
            };
            if name == self.name.as_str() {
                found.extend(self.generation(number)?);
            }
        }
        found.sort();
        Ok(found)
    }

    /// The active generation; `None` if nothing was ever set, or the profile's link points to
    /// nothing that is a generation of it.
    ///
    /// # Errors
    /// [`ProfileError::NotALink`], [`ProfileError::Io`].
    pub fn active(&self) -> Result<Option<Generation>, ProfileError> {
        let path = self.path();
        let Some(target) = read_link(&path)? else {
            return Ok(None);
        };
        match target.to_str().and_then(parse_link) {
            Some((name, number)) if name == self.name.as_str() => self.generation(number),
            _ => Ok(None),
        }
    }

    /// Makes `target` the active generation, as `nix-env --set` does: the highest one if that has
    /// this very target, otherwise a new one. Not looked at is whether `target` exists.
    ///
    /// # Errors
    /// Any [`ProfileError`] but those of a missing or active generation; the profile is then as
    /// before, but may have a new generation that is not active.
    pub fn set(&self, target: &Path) -> Result<Generation, ProfileError> {
        self.set_after(target, |_| Ok(()))
    }

    /// As [`Profile::set`], but with the generation's link in place and before it is made active,
    /// `prepare` is called with that link: to make it a root, and to see that the target is
    /// still there. The lock is held meanwhile.
    ///
    /// # Errors
    /// As [`Profile::set`], and what `prepare` gives; a link that was made for this is then
    /// removed again.
    pub fn set_after(
        &self,
        target: &Path,
        prepare: impl FnOnce(&Path) -> Result<(), ProfileError>,
    ) -> Result<Generation, ProfileError> {
        let store_path = target
            .to_str()
            .filter(|_| target.is_absolute())
            .ok_or_else(|| ProfileError::BadTarget {
                profile: self.path(),
                target: target.to_path_buf(),
            })?;
        let _lock = self.lock()?;
        let highest = self.list()?.pop();
        let (number, is_new) = match highest.filter(|highest| *highest.store_path == *store_path) {
            Some(highest) => (highest.number, false),
            None => (self.make_link(target)?, true),
        };
        let link = self.link(number);
        if let Err(error) = prepare(&link) {
            if is_new {
                fs::remove_file(&link).map_err(failed("remove", &link))?;
            }
            return Err(error);
        }
        self.point_to(number)?;
        Ok(Generation {
            number,
            store_path: store_path.into(),
        })
    }

    /// Makes the link of a new generation and gives its number. The lock must be held.
    fn make_link(&self, target: &Path) -> Result<u64, ProfileError> {
        for _ in 0..SET_TRIES {
            let number = self.next_number()?;
            let link = self.link(number);
            match symlink(target, &link) {
                Ok(()) => {
                    // The number before what refers to it.
                    sync_directory(&self.dir)?;
                    return Ok(number);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("create", &link)(error)),
            }
        }
        Err(ProfileError::NoNumber {
            profile: self.path(),
        })
    }

    /// Makes generation `number` active, if it still is what was recorded of it.
    ///
    /// # Errors
    /// [`ProfileError::NoSuchGeneration`], [`ProfileError::TargetChanged`], and those of reading
    /// and writing; the profile is then as before.
    pub fn switch_to(&self, number: u64, expected: &Path) -> Result<(), ProfileError> {
        let _lock = self.lock()?;
        let profile = self.path();
        let found = self.generation(number)?;
        let found = found.ok_or_else(|| ProfileError::NoSuchGeneration {
            profile: profile.clone(),
            number,
        })?;
        if found.path() != expected {
            return Err(ProfileError::TargetChanged {
                profile,
                number,
                expected: expected.display().to_string(),
                found: found.store_path.to_string(),
            });
        }
        self.point_to(number)
    }

    /// Deletes generations; numbers that do not exist are passed over. Gives those that were
    /// deleted, in order.
    ///
    /// # Errors
    /// [`ProfileError::Active`] if one of them is active, and then none is deleted; those of
    /// reading and writing, after which some may be gone.
    pub fn delete(&self, numbers: &[u64]) -> Result<Vec<u64>, ProfileError> {
        let _lock = self.lock()?;
        let active = self.active()?.map(|generation| generation.number);
        if let Some(number) = active.filter(|active| numbers.contains(active)) {
            return Err(ProfileError::Active {
                profile: self.path(),
                number,
            });
        }
        let mut deleted = Vec::new();
        for number in numbers.iter().copied().collect::<BTreeSet<_>>() {
            if self.generation(number)?.is_some() {
                let link = self.link(number);
                fs::remove_file(&link).map_err(failed("remove", &link))?;
                deleted.push(number);
            }
        }
        sync_directory(&self.dir)?;
        Ok(deleted)
    }

    /// Removes the profile: first its own link, then all generations. What is not there is
    /// passed over.
    ///
    /// # Errors
    /// [`ProfileError::NotALink`], or those of reading and writing, after which some may be gone.
    pub fn remove(&self) -> Result<(), ProfileError> {
        if !self.dir.exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        let path = self.path();
        if read_link(&path)?.is_some() {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        for generation in self.list()? {
            let link = self.link(generation.number);
            fs::remove_file(&link).map_err(failed("remove", &link))?;
        }
        sync_directory(&self.dir)
    }

    /// Generation `number`, if there is one whose target can be written as text.
    fn generation(&self, number: u64) -> Result<Option<Generation>, ProfileError> {
        let link = self.link(number);
        let target = match read_link(&link) {
            // A file that is no link is nobody's generation.
            Err(ProfileError::NotALink { .. }) => None,
            other => other?,
        };
        let target = target.and_then(|target| target.into_os_string().into_string().ok());
        Ok(target.map(|store_path| Generation {
            number,
            store_path: store_path.into(),
        }))
    }

    /// The highest number in use plus one. Counted are all names that Nix reads as a number,
    /// whatever they are and whatever they point to, for they may be in the way.
    fn next_number(&self) -> Result<u64, ProfileError> {
        let mut highest = 0;
        for file in file_names(&self.dir)? {
            if let Some((name, digits)) = split_link(&file)
                && name == self.name.as_str()
                && let Ok(number) = digits.parse::<u32>()
            {
                highest = highest.max(u64::from(number));
            }
        }
        let next = highest + 1;
        if next > NUMBER_MAX {
            return Err(ProfileError::NoNumber {
                profile: self.path(),
            });
        }
        Ok(next)
    }

    /// Points the profile's link to a generation, in one step. The lock must be held.
    fn point_to(&self, number: u64) -> Result<(), ProfileError> {
        let path = self.path();
        // Refuses to replace what is not a link.
        read_link(&path)?;
        let temporary = self.dir.join(format!(".{}.osmoda-new", self.name));
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &temporary)(error));
            }
            // Gone, or left by a crash; nobody else uses that name while the lock is held.
            _ => {}
        }
        symlink(link_name(&self.name, number), &temporary).map_err(failed("create", &temporary))?;
        fs::rename(&temporary, &path).map_err(failed("replace", &path))?;
        sync_directory(&self.dir)
    }

    fn link(&self, number: u64) -> PathBuf {
        self.dir.join(link_name(&self.name, number))
    }

    fn lock(&self) -> Result<Lock, ProfileError> {
        Lock::acquire(&self.dir.join(format!("{}.lock", self.name)))
    }
}

/// Names of all profiles in `dir`: those with a link of their own, and those of which only
/// generations are left. In order.
///
/// # Errors
/// [`ProfileError::Io`]. A directory that does not exist holds none.
pub fn profiles_in(dir: &Path) -> Result<Vec<AgentName>, ProfileError> {
    let mut names = BTreeSet::new();
    for file in file_names(dir)? {
        let path = dir.join(&file);
        if !path.is_symlink() {
            continue;
        }
        let name = match parse_link(&file) {
            Some((name, _)) => name,
            None => &file,
        };
        names.extend(AgentName::new(name).ok());
    }
    Ok(names.into_iter().collect())
}

fn link_name(name: &AgentName, number: u64) -> String {
    format!("{name}-{number}-link")
}

/// `NAME-DIGITS-link` in its two parts.
fn split_link(file: &str) -> Option<(&str, &str)> {
    let (name, digits) = file.strip_suffix("-link")?.rsplit_once('-')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then_some((name, digits))
}

/// A generation's name and number, if it is written as Nix writes it.
fn parse_link(file: &str) -> Option<(&str, u64)> {
    let (name, digits) = split_link(file)?;
    let number: u64 = digits.parse().ok()?;
    let is_canonical = !digits.starts_with('0') && number <= NUMBER_MAX;
    is_canonical.then_some((name, number))
}

/// Where a link points to; `None` if nothing is there.
fn read_link(path: &Path) -> Result<Option<PathBuf>, ProfileError> {
    match fs::read_link(path) {
        Ok(target) => Ok(Some(target)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // readlink(2): EINVAL for what is not a symbolic link.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(ProfileError::NotALink {
            path: path.to_path_buf(),
        }),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Names in a directory that are text; others cannot be ours.
fn file_names(dir: &Path) -> Result<Vec<String>, ProfileError> {
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", dir)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed("read", dir))?.file_name();
        names.extend(name.into_string().ok());
    }
    Ok(names)
}

fn sync_directory(dir: &Path) -> Result<(), ProfileError> {
    fs::File::open(dir)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync", dir))
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> ProfileError {
    let path = path.to_path_buf();
    move |source| ProfileError::Io {
        operation,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests;
