//! supervisord, in Python: the supervisor of Debian's manuals for programs that are no services.

use std::{fmt::Write as _, process::Command};

use super::{Contender, Job, clean_command, debian_package};
use crate::project;

pub struct Supervisor;

impl Contender for Supervisor {
    fn name(&self) -> String {
        "supervisord".to_owned()
    }

    fn version(&self) -> anyhow::Result<String> {
        debian_package("supervisor", "supervisord")
    }

    fn looks_around(&self) -> bool {
        true
    }

    fn settings(&self) -> String {
        "startsecs 0, startretries without end, output thrown away".to_owned()
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        let file = job.directory.join("supervisord.conf");
        project::write_file(&file, configuration(job))?;
        let mut command = clean_command("supervisord", &job.directory);
        command.arg("--configuration").arg(file);
        Ok(command)
    }
}

fn configuration(job: &Job) -> String {
    let mut text = format!(
        "[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\n\
         pidfile={}/supervisord.pid\nminfds={}\n",
        job.directory.display(),
        // Three pipes for each.
        1024 + 4 * job.count
    );
    for index in 0..job.count {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[program:agent-{index}]\ncommand={} {} {index}\nautorestart=true\nstartsecs=0\n\
             startretries=1000000\nstdout_logfile=NONE\nstderr_logfile=NONE\n",
            job.agent.display(),
            job.socket_name
        );
    }
    text
}
