//! Directories and the socket: whose they are, and who may do what with them.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use rustix::fs::{Access, FlockOperation, access, flock};

use super::Findings;
use crate::paths::Paths;

/// Pid of the daemon that holds this state directory, if one does.
pub(super) fn daemon(paths: &Paths) -> Option<u32> {
    let lock = fs::File::open(paths.state.join("lock")).ok()?;
    if flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
        return None; // nobody holds it; ours goes with the file
    }
    let pid = fs::read_to_string(paths.state.join("lock")).ok()?;
    pid.trim().parse().ok()
}

pub(super) fn permissions(paths: &Paths, daemon: Option<u32>) -> Findings {
    let mut findings = Findings::of("permissions");
    let directories = [
        ("state", &paths.state),
        ("runtime", &paths.runtime),
        ("log", &paths.logs),
        ("profile", &paths.profiles),
    ];
    for (what, path) in directories {
        directory(&mut findings, what, path);
    }
    socket(&mut findings, &paths.socket(), daemon.is_some());
    findings
}

fn directory(findings: &mut Findings, what: &str, path: &Path) {
    let shown = path.display();
    let another = format!("run as its owner, or name another one with --{what}-dir");
    match fs::metadata(path) {
        Ok(data) if !data.is_dir() => findings.fail(
            format!("the {what} directory {shown} is no directory"),
            "move it away",
        ),
        Ok(data) if access(path, Access::WRITE_OK | Access::EXEC_OK).is_err() => findings.fail(
            format!(
                "the {what} directory {shown} of uid {} cannot be written by uid {}",
                data.uid(),
                rustix::process::geteuid().as_raw()
            ),
            another,
        ),
        Ok(data) if data.mode() & 0o022 != 0 && data.mode() & 0o1000 == 0 => findings.fail(
            format!(
                "the {what} directory {shown} can be written by others (mode {:o})",
                data.mode() & 0o7777
            ),
            format!("chmod go-w {shown}"),
        ),
        Ok(_) => findings.ok(format!("the {what} directory {shown}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let place = existing(path);
            match access(place, Access::WRITE_OK | Access::EXEC_OK) {
                Ok(()) => findings.ok(format!("the {what} directory {shown} can be created")),
                Err(why) => findings.fail(
                    format!(
                        "the {what} directory {shown} cannot be created in {}: {why}",
                        place.display()
                    ),
                    another,
                ),
            }
        }
        Err(error) => findings.fail(
            format!("the {what} directory {shown} cannot be looked at: {error}"),
            another,
        ),
    }
}

/// The nearest ancestor that exists.
pub(super) fn existing(path: &Path) -> &Path {
    let mut all = path.ancestors();
    all.find(|ancestor| ancestor.exists()).unwrap_or(path)
}

fn socket(findings: &mut Findings, path: &Path, has_daemon: bool) {
    let shown = path.display();
    match (fs::symlink_metadata(path), has_daemon) {
        (Ok(data), _) if !data.file_type().is_socket() => findings.fail(
            format!("{shown} is no socket, and is in the way of the API's"),
            "move it away",
        ),
        (Ok(data), true) => judge_socket(findings, path, &data),
        (Ok(_), false) => findings.ok(format!("the socket {shown} of a daemon that has ended")),
        (Err(_), false) => findings.ok(format!("the socket {shown} comes with the daemon")),
        (Err(error), true) => findings.fail(
            format!("a daemon is at work, and its socket {shown} is not there: {error}"),
            "name its directory with --runtime-dir, or restart the daemon",
        ),
    }
}

fn judge_socket(findings: &mut Findings, path: &Path, data: &Metadata) {
    let (shown, mode) = (path.display(), data.mode() & 0o777);
    if mode & 0o007 != 0 {
        findings.warn(
            format!("anybody can connect to {shown} (mode {mode:o})"),
            format!("chmod 0660 {shown}: members of its group may read, and nobody else"),
        );
    } else if access(path, Access::WRITE_OK).is_err() {
        findings.warn(
            format!(
                "you cannot connect to {shown}: it is for members of gid {}",
                data.gid()
            ),
            "join that group, or use sudo",
        );
    } else {
        findings.ok(format!(
            "the socket {shown}, mode {mode:o}, gid {}",
            data.gid()
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::PermissionsExt as _, net::UnixListener};

    use super::*;
    use crate::doctor::{Level, levels};

    fn judged(judge: impl FnOnce(&mut Findings)) -> Vec<Level> {
        let mut findings = Findings::of("permissions");
        judge(&mut findings);
        levels(&findings)
    }

    #[test]
    fn a_directory_is_there_or_can_be_made() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");
        assert_eq!(judged(|f| directory(f, "state", &path)), [Level::Ok]);
        fs::create_dir_all(&path).unwrap();
        assert_eq!(judged(|f| directory(f, "state", &path)), [Level::Ok]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(judged(|f| directory(f, "state", &path)), [Level::Fail]);
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(judged(|f| directory(f, "state", &file)), [Level::Fail]);
        let below = file.join("c");
        assert_eq!(judged(|f| directory(f, "state", &below)), [Level::Fail]);
    }

    #[test]
    fn a_socket_is_the_daemons_and_for_its_group() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("s");
        assert_eq!(judged(|f| socket(f, &path, false)), [Level::Ok]);
        assert_eq!(judged(|f| socket(f, &path, true)), [Level::Fail]);
        let _listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
        assert_eq!(judged(|f| socket(f, &path, true)), [Level::Ok]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(judged(|f| socket(f, &path, true)), [Level::Warn]);
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(judged(|f| socket(f, &file, false)), [Level::Fail]);
    }
}
