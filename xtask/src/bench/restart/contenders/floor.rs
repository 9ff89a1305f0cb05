//! xtask/bench/floor.c: the least that can restart a process.

use std::{path::PathBuf, process::Command};

use super::{Contender, Job, Role, clean_command};

pub struct Floor {
    pub program: PathBuf,
}

impl Contender for Floor {
    fn name(&self) -> String {
        "floor".to_owned()
    }

    fn version(&self) -> anyhow::Result<String> {
        Ok("xtask/bench/floor.c".to_owned())
    }

    fn settings(&self) -> String {
        "pidfd, epoll, posix_spawn; records nothing".to_owned()
    }

    fn role(&self) -> Role {
        Role::Floor
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        let mut command = clean_command(&self.program, &job.directory);
        command
            .arg(&job.agent)
            .arg(&job.socket_name)
            .arg(job.count.to_string());
        Ok(command)
    }
}
