//! The cgroup of one agent: limits, signals to all of it, and its end.
//!
//! Source: Documentation/admin-guide/cgroup-v2.rst of the kernel. Killing works in any cgroup v2,
//! limits only where the controllers are enabled ([`super::delegation`] sees to that).
//! Files are opened when needed, but for the one that each restart waits for ([`Events`]).

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use osmoda_core::{
    observed::{Limit, Limits},
    spec::{Resources, Signal},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
    process::{kill_process, pidfd_send_signal},
};

use super::sys::spawn::pid;

/// Space for cgroup.events: two short lines today.
const EVENTS_BYTES: usize = 512;

/// Period of cpu.max in microseconds, the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// Deepest nesting that an agent's own sub-cgroups are followed into.
const DEPTH_MAX: usize = 8;

/// Longest wait for a change before the cgroup is looked at again: on kernels without
/// cgroup.kill (before 5.14) a process forked meanwhile needs its own signal.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// An agent's cgroup by its path; it may not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentCgroup {
    path: PathBuf,
}

impl AgentCgroup {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates it if need be and opens its directory.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let open = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(&self.path, flags, Mode::empty())
        };
        match open() {
            Err(rustix::io::Errno::NOENT) => {
                fs::create_dir_all(&self.path)?;
                Ok(open()?)
            }
            other => Ok(other?),
        }
    }

    /// Writes the limits for which a controller is enabled; an absent limit is lifted.
    pub fn limit(&self, resources: &Resources, controllers: &[String]) -> io::Result<()> {
        let has = |name: &str| controllers.iter().any(|controller| controller == name);
        let number = |limit: Option<u64>| limit.map_or("max".to_owned(), |value| value.to_string());
        if has("memory") {
            let bytes = resources.memory_max.map(|size| size.0);
            self.write("memory.max", &number(bytes))?;
            self.write("memory.oom.group", "1")?;
        }
        if has("pids") {
            self.write("pids.max", &number(resources.tasks_max))?;
        }
        if has("cpu") {
            let quota = resources
                .cpu_max
                .map(|share| u64::from(share.0) * CPU_PERIOD_US / 100);
            self.write("cpu.max", &format!("{} {CPU_PERIOD_US}", number(quota)))?;
        }
        Ok(())
    }

    /// The limits as the kernel has them; unknown where there is no controller.
    pub fn limits(&self) -> Limits {
        let read = |file: &str| fs::read_to_string(self.path.join(file)).unwrap_or_default();
        Limits {
            memory_max: limit(read("memory.max").trim()),
            cpu_max: cpu_limit(read("cpu.max").trim()),
            tasks_max: limit(read("pids.max").trim()),
        }
    }

    /// Memory in bytes without the cache of files, which the kernel drops before it kills:
    /// `memory.current` without `inactive_file` (so far the kubelet's working set) and without
    /// `active_file`, or a program that reads the same files again and again would seem to grow.
    /// `None` without the memory controller.
    pub fn memory(&self) -> Option<u64> {
        let current = fs::read_to_string(self.path.join("memory.current")).ok()?;
        let current: u64 = current.trim().parse().ok()?;
        let stat = fs::read_to_string(self.path.join("memory.stat")).unwrap_or_default();
        let cache = ["inactive_file", "active_file"].map(|name| field(&stat, name).unwrap_or(0));
        Some(current.saturating_sub(cache.iter().sum()))
    }

    /// CPU time of all that ever ran in it, in microseconds; the kernel keeps it without the cpu
    /// controller too (4.15).
    pub fn cpu_us(&self) -> io::Result<u64> {
        let stat = fs::read_to_string(self.path.join("cpu.stat"))?;
        field(&stat, "usage_usec")
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no usage_usec in cpu.stat"))
    }

    /// How often the OOM killer has killed in it; `None` without the memory controller.
    pub fn oom_kills(&self) -> Option<u64> {
        let events = fs::read_to_string(self.path.join("memory.events")).ok()?;
        field(&events, "oom_kill")
    }

    /// Whether a process lives in it or below.
    pub fn is_populated(&self) -> io::Result<bool> {
        match self.events().and_then(|events| events.are_of_the_living()) {
            Err(error) if is_gone(&error) => Ok(false),
            other => other,
        }
    }

    /// Its cgroup.events.
    pub fn events(&self) -> io::Result<Events> {
        fs::File::open(self.path.join("cgroup.events")).map(Events)
    }

    /// Processes in it and in what it has created below.
    pub fn pids(&self) -> Vec<u32> {
        let directories = self.with_children();
        let lists = directories
            .iter()
            .filter_map(|directory| fs::read_to_string(directory.join("cgroup.procs")).ok());
        lists
            .flat_map(|list| {
                list.lines()
                    .filter_map(|pid| pid.parse().ok())
                    .collect::<Vec<u32>>()
            })
            .collect()
    }

    /// Sends `signal` to every process in it. Returns their pids.
    pub fn signal(&self, signal: Signal) -> io::Result<Vec<u32>> {
        let signal = named(signal)?;
        let pids = self.pids();
        // A pid of 0 is in another pid namespace and cannot be signalled from here.
        for pid in pids.iter().copied().filter_map(pid) {
            let _ = kill_process(pid, signal); // it may just have ended
        }
        Ok(pids)
    }

    /// Kills all of it at once: one write where the kernel has cgroup.kill (5.14).
    pub fn kill(&self) -> io::Result<()> {
        match self.write("cgroup.kill", "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.signal(Signal::KILL).map(|_| ())
            }
            Err(error) if is_gone(&error) => Ok(()),
            other => other,
        }
    }

    /// Kills what lives in it, as its events tell, without waiting for the end.
    pub fn kill_living(&self, events: &Events) -> io::Result<()> {
        match events.are_of_the_living() {
            Ok(true) => self.kill(),
            Ok(false) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Kills what lives in it and waits, blocking, until nothing does. False: time was up.
    pub fn kill_and_wait(&self, limit: Duration) -> io::Result<bool> {
        if !self.is_populated()? {
            return Ok(true);
        }
        let events = match self.events() {
            Err(error) if is_gone(&error) => return Ok(true),
            other => other?,
        };
        let deadline = Instant::now() + limit;
        loop {
            self.kill()?;
            if !self.is_populated()? {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let pause = Timespec::try_from(left.min(LOOK_AGAIN)).map_err(io::Error::other)?;
            let mut change = [PollFd::from_borrowed_fd(events.0.as_fd(), PollFlags::PRI)];
            poll(&mut change, Some(&pause))?;
        }
    }

    /// Removes it with what it has created below; nothing may live in it.
    pub fn remove(&self) -> io::Result<()> {
        for directory in self.with_children().iter().rev() {
            match fs::remove_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Itself and every cgroup below it, parents first.
    fn with_children(&self) -> Vec<PathBuf> {
        let mut all = vec![self.path.clone()];
        let mut level = all.clone();
        for _ in 0..DEPTH_MAX {
            level = level
                .iter()
                .flat_map(|directory| children(directory))
                .collect();
            all.extend_from_slice(&level);
        }
        all
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(self.path.join(file), flags, Mode::empty())?;
        rustix::io::write(&file, text.as_bytes())?;
        Ok(())
    }
}

/// The file cgroup.events of a cgroup, open.
#[derive(Debug)]
pub(crate) struct Events(fs::File);

impl Events {
    /// Whether a process lives in the cgroup or below. In one read: every restart waits for it,
    /// and the kernel makes the whole of such a file at once.
    fn are_of_the_living(&self) -> io::Result<bool> {
        let mut text = [0; EVENTS_BYTES];
        let length = self.0.read_at(&mut text, 0)?;
        let text = str::from_utf8(&text[..length]).map_err(io::Error::other)?;
        Ok(field(text, "populated") != Some(0))
    }
}

/// Whether a cgroup is no more: it is not there, or was removed while its file was open
/// (ENODEV), as a service manager does with those of its units.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// The number after `name` in a flat keyed file.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// What a file with a single limit says.
fn limit(text: &str) -> Limit {
    match text {
        "max" => Limit::Unlimited,
        text => text.parse().map_or(Limit::Unknown, Limit::At),
    }
}

/// `QUOTA PERIOD` as percent of one CPU, rounded down.
fn cpu_limit(text: &str) -> Limit {
    let Some((quota, period)) = text.split_once(' ') else {
        return Limit::Unknown;
    };
    match (limit(quota), period.parse::<u64>()) {
        (Limit::At(quota), Ok(period)) => match quota.saturating_mul(100).checked_div(period) {
            Some(percent) => Limit::At(percent),
            None => Limit::Unknown,
        },
        (other, Ok(_)) => other,
        (_, Err(_)) => Limit::Unknown,
    }
}

/// A signal as rustix wants it.
pub(crate) fn named(signal: Signal) -> io::Result<rustix::process::Signal> {
    rustix::process::Signal::from_named_raw(signal.0).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{signal} cannot be sent"),
        )
    })
}

/// Sends SIGKILL through a pidfd; a process that has ended is a success.
pub(crate) fn kill_through(pidfd: &OwnedFd) -> io::Result<()> {
    match pidfd_send_signal(pidfd, rustix::process::Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use osmoda_core::units::{ByteSize, CpuPercent};

    use super::*;

    #[test]
    fn limits_are_written_for_enabled_controllers_only_and_lifted_when_absent() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["memory.max", "memory.oom.group", "cpu.max", "pids.max"] {
            fs::write(directory.path().join(file), "").unwrap();
        }
        let cgroup = AgentCgroup::new(directory.path().to_owned());
        let read = |file: &str| fs::read_to_string(directory.path().join(file)).unwrap();
        let resources = Resources {
            memory_max: Some(ByteSize(1 << 20)),
            cpu_max: Some(CpuPercent(150)),
            tasks_max: Some(9),
            ..Resources::default()
        };
        let enabled = ["memory".to_owned(), "cpu".to_owned()];
        cgroup.limit(&resources, &enabled).unwrap();
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(read("memory.oom.group"), "1");
        assert_eq!(read("cpu.max"), "150000 100000");
        assert_eq!(read("pids.max"), "");

        for file in ["memory.max", "cpu.max"] {
            fs::write(directory.path().join(file), "").unwrap();
        }
        cgroup.limit(&Resources::default(), &enabled).unwrap();
        assert_eq!(read("memory.max"), "max");
        assert_eq!(read("cpu.max"), "max 100000");
    }

    #[test]
    fn limits_are_read_back_and_unknown_without_their_controller() {
        let directory = tempfile::tempdir().unwrap();
        let cgroup = AgentCgroup::new(directory.path().to_owned());
        assert_eq!(cgroup.limits(), Limits::default());
        let write = |file, text| fs::write(directory.path().join(file), text).unwrap();
        write("memory.max", "1048576\n");
        write("cpu.max", "150000 100000\n");
        write("pids.max", "max\n");
        let expected = Limits {
            memory_max: Limit::At(1 << 20),
            cpu_max: Limit::At(150),
            tasks_max: Limit::Unlimited,
        };
        assert_eq!(cgroup.limits(), expected);
        write("cpu.max", "max 100000\n");
        assert_eq!(cgroup.limits().cpu_max, Limit::Unlimited);
        write("cpu.max", "20000 0\n");
        assert_eq!(cgroup.limits().cpu_max, Limit::Unknown);
    }

    #[test]
    fn the_cache_of_files_is_no_memory_of_the_agent() {
        let directory = tempfile::tempdir().unwrap();
        let cgroup = AgentCgroup::new(directory.path().to_owned());
        assert_eq!(cgroup.memory(), None);
        assert!(cgroup.cpu_us().is_err());
        let write = |file, text| fs::write(directory.path().join(file), text).unwrap();
        write("memory.current", "9000\n");
        write(
            "memory.stat",
            "anon 1000\nactive_file 2000\ninactive_file 6000\n",
        );
        write("cpu.stat", "usage_usec 77\nuser_usec 70\n");
        assert_eq!(cgroup.memory(), Some(1000));
        assert_eq!(cgroup.cpu_us().unwrap(), 77);
    }

    #[test]
    fn keyed_files_are_read_by_whole_name() {
        let text = "oom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(field(text, "oom_kill"), Some(2));
        assert_eq!(field(text, "oom"), Some(3));
        assert_eq!(field(text, "missing"), None);
    }

    #[test]
    fn a_cgroup_that_does_not_exist_is_empty() {
        let cgroup = AgentCgroup::new("/nonexistent/cgroup".into());
        assert!(!cgroup.is_populated().unwrap());
        assert!(cgroup.kill_and_wait(Duration::ZERO).unwrap());
        assert!(cgroup.pids().is_empty());
        cgroup.remove().unwrap();
    }
}
