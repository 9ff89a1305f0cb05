//! A Python program with the package `sdnotify`, from PyPI into an environment of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Agent, Program};
use crate::{package, project};

/// What such programs look like: ready, then a heartbeat from the loop that does the work.
const SCRIPT: &str = "\
import time
import sdnotify

notifier = sdnotify.SystemdNotifier()
notifier.notify('READY=1')
turns = 0
while True:
    turns += 1
    notifier.notify(f'STATUS=at work, turn {turns}')
    notifier.notify('WATCHDOG=1')
    time.sleep(0.2)
";

pub struct Sdnotify;

impl Program for Sdnotify {
    fn name(&self) -> &'static str {
        "sdnotify"
    }

    fn install(&self) -> anyhow::Result<PathBuf> {
        let python = package::ensure("python3", "python3", || {
            println!("  python3 is missing: apt-get install python3");
        })?;
        let environment = project::target().join("test/programs/python");
        let interpreter = environment.join("bin/python");
        let import = |interpreter: &Path| {
            project::output(Command::new(interpreter).args(["-c", "import sdnotify"]))
        };
        if import(&interpreter).is_err() {
            let make = &mut Command::new(python);
            project::output(make.args(["-m", "venv", "--clear"]).arg(&environment))
                .context("making a virtual environment needs python3-venv")?;
            let arguments = ["-m", "pip", "install", "--quiet", "sdnotify"];
            project::output(Command::new(&interpreter).args(arguments))
                .context("installing sdnotify")?;
            import(&interpreter)?;
        }
        Ok(interpreter)
    }

    fn agent(&self, program: &Path, place: &Path, _port: u16) -> anyhow::Result<Agent> {
        let script = place.join("worker.py");
        project::write_file(&script, SCRIPT)?;
        let spec = json!({
            "command": [program, script],
            "heartbeat": {"source": "Notify", "timeout": "3s"},
            "rollout": {"minReady": "500ms"},
            "stop": {"gracePeriod": "5s"},
        });
        Ok(Agent {
            spec,
            frozen: "Hang",
            works: Box::new(|message| {
                ensure!(
                    message.starts_with("at work, turn "),
                    "its STATUS= is {message:?}"
                );
                Ok(())
            }),
        })
    }
}
