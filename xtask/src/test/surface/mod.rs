//! Parts `metrics`, `api` and `mcp`: what programs touch, tried with the programs that will:
//! promtool, schemathesis and a client of the Model Context Protocol.
//!
//! Invariant: a program that cannot be installed makes its part skipped, with the reason; one
//! that is there and finds a fault makes it fail.

mod api;
mod forward;
mod mcp;
mod metrics;

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};

pub use self::{api::api, mcp::mcp, metrics::metrics};
use crate::{
    node::{self, Node},
    project,
};

/// Two agents that stay, and a failing one, so that there is something to tell of.
const AGENTS: &str = r"
apiVersion: osmoda/v1
kind: Agent
metadata: {name: steady}
spec: {command: [sleep, '100000'], rollout: {minReady: 200ms}}
---
apiVersion: osmoda/v1
kind: Agent
metadata: {name: steady-2}
spec: {command: [sleep, '100000'], dependsOn: [steady]}
---
apiVersion: osmoda/v1
kind: Agent
metadata: {name: failing}
spec: {command: [sh, -c, 'echo so it goes; exit 3'], restart: {backoff: {initial: 1s}}}
";

/// Longest wait for a piece of an answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A daemon in a directory of its own, which goes with it.
struct Ground {
    node: Node,
    directory: PathBuf,
}

impl Ground {
    fn start(osmoda: &Path, what: &str) -> anyhow::Result<Self> {
        let name = format!("osmoda-{what}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let node = Node::start(osmoda, &directory, AGENTS)?;
        let ground = Self { node, directory };
        node::until("a daemon with its agents", || {
            let status = ground.node.ask(&["status", "steady-2"])?;
            let ready = status.is_some_and(|status| status["status"]["ready"] == true);
            Ok(ready.then_some(()))
        })?;
        Ok(ground)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("run/osmoda.sock")
    }

    /// The body of what a path answers with.
    fn get(&self, path: &str, header: &str) -> anyhow::Result<String> {
        let mut stream = UnixStream::connect(self.socket()).context("connecting to the daemon")?;
        stream
            .set_read_timeout(Some(ANSWER_MAX))
            .context("bounding the answer")?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: osmoda\r\nconnection: close\r\n{header}\r\n");
        let mut answer = String::new();
        stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.read_to_string(&mut answer))
            .with_context(|| format!("asking for {path}"))?;
        let (head, body) = answer.split_once("\r\n\r\n").context("half an answer")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{path} answers {head}");
        Ok(body.to_owned())
    }

    /// The daemon works on, its ledger holds together, and it ends in order.
    fn ends_well(&self) -> anyhow::Result<()> {
        self.get("/readyz", "").context("afterwards")?;
        self.node.verifies()?;
        self.node.stop()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // What is left of it is looked at by nobody.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Python with these packages, in an environment of its own.
///
/// # Errors
/// A reason to skip what needs them.
fn python(packages: &[&str]) -> anyhow::Result<PathBuf> {
    let python = project::find_program("python3").context("python3 is not installed")?;
    let place = project::target().join("test/surface/venv");
    let own = place.join("bin/python");
    if !own.is_file() {
        project::output(Command::new(python).args(["-m", "venv"]).arg(&place))
            .context("making an environment (Debian: apt-get install python3-venv)")?;
    }
    let mut install = Command::new(&own);
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    project::output(install.args(packages))
        .with_context(|| format!("installing {}", packages.join(" and ")))?;
    Ok(own)
}
