//! Monit: looks at process id files at an interval, and starts what is gone.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt as _, process::Command};

use anyhow::Context as _;

use super::{Contender, Job, clean_command, debian_package};
use crate::project;

pub struct Monit;

impl Contender for Monit {
    fn name(&self) -> String {
        "monit".to_owned()
    }

    fn version(&self) -> anyhow::Result<String> {
        debian_package("monit", "monit")
    }

    fn looks_around(&self) -> bool {
        true
    }

    fn settings(&self) -> String {
        "set daemon 1: a look each second, which is the shortest interval".to_owned()
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        let place = job.directory.display();
        let mut text = format!(
            "set daemon 1\nset pidfile {place}/monit.pid\nset statefile {place}/state\n\
             set idfile {place}/id\nset logfile {place}/monit.log\n"
        );
        for index in 0..job.count {
            let start = job.directory.join(format!("start-{index}"));
            let script = format!(
                "#!/bin/sh\n{} {} {index} </dev/null >/dev/null 2>&1 &\n\
                 echo $! >{place}/{index}.pid\n",
                job.agent.display(),
                job.socket_name
            );
            project::write_file(&start, script)?;
            fs::set_permissions(&start, fs::Permissions::from_mode(0o755))
                .context("making a start script executable")?;
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "check process agent-{index} with pidfile {place}/{index}.pid\n  \
                 start program = \"{}\"\n",
                start.display()
            );
        }
        let file = job.directory.join("monitrc");
        project::write_file(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
            .context("keeping monitrc private")?;
        let mut command = clean_command("monit", &job.directory);
        command.arg("-I").arg("-c").arg(file);
        Ok(command)
    }
}
