//! Bundles without Nix: a rendered manifest in a directory that is named by its digest.
//!
//! ```text
//! BUNDLES/SHA256-AGENT/manifest.json      SHA256 = 64 hexadecimal digits, of the manifest's bytes
//! ```
//! Invariants: a bundle appears whole or not at all (temporary directory, fsync, rename, fsync);
//! it never changes once it is there; one whose content does not match its name is reported and
//! never used. Only the daemon needs to read a bundle, and an `environment` may hold what is
//! nobody's business: directories have mode 0700, files 0600.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use osmoda_core::{digest::Digest, name::AgentName};

use super::{BundleError, MANIFEST_FILE, MANIFEST_MAX, read_limited, text};

/// How the name of a bundle begins that is not whole yet.
const UNFINISHED: &str = ".unfinished-";
/// Hexadecimal digits of a SHA-256 digest.
const HEX_DIGITS: usize = 64;

/// Where the bundle of `manifest` is, or would be, below `root`.
pub fn bundle_path(root: &Path, name: &AgentName, manifest: &str) -> PathBuf {
    root.join(format!("{}-{name}", Digest::of(manifest.as_bytes())))
}

/// Writes the bundle of `manifest` and gives its path; one that is there already is verified.
///
/// # Errors
/// [`BundleError::Damaged`] if it is there with other content; [`BundleError::TooLarge`];
/// [`BundleError::Io`], after which no bundle of that name has appeared.
pub fn write_bundle(root: &Path, name: &AgentName, manifest: &str) -> Result<PathBuf, BundleError> {
    let path = bundle_path(root, name, manifest);
    if manifest.len() > MANIFEST_MAX {
        return Err(BundleError::TooLarge { path });
    }
    if path.symlink_metadata().is_ok() {
        verify_bundle(&path)?;
        // Its writer may have died between the rename and this.
        sync_directory(root)?;
        return Ok(path);
    }
    make_private_dir(root).map_err(failed("create", root))?;
    // Removed again, if we do not get as far as the rename.
    let unfinished = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(root)
        .map_err(failed("create a directory in", root))?;
    write_durably(&unfinished.path().join(MANIFEST_FILE), manifest)?;
    sync_directory(unfinished.path())?;
    match fs::rename(unfinished.path(), &path) {
        Ok(()) => {
            // The directory has another name now; there is nothing left to remove.
            let _renamed = unfinished.keep();
        }
        // Somebody else wrote it meanwhile.
        Err(_) if path.symlink_metadata().is_ok() => verify_bundle(&path)?,
        Err(source) => return Err(failed("create", &path)(source)),
    }
    sync_directory(root)?;
    Ok(path)
}

/// The manifest of a bundle, verified against the bundle's name.
///
/// # Errors
/// [`BundleError`] if it cannot be read, is no bundle, or is damaged.
pub fn read_bundle(path: &Path) -> Result<String, BundleError> {
    let expected =
        digest_of_name(path).ok_or_else(|| BundleError::NotABundle(path.to_path_buf()))?;
    let manifest = read_limited(path, &path.join(MANIFEST_FILE))?;
    let found = Digest::of(&manifest);
    if expected == found {
        return text(path, manifest);
    }
    Err(BundleError::Damaged {
        path: path.to_path_buf(),
        why: format!("the digest of its {MANIFEST_FILE} is {found}"),
        repair: "remove the directory, and the next deployment of that manifest writes it anew"
            .to_owned(),
    })
}

/// Checks that a bundle is there and is what its name says.
///
/// # Errors
/// As [`read_bundle`].
pub fn verify_bundle(path: &Path) -> Result<(), BundleError> {
    read_bundle(path).map(drop)
}

/// Removes the bundles of `name` below `root` that `is_used` does not want, and what a crash left
/// half-written. Gives the paths of the bundles removed, in order.
///
/// No bundle may be written to `root` at the same time.
///
/// # Errors
/// [`BundleError::Io`]; what was removed before it stays removed.
pub fn remove_unused(
    root: &Path,
    name: &AgentName,
    is_used: impl Fn(&Path) -> bool,
) -> Result<Vec<PathBuf>, BundleError> {
    let mut removed = Vec::new();
    let entries = match root.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(removed),
        Err(error) => return Err(failed("read", root)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed("read", root))?;
        let path = entry.path();
        let is_unfinished = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(UNFINISHED.as_bytes());
        let is_unused = agent_of_name(&path).as_ref() == Some(name) && !is_used(&path);
        if is_unfinished || is_unused {
            fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
        }
        if is_unused {
            removed.push(path);
        }
    }
    removed.sort();
    Ok(removed)
}

