//! PostgreSQL behind `pg_isready`, as its own user: it refuses to run as root.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Agent, Program};
use crate::{package, project};

/// User that Debian's package makes.
const USER: &str = "postgres";

/// Debian keeps each major version's programs in a directory below.
const VERSIONS: &str = "/usr/lib/postgresql";

pub struct Postgres;

impl Program for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn install(&self) -> anyhow::Result<PathBuf> {
        // Its programs are not on PATH; this one, which comes with them, is.
        package::ensure("postgresql", "pg_ctlcluster", || {
            println!("  PostgreSQL is missing: apt-get install postgresql");
        })?;
        let server = newest_server()?;
        ensure!(
            rustix::process::geteuid().is_root(),
            "only root can run it as {USER}"
        );
        Ok(server)
    }

    fn agent(&self, program: &Path, place: &Path, port: u16) -> anyhow::Result<Agent> {
        let user = User::find()?;
        let tools = program.parent().context("the place of its programs")?;
        chown(place, Some(user.id), Some(user.group))
            .with_context(|| format!("giving {} to {USER}", place.display()))?;
        let data = place.join("data");
        let mut init = user.command(&tools.join("initdb"), place);
        project::output(init.arg("-D").arg(&data).args(["-A", "trust", "-N"]))?;
        let port = port.to_string();
        let spec = json!({
            "command": [
                program, "-D", data, "-p", port, "-k", place, "-c", "listen_addresses=",
            ],
            "user": USER,
            "probes": {"liveness": {
                "exec": {"command": [
                    tools.join("pg_isready"), "-q", "-h", place, "-p", port, "-t", "2",
                ]},
                "timeout": "3s",
            }},
            "rollout": {"minReady": "500ms"},
            // Fast shutdown; at SIGTERM it waits for its clients.
            "stop": {"signal": "SIGINT", "gracePeriod": "5s"},
        });
        let (psql, place) = (tools.join("psql"), place.to_owned());
        Ok(Agent {
            spec,
            frozen: "Unhealthy",
            works: Box::new(move |_| {
                let mut ask = user.command(&psql, &place);
                ask.args(["-Atq", "-p", &port, "-d", "postgres", "-h"]);
                let answer = project::output(ask.arg(&place).args(["-c", "select 6 * 7"]))?;
                ensure!(answer == "42", "6 * 7 is {answer}");
                Ok(())
            }),
        })
    }
}

fn newest_server() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir(VERSIONS).with_context(|| format!("looking into {VERSIONS}"))?;
    let number = |path: &PathBuf| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    let newest = versions
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/postgres").is_file())
        .max_by_key(number);
    let newest = newest.with_context(|| format!("no server below {VERSIONS}"))?;
    Ok(newest.join("bin/postgres"))
}

struct User {
    id: u32,
    group: u32,
}

impl User {
    fn find() -> anyhow::Result<Self> {
        let users = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        Self::among(&users).with_context(|| format!("there is no user {USER}"))
    }

    /// Of lines as in passwd(5).
    fn among(users: &str) -> Option<Self> {
        let mut lines = users.lines().map(|line| line.split(':'));
        let mut fields = lines.find_map(|mut fields| (fields.next()? == USER).then_some(fields))?;
        Some(Self {
            id: fields.nth(1)?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    }

    /// A command of this user, in this directory.
    fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .uid(self.id)
            .gid(self.group)
            .current_dir(directory)
            .env("HOME", directory);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_its_whole_name() {
        let users = "postgresx:x:1:1::/:/bin/sh\npostgres:x:101:104:,,,:/var:/bin/bash\n";
        let user = User::among(users).unwrap();
        assert_eq!((user.id, user.group), (101, 104));
        assert!(User::among("root:x:0:0::/:/bin/sh\n").is_none());
    }
}
