//! What agents write, as journald keeps it, read by journalctl(1), and what is asked for at every
//! end from the files themselves where that can be ([`super::run_files`]).
//!
//! A run of an agent is one invocation of its unit. PID 1 notes each start in the journal with
//! the unit's name and the invocation's id, which only PID 1 can write (fields that begin with an
//! underscore); the output itself carries both as well. Where that note is gone, the journal was
//! vacuumed, and what is left of the output is of the latest run.
//!
//! Invariants: no more is held in memory than was asked for, whatever an agent writes; a
//! journalctl that does not answer is ended after [`PATIENCE`]; no process outlives the call, or
//! the [`Follow`], that it is for.

use std::{
    collections::VecDeque,
    io::{self, Read},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use osmoda_core::{
    name::AgentName,
    observed::{ExitStatus, InvocationId},
    spec::Signal,
};
use serde::Deserialize;
use tokio::{io::AsyncReadExt as _, process};

use super::{run_files, unit_name};
use crate::blocking::spawn_blocking;

/// Longest time that journalctl may take for what is there already.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Longest line; of a longer one the end is kept.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// How far back a signal may have been sent that led to an end, in seconds.
const MOMENT_S: u64 = 3;
/// Most notes of PID 1 on one run that are looked at.
const NOTES_MAX: usize = 20;
/// Most bytes of objects without a message in them.
const OBJECTS_BYTES_MAX: usize = 64 * 1024;
/// MESSAGE_ID of PID 1's note that a unit was started (sd-messages.h, SD_MESSAGE_UNIT_STARTED).
const STARTED: &str = "39f53479d3a045ac8e11786248231fbf";

/// MESSAGE_ID of what its child says when it cannot become the program (SD_MESSAGE_SPAWN_FAILED).
const SPAWN_FAILED: &str = "641257651c1b4ec9a8624d7a40a9e1e7";
/// MESSAGE_ID of PID 1's note that a main process ended (SD_MESSAGE_UNIT_PROCESS_EXIT).
const PROCESS_EXIT: &str = "98e322203f7a4ed290d09fe03c09fe15";

/// What systemd calls a run: `_SYSTEMD_INVOCATION_ID`, the unit's InvocationID. Not osmoda's own
/// `$INVOCATION_ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ManagerId(pub InvocationId);

/// Which run of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// The latest that was started.
    Latest,
    /// The one before it; the latest if there was none.
    Previous,
    /// This one.
    Of(ManagerId),
}

/// When a line came, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// CLOCK_REALTIME, in microseconds since 1970.
    pub realtime_us: u64,
    /// CLOCK_MONOTONIC of its boot, in microseconds.
    pub monotonic_us: u64,
}

/// PID 1's note on a start.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Started {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "INVOCATION_ID")]
    run: ManagerId,
}

/// The times of an entry; numbers are text in journald's JSON.
#[derive(Debug, Deserialize)]
struct Stamped {
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    realtime: String,
    #[serde(rename = "__MONOTONIC_TIMESTAMP")]
    monotonic: String,
}

/// The end of what one run wrote: at most `lines` lines and `max_bytes` bytes, lossy UTF-8.
/// `None`: nothing is known of any run. Blocks.
///
/// # Errors
/// journalctl is missing, or failed; its last words are told.
pub fn last(
    agent: &AgentName,
    run: Run,
    lines: usize,
    max_bytes: usize,
) -> io::Result<Option<Vec<String>>> {
    let (wanted, known) = match run {
        Run::Of(run) => match run_files::last(run, lines) {
            Ok(all) => return Ok(Some(within(all, lines, max_bytes))),
            Err(_) => (Some(run), true),
        },
        Run::Latest | Run::Previous => {
            let starts = starts(agent)?;
            let wanted = match run {
                Run::Previous => starts.get(1).or(starts.first()),
                _ => starts.first(),
            };
            (wanted.map(|start| start.run), !starts.is_empty())
        }
    };
    let tail = tail(agent, wanted, lines, max_bytes)?;
    Ok((known || !tail.lines.is_empty()).then_some(tail.lines))
}

