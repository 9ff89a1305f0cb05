//! Runs one `nix` command with a bound on its time, its output and its memory.
//!
//! The command is the leader of a process group of its own; whatever way this ends, the whole
//! group is dead and reaped when [`run`] returns. Nothing here polls by the clock: one poll(2)
//! waits for output, for the end (pidfd) and for the deadline.

use std::{
    io::{self, Read},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Resource, Rlimit, Signal, kill_process_group, pidfd_open, prlimit},
};

/// Most bytes read at once.
const CHUNK: usize = 64 << 10;
/// Bytes of stderr kept from its beginning, and as many from its end: older versions of Nix put
/// the message first and the trace after it, newer ones the other way round.
const STDERR_KEPT: usize = 128 << 10;

/// Bounds of one command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From start to the end of its output.
    pub timeout: Duration,
    /// Bytes of stdout.
    pub max_output: usize,
    /// Bytes of address space (RLIMIT_AS) of each of its processes.
    pub max_memory: Option<u64>,
}

/// A command that ended by itself.
#[derive(Debug)]
pub(crate) struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Why there is no [`Finished`].
#[derive(Debug)]
pub(crate) enum RunError {
    Spawn(io::Error),
    Timeout,
    TooLarge,
    Wait(io::Error),
}

/// Runs `command` to its end.
pub(crate) fn run(command: &mut Command, limits: Limits) -> Result<Finished, RunError> {
    let deadline = Instant::now() + limits.timeout;
    let child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(RunError::Spawn)?;
    let mut group = Group { child };
    if let Some(bytes) = limits.max_memory {
        group.limit_memory(bytes);
    }
    let pidfd = pidfd_open(group.pid(), PidfdFlags::empty()).map_err(wait_error)?;
    let mut stdout = Pipe::new(group.child.stdout.take(), limits.max_output);
    let mut stderr = Pipe::new(group.child.stderr.take(), usize::MAX);
    let mut ended = false;

    while stdout.is_open() || stderr.is_open() || !ended {
        let left = deadline
            .checked_duration_since(Instant::now())
            .ok_or(RunError::Timeout)?;
        let (out, err, end) = {
            let mut watched = Vec::with_capacity(3);
            let out = stdout.watch(&mut watched);
            let err = stderr.watch(&mut watched);
            let end = (!ended).then(|| {
                watched.push(PollFd::new(&pidfd, PollFlags::IN));
                watched.len() - 1
            });
            wait(&mut watched, left)?;
            let ready =
                |index: Option<usize>| index.is_some_and(|i| !watched[i].revents().is_empty());
            (ready(out), ready(err), ready(end))
        };
        if out {
            stdout.read()?;
        }
        if err {
            stderr.read()?;
            stderr.forget_middle();
        }
        if end {
            // A descendant that kept the pipes open would keep us waiting. The leader is not
            // reaped yet, so its number cannot belong to anybody else.
            ended = true;
            group.kill();
        }
    }
    let status = group.child.wait().map_err(RunError::Wait)?;
    Ok(Finished {
        status,
        stdout: stdout.bytes,
        stderr: stderr.bytes,
    })
}

fn wait(watched: &mut [PollFd<'_>], left: Duration) -> Result<(), RunError> {
    let timeout = Timespec::try_from(left).map_err(|_| RunError::Timeout)?;
    match poll(watched, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(wait_error(error)),
    }
}

fn wait_error(error: rustix::io::Errno) -> RunError {
    RunError::Wait(error.into())
}

/// The process group of a command; dead and reaped when dropped.
struct Group {
    child: Child,
}

impl Group {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Best effort: a kernel that refuses leaves the other bounds.
    fn limit_memory(&self, bytes: u64) {
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        if let Err(error) = prlimit(Some(self.pid()), Resource::As, limit) {
            tracing::debug!(%error, "cannot limit the memory of nix");
        }
    }

    fn kill(&self) {
        // ESRCH: nothing is left of it, which is what is wanted.
        kill_process_group(self.pid(), Signal::KILL).ok();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // After a successful wait the number is free again and must not be signalled;
        // try_wait then answers from memory.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.kill();
            self.child.wait().ok();
        }
    }
}

