//! Power cuts and failing disks under the kernel's own ext4.
//!
//! [`device`] is the disk, [`log`] what it holds after a cut, [`faults`] a disk that fails. Here:
//! a ledger is written while the disk keeps a log of its writes and flushes, and at each
//! acknowledgement it is noted how long that log was. Then the disk is put together as it would
//! be had the power failed at such a moment, is mounted, and the ledger on it is opened.
//!
//! They need root, loop devices, FUSE, mkfs.ext4 and qemu-storage-daemon, and take minutes:
//! `cargo xtask test powercuts`.

mod device;
mod faults;
mod log;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use osmoda_core::event::EventKind;
use osmoda_ledger::{Cadence, Ledger, OpenOptions, SigningOptions, Store, Synchronous};
use serde_json::json;
use tempfile::TempDir;

use crate::support::*;
use device::{Between, Daemon, Mounted};
use log::{Log, Survives};

/// Moments at which the power is cut, of each kind.
const CUTS: usize = 100;
/// Appends one after the other, so that a cut falls exactly on an acknowledgement.
const ALONE: u64 = 150;
/// Appends of each of those that append at once.
const TOGETHER: u64 = 40;
/// How many append at once.
const WRITERS: u64 = 4;
/// Entries between two checkpoints that are signed.
const SIGN_EVERY: u64 = 32;

/// What is said of an entry that was acknowledged and cannot be found.
const LOST: &str = "was acknowledged and is not there";

/// What was said to be recorded: seq, leaf, and how long the disk's log was then, in bytes.
type Acknowledged = (u64, String, u64);

/// A disk and everything that happened to it.
struct Story {
    place: TempDir,
    base: Vec<u8>,
    log: Log,
    acknowledged: Vec<Acknowledged>,
}

/// How a ledger is written in these tests: signed, as a node's is.
fn written(mounted: &Mounted, synchronous: Synchronous) -> OpenOptions {
    OpenOptions {
        synchronous,
        signing: Some(SigningOptions {
            key: mounted.path().join("ledger.key"),
            cadence: Cadence {
                entries: SIGN_EVERY,
                ..Cadence::default()
            },
        }),
        ..options()
    }
}

/// Short ones and long ones, so that the write-ahead log is moved several times.
fn various(n: u64) -> osmoda_ledger::Commit {
    let filler = "x".repeat(usize::try_from(n % 7).unwrap() * 2000);
    commit(vec![draft(
        EventKind::Diff,
        json!({ "n": n, "filler": filler }),
    )])
}

async fn append(ledger: Ledger, numbers: std::ops::Range<u64>, log: PathBuf) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    for n in numbers {
        let done = ledger.append(various(n)).await.unwrap();
        let length = fs::metadata(&log).unwrap().len();
        let reference = &done[0].reference;
        acknowledged.push((reference.seq, reference.leaf.to_string(), length));
    }
    acknowledged
}

fn write_all(mounted: &Mounted, synchronous: Synchronous, log: &Path) -> Vec<Acknowledged> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = written(mounted, synchronous);
        let ledger = Ledger::open(&mounted.ledger(), options).unwrap();
        let all = Arc::new(Mutex::new(Vec::new()));
        let alone = append(ledger.clone(), 0..ALONE, log.into()).await;
        all.lock().unwrap().extend(alone);
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                let (ledger, all, log) = (ledger.clone(), Arc::clone(&all), log.to_owned());
                tokio::spawn(async move {
                    let own = append(ledger, n * 1000..n * 1000 + TOGETHER, log).await;
                    all.lock().unwrap().extend(own);
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        ledger.shutdown().await;
        Arc::into_inner(all).unwrap().into_inner().unwrap()
    })
}

impl Story {
    fn of(synchronous: Synchronous) -> Self {
        let place = device::scratch();
        let image = device::formatted(place.path(), log::BLOCK);
        let base = fs::read(&image).unwrap();
        let path = place.path().join("log");
        let mut daemon = Daemon::start(place.path(), &image, &Between::Log(path.clone()));
        let mounted = daemon.mount(&place.path().join("mount"));
        let acknowledged = write_all(&mounted, synchronous, &path);
        drop(mounted);
        drop(daemon);
        let log = Log::parse(fs::read(path).unwrap());
        Self {
            place,
            base,
            log,
            acknowledged,
        }
    }

