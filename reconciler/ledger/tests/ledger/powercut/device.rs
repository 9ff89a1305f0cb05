//! A disk that keeps a log of what is written to it, or that fails when it is told to, with ext4
//! on it.
//!
//! `qemu-storage-daemon` shows an image as a file (its FUSE export), a loop device makes a block
//! device of that file, and the kernel's own ext4 is mounted from it: what the ledger writes goes
//! through the real file system, and each write and each flush that ext4 makes of it passes
//! QEMU's `blklogwrites` or `blkdebug` driver.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Size of the disk, in bytes: enough for the ledger of a run, and quick to copy.
const DISK_BYTES: u64 = 32 << 20;
/// Size of a page, in bytes: blocks of a disk of which a request fails. FUSE splits what begins or
/// ends within a page, or is larger than it takes at once; and a loop device whose request was carried
/// out in part tells the file system that it was carried out.
pub const PAGE: usize = 4096;
/// Largest request of the file system, in KiB, for the same reason.
const REQUEST_KIB: u32 = 128;
/// Longest wait for the storage daemon to begin, or for a file system to be let go.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// A directory in memory where there is one: how durable the host's disk is, is not what is asked.
pub fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.unwrap()
}

/// An image with a new ext4 on it, whose blocks have this many bytes.
pub fn formatted(place: &Path, block: usize) -> PathBuf {
    let image = place.join("disk");
    File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-b", &block.to_string()]);
    run(mkfs.arg(&image));
    image
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// What stands between the file system and the image.
pub enum Between {
    /// Every write and flush is also written to this file, in QEMU's (and dm-log-writes') format.
    Log(PathBuf),
    /// The `nth` of these requests fails once, with EIO.
    Fault { request: Request, nth: u32 },
    /// Nothing.
    Nothing,
}

/// What a file system asks of a disk.
#[derive(Clone, Copy)]
pub enum Request {
    Write,
    Flush,
}

impl Request {
    /// QEMU's words for it: the event of a driver, and the kind of I/O.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Write => ("write_aio", "write"),
            Self::Flush => ("flush_to_disk", "flush"),
        }
    }
}

/// Where a storage daemon's messages go, beside its export.
const SAID: &str = "daemon.log";

/// Linux' number of EIO.
const EIO: i32 = 5;

/// QEMU's `blkdebug`, whose state counts the requests.
fn failing(request: Request, nth: u32) -> Value {
    let (event, iotype) = request.words();
    let step = |state: u32| json!({"event": event, "state": state, "new_state": state + 1});
    let fail = json!({
        "event": event, "state": nth, "iotype": iotype, "errno": EIO, "once": true
    });
    json!({
        "driver": "blkdebug", "node-name": "faulty", "image": "image",
        "inject-error": [fail], "set-state": (1..=nth).map(step).collect::<Vec<_>>()
    })
}

/// A running storage daemon. Ended when dropped.
pub struct Daemon {
    child: Child,
    export: PathBuf,
}