/// When this run wrote its last line so far; `None`: it has written none. Blocks.
///
/// # Errors
/// As [`last`].
pub fn last_at(agent: &AgentName, run: ManagerId) -> io::Result<Option<Stamp>> {
    if let Ok(at) = run_files::last_at(run) {
        return Ok(at);
    }
    let mut command = journalctl(["--output=json", "--output-fields=_BOOT_ID", "--lines=1"]);
    command.args(output_of(agent, Some(run)));
    let Some(line) = objects::<Stamped>(command)?.pop() else {
        return Ok(None);
    };
    let number = |text: &str| text.parse().map_err(io::Error::other);
    Ok(Some(Stamp {
        realtime_us: number(&line.realtime)?,
        monotonic_us: number(&line.monotonic)?,
    }))
}

/// The errno with which systemd's child could not become a run's program, if it could not. Blocks.
///
/// # Errors
/// As [`last`].
pub(super) fn spawn_errno(run: ManagerId) -> io::Result<Option<i32>> {
    #[derive(Deserialize)]
    struct Failed {
        #[serde(rename = "ERRNO")]
        errno: String,
    }
    // What was said a moment ago may not have been taken in yet.
    objects::<serde::de::IgnoredAny>(journalctl(["--sync"]))?;
    let mut command = journalctl(["--output=json", "--output-fields=ERRNO", "--lines=1"]);
    command.arg(format!("MESSAGE_ID={SPAWN_FAILED}"));
    command.arg(format!("INVOCATION_ID={}", run.0));
    let failed = objects::<Failed>(command)?.pop();
    Ok(failed.and_then(|failed| failed.errno.parse().ok()))
}

/// How a run's main process ended, as PID 1 noted it; it notes no success. Blocks.
///
/// # Errors
/// As [`last`].
pub(super) fn exit_of(run: ManagerId) -> io::Result<Option<ExitStatus>> {
    #[derive(Deserialize)]
    struct Ended {
        #[serde(rename = "EXIT_CODE")]
        how: String,
        #[serde(rename = "EXIT_STATUS")]
        status: String,
    }
    let mut command = journalctl(["--output=json", "--lines=1", "_PID=1"]);
    command.arg("--output-fields=EXIT_CODE,EXIT_STATUS");
    command.arg(format!("MESSAGE_ID={PROCESS_EXIT}"));
    command.arg("COMMAND=ExecStart");
    command.arg(format!("INVOCATION_ID={}", run.0));
    let Some(ended) = objects::<Ended>(command)?.pop() else {
        return Ok(None);
    };
    let number = ended.status.parse().ok();
    Ok(match (ended.how.as_str(), number) {
        ("exited", Some(code)) => Some(ExitStatus::Code { code }),
        (how @ ("killed" | "dumped"), number) => {
            let signal = number.or_else(|| Signal::parse(&ended.status).map(|signal| signal.0));
            signal.map(|signal| ExitStatus::Signal {
                signal,
                core_dumped: how == "dumped",
            })
        }
        _ => None,
    })
}

/// Whether somebody had systemd send this run a signal a moment ago (`systemctl kill`), as PID 1
/// noted it and journalctl tells. One of earlier is not what ended it. Blocks.
///
/// # Errors
/// As [`last`].
pub(super) fn was_sent_a_signal(run: ManagerId) -> io::Result<bool> {
    let mut command = journalctl(["--output=cat", "--lines=20", "_PID=1"]);
    command.arg(format!("--since=-{MOMENT_S}s"));
    command.arg(format!("INVOCATION_ID={}", run.0));
    let mut notes = End::new(NOTES_MAX, NOTES_MAX * LINE_BYTES_MAX);
    self::run(command, |bytes| notes.take(bytes))?;
    let notes = notes.lines();
    // The note has no MESSAGE_ID: "Sent signal SIGTERM to main process 53 (sleep) on client
    // request."
    let is_one = |note: &String| note.contains("Sent signal") && note.contains("client request");
    Ok(notes.iter().any(is_one))
}

