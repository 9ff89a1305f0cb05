//! Indirect roots of the garbage collector.
//!
//! ```text
//! STATE/gcroots/auto/HASH -> LINK        HASH: SHA-1 of LINK's text in Nix' base 32
//! ```
//! What LINK points to is kept for as long as LINK is there; Nix removes an entry whose LINK has
//! gone at its next collection (`LocalStore::addIndirectRoot`, gc.cc). nix-env makes one for
//! every generation, also of profiles below STATE/profiles.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::Path,
};

use crate::hash;

/// Makes `link`, an absolute path, an indirect root; durable when this returns.
pub(super) fn register(state_dir: &Path, link: &Path) -> io::Result<()> {
    let dir = state_dir.join("gcroots/auto");
    let name = hash::sha1_nix32(link.as_os_str().as_encoded_bytes());
    let root = dir.join(&name);
    if fs::read_link(&root).is_ok_and(|target| target == link) {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o755).create(&dir)?;
    // As Nix names its own: what a crash leaves is taken for a dangling root and removed.
    let temporary = dir.join(format!("{name}.tmp-osmoda-{}", std::process::id()));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(link, &temporary)?;
    fs::rename(&temporary, &root)?;
    File::open(&dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_a_link_to_a_link_and_may_be_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let link = Path::new("/tmp/N/p/prof/a-1-link");
        for _ in 0..2 {
            register(dir.path(), link).unwrap();
        }
        let auto = dir.path().join("gcroots/auto");
        let root = auto.join("l341dacmfpspv80xjxkynld4b59khra0");
        assert_eq!(fs::read_link(&root).unwrap(), link);
        fs::remove_file(&root).unwrap();
        symlink("/elsewhere", &root).unwrap();
        register(dir.path(), link).unwrap();
        assert_eq!(fs::read_link(&root).unwrap(), link);
        assert_eq!(auto.read_dir().unwrap().count(), 1);
    }
}