impl Daemon {
    /// Shows `image` as a file in `place`, where no daemon has been before.
    pub fn start(place: &Path, image: &Path, between: &Between) -> Self {
        let export = place.join("export");
        File::create(&export).unwrap();
        let begun = place.join("begun");
        let mut command = Command::new("qemu-storage-daemon");
        let mut block = |options: Value| {
            command.args(["--blockdev", &options.to_string()]);
        };
        block(json!({"driver": "file", "node-name": "image", "filename": image}));
        match between {
            Between::Log(path) => {
                File::create(path).unwrap();
                block(json!({"driver": "file", "node-name": "log", "filename": path}));
                block(json!({
                    "driver": "blklogwrites", "node-name": "disk", "file": "image", "log": "log"
                }));
            }
            Between::Fault { request, nth } => {
                block(failing(*request, *nth));
                // It is the driver above that tells blkdebug which event it is.
                block(json!({"driver": "raw", "node-name": "disk", "file": "faulty"}));
            }
            Between::Nothing => {
                block(json!({"driver": "raw", "node-name": "disk", "file": "image"}));
            }
        }
        let shown = json!({
            "type": "fuse", "id": "shown", "node-name": "disk", "mountpoint": export,
            "writable": true
        });
        let said = place.join(SAID);
        let child = command
            .args(["--export", &shown.to_string(), "--pidfile"])
            .arg(&begun)
            .stdin(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let mut daemon = Self { child, export };
        // It writes its number once everything that it was asked for is there, and resolves that
        // file's path after it: taken away at once, the file would cost the daemon its life.
        let since = Instant::now();
        while !begun.exists() {
            let ended = daemon.child.try_wait().unwrap();
            let said = fs::read_to_string(&said).unwrap();
            assert!(
                ended.is_none() && since.elapsed() < PATIENCE,
                "{ended:?}: {said}"
            );
            thread::sleep(LOOK);
        }
        daemon
    }

    /// Mounts the ext4 on its disk.
    pub fn mount(&mut self, at: &Path) -> Mounted {
        let mounted = Mounted::of(&self.export, at).unwrap_or_else(|why| {
            let ended = self.child.try_wait().unwrap();
            let said = fs::read_to_string(self.export.with_file_name(SAID)).unwrap();
            panic!("{why}; the storage daemon has ended with {ended:?} and said {said:?}")
        });
        let queue = Path::new("/sys/block").join(&mounted.device).join("queue");
        fs::write(queue.join("max_sectors_kb"), REQUEST_KIB.to_string()).unwrap();
        mounted
    }

    /// Takes the disk away, as if its cable were pulled.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that was killed has ended, and its number may be another's by now.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
        // After a kill the mount point is left behind; after an orderly end it is not there.
        let _ = Command::new("umount")
            .arg("-l")
            .arg(&self.export)
            .stderr(Stdio::null())
            .status();
    }
}

/// A mounted disk. Unmounted when dropped.
pub struct Mounted {
    at: PathBuf,
    /// Such as loop0.
    device: String,
}

impl Mounted {
    /// Mounts the ext4 on `disk`, which replays its journal.
    pub fn new(disk: &Path, at: &Path) -> Self {
        Self::of(disk, at).unwrap()
    }

    fn of(disk: &Path, at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "ext4", "-o", "loop,errors=remount-ro"]);
        mount.args([disk, at]);
        // Another process may take the free loop device that mount has just found.
        let since = Instant::now();
        loop {
            let output = mount.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                break;
            }
            let passing = said.contains("failed to setup loop device");
            let seen = fs::metadata(disk);
            if !passing || seen.is_err() || since.elapsed() > PATIENCE {
                return Err(format!("{mount:?}: {said} (the disk: {seen:?})"));
            }
            thread::sleep(LOOK);
        }
        let device = own_mount(at)[0].trim_start_matches("/dev/").to_owned();
        let at = at.to_owned();
        Ok(Self { at, device })
    }

    /// Where the ledger is.
    pub fn ledger(&self) -> PathBuf {
        self.at.join("ledger.db")
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Whether the kernel has made it read-only.
    pub fn is_read_only(&self) -> bool {
        let options = own_mount(&self.at).swap_remove(3);
        options
            .split(',')
            .any(|option| matches!(option, "ro" | "emergency_ro"))
    }
}

impl Drop for Mounted {
    /// Only when the kernel has let go of the device is everything on it: another process may
    /// have come by the mount meanwhile, with a mount namespace of its own.
    fn drop(&mut self) {
        let backing = Path::new("/sys/block").join(&self.device);
        let backing = backing.join("loop/backing_file");
        let own = fs::read_to_string(&backing).ok();
        let since = Instant::now();
        let mut unmounted = false;
        while since.elapsed() < PATIENCE {
            let unmount = || Command::new("umount").arg(&self.at).output();
            unmounted = unmounted || unmount().is_ok_and(|output| output.status.success());
            if unmounted && fs::read_to_string(&backing).ok() != own {
                return;
            }
            thread::sleep(LOOK);
        }
        eprintln!("{} on {} stays mounted", self.at.display(), self.device);
    }
}

/// The fields of a mount: device, directory, type, options, and two numbers.
fn own_mount(at: &Path) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut mounts = mounts
        .lines()
        .map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    mounts.find(|fields| Path::new(&fields[1]) == at).unwrap()
}