fn split_name(path: &Path) -> Option<(Digest, &str)> {
    let (hex, rest) = path.file_name()?.to_str()?.split_at_checked(HEX_DIGITS)?;
    Some((Digest::from_hex(hex).ok()?, rest.strip_prefix('-')?))
}

fn digest_of_name(path: &Path) -> Option<Digest> {
    split_name(path).map(|(digest, _)| digest)
}

fn agent_of_name(path: &Path) -> Option<AgentName> {
    AgentName::new(split_name(path)?.1).ok()
}

fn make_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write_durably(path: &Path, text: &str) -> Result<(), BundleError> {
    let write = || {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(failed("write", path))
}

fn sync_directory(path: &Path) -> Result<(), BundleError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync", path))
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> BundleError {
    let path = path.to_path_buf();
    move |source| BundleError::Io {
        operation,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str) -> AgentName {
        AgentName::new(name).unwrap()
    }

    #[test]
    fn a_bundle_is_named_by_its_content_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state/bundles");
        let path = write_bundle(&root, &agent("a"), "{}").unwrap();
        let name = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a-a";
        assert_eq!(path, root.join(name));
        assert_eq!(read_bundle(&path).unwrap(), "{}");
        assert_eq!(write_bundle(&root, &agent("a"), "{}").unwrap(), path);
        assert_eq!(root.read_dir().unwrap().count(), 1);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(MANIFEST_FILE)), 0o600);
    }

    #[test]
    fn a_damaged_bundle_is_reported_and_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = write_bundle(dir.path(), &agent("a"), "{\"a\":1}").unwrap();
        fs::write(path.join(MANIFEST_FILE), "{\"a\":2}").unwrap();
        let damaged =
            |result: Result<(), BundleError>| matches!(result, Err(BundleError::Damaged { .. }));
        assert!(damaged(verify_bundle(&path)));
        assert!(damaged(read_bundle(&path).map(drop)));
        assert!(damaged(
            write_bundle(dir.path(), &agent("a"), "{\"a\":1}").map(drop)
        ));
        fs::remove_file(path.join(MANIFEST_FILE)).unwrap();
        assert!(verify_bundle(&path).is_err());
        assert!(write_bundle(dir.path(), &agent("a"), "{\"a\":1}").is_err());
    }

    #[test]
    fn only_bundles_are_read() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["plain", "44136fa3-a", ""] {
            let result = read_bundle(&dir.path().join(name));
            assert!(matches!(result, Err(BundleError::NotABundle(_))), "{name}");
        }
        let absent = bundle_path(dir.path(), &agent("a"), "{}");
        assert!(matches!(read_bundle(&absent), Err(BundleError::Io { .. })));
    }

    #[test]
    fn a_manifest_that_is_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let large = "x".repeat(MANIFEST_MAX + 1);
        let result = write_bundle(dir.path(), &agent("a"), &large);
        assert!(matches!(result, Err(BundleError::TooLarge { .. })));
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn unused_bundles_of_one_agent_go_and_all_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let used = write_bundle(root, &agent("a"), "1").unwrap();
        let unused = write_bundle(root, &agent("a"), "2").unwrap();
        let other = write_bundle(root, &agent("b"), "2").unwrap();
        fs::create_dir(root.join(".unfinished-x")).unwrap();
        fs::create_dir(root.join("foreign")).unwrap();
        let removed = remove_unused(root, &agent("a"), |path| path == used).unwrap();
        assert_eq!(removed, [unused]);
        let mut left: Vec<_> = root
            .read_dir()
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        left.sort();
        let mut expected = vec![used, other, root.join("foreign")];
        expected.sort();
        assert_eq!(left, expected);
        let none = remove_unused(&root.join("absent"), &agent("a"), |_| false).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn writers_at_the_same_time_end_with_one_whole_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| write_bundle(dir.path(), &agent("a"), "{}").unwrap()))
                .collect();
            writers.into_iter().map(|w| w.join().unwrap()).collect()
        });
        assert!(paths.iter().all(|path| *path == paths[0]));
        assert_eq!(read_bundle(&paths[0]).unwrap(), "{}");
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }
}
