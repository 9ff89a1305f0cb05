//! Circus, in Python: a process and socket manager.

use std::{fmt::Write as _, path::PathBuf, process::Command};

use super::{Contender, Job, clean_command, install};
use crate::project;

const VERSION: &str = "0.19.0";

pub struct Circus;

fn program() -> anyhow::Result<PathBuf> {
    install::from_pypi("circus", VERSION, "circusd")
}

impl Contender for Circus {
    fn name(&self) -> String {
        "circus".to_owned()
    }

    fn version(&self) -> anyhow::Result<String> {
        program()?;
        Ok(VERSION.to_owned())
    }

    fn looks_around(&self) -> bool {
        true
    }

    fn settings(&self) -> String {
        "check_delay 0.1, respawn, warmup_delay 0".to_owned()
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        let socket = |name: &str| format!("ipc://{}/{name}", job.directory.display());
        let mut text = format!(
            "[circus]\ncheck_delay = 0.1\nwarmup_delay = 0\nendpoint = {}\n\
             pubsub_endpoint = {}\n",
            socket("endpoint"),
            socket("pubsub")
        );
        for index in 0..job.count {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "[watcher:agent-{index}]\ncmd = {} {} {index}\nrespawn = True\n\
                 warmup_delay = 0\nmax_retry = -1\n",
                job.agent.display(),
                job.socket_name
            );
        }
        let file = job.directory.join("circus.ini");
        project::write_file(&file, text)?;
        let mut command = clean_command(program()?, &job.directory);
        command.arg(file);
        Ok(command)
    }
}
