//! Laurent Bercot's s6: s6-svscan, and an s6-supervise for each service.
//!
//! Without a signal of readiness s6 waits a second before it restarts, so agents signal it.

use std::process::Command;

use super::{Contender, Job, Role, Script, clean_command, debian_package, service_directory};
use crate::project;

/// The descriptor on which agents signal readiness.
const READY_DESCRIPTOR: u32 = 3;

/// Most services that s6-svscan takes.
const SERVICES_MAX: &str = "4000";

pub struct S6 {
    pub script: Script,
}

impl Contender for S6 {
    fn name(&self) -> String {
        format!("s6{}", self.script.label())
    }

    fn version(&self) -> anyhow::Result<String> {
        debian_package("s6", "s6-svscan")
    }

    fn settings(&self) -> String {
        format!("{}; readiness signalled", self.script.settings())
    }

    fn role(&self) -> Role {
        self.script.role()
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        service_directory::write(job, self.script, Some(READY_DESCRIPTOR))?;
        for directory in service_directory::each(job) {
            let file = directory.join("notification-fd");
            project::write_file(&file, format!("{READY_DESCRIPTOR}\n"))?;
        }
        let mut command = clean_command("s6-svscan", &job.directory);
        // Its default is 500 services.
        command
            .args(["-c", SERVICES_MAX])
            .arg(service_directory::services(job));
        Ok(command)
    }

    fn ask_to_stop(&self, job: &Job, _supervisor: u32) -> anyhow::Result<()> {
        let mut control = clean_command("s6-svscanctl", &job.directory);
        project::output(control.arg("-t").arg(service_directory::services(job))).map(drop)
    }
}
