//! systemd itself: booted as process 1 of namespaces of its own (xtask/bench/systemd.sh), with
//! nothing but the agents as its units.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use super::{Contender, Job, clean_command};
use crate::{process, project};

/// Where Debian and others have it.
const PROGRAM: &str = "/lib/systemd/systemd";

/// The target that is booted.
const TARGET: &str = "bench.target";

pub struct Systemd {
    /// `RestartSec=` of the agents.
    pub restart_sec: &'static str,
}

impl Contender for Systemd {
    fn name(&self) -> String {
        format!("systemd, RestartSec={}", self.restart_sec)
    }

    fn version(&self) -> anyhow::Result<String> {
        ensure!(Path::new(PROGRAM).exists(), "systemd is not installed");
        ensure!(rustix::process::geteuid().is_root(), "namespaces need root");
        version(Path::new(PROGRAM))
    }

    fn settings(&self) -> String {
        format!(
            "process 1 of unshared namespaces, no other units; Restart=always, RestartSec={}, \
             no start limit",
            self.restart_sec
        )
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        let units = job.directory.join("units");
        for index in 0..job.count {
            let text = unit(job, index, self.restart_sec);
            add(&units, &format!("agent-{index}.service"), &text)?;
        }
        boot(job)
    }

    fn ask_to_stop(&self, _job: &Job, supervisor: u32) -> anyhow::Result<()> {
        end(supervisor);
        Ok(())
    }
}

/// Version of a program of systemd.
///
/// # Errors
/// It cannot be run.
pub fn version(program: &Path) -> anyhow::Result<String> {
    let said = project::output(Command::new(program).arg("--version"))?;
    let version = said.split_whitespace().nth(1);
    Ok(version.unwrap_or("of unknown version").to_owned())
}

/// The unit of one agent: restarted for ever, and nothing else.
pub fn unit(job: &Job, index: usize, restart_sec: &str) -> String {
    format!(
        "[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0\n[Service]\n\
         ExecStart={} {} {index}\nRestart=always\nRestartSec={restart_sec}\n",
        job.agent.display(),
        job.socket_name
    )
}

/// Writes a unit, and has the target want it.
fn add(units: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    project::write_file(&units.join(name), text)?;
    let wants = units.join(format!("{TARGET}.wants"));
    fs::create_dir_all(&wants).with_context(|| format!("creating {}", wants.display()))?;
    symlink(format!("../{name}"), wants.join(name)).with_context(|| format!("wanting {name}"))
}

/// The command that boots the units of a job.
fn boot(job: &Job) -> anyhow::Result<Command> {
    let units = job.directory.join("units");
    project::write_file(&units.join(TARGET), "[Unit]\nDefaultDependencies=no\n")?;
    let mut command = clean_command("sh", &job.directory);
    command
        .arg(project::root().join("xtask/bench/systemd.sh"))
        .arg(units)
        .arg(TARGET);
    Ok(command)
}

/// Kills the process 1 below this supervisor: the kernel ends its namespace with it, and the
/// script then ends by itself.
fn end(supervisor: u32) {
    for pid in process::descendants(supervisor) {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == "systemd" {
            process::kill(pid, Signal::KILL);
        }
    }
}
