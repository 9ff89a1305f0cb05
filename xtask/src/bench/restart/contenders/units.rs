//! systemd as it was booted here: agents as units of the running manager.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use super::{Contender, Job, clean_command, systemd};
use crate::project;

/// Where units for this boot go.
const UNITS: &str = "/run/systemd/system";

pub struct Units {
    /// `RestartSec=` of the agents.
    pub restart_sec: &'static str,
}

fn name(index: usize) -> String {
    format!("osmoda-bench-{index}.service")
}

fn files(job: &Job) -> impl Iterator<Item = PathBuf> {
    (0..job.count).map(|index| Path::new(UNITS).join(name(index)))
}

impl Contender for Units {
    fn name(&self) -> String {
        format!("systemd, RestartSec={}", self.restart_sec)
    }

    fn version(&self) -> anyhow::Result<String> {
        ensure!(
            Path::new(UNITS).is_dir(),
            "systemd was not booted here: no {UNITS}"
        );
        systemd::version(Path::new("systemctl"))
    }

    fn settings(&self) -> String {
        format!(
            "units of the manager that was booted; Restart=always, RestartSec={}, no start limit",
            self.restart_sec
        )
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        for (index, file) in files(job).enumerate() {
            project::write_file(&file, systemd::unit(job, index, self.restart_sec))?;
        }
        let mut command = clean_command("sh", &job.directory);
        // What stays in the foreground stands for the manager, which is process 1.
        let script = "systemctl daemon-reload && systemctl start \"$@\" && exec sleep infinity";
        command.args(["-c", script, "sh"]);
        command.args((0..job.count).map(name));
        Ok(command)
    }

    fn ask_to_stop(&self, job: &Job, supervisor: u32) -> anyhow::Result<()> {
        let mut stop = clean_command("systemctl", &job.directory);
        let stopped = project::output(stop.arg("stop").args((0..job.count).map(name)));
        for file in files(job) {
            fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        }
        crate::process::kill(supervisor, rustix::process::Signal::TERM);
        stopped.map(drop)
    }
}
