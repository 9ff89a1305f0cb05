//! Commands that may take long, or hang: each has a bound, and its output goes to a log.

use std::{
    fs::File,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::process;

/// Pause between two looks at a command that runs.
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Runs a command, called `what` in errors, to its end; its output is appended to `log`.
///
/// # Errors
/// It cannot be started, or runs longer than `bound`: then it is ended with all it started.
pub fn run(
    what: &str,
    command: &mut Command,
    log: &Path,
    bound: Duration,
) -> anyhow::Result<ExitStatus> {
    let output = append_to(log)?;
    let errors = output.try_clone().context("duplicating the log")?;
    let status = wait(command.stdout(output).stderr(errors), bound)
        .with_context(|| format!("running {what}"))?;
    status.with_context(|| {
        let seconds = bound.as_secs();
        format!("{what} was ended after {seconds} s; see {}", log.display())
    })
}

/// As [`run`], and the command has to succeed.
///
/// # Errors
/// As [`run`], and when it fails; the error names the log.
pub fn demand(
    what: &str,
    command: &mut Command,
    log: &Path,
    bound: Duration,
) -> anyhow::Result<()> {
    let status = run(what, command, log, bound)?;
    if !status.success() {
        bail!("{what} failed ({status}); see {}", log.display());
    }
    Ok(())
}

/// Runs a command to its end; None if it had to be ended at the bound.
///
/// # Errors
/// It cannot be started or waited for.
pub fn wait(command: &mut Command, bound: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .context("starting it")?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("waiting for it")? {
            return Ok(Some(status));
        }
        if start.elapsed() > bound {
            process::end_descendants(child.id());
            // It may have ended by itself just now.
            let _ = child.kill();
            child.wait().context("waiting for it")?;
            return Ok(None);
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// The last `count` lines of a log, or why there are none.
pub fn tail(log: &Path, count: usize) -> String {
    match std::fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(count)..].join("\n")
        }
        Err(error) => format!("{} cannot be read: {error}", log.display()),
    }
}

fn append_to(log: &Path) -> anyhow::Result<File> {
    if let Some(parent) = log.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("creating {}", parent.display()))?;
    }
    File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening {}", log.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_ended_with_what_it_started() {
        let directory = std::env::temp_dir().join(format!("osmoda-bounded-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let log = directory.join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]);
        let error = run("sh", &mut command, &log, Duration::from_millis(300)).unwrap_err();
        assert!(error.to_string().contains("was ended"), "{error:#}");
        let grandchild: u32 = tail(&log, 1).parse().unwrap();
        let gone = process::wait_for_end(&[grandchild].into(), Duration::from_secs(10));
        assert!(gone.is_empty(), "the grandchild {grandchild} still runs");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_command_that_fails_names_its_log() {
        let log = std::env::temp_dir().join(format!("osmoda-demand-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "echo said; exit 3"]);
        let error = demand("sh", &mut command, &log, Duration::from_secs(60)).unwrap_err();
        assert!(error.to_string().contains(&log.display().to_string()));
        assert_eq!(tail(&log, 5), "said");
        std::fs::remove_file(&log).unwrap();
    }
}
