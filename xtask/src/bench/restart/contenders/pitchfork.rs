//! pitchfork, in Rust: daemons for developers. What failed is started again when it looks around,
//! which it does at an interval.

use std::{fmt::Write as _, path::PathBuf, process::Command};

use super::{Contender, Job, clean_command, install};
use crate::project;

const VERSION: &str = "2.33.0";

/// `general.interval`: 10 s unless it is set.
const INTERVAL: &str = "100ms";

pub struct Pitchfork;

fn program() -> anyhow::Result<PathBuf> {
    install::from_crates("pitchfork-cli", VERSION, "pitchfork")
}

impl Contender for Pitchfork {
    fn name(&self) -> String {
        "pitchfork".to_owned()
    }

    fn version(&self) -> anyhow::Result<String> {
        program()?;
        Ok(VERSION.to_owned())
    }

    fn looks_around(&self) -> bool {
        true
    }

    fn settings(&self) -> String {
        format!("retry true; general.interval {INTERVAL} instead of 10 s")
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        let mut text = String::new();
        for index in 0..job.count {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "[daemons.agent-{index}]\nrun = \"exec {} {} {index}\"\nretry = true\n\
                 boot_start = true\n",
                job.agent.display(),
                job.socket_name
            );
        }
        // In the user's configuration, from which a supervisor starts what is to run from boot.
        let place = job.directory.join(".config/pitchfork");
        project::write_file(&place.join("config.toml"), text)?;
        let mut command = clean_command(program()?, &job.directory);
        command
            .args(["supervisor", "run", "--boot"])
            .env("PITCHFORK_INTERVAL", INTERVAL)
            .env("PITCHFORK_LOG", "error");
        Ok(command)
    }
}
