//! A disk that refuses to be written, for other reasons than being full: an I/O error, a file
//! system that was remounted read-only. Nothing is said to be recorded that is not, what was
//! recorded can be read and verified, and it goes on when the disk does.

use std::{
    env,
    path::Path,
    process::{Command, Output},
};

use osmoda_ledger::{CommitError, Store};

use crate::support::*;

/// Where the child writes; that it is set makes the test below a child.
const FILE: &str = "OSMODA_LEDGER_FAILING_FILE";
/// Longest file of the child, in blocks of 1 KiB: write(2) beyond it fails with EFBIG, which is
/// to SQLite an I/O error like any other.
const BLOCKS: &str = "256";

#[test]
#[ignore = "run by an_error_of_write_loses_nothing, as a process with a limit of its own"]
fn child_whose_writes_fail() {
    let Some(path) = env::var_os(FILE) else {
        return;
    };
    let path = Path::new(&path);
    let mut store = Store::open(path, options()).unwrap();
    let error = (0..)
        .find_map(|n| store.commit(&[numbered(n)]).err())
        .unwrap();
    assert!(
        matches!(error, CommitError::Io(_) | CommitError::Full(_)),
        "{error:?}"
    );
    assert!(error.is_retryable());
    let head = store.head();
    for n in 0..3 {
        store.commit(&[numbered(n)]).unwrap_err();
        assert_eq!(store.head(), head, "a refused commit changes nothing");
    }
    println!("acknowledged {}", head.size);
}

fn limited(path: &Path) -> Output {
    // Without the trap, the signal SIGXFSZ would come before the error.
    let script = format!("trap '' XFSZ; ulimit -f {BLOCKS}; exec \"$0\" \"$@\"");
    Command::new("bash")
        .args(["-c", &script])
        .arg(env::current_exe().unwrap())
        .args(["failing_disk::child_whose_writes_fail", "--exact"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE, path)
        .output()
        .unwrap()
}

#[test]
fn an_error_of_write_loses_nothing_and_the_log_goes_on_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let output = limited(&path);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    let (_, rest) = said.split_once("acknowledged ").unwrap();
    let size: u64 = rest.split_whitespace().next().unwrap().parse().unwrap();
    assert!(size > 10, "{size}");
    assert_sound(&path, size);
    let opened = Store::open_or_reset(&path, options()).unwrap();
    assert_eq!(opened.reset, None);
    let mut store = opened.ledger;
    let done = store.commit(&[numbered(7)]).unwrap();
    assert_eq!(done[0][0].reference.seq, size);
    drop(store);
    assert_sound(&path, size + 1);
}

/// Remounts a file system; false, with the reason printed, where that is not permitted.
fn remount(directory: &Path, mode: &str) -> bool {
    let options = format!("remount,{mode}");
    let mount = Command::new("mount")
        .args(["-o", &options])
        .arg(directory)
        .output();
    let output = mount.unwrap();
    if !output.status.success() {
        eprintln!("not remounted: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

/// A file system of its own, unmounted when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(directory.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(directory)),
            Ok(output) => {
                eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                eprintln!("skipped: no mount command: {error}");
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazy: a process that another test is just forking may hold a file of it.
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.0.path().display());
        }
    }
}

#[test]
fn a_ledger_on_a_file_system_that_became_read_only_can_be_verified_and_is_not_replaced() {
    let Some(disk) = Mounted::new() else { return };
    let path = disk.0.path().join("ledger.db");
    let mut store = Store::open(&path, options()).unwrap();
    store.commit(&[numbered(0), numbered(1)]).unwrap();
    drop(store);
    if !remount(disk.0.path(), "ro") {
        return;
    }
    assert_sound(&path, 2);
    // What cannot be written now may be later: no reason to begin anew.
    let opened = Store::open_or_reset(&path, options());
    if let Ok(mut opened) = opened {
        assert_eq!(opened.reset, None);
        let error = opened.ledger.commit(&[numbered(2)]).unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert_eq!(opened.ledger.head().size, 2);
    }
    assert!(remount(disk.0.path(), "rw"));
    let mut opened = Store::open_or_reset(&path, options()).unwrap();
    assert_eq!(opened.reset, None);
    opened.ledger.commit(&[numbered(2)]).unwrap();
    drop(opened);
    assert_sound(&path, 3);
}
