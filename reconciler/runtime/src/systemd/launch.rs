//! One start of one unit, from the call to the program that runs or the reason why it does not.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use tokio::time::timeout;

use super::{
    bus::{Bus, BusError, Property},
    definition::START_MAX_US,
    ear::{Active, Unit, UnitState},
    journal::{self, ManagerId},
};
use crate::StartError;
use crate::blocking::spawn_blocking;

/// Longest wait for a start's job: systemd itself gives up before.
const JOB_WAIT: Duration = Duration::from_micros(START_MAX_US + 10_000_000);

/// Longest wait for a unit of that name to be let go by systemd.
const ROOM_WAIT: Duration = Duration::from_secs(15);
/// Pause between two looks.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// CLD_EXITED of waitid(2).
const EXITED: i32 = 1;
/// What systemd's child exits with when it could not execute the program (systemd.exec(5),
/// "Process Exit Codes").
const EXIT_CHDIR: i32 = 200;
const EXIT_EXEC: i32 = 203;
const STEPS: std::ops::RangeInclusive<i32> = 200..=245;

/// How a unit is to be started.
pub(super) enum How<'a> {
    /// As it is loaded.
    Again,
    /// With this definition.
    Anew(&'a [Property]),
}

/// A unit that was started; its program may have ended since.
#[derive(Debug)]
pub(super) struct Ran {
    pub run: ManagerId,
    pub pid: u32,
    pub state: UnitState,
}

/// What is started, for the words of an error.
pub(super) struct Subject<'a> {
    pub program: &'a Path,
    pub directory: &'a Path,
    /// Its /tmp is its own.
    pub sandboxed: bool,
}

/// Starts a unit and waits until its program runs.
///
/// # Errors
/// [`StartError`]; no process of it is left.
pub(super) async fn start(
    bus: &Bus,
    unit: &Unit,
    how: How<'_>,
    subject: &Subject<'_>,
) -> Result<Ran, StartError> {
    let before = unit.state().run;
    let job = match how {
        How::Again => match bus.start(&unit.name).await {
            Ok(job) => job,
            Err(error) => return Err(refused(error, &unit.name)),
        },
        How::Anew(definition) => anew(bus, unit, definition).await?,
    };
    let done = unit.wait(|state| state.job(&job).is_some());
    let state = match timeout(JOB_WAIT, done).await {
        Ok(state) => state,
        Err(_) => unit
            .refresh(bus)
            .await
            .map_err(|error| refused(error, &unit.name))?,
    };
    unit.expect_no_job();
    let result = state.job(&job).unwrap_or("no result in time").to_owned();
    let run = state.run.filter(|run| Some(*run) != before);
    let Some(run) = run.filter(|_| state.main_pid != 0 && state.result != "resources") else {
        return Err(StartError::System {
            what: format!("systemd could not start {}", unit.name),
            source: io::Error::other(format!(
                "its job ended with {result:?} ({}); journalctl -u {} has more",
                state.result, unit.name
            )),
        });
    };
    if let Some(error) = not_executed(&state, run, &result, subject).await {
        return Err(error);
    }
    let pid = state.main_pid;
    Ok(Ran { run, pid, state })
}

/// Makes a unit and starts it. One of that name that is still there is let go, and stopped if it
/// runs: nothing that osmoda knows of does.
async fn anew(bus: &Bus, unit: &Unit, definition: &[Property]) -> Result<String, StartError> {
    let trying = async {
        let mut stopped = false;
        loop {
            match bus.start_transient(&unit.name, definition).await {
                Ok(job) => return Ok(job),
                Err(BusError::UnitExists(_)) => {}
                Err(error) => return Err(refused(error, &unit.name)),
            }
            let state = unit.refresh(bus).await;
            if !stopped && state.is_ok_and(|state| state.active != Active::Dead) {
                tracing::warn!(unit = unit.name, "stopping what runs under an agent's name");
                let _ = bus.stop(&unit.name).await; // looked at again
                stopped = true;
            }
            make_room(bus, &unit.name).await;
            tokio::time::sleep(ROOM_PAUSE).await;
        }
    };
    match timeout(ROOM_WAIT, trying).await {
        Ok(result) => result,
        Err(_) => Err(StartError::Invalid {
            what: format!(
                "there is another unit {} on this host (systemctl cat {} shows it): rename the \
                 agent, or remove that unit",
                unit.name, unit.name
            ),
            source: io::ErrorKind::AlreadyExists.into(),
        }),
    }
}

/// Lets go of a unit that does not run, so that another may take its name.
pub(super) async fn make_room(bus: &Bus, unit: &str) {
    let _ = bus.reset_failed(unit).await; // it may not have failed
    let _ = bus.unreference(unit).await; // nor have a reference
}

