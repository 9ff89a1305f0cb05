//! Horust, in Rust: an init and supervisor for containers.

use std::{path::PathBuf, process::Command};

use super::{Contender, Job, clean_command, install};
use crate::project;

const VERSION: &str = "0.1.14";

pub struct Horust;

fn program() -> anyhow::Result<PathBuf> {
    install::from_crates("horust", VERSION, "horust")
}

impl Contender for Horust {
    fn name(&self) -> String {
        "Horust".to_owned()
    }

    fn version(&self) -> anyhow::Result<String> {
        program()?;
        Ok(VERSION.to_owned())
    }

    fn looks_around(&self) -> bool {
        true
    }

    fn settings(&self) -> String {
        "strategy always, backoff 0 s".to_owned()
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        let services = job.directory.join("services");
        for index in 0..job.count {
            let text = format!(
                "command = \"{} {} {index}\"\n[restart]\nstrategy = \"always\"\n\
                 backoff = \"0s\"\nattempts = 0\n",
                job.agent.display(),
                job.socket_name
            );
            project::write_file(&services.join(format!("agent-{index}.toml")), text)?;
        }
        let mut command = clean_command(program()?, &job.directory);
        command
            .arg("--services-path")
            .arg(services)
            .arg("--uds-folder-path")
            .arg(&job.directory);
        Ok(command)
    }
}
