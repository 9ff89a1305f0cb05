//! Paths of the Nix store, parsed once.
//!
//! The rules are harmonia-store-core's (tested against Nix' own vectors), behind a type of ours,
//! so that another crate can take its place: docs/adr/0001-nix-compat.md. Nothing else in this
//! workspace names that crate.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use harmonia_store_core::store_path as harmonia;
use osmoda_core::digest::Digest;

use crate::hash;

/// Where the store is, unless somebody compiled Nix otherwise.
pub const STORE_DIR: &str = "/nix/store";

/// A path directly below [`STORE_DIR`]: 32 digits of Nix' base 32, a hyphen, and a name of 1 to
/// 211 letters, digits and `+-._?=` that does not begin with a dot.
///
/// Format: <https://nix.dev/manual/nix/latest/store/store-path>.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(harmonia::StorePath);

/// Why a text is not a store path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorePathError {
    /// It lies elsewhere, or is relative.
    #[error("{path:?} is not below {dir}")]
    NotInStore {
        /// The whole text.
        path: String,
        /// The store.
        dir: String,
    },
    /// It names something inside a store path, or climbs out of the store.
    #[error("{0:?} is not a store path itself: what follows the store's directory contains a '/'")]
    Deeper(String),
    /// The name begins with a dot, which Nix refuses and file listings hide.
    #[error("{0:?} is not a store path: its name begins with a dot")]
    Dot(String),
    /// The hash or the name breaks the rules.
    #[error("{path:?} is not a store path: {why}")]
    Malformed {
        /// The whole text.
        path: String,
        /// Which rule, and where.
        why: String,
    },
}

impl StorePath {
    /// Parses an absolute path such as `/nix/store/HASH-NAME`. Nothing may follow the name, and
    /// nothing is normalised: `..`, doubled slashes and a slash at the end are refused.
    ///
    /// # Errors
    /// [`StorePathError`] says which rule is broken. Whether the path exists is not looked at.
    pub fn parse(path: &str) -> Result<Self, StorePathError> {
        Self::parse_below(STORE_DIR, path)
    }

    fn parse_below(dir: &str, path: &str) -> Result<Self, StorePathError> {
        let base = path
            .strip_prefix(dir)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| StorePathError::NotInStore {
                path: path.to_owned(),
                dir: dir.to_owned(),
            })?;
        if base.contains('/') {
            return Err(StorePathError::Deeper(path.to_owned()));
        }
        let parsed = harmonia::StorePath::from_base_path(base).map_err(|error| {
            StorePathError::Malformed {
                path: path.to_owned(),
                why: error.error.to_string(),
            }
        })?;
        if parsed.name().starts_with('.') {
            return Err(StorePathError::Dot(path.to_owned()));
        }
        Ok(Self(parsed))
    }

    /// The store path that `path` is or lies in: of `/nix/store/HASH-NAME/bin/x` the first part.
    ///
    /// # Errors
    /// As [`StorePath::parse`]; a `..` anywhere in `path` is refused.
    pub fn containing(path: &str) -> Result<Self, StorePathError> {
        if path.split('/').any(|part| part == "..") {
            return Err(StorePathError::Deeper(path.to_owned()));
        }
        let start = STORE_DIR.len() + 1;
        let end = path
            .get(start..)
            .and_then(|rest| rest.find('/'))
            .map_or(path.len(), |length| start + length);
        Self::parse(&path[..end])
    }

    /// The 32 digits that make the path unique.
    pub fn hash_part(&self) -> String {
        self.0.hash().to_string()
    }

    /// What follows the hash: `researcher-1.2`.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The absolute path.
    pub fn to_path(&self) -> PathBuf {
        PathBuf::from(self.to_string())
    }
}

