//! PM2, in JavaScript: the process manager of Node programs, which runs others as well.

use std::{path::PathBuf, process::Command};

use serde_json::json;

use super::{Contender, Job, clean_command, install};
use crate::project;

const VERSION: &str = "7.0.4";

pub struct Pm2;

fn program() -> anyhow::Result<PathBuf> {
    install::from_npm("pm2", VERSION, "pm2-runtime")
}

impl Contender for Pm2 {
    fn name(&self) -> String {
        "PM2".to_owned()
    }

    fn version(&self) -> anyhow::Result<String> {
        let node = project::output(Command::new("node").arg("--version"))?;
        program()?;
        Ok(format!("{VERSION}, node {node}"))
    }

    fn looks_around(&self) -> bool {
        true
    }

    fn settings(&self) -> String {
        "pm2-runtime, fork mode without interpreter; min_uptime 0, max_restarts without end, \
         output thrown away, no look for new versions"
            .to_owned()
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        let agent = |index: usize| {
            json!({
                "name": format!("agent-{index}"),
                "script": job.agent,
                "args": [job.socket_name, index.to_string()],
                "interpreter": "none",
                "exec_mode": "fork",
                "autorestart": true,
                "min_uptime": 0,
                "max_restarts": 1_000_000_000,
                "restart_delay": 0,
                "out_file": "/dev/null",
                "error_file": "/dev/null",
                "pmx": false,
                "vizion": false,
                "automation": false,
            })
        };
        let agents: Vec<_> = (0..job.count).map(agent).collect();
        let file = job.directory.join("ecosystem.json");
        project::write_file(&file, json!({ "apps": agents }).to_string())?;
        let mut command = clean_command(program()?, &job.directory);
        command
            .env("PM2_HOME", job.directory.join("home"))
            .env("PM2_DISABLE_VERSION_CHECK", "true")
            .args(["start"])
            .arg(file);
        Ok(command)
    }
}
