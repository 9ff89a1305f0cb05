//! A disk that answers with an I/O error, once or for good, and the file system that the kernel
//! then makes read-only.

use std::fs::{self, File};

use osmoda_ledger::{CommitError, OpenError, Store, Synchronous};

use super::{
    Acknowledged,
    device::{self, Between, Daemon, Mounted, Request},
    sound, various, written,
};

/// Commits that a run tries.
const COMMITS: u64 = 120;
/// A fault at every one of these writes or flushes, counted from the mount on.
const FAULTS: std::ops::Range<u32> = 10..130;
/// Every so many of them.
const STEP: usize = 2;

/// What a run came to.
struct Run {
    acknowledged: Vec<Acknowledged>,
    /// The first commit that was refused.
    refused: Option<CommitError>,
    /// The file system takes no change any more.
    stopped: bool,
}

/// Commits one after the other, whatever happens; what is refused changes nothing.
/// `None` if the ledger could not even be begun.
fn commit_all(mounted: &Mounted, mut before: impl FnMut(u64)) -> Option<Run> {
    let mut acknowledged = Vec::new();
    let mut refused = None;
    let mut store = match Store::open(&mounted.ledger(), written(mounted, Synchronous::Full)) {
        Ok(store) => store,
        Err(OpenError::Unavailable { .. }) => return None,
        Err(error) => panic!("{error:?}"),
    };
    for n in 0..COMMITS {
        before(n);
        let head = store.head();
        match store.commit(&[various(n)]) {
            Ok(done) => {
                let reference = &done[0][0].reference;
                acknowledged.push((reference.seq, reference.leaf.to_string(), 0));
            }
            Err(error) => {
                assert_eq!(store.head(), head, "a refused commit changes nothing");
                assert!(error.is_retryable(), "{error:?}");
                refused.get_or_insert(error);
            }
        }
    }
    // ext4 itself looks at its journal only when something about its files changes.
    let changed = File::create(mounted.path().join("change")).and_then(|file| file.sync_all());
    let stopped = changed.is_err() || mounted.is_read_only();
    Some(Run {
        acknowledged,
        refused,
        stopped,
    })
}

/// The files of the disk, and their lengths.
fn files(mounted: &Mounted) -> Vec<(String, u64)> {
    let entries = fs::read_dir(mounted.path()).unwrap().flatten();
    let described = entries.map(|entry| {
        let length = entry.metadata().map_or(0, |data| data.len());
        (entry.file_name().to_string_lossy().into_owned(), length)
    });
    described.collect()
}

/// A ledger on a disk that fails in this way; then the machine starts again on a sound disk.
fn story(between: &Between, before: impl FnMut(u64, &mut Daemon)) -> Option<Run> {
    let mut before = before;
    let place = device::scratch();
    let image = device::formatted(place.path(), device::PAGE);
    let mount = place.path().join("mount");
    let mut daemon = Daemon::start(place.path(), &image, between);
    let mounted = daemon.mount(&mount);
    let run = commit_all(&mounted, |n| before(n, &mut daemon));
    let left = files(&mounted);
    drop(mounted);
    drop(daemon);
    let mounted = Mounted::new(&image, &mount);
    let found = files(&mounted);
    let acknowledged = run.as_ref().map(|run| &run.acknowledged[..]);
    let acknowledged = acknowledged.unwrap_or_default();
    if let Err(why) = sound(&mounted.ledger(), acknowledged.iter()) {
        let (count, refused) = (acknowledged.len(), run.as_ref().map(|run| &run.refused));
        let stopped = run.as_ref().map(|run| run.stopped);
        panic!(
            "{why}\n{count} acknowledged, then {refused:?}, stopped {stopped:?}; \
             left {left:?}, found {found:?}"
        );
    }
    let mut store = Store::open(&mounted.ledger(), written(&mounted, Synchronous::Full)).unwrap();
    store.commit(&[various(1)]).unwrap();
    run
}

fn each_of(request: Request) {
    let (mut refused, mut stopped) = (0, 0);
    for nth in FAULTS.step_by(STEP) {
        let Some(run) = story(&Between::Fault { request, nth }, |_, _| ()) else {
            println!("{nth} fails: no ledger was begun");
            continue;
        };
        refused += u32::from(run.refused.is_some());
        stopped += u32::from(run.stopped);
        let (count, seen) = (run.acknowledged.len(), run.refused);
        println!("{nth} fails: {count} of {COMMITS} acknowledged, {seen:?}");
    }
    println!("{refused} runs were refused a commit, {stopped} file systems stopped");
    assert!(refused > 3, "only {refused} runs met the fault");
}

#[test]
#[ignore = "run by cargo xtask test powercuts"]
fn a_write_that_fails_once_loses_nothing_that_was_acknowledged() {
    each_of(Request::Write);
}

#[test]
#[ignore = "run by cargo xtask test powercuts"]
fn a_flush_that_fails_once_loses_nothing_that_was_acknowledged() {
    each_of(Request::Flush);
}

#[test]
#[ignore = "run by cargo xtask test powercuts"]
fn a_disk_that_is_pulled_stops_the_file_system_and_loses_nothing() {
    const PULLED_AT: u64 = 40;
    let run = story(&Between::Nothing, |n, daemon| {
        if n == PULLED_AT {
            daemon.kill();
        }
    });
    let run = run.unwrap();
    let count = run.acknowledged.len() as u64;
    println!("{count} acknowledged before {:?}", run.refused);
    assert_eq!(count, PULLED_AT);
    assert!(matches!(run.refused, Some(CommitError::Io(_))));
    assert!(run.stopped, "there is no disk any more");
}
