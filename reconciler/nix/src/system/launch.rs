//! Runs a switch as a transient unit, and learns how it ended - also after we were restarted.
//!
//! ```text
//! SWITCHES/ID-ATTEMPT/output     all it wrote
//! SWITCHES/ID-ATTEMPT/exit       its exit code in decimal and a newline; there when it ended
//! ```
//! The unit is a shell that runs the switch and writes both files with nothing but its own
//! commands. A code without its newline is not written to the end yet. `--collect` lets the
//! manager forget the unit when it ends, so that no failed unit of ours is left to make
//! somebody's switch exit with 4.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use osmoda_core::observed::InvocationId;
use tokio::{process::Command, time::Instant};

use super::{
    OUTPUT_BYTES_MAX, OUTPUT_LINES_MAX, SWITCH_WAIT, SwitchError, SwitchExit, SwitchOutcome,
    nixos::SystemPaths,
};

/// $1: the switch, $2: where its output goes, $3: where its code goes.
const SCRIPT: &str = "exec >\"$2\" 2>&1; \"$1\" switch; echo \"$?\" >\"$3\"";
/// Time for systemd-run or systemctl.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two looks at the exit file.
const POLL: Duration = Duration::from_millis(200);
/// Looks at the file for each question to the manager whether the unit still runs.
const POLLS_PER_QUESTION: u32 = 10;

/// One attempt at a switch.
#[derive(Debug, Clone)]
pub(super) struct Attempt<'a> {
    paths: &'a SystemPaths,
    name: String,
}

impl<'a> Attempt<'a> {
    pub fn new(paths: &'a SystemPaths, id: InvocationId, number: u32) -> Self {
        let name = format!("{id}-{number}");
        Self { paths, name }
    }

    /// The last attempt of a switch of which a trace is left.
    pub fn last(paths: &'a SystemPaths, id: InvocationId) -> Option<Self> {
        let attempts = (1..=super::ATTEMPTS_MAX).rev();
        attempts
            .map(|number| Self::new(paths, id, number))
            .find(|attempt| attempt.directory().exists())
    }

    pub fn unit(&self) -> String {
        format!("osmoda-switch-{}.service", self.name)
    }

    fn directory(&self) -> PathBuf {
        self.paths.switches.join(&self.name)
    }

    /// Starts the unit; it runs when this returns.
    pub async fn launch(&self, system: &Path) -> Result<(), SwitchError> {
        let directory = self.directory();
        // Nothing of an earlier switch is taken for this one's.
        self.forget()?;
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory);
        made.map_err(|source| SwitchError::Io {
            operation: "create",
            path: directory.clone(),
            source,
        })?;
        let mut command = Command::new(&self.paths.systemd_run);
        command
            .args(["--collect", "--quiet", "--no-ask-password"])
            .arg("--service-type=exec")
            .arg(format!("--unit={}", self.unit()))
            .arg("--description=Switch of the system by osmoda")
            .args(["--", "/bin/sh", "-c", SCRIPT, "sh"])
            .arg(system.join("bin/switch-to-configuration"))
            .arg(directory.join("output"))
            .arg(directory.join("exit"));
        self.answer(command).await.map(drop)
    }

    /// Whether the unit ever ran: its output is the first thing that it makes.
    pub fn has_begun(&self) -> bool {
        self.directory().join("output").exists()
    }

    /// Waits for the end; `None` if it did not come to one.
    pub async fn ended(&self) -> Result<Option<SwitchOutcome>, SwitchError> {
        let deadline = Instant::now() + SWITCH_WAIT;
        let mut polls = 0_u32;
        loop {
            if let Some(outcome) = self.outcome()? {
                return Ok(Some(outcome));
            }
            if polls.is_multiple_of(POLLS_PER_QUESTION) && self.has_gone().await {
                // It may have ended between the look and the question.
                return self.outcome();
            }
            if Instant::now() >= deadline {
                return Err(SwitchError::StillRunning {
                    unit: self.unit(),
                    waited: SWITCH_WAIT,
                });
            }
            polls += 1;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether the manager knows that it does not run. A manager that cannot be asked - a switch
    /// may restart it - knows nothing.
    async fn has_gone(&self) -> bool {
        let mut command = Command::new(&self.paths.systemctl);
        command
            .args(["show", "--property=ActiveState", "--value"])
            .arg(self.unit());
        match self.answer(command).await {
            Ok(state) => matches!(state.trim(), "inactive" | "failed"),
            Err(error) => {
                tracing::debug!(%error, "cannot ask for the state of a switch");
                false
            }
        }
    }

    async fn answer(&self, mut command: Command) -> Result<String, SwitchError> {
        let failed = |message| SwitchError::Launch {
            unit: self.unit(),
            message,
        };
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(COMMAND_TIMEOUT, command.output()).await;
        let output = output
            .map_err(|_| failed(format!("no answer within {} s", COMMAND_TIMEOUT.as_secs())))?
            .map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(failed(format!("{} ({})", said.trim(), output.status)))
    }

    fn outcome(&self) -> Result<Option<SwitchOutcome>, SwitchError> {
        let directory = self.directory();
        let failed = |source| SwitchError::Io {
            operation: "read the outcome of a switch from",
            path: directory.clone(),
            source,
        };
        let text = match fs::read_to_string(directory.join("exit")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let Some(code) = text.strip_suffix('\n').and_then(|code| code.parse().ok()) else {
            return Ok(None);
        };
        let output = last_lines(&directory.join("output")).map_err(failed)?;
        let exit = SwitchExit::new(code, &output);
        Ok(Some(SwitchOutcome { exit, output }))
    }

    pub fn forget(&self) -> Result<(), SwitchError> {
        let path = self.directory();
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(SwitchError::Io {
                operation: "remove",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }
}

/// The end of a text file, within the bounds of an outcome.
fn last_lines(path: &Path) -> io::Result<Vec<String>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(OUTPUT_LINES_MAX);
    Ok(lines[first..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_output_the_end_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output");
        assert!(last_lines(&path).unwrap().is_empty());
        let many: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        fs::write(&path, many).unwrap();
        let lines = last_lines(&path).unwrap();
        assert_eq!(lines.len(), OUTPUT_LINES_MAX);
        assert_eq!(lines.last().unwrap(), "line 999");
        fs::write(&path, "x".repeat(100_000)).unwrap();
        let lines = last_lines(&path).unwrap();
        assert_eq!(lines[0].len() as u64, OUTPUT_BYTES_MAX);
    }
}
