//! osmoda itself: `osmoda run`, durable ledger, and its ledger checked after.

use std::{fmt::Write, path::PathBuf, process::Command};

use anyhow::{Context, ensure};

use super::{Contender, Job, Role, clean_command};
use crate::{bench::output, project};

pub struct Osmoda {
    pub program: PathBuf,
    pub runtime: Runtime,
}

/// Who starts the agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    Native,
    /// The systemd that this machine, or these namespaces, were booted with.
    Systemd,
}

impl Runtime {
    fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Systemd => "systemd",
        }
    }
}

impl Osmoda {
    /// A command that talks about, or is, the daemon of this job.
    fn command(&self, job: &Job) -> Command {
        let mut command = clean_command(&self.program, &job.directory);
        command
            .env("OSMODA_STATE_DIR", job.disk.join("state"))
            .env("OSMODA_RUNTIME_DIR", job.directory.join("run"))
            .env("OSMODA_BUNDLES", "directory");
        command
    }
}

impl Contender for Osmoda {
    fn name(&self) -> String {
        match self.runtime {
            Runtime::Native => "osmoda".to_owned(),
            Runtime::Systemd => "osmoda, systemd runtime".to_owned(),
        }
    }

    fn version(&self) -> anyhow::Result<String> {
        output::version(&self.program)
    }

    fn settings(&self) -> String {
        let sandbox = match self.runtime {
            Runtime::Native => "",
            Runtime::Systemd => ", sandbox Off",
        };
        format!(
            "{} runtime, ledger durable; restart.backoff.resetAfter 500ms, maxRestarts 1000{sandbox}",
            self.runtime.word()
        )
    }

    fn role(&self) -> Role {
        Role::Osmoda
    }

    fn prepare(&self, job: &Job) -> anyhow::Result<Command> {
        let specs = job.directory.join("agents.yaml");
        project::write_file(&specs, manifests(job, self.runtime))?;
        let mut command = self.command(job);
        command
            .arg("run")
            .arg(specs)
            .args(["--runtime", self.runtime.word()]);
        Ok(command)
    }

    fn verify(&self, job: &Job, kills: usize) -> anyhow::Result<()> {
        let mut verify = self.command(job);
        let text = project::output(verify.args(["ledger", "verify", "-o", "json"]))?;
        let verdict: serde_json::Value =
            serde_json::from_str(&text).context("reading what ledger verify prints")?;
        ensure!(verdict["ok"] == true, "the ledger does not verify: {text}");

        let mut export = self.command(job);
        let text = project::output(export.args(["ledger", "export", "--format", "jsonl"]))?;
        let starts = intended_starts(&text)?;
        ensure!(
            starts >= job.count + kills,
            "the ledger tells of {starts} starts; there were {} and {kills} restarts",
            job.count
        );
        Ok(())
    }
}

/// How many starts were recorded before they were done, among exported entries.
fn intended_starts(export: &str) -> anyhow::Result<usize> {
    let mut starts = 0;
    for line in export.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).context("reading a line of the export")?;
        // The first line names the log and the last one its root; neither holds an entry.
        let entry = &line["entry"];
        if entry["kind"] == "ActionIntended" && entry["body"]["action"] == "Start" {
            starts += 1;
        }
    }
    Ok(starts)
}

/// One manifest for each agent, in one file.
fn manifests(job: &Job, runtime: Runtime) -> String {
    // A unit that is written by hand has none either.
    let sandbox = match runtime {
        Runtime::Native => "",
        Runtime::Systemd => "  sandbox: Off\n",
    };
    let mut text = String::new();
    for index in 0..job.count {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "---\n\
             apiVersion: osmoda/v1\n\
             kind: Agent\n\
             metadata: {{name: agent-{index}}}\n\
             spec:\n  \
             command: [{:?}, {:?}, \"{index}\"]\n  \
             restart: {{backoff: {{resetAfter: 500ms}}, maxRestarts: 1000}}\n{sandbox}",
            job.agent.display().to_string(),
            job.socket_name,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_intents_to_start_count() {
        let export = concat!(
            r#"{"format":"osmoda-ledger-export/1","size":3}"#,
            "\n",
            r#"{"seq":0,"entry":{"kind":"ActionIntended","body":{"action":"Start"}}}"#,
            "\n",
            r#"{"seq":1,"entry":{"kind":"ActionIntended","body":{"action":"Stop"}}}"#,
            "\n",
            r#"{"seq":2,"entry":{"kind":"ActionSucceeded","body":{"action":"Start"}}}"#,
            "\n",
            r#"{"size":3}"#,
            "\n",
        );
        assert_eq!(intended_starts(export).unwrap(), 1);
    }

    #[test]
    fn each_agent_gets_a_manifest_of_its_own() {
        let job = Job {
            agent: PathBuf::from("/bench/agent"),
            directory: PathBuf::from("/bench/osmoda"),
            disk: PathBuf::from("/bench/osmoda"),
            socket_name: "socket".to_owned(),
            count: 2,
        };
        let text = manifests(&job, Runtime::Native);
        assert_eq!(text.matches("kind: Agent\n").count(), 2);
        assert!(
            text.contains(r#"command: ["/bench/agent", "socket", "1"]"#),
            "{text}"
        );
    }
}