impl fmt::Display for StorePath {
    /// The absolute path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE_DIR}/{}", self.0)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The directory of a Nix store: [`STORE_DIR`], or what NIX_STORE_DIR says, as for Nix itself.
///
/// A [`StorePath`] of another store than [`STORE_DIR`] is shown by [`StoreDir::show`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDir(String);

impl Default for StoreDir {
    fn default() -> Self {
        Self(STORE_DIR.to_owned())
    }
}

impl StoreDir {
    /// A store at `dir`, an absolute path in UTF-8 without a slash at its end; `None` if it is
    /// not that.
    pub fn new(dir: &Path) -> Option<Self> {
        let text = dir.to_str()?;
        (dir.is_absolute() && text.len() > 1 && !text.ends_with('/')).then(|| Self(text.to_owned()))
    }

    /// The directory.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As [`StorePath::parse`], of this store.
    ///
    /// # Errors
    /// As [`StorePath::parse`].
    pub fn parse(&self, path: &str) -> Result<StorePath, StorePathError> {
        StorePath::parse_below(&self.0, path)
    }

    /// Whether `path` is a store path of this store.
    pub fn holds(&self, path: &Path) -> bool {
        path.to_str().is_some_and(|path| self.parse(path).is_ok())
    }

    /// The absolute path.
    pub fn show(&self, path: &StorePath) -> String {
        format!("{}/{}", self.0, path.0)
    }

    /// Where a text with these references is in the store, as `builtins.toFile` and Nix' worker
    /// protocol name it: by a digest of the text, the references, the store and the name.
    ///
    /// Format: <https://nix.dev/manual/nix/latest/protocols/store-path> (`text:`).
    ///
    /// # Errors
    /// [`StorePathError::Malformed`] if `name` cannot be that of a store path.
    pub fn text_path(
        &self,
        name: &str,
        text: &str,
        references: &BTreeSet<StorePath>,
    ) -> Result<StorePath, StorePathError> {
        let parsed = name.parse().map_err(|error| StorePathError::Malformed {
            path: name.to_owned(),
            why: format!("{error}"),
        })?;
        // In the order of their text, which is not that of the hashes' bytes.
        let references: BTreeSet<String> = references.iter().map(|path| self.show(path)).collect();
        let references: String = references.iter().map(|path| format!(":{path}")).collect();
        let digest = Digest::of(text.as_bytes());
        let fingerprint = format!("text{references}:sha256:{digest}:{}:{name}", self.0);
        let hash = hash::sha256(fingerprint.as_bytes());
        Ok(StorePath(harmonia::StorePath::from_hash(&hash, parsed)))
    }

    /// The store paths that a text names, each once.
    ///
    /// A name ends before the first character that no name has. So punctuation after a path
    /// would count as a part of it; therefore, where a shorter name (cut before a `.`, `?`, `=`,
    /// `+`, `_` or `-`) is what `exists`, that one is meant: no two names share a hash.
    pub fn mentioned(&self, text: &str, exists: impl Fn(&Path) -> bool) -> BTreeSet<StorePath> {
        let prefix = format!("{}/", self.0);
        let bases = text.split(prefix.as_str()).skip(1);
        bases
            .filter_map(|base| self.longest(base, &exists))
            .collect()
    }

    fn longest(&self, text: &str, exists: impl Fn(&Path) -> bool) -> Option<StorePath> {
        let end = text.find(|c| !is_name_character(c)).unwrap_or(text.len());
        let greedy = &text[..end.min(BASE_NAME_MAX)];
        let punctuation = |c: char| matches!(c, '.' | '?' | '=' | '+' | '_' | '-');
        let cuts = greedy
            .rmatch_indices(punctuation)
            .map(|(at, _)| &greedy[..at]);
        let parse = |base: &str| self.parse(&format!("{}/{base}", self.0)).ok();
        let is_there = |path: &StorePath| exists(Path::new(&self.show(path)));
        std::iter::once(greedy)
            .chain(cuts)
            .filter_map(parse)
            .find(is_there)
            .or_else(|| parse(greedy.trim_end_matches('.')))
    }
}

/// Bytes of the hash part, the hyphen and the longest name.
const BASE_NAME_MAX: usize = 32 + 1 + 211;

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_' | '?' | '=')
}

#[cfg(test)]
mod tests;