/// What comes of an agent's output, run after run, and before it the end of its latest run.
#[derive(Debug)]
pub struct Follow {
    /// The last lines that were there already.
    pub first: Vec<String>,
    child: process::Child,
    output: process::ChildStdout,
}

impl Follow {
    /// What was written since the last time; waits until there is something. Empty: journalctl
    /// has ended. It may be dropped and called again.
    ///
    /// # Errors
    /// The pipe failed.
    pub async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; READ_BYTES];
        let read = self.output.read(&mut bytes).await?;
        bytes.truncate(read);
        if bytes.is_empty() {
            self.child.wait().await?;
        }
        Ok(bytes)
    }
}

/// Begins to follow, with at most `lines` lines and `max_bytes` bytes of what is there already.
///
/// # Errors
/// As [`last`].
pub async fn follow(agent: &AgentName, lines: usize, max_bytes: usize) -> io::Result<Follow> {
    let name = agent.clone();
    let looking = spawn_blocking(move || {
        let latest = starts(&name)?.into_iter().next();
        let run = latest.as_ref().map(|start| start.run);
        let tail = tail(&name, run, lines.max(1), max_bytes)?;
        io::Result::Ok((latest, tail))
    });
    let (latest, mut tail) = looking.await.map_err(io::Error::other)??;
    if lines == 0 {
        tail.lines.clear();
    }
    // A run that has written nothing begins with its start.
    let place = tail.cursor.or(latest.map(|start| start.cursor));
    let mut command = process::Command::from(journalctl(["--output=cat", "--follow", "--no-tail"]));
    if let Some(place) = place {
        command.arg(format!("--after-cursor={place}"));
    }
    command.args(output_of(agent, None));
    command.stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(unavailable)?;
    let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok(Follow {
        first: tail.lines,
        child,
        output,
    })
}

/// The last two starts, the latest first.
fn starts(agent: &AgentName) -> io::Result<Vec<Started>> {
    let mut command = journalctl(["--output=json", "--output-fields=INVOCATION_ID"]);
    command.args(["--reverse", "--lines=2", "_PID=1"]);
    command.arg(format!("MESSAGE_ID={STARTED}"));
    command.arg(format!("UNIT={}", unit_name(agent)));
    objects(command)
}

/// What matches the output of a unit's processes, of one run or of all.
fn output_of(agent: &AgentName, run: Option<ManagerId>) -> Vec<String> {
    let mut matches = vec![
        "_TRANSPORT=stdout".to_owned(),
        format!("_SYSTEMD_UNIT={}", unit_name(agent)),
    ];
    matches.extend(run.map(|ManagerId(id)| format!("_SYSTEMD_INVOCATION_ID={id}")));
    matches
}

/// The few small objects that it writes. One of another shape, from another systemd, tells
/// nothing.
fn objects<T: serde::de::DeserializeOwned>(command: Command) -> io::Result<Vec<T>> {
    let mut text = Vec::new();
    run(command, |bytes| {
        let room = OBJECTS_BYTES_MAX.saturating_sub(text.len());
        text.extend_from_slice(&bytes[..bytes.len().min(room)]);
    })?;
    let objects = serde_json::Deserializer::from_slice(&text).into_iter::<T>();
    Ok(objects.map_while(Result::ok).collect())
}

/// The end of a run, and where the journal stood then.
struct Tail {
    lines: Vec<String>,
    cursor: Option<String>,
}

/// Without a run: of all that the unit wrote.
fn tail(
    agent: &AgentName,
    of: Option<ManagerId>,
    lines: usize,
    max_bytes: usize,
) -> io::Result<Tail> {
    let mut command = journalctl(["--output=cat", "--show-cursor"]);
    command.arg(format!("--lines={lines}"));
    command.args(output_of(agent, of));
    // The cursor is one line more.
    let mut end = End::new(
        lines.saturating_add(1),
        max_bytes.saturating_add(LINE_BYTES_MAX),
    );
    run(command, |bytes| end.take(bytes))?;
    let mut all = end.lines();
    let cursor = all
        .pop_if(|line| line.starts_with(CURSOR))
        .map(|line| line[CURSOR.len()..].to_owned());
    Ok(Tail {
        lines: within(all, lines, max_bytes),
        cursor,
    })
}

