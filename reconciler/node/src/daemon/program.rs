//! Which program SIGUSR2 turns the daemon into.
//!
//! Usually what is then at the path of its own executable. Where an update never changes that
//! file but moves a link - on NixOS /etc/osmoda/bin/osmoda - the daemon is started by the link's
//! name, and becomes what the link leads to by then. Start at [`successor`].

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// The path to execute later on; asked for before anything can have changed.
///
/// # Errors
/// The system does not tell which program this is (proc(5), /proc/self/exe).
pub fn successor() -> io::Result<PathBuf> {
    let name = env::args_os().next().map(PathBuf::from);
    Ok(chosen(name, env::current_exe()?))
}

/// The name by which it was started, if that is absolute and leads to the executable: what stands
/// in `argv[0]` is the caller's choice, and is not believed otherwise.
fn chosen(name: Option<PathBuf>, executable: PathBuf) -> PathBuf {
    match name {
        Some(name) if name.is_absolute() && is_same(&name, &executable) => name,
        _ => executable,
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(name: Option<&str>, expected: &str) {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        fs::write(place("executable"), "").unwrap();
        fs::write(place("other"), "").unwrap();
        symlink("executable", place("link")).unwrap();
        symlink("link", place("link-to-link")).unwrap();
        symlink("missing", place("broken")).unwrap();
        let name = name.map(|name| match name.strip_prefix("./") {
            Some(relative) => PathBuf::from(relative),
            None => place(name),
        });
        assert_eq!(chosen(name, place("executable")), place(expected));
    }

    #[test]
    fn a_link_that_leads_to_the_executable_is_followed_anew() {
        check(Some("link"), "link");
        check(Some("link-to-link"), "link-to-link");
        check(Some("executable"), "executable");
    }

    #[test]
    fn a_name_that_leads_elsewhere_or_nowhere_is_not_believed() {
        check(Some("other"), "executable");
        check(Some("broken"), "executable");
        check(Some("./link"), "executable");
        check(None, "executable");
    }
}