fn refused(error: BusError, unit: &str) -> StartError {
    let what = format!("systemd does not start {unit}");
    match error {
        BusError::InvalidArguments(_) => StartError::Invalid {
            what,
            source: error.into(),
        },
        _ => StartError::System {
            what,
            source: error.into(),
        },
    }
}

/// Why the program was not executed, if it was not. A program may itself exit with a code that
/// systemd uses for that, so what looks like it is looked at twice.
async fn not_executed(
    state: &UnitState,
    run: ManagerId,
    result: &str,
    subject: &Subject<'_>,
) -> Option<StartError> {
    let ended = state.active == Active::Dead && state.code == EXITED;
    if !ended || result == "done" || !STEPS.contains(&state.status) {
        return None;
    }
    let seen = match state.status {
        EXIT_EXEC => what_is_wrong_with(subject.program),
        EXIT_CHDIR => fs::metadata(subject.directory).err(),
        _ => None,
    };
    let by_a_look = seen.is_some();
    let errno = match seen {
        Some(error) => error,
        None => match spawn_blocking(move || journal::spawn_errno(run)).await {
            // systemd would have said so.
            Ok(Ok(None)) => return None,
            Ok(Ok(Some(errno))) => io::Error::from_raw_os_error(errno),
            Ok(Err(error)) => io::Error::other(format!("the journal does not tell why: {error}")),
            Err(error) => io::Error::other(error),
        },
    };
    Some(step_failed(state.status, errno, by_a_look, subject))
}

fn step_failed(
    status: i32,
    source: io::Error,
    by_a_look: bool,
    subject: &Subject<'_>,
) -> StartError {
    let program = subject.program.display();
    let missing = source.kind() == io::ErrorKind::NotFound && subject.program.exists();
    let hidden = ["/tmp", "/var/tmp"];
    let hidden = hidden
        .iter()
        .any(|place| subject.program.starts_with(place));
    let what = match status {
        // The agent does not see what the look saw.
        EXIT_EXEC if missing && !by_a_look && subject.sandboxed && hidden => {
            format!("cannot execute {program} (in the sandbox an agent has a /tmp of its own)")
        }
        EXIT_EXEC if missing => {
            format!("cannot execute {program} (its interpreter or loader is missing)")
        }
        EXIT_EXEC => format!("cannot execute {program}"),
        EXIT_CHDIR => format!(
            "cannot enter the working directory {}",
            subject.directory.display()
        ),
        216 | 217 => "cannot change to the agent's user and group".to_owned(),
        226 => "cannot make the agent's sandbox (mount namespace)".to_owned(),
        238 => "cannot make the agent's state directory".to_owned(),
        243 => "cannot hand over the agent's credentials".to_owned(),
        other => format!("systemd could not set the process up (exit status {other})"),
    };
    match status {
        EXIT_EXEC | EXIT_CHDIR | 216 | 217 => StartError::Invalid { what, source },
        _ => StartError::System { what, source },
    }
}

/// What execve(2) would not like of a file, as far as a look tells.
fn what_is_wrong_with(program: &Path) -> Option<io::Error> {
    let data = match fs::metadata(program) {
        Ok(data) => data,
        Err(error) => return Some(error),
    };
    if !data.is_file() || data.permissions().mode() & 0o111 == 0 {
        return Some(io::ErrorKind::PermissionDenied.into());
    }
    let mut begin = Vec::new();
    let file = fs::File::open(program).ok()?;
    file.take(256).read_to_end(&mut begin).ok()?;
    let Some(line) = begin.strip_prefix(b"#!") else {
        let elf = begin.starts_with(b"\x7fELF");
        return (!elf).then(|| io::Error::from_raw_os_error(libc::ENOEXEC));
    };
    let line = line.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split_ascii_whitespace().next()?;
    fs::metadata(interpreter).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8], mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("program");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        (directory, file)
    }

    #[test]
    fn a_look_tells_what_execve_would() {
        let kind = |text: &[u8], mode| {
            let (_directory, file) = file(text, mode);
            what_is_wrong_with(&file).map(|error| error.kind())
        };
        assert_eq!(kind(b"#!/bin/sh\n", 0o755), None);
        assert_eq!(kind(b"\x7fELF", 0o755), None);
        assert_eq!(
            kind(b"#!/bin/sh\n", 0o644),
            Some(io::ErrorKind::PermissionDenied)
        );
        assert_eq!(
            kind(b"#! /nonexistent/x -e\n", 0o755),
            Some(io::ErrorKind::NotFound)
        );
        let (_directory, text) = file(b"neither", 0o755);
        let error = what_is_wrong_with(&text).unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC));
        let missing = what_is_wrong_with(Path::new("/nonexistent")).unwrap();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
