//! What daemontools, runit and s6 have in common: a directory for each service, whose `run` is
//! executed in it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
};

use anyhow::Context;

use super::{Job, Role};
use crate::project;

/// What `run` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// The agent itself, which takes its arguments from a file: the fastest there can be.
    None,
    /// A shell script that executes the agent: what their manuals show.
    Shell,
}

impl Script {
    /// How a row of this kind is told from the other.
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Shell => ", sh script",
        }
    }

    /// What it is compared as.
    pub fn role(self) -> Role {
        match self {
            Self::None => Role::Bare,
            Self::Shell => Role::Peer,
        }
    }

    /// For the table of settings.
    pub fn settings(self) -> &'static str {
        match self {
            Self::None => "run is the agent itself",
            Self::Shell => "run is #!/bin/sh with exec, as in its manual",
        }
    }
}

/// The directory that holds the services of a job.
pub fn services(job: &Job) -> PathBuf {
    job.directory.join("services")
}

/// Each service's directory.
pub fn each(job: &Job) -> impl Iterator<Item = PathBuf> {
    let all = services(job);
    (0..job.count).map(move |index| all.join(format!("agent-{index}")))
}

/// Writes a service for every agent. `ready` is the descriptor that takes a newline when the
/// agent is ready, if the supervisor wants to know.
pub fn write(job: &Job, script: Script, ready: Option<u32>) -> anyhow::Result<()> {
    for (index, directory) in each(job).enumerate() {
        let ready = ready.map(|fd| format!(" {fd}")).unwrap_or_default();
        let arguments = format!("{} {index}{ready}", job.socket_name);
        let run = directory.join("run");
        match script {
            Script::None => {
                project::write_file(&directory.join("agent.args"), arguments)?;
                symlink(&job.agent, &run).context("linking run to the agent")?;
            }
            Script::Shell => {
                let text = format!("#!/bin/sh\nexec {} {arguments}\n", job.agent.display());
                project::write_file(&run, text)?;
                let executable = fs::Permissions::from_mode(0o755);
                fs::set_permissions(&run, executable).context("making run executable")?;
            }
        }
    }
    Ok(())
}