/// What the line with the cursor begins with (journalctl(1), --show-cursor).
const CURSOR: &str = "-- cursor: ";

/// The last of these lines, within both bounds.
pub(super) fn within(mut all: Vec<String>, lines: usize, max_bytes: usize) -> Vec<String> {
    let mut bytes = 0;
    let fits = |line: &&String| {
        bytes += line.len() + 1;
        bytes <= max_bytes
    };
    let kept = all.iter().rev().take(lines).take_while(fits).count();
    all.split_off(all.len() - kept)
}

/// The end of a text that comes in pieces.
struct End {
    whole: VecDeque<Vec<u8>>,
    open: Vec<u8>,
    bytes: usize,
    lines_max: usize,
    bytes_max: usize,
}

impl End {
    fn new(lines_max: usize, bytes_max: usize) -> Self {
        Self {
            whole: VecDeque::new(),
            open: Vec::new(),
            bytes: 0,
            lines_max,
            bytes_max,
        }
    }

    fn take(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(part);
            let excess = self.open.len().saturating_sub(LINE_BYTES_MAX);
            self.open.drain(..excess);
            if self.open.pop_if(|last| *last == b'\n').is_some() {
                let line = std::mem::take(&mut self.open);
                self.bytes += line.len() + 1;
                self.whole.push_back(line);
            }
        }
        while self.whole.len() > self.lines_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.whole.pop_front() else {
                break;
            };
            self.bytes -= oldest.len() + 1;
        }
    }

    fn lines(mut self) -> Vec<String> {
        if !self.open.is_empty() {
            self.whole.push_back(self.open);
        }
        let whole = self.whole.iter();
        whole
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect()
    }
}

/// journalctl with these arguments, in no language but C's and without a pager.
fn journalctl<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new("journalctl");
    command
        .args(["--quiet", "--no-pager", "--all"])
        .args(arguments);
    command.env("LC_ALL", "C").env_remove("SYSTEMD_COLORS");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Runs it to its end and gives what it writes to `take`.
fn run(mut command: Command, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .map_err(unavailable)?;
    let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let said = thread::spawn(move || {
        let mut text = Vec::new();
        // Cut or unreadable words of a program that failed are no failure of their own.
        let _ = errors.take(1024).read_to_end(&mut text);
        String::from_utf8_lossy(&text).trim().to_owned()
    });
    let read = within_patience(output, &mut take);
    if read.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    let said = said.join().unwrap_or_default();
    read?;
    match status.success() {
        // Nothing matches: some versions end with 1, and say nothing.
        false if !said.is_empty() => Err(io::Error::other(format!("journalctl: {said}"))),
        _ => Ok(()),
    }
}

/// Reads to the end, for at most [`PATIENCE`].
fn within_patience(
    mut output: impl Read + Send + 'static,
    take: &mut impl FnMut(&[u8]),
) -> io::Result<()> {
    let (pieces, arrived) = mpsc::sync_channel(1);
    thread::spawn(move || {
        loop {
            let mut bytes = vec![0; READ_BYTES];
            let read = output.read(&mut bytes);
            let over = !matches!(read, Ok(1..));
            let piece = read.map(|length| {
                bytes.truncate(length);
                bytes
            });
            if pieces.send(piece).is_err() || over {
                return;
            }
        }
    });
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        match arrived.recv_timeout(left) {
            Ok(Ok(piece)) if piece.is_empty() => return Ok(()),
            Ok(Ok(piece)) => take(&piece),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

fn unavailable(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot run journalctl: {error}"))
}

#[cfg(test)]
mod tests;
