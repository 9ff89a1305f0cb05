//! Gerrit Pape's runit: runsvdir, and a runsv for each service.

use std::process::Command;

use rustix::process::Signal;

use super::{Contender, Job, Role, Script, clean_command, debian_package, service_directory};
use crate::process;

pub struct Runit {
    pub script: Script,
}

impl Contender for Runit {
    fn name(&self) -> String {
        format!("runit{}", self.script.label())
    }

    fn version(&self) -> anyhow::Result<String> {
        debian_package("runit", "runsvdir")
    }

    fn settings(&self) -> String {
        self.script.settings().to_owned()
    }

    fn role(&self) -> Role {
        self.script.role()
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        service_directory::write(job, self.script, None)?;
        let mut command = clean_command("runsvdir", &job.directory);
        command.arg(service_directory::services(job));
        Ok(command)
    }

    fn ask_to_stop(&self, _job: &Job, supervisor: u32) -> anyhow::Result<()> {
        // runsvdir(8): on HUP it sends TERM to every runsv and exits.
        process::kill(supervisor, Signal::HUP);
        Ok(())
    }
}
