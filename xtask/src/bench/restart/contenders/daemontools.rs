//! D. J. Bernstein's daemontools: svscan, and a supervise for each service.

use std::process::Command;

use rustix::process::Signal;

use super::{Contender, Job, Role, Script, clean_command, debian_package, service_directory};
use crate::{process, project};

pub struct Daemontools {
    pub script: Script,
}

impl Contender for Daemontools {
    fn name(&self) -> String {
        format!("daemontools{}", self.script.label())
    }

    fn version(&self) -> anyhow::Result<String> {
        debian_package("daemontools", "svscan")
    }

    fn settings(&self) -> String {
        self.script.settings().to_owned()
    }

    /// /service, on the root file system.
    fn lives_on_disk(&self) -> bool {
        true
    }

    fn role(&self) -> Role {
        self.script.role()
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        service_directory::write(job, self.script, None)?;
        let mut command = clean_command("svscan", &job.directory);
        command.arg(service_directory::services(job));
        Ok(command)
    }

    fn ask_to_stop(&self, job: &Job, supervisor: u32) -> anyhow::Result<()> {
        // svscan first: it would start a supervise that ends.
        process::kill(supervisor, Signal::TERM);
        let mut svc = clean_command("svc", &job.directory);
        project::output(svc.arg("-dx").args(service_directory::each(job))).map(drop)
    }
}