    /// Cuts the power, starts again, and gives what is wrong with the ledger then.
    fn after_cut(&self, length: u64, survives: impl FnMut() -> Survives) -> Result<(), String> {
        // A file of its own: mount would take the loop device of the cut before, with what the
        // kernel still remembers of it, if that has not let go of the same file yet.
        let disk = tempfile::NamedTempFile::new_in(self.place.path()).unwrap();
        fs::write(&disk, self.log.cut(&self.base, length, survives)).unwrap();
        let mounted = Mounted::new(disk.path(), &self.place.path().join("mount"));
        let known = self.acknowledged.iter().filter(|(.., at)| *at <= length);
        sound(&mounted.ledger(), known)
    }

    /// This many acknowledgements, from the first to the last.
    fn moments(&self) -> impl Iterator<Item = u64> {
        let all = &self.acknowledged;
        (0..CUTS).map(|n| all[n * (all.len() - 1) / (CUTS - 1)].2)
    }
}

/// Opens the ledger as a daemon does, and looks for all that was acknowledged.
fn sound<'a>(path: &Path, known: impl Iterator<Item = &'a Acknowledged>) -> Result<(), String> {
    let opened = Store::open_or_reset(path, options()).map_err(|error| format!("{error:?}"))?;
    if let Some(reset) = opened.reset {
        return Err(format!("set aside: {reset:?}"));
    }
    for (seq, leaf, _) in known {
        let record = opened
            .ledger
            .entry(*seq)
            .map_err(|error| error.to_string())?;
        if record.map(|record| record.leaf.to_string()).as_ref() != Some(leaf) {
            return Err(format!("entry {seq} {LOST}"));
        }
    }
    drop(opened);
    let report = verified(path);
    match report.ok {
        true => Ok(()),
        false => Err(format!("{report:?}")),
    }
}

/// Numbers that look random and are the same each time (SplitMix64, Steele et al. 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Of a write that was not flushed: all, nothing, or some of its blocks.
    fn survives(&mut self) -> Survives {
        match self.roll() % 4 {
            0 | 1 => Survives::Whole,
            2 => Survives::Not,
            _ => Survives::Some(self.roll()),
        }
    }
}

#[test]
#[ignore = "run by cargo xtask test powercuts"]
fn nothing_acknowledged_is_lost_when_the_power_fails() {
    let story = Story::of(Synchronous::Full);
    for (n, length) in story.moments().enumerate() {
        let cut = |what: &str, survives: &mut dyn FnMut() -> Survives| {
            if let Err(error) = story.after_cut(length, survives) {
                panic!("cut {n}, at {length} bytes of the log, {what}: {error}");
            }
        };
        cut("everything that was written", &mut || Survives::Whole);
        cut("nothing that was not flushed", &mut || Survives::Not);
        let mut dice = Dice(n as u64);
        cut("a part of what was not flushed", &mut || dice.survives());
    }
    println!("{} cuts at acknowledged moments, nothing lost", 3 * CUTS);
}

#[test]
#[ignore = "run by cargo xtask test powercuts"]
fn nothing_acknowledged_is_lost_when_it_fails_between_two_acknowledgements() {
    let story = Story::of(Synchronous::Full);
    let first = story.acknowledged[0].2;
    let ends: Vec<_> = story.log.ends().filter(|end| *end > first).collect();
    let mut dice = Dice(7);
    for _ in 0..CUTS {
        let at = dice.roll() % ends.len() as u64;
        let length = ends[usize::try_from(at).unwrap()];
        if let Err(error) = story.after_cut(length, || dice.survives()) {
            panic!("at {length} bytes of the log: {error}");
        }
    }
    println!("{CUTS} cuts at any write of the disk, nothing lost");
}

/// The negative control: were it not so, the tests above would show nothing.
#[test]
#[ignore = "run by cargo xtask test powercuts"]
fn without_an_fsync_for_each_commit_the_same_cuts_lose_entries() {
    let story = Story::of(Synchronous::Normal);
    let lost = story
        .moments()
        .filter_map(|length| story.after_cut(length, || Survives::Whole).err())
        .filter(|error| error.contains(LOST))
        .count();
    assert!(lost > CUTS / 2, "only {lost} of {CUTS} cuts lost anything");
    println!("{lost} of {CUTS} cuts lost entries, as they must without fsync");
}
