//! Paths of the Nix store, parsed once.
//!
//! The rules are harmonia-store-core's (tested against Nix' own vectors), behind a type of ours,
//! so that another crate can take its place: docs/adr/0001-nix-compat.md. Nothing else in this
//! workspace names that crate.

use std::{fmt, path::PathBuf};

use harmonia_store_core::store_path as harmonia;

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
    #[error("{0:?} is not below {STORE_DIR}")]
    NotInStore(String),
    /// It names something inside a store path, or climbs out of the store.
    #[error("{0:?} is not a store path itself: what follows {STORE_DIR}/ contains a '/'")]
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
        let base = path
            .strip_prefix(STORE_DIR)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(|| StorePathError::NotInStore(path.to_owned()))?;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "0c6kyc1dq7ba2k0gvfgg8bx9ic1s7gy2";

    fn path(rest: &str) -> String {
        format!("{STORE_DIR}/{rest}")
    }

    #[test]
    fn a_store_path_survives_its_text() {
        let text = path(&format!("{HASH}-researcher-1.2+a_b?c=d"));
        let parsed = StorePath::parse(&text).unwrap();
        assert_eq!(parsed.to_string(), text);
        assert_eq!(parsed.hash_part(), HASH);
        assert_eq!(parsed.name(), "researcher-1.2+a_b?c=d");
        assert_eq!(parsed.to_path(), PathBuf::from(text));
    }

    #[test]
    fn what_is_not_a_store_path_is_refused() {
        let good = format!("{HASH}-x");
        let long = format!("{HASH}-{}", "x".repeat(212));
        for bad in [
            String::new(),
            good.clone(),
            format!("/nix/store{good}"),
            format!("/nix/store//{good}"),
            format!("/nix/store/../store/{good}"),
            format!("/nix/stores/{good}"),
            path(&format!("{good}/")),
            path(&format!("{good}/bin/x")),
            path(&format!("{good}/../{good}")),
            path(".."),
            path(""),
            path(HASH),
            path(&format!("{HASH}-")),
            path(&format!("{HASH}-.")),
            path(&format!("{HASH}-..")),
            path(&format!("{HASH}-.x")),
            path(&format!("{HASH}_x")),
            path(&format!("{HASH}-a b")),
            path(&format!("{HASH}-ä")),
            path(&format!("{HASH}-x\0")),
            path(&long),
            path(&good.to_uppercase()),
            // e, o, u and t are not digits of Nix' base 32.
            path("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-x"),
        ] {
            assert!(StorePath::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_store_path_that_holds_a_file_is_found() {
        let inside = path(&format!("{HASH}-x/bin/run"));
        let expected = path(&format!("{HASH}-x"));
        assert_eq!(
            StorePath::containing(&inside).unwrap().to_string(),
            expected
        );
        assert_eq!(
            StorePath::containing(&expected).unwrap().to_string(),
            expected
        );
        for bad in [
            "/nix/store",
            "/nix/storeä/x",
            "/bin/sh",
            "",
            "/nix/store/x/../y",
        ] {
            assert!(StorePath::containing(bad).is_err(), "{bad}");
        }
        assert!(StorePath::containing(&format!("{inside}/../../..")).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>(), tail in "[-./a-z0-9]{0,300}") {
            for candidate in [text.clone(), path(&text), path(&tail), path(&format!("{HASH}-{text}"))] {
                if let Ok(parsed) = StorePath::parse(&candidate) {
                    prop_assert_eq!(parsed.to_string(), candidate);
                }
            }
        }
    }
}