/// One end of a pipe and what came out of it.
struct Pipe<R> {
    source: Option<R>,
    bytes: Vec<u8>,
    limit: usize,
}

impl<R: Read + std::os::fd::AsFd> Pipe<R> {
    fn new(source: Option<R>, limit: usize) -> Self {
        Self {
            source,
            bytes: Vec::new(),
            limit,
        }
    }

    fn is_open(&self) -> bool {
        self.source.is_some()
    }

    fn watch<'a>(&'a self, watched: &mut Vec<PollFd<'a>>) -> Option<usize> {
        let source = self.source.as_ref()?;
        watched.push(PollFd::from_borrowed_fd(source.as_fd(), PollFlags::IN));
        Some(watched.len() - 1)
    }

    fn read(&mut self) -> Result<(), RunError> {
        let Some(source) = &mut self.source else {
            return Ok(());
        };
        let start = self.bytes.len();
        self.bytes.resize(start + CHUNK, 0);
        let count = match source.read(&mut self.bytes[start..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.bytes.truncate(start);
                return Ok(());
            }
            Err(error) => return Err(RunError::Wait(error)),
        };
        self.bytes.truncate(start + count);
        if count == 0 {
            self.source = None;
        }
        if self.bytes.len() > self.limit {
            return Err(RunError::TooLarge);
        }
        Ok(())
    }

    fn forget_middle(&mut self) {
        if self.bytes.len() > 2 * STDERR_KEPT + CHUNK {
            let tail = self.bytes.len() - STDERR_KEPT;
            self.bytes.drain(STDERR_KEPT..tail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        timeout: Duration::from_secs(30),
        max_output: 1 << 20,
        max_memory: Some(1 << 30),
    };

    fn shell(script: &str, limits: Limits) -> Result<Finished, RunError> {
        run(
            Command::new("/bin/sh")
                .args(["-c", script])
                .stdin(Stdio::null()),
            limits,
        )
    }

    #[test]
    fn output_and_exit_code_come_back() {
        let done = shell("echo out; echo err >&2; exit 3", LIMITS).unwrap();
        assert_eq!(done.stdout, b"out\n");
        assert_eq!(done.stderr, b"err\n");
        assert_eq!(done.status.code(), Some(3));
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", note.display());
        // Long enough for the shell to have written the note, short enough to wait for.
        let limits = Limits {
            timeout: Duration::from_secs(2),
            ..LIMITS
        };
        assert!(matches!(shell(&script, limits), Err(RunError::Timeout)));
        let pid = std::fs::read_to_string(&note).unwrap();
        assert!(ends_within(pid.trim(), Duration::from_secs(20)), "{pid}");
    }

    /// Waits until a process is gone or a zombie; SIGKILL takes effect a moment after kill(2).
    fn ends_within(pid: &str, bound: Duration) -> bool {
        let deadline = Instant::now() + bound;
        while Instant::now() < deadline {
            match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) if !stat.contains(") Z ") => std::thread::yield_now(),
                _ => return true,
            }
        }
        false
    }

    #[test]
    fn a_descendant_that_keeps_the_pipe_open_does_not_keep_us_waiting() {
        let done = shell("sleep 600 & echo done", LIMITS).unwrap();
        assert_eq!(done.stdout, b"done\n");
    }

    #[test]
    fn too_much_output_ends_the_command() {
        let limits = Limits {
            max_output: 1000,
            ..LIMITS
        };
        let endless = "while :; do echo endless; done";
        assert!(matches!(shell(endless, limits), Err(RunError::TooLarge)));
    }

    #[test]
    fn of_a_long_stderr_beginning_and_end_are_kept() {
        let script = "echo first >&2; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); \
                      echo 'a line in the middle of it' >&2; done; echo last >&2";
        let done = shell(script, LIMITS).unwrap();
        assert!(done.stderr.starts_with(b"first\n"));
        assert!(done.stderr.ends_with(b"last\n"));
        assert!(done.stderr.len() <= 2 * STDERR_KEPT + 2 * CHUNK);
    }
}
