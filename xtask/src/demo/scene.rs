//! The scene: commands that are shown and answered, the daemon, and waiting with a bound.
//!
//! What a reader sees is text for people; what the story believes is `-o json`, asked for apart.
//! [`Scene::end`] leaves nothing running, however the story went.

use std::{
    fs::File,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    ground::Ground,
    story::Story,
    view::{self, Entry, Status},
};
use crate::{process, project};

/// How long anything that is waited for may take, on a busy machine.
pub const BOUND: Duration = Duration::from_secs(30);

/// Pause between two looks.
const LOOK_PERIOD: Duration = Duration::from_millis(10);

/// Most entries that one look at the ledger asks for.
const ENTRIES_MAX: &str = "1000";

/// Where the story plays.
pub struct Scene {
    pub story: Story,
    pub ground: Ground,
    daemon: Option<Child>,
}

/// How a command ended.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Scene {
    pub fn new(story: Story, ground: Ground) -> Self {
        Self {
            story,
            ground,
            daemon: None,
        }
    }

    /// Runs `osmoda WORDS` without showing it.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<Ran> {
        let output = self
            .osmoda(words)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("running osmoda {}", words.join(" ")))?;
        Ok(Ran {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs `osmoda WORDS` and shows it with the first lines of what it prints; it has to exit
    /// with `code`.
    ///
    /// # Errors
    /// It cannot be run, or exits with another code.
    pub fn show(&self, words: &[&str], lines_max: usize, code: i32) -> anyhow::Result<Ran> {
        self.story.command(&typed(words));
        let ran = self.run(words)?;
        let expected = ran.code == Some(code);
        self.story.output(&ran.out, lines_max);
        // Notes go there, too; they matter where the answer is an error.
        if code != 0 || !expected {
            self.story.output(&ran.err, lines_max);
        }
        ensure!(
            expected,
            "{} {} instead of {code}",
            typed(words),
            exited(ran.code)
        );
        Ok(ran)
    }

    /// The exit code and the object that `osmoda WORDS -o json` gives.
    ///
    /// # Errors
    /// It gives none.
    pub fn json(&self, words: &[&str]) -> anyhow::Result<(Option<i32>, Value)> {
        let ran = self.run(&[words, &["-o", "json"]].concat())?;
        let value = parse(&ran, words)?;
        Ok((ran.code, value))
    }

    /// `osmoda status`.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn status(&self) -> anyhow::Result<Status> {
        let ran = self.run(&["status", "-o", "json"])?;
        parse(&ran, &["status"])
    }

    /// The entries from number `since` on.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn entries(&self, since: u64) -> anyhow::Result<Vec<Entry>> {
        let since = since.to_string();
        let words = ["events", "--since", &since, "-n", ENTRIES_MAX];
        view::entries(&self.json(&words)?.1)
    }

    /// Starts the daemon, and shows that.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_daemon(&mut self) -> anyhow::Result<u32> {
        let words = ["run", "specs", "--runtime", "native"];
        self.story.command(&format!("{} &", typed(&words)));
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.ground.log)
            .with_context(|| format!("opening {}", self.ground.log.display()))?;
        let child = self
            .osmoda(&words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("duplicating the log")?)
            .stderr(log)
            .spawn()
            .context("starting the daemon")?;
        let pid = child.id();
        self.daemon = Some(child);
        Ok(pid)
    }

    /// Whether the daemon ended by itself, and how.
    ///
    /// # Errors
    /// It cannot be asked for.
    pub fn daemon_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        match &mut self.daemon {
            Some(child) => child.try_wait().context("looking at the daemon"),
            None => Ok(None),
        }
    }

    /// Sends a signal to the daemon, shows that, and waits for its end.
    ///
    /// # Errors
    /// There is none, or it does not end.
    pub fn signal_daemon(&mut self, signal: Signal, shown: &str) -> anyhow::Result<ExitStatus> {
        let child = self.daemon.as_mut().context("there is no daemon")?;
        self.story.command(&format!("kill {shown} {}", child.id()));
        process::kill(child.id(), signal);
        let status = until("the end of the daemon", || {
            child.try_wait().context("looking at the daemon")
        })?;
        self.daemon = None;
        Ok(status)
    }

    /// Ends everything that the story started and that still runs.
    ///
    /// # Errors
    /// Something survives.
    pub fn end(mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.daemon {
            // In order first: it stops its agents and closes its ledger.
            process::kill(child.id(), Signal::TERM);
            let _ = until("the end of the daemon", || Ok(child.try_wait()?));
        }
        let left = process::end_descendants(std::process::id());
        self.ground.leave();
        ensure!(left.is_empty(), "processes {left:?} cannot be ended");
        Ok(())
    }

    /// What the daemon said last, for the case that something went wrong.
    pub fn daemon_log(&self) -> String {
        std::fs::read_to_string(&self.ground.log).unwrap_or_default()
    }

    fn osmoda(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.ground.program);
        command.args(words).current_dir(&self.ground.directory);
        // Whatever the surroundings choose by variable, the story has its own places.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"OSMODA_") {
                command.env_remove(name);
            }
        }
        command
            .env("OSMODA_STATE_DIR", &self.ground.state)
            .env("OSMODA_RUNTIME_DIR", &self.ground.runtime)
            // Nothing is left behind in the host's Nix store.
            .env("OSMODA_BUNDLES", "directory");
        command
    }
}

/// Looks again and again until there is something to see.
///
/// # Errors
/// A look fails, or [`BOUND`] has passed.
pub fn until<T>(
    what: &str,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look().with_context(|| format!("waiting for {what}"))? {
            return Ok(found);
        }
        if start.elapsed() > BOUND {
            bail!("{what} did not come within {} s", BOUND.as_secs());
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// The ledger's clock: microseconds of CLOCK_BOOTTIME.
pub fn boottime() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    // It counts from boot: neither part is ever negative.
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000
}

/// A command as one would type it.
fn typed(words: &[&str]) -> String {
    let quote = |word: &&str| match word.contains(' ') {
        true => format!("{word:?}"),
        false => (*word).to_owned(),
    };
    let words: Vec<String> = words.iter().map(quote).collect();
    format!("osmoda {}", words.join(" "))
}

/// How a command ended, as a phrase.
fn exited(code: Option<i32>) -> String {
    match code {
        Some(code) => format!("exited with {code}"),
        None => "was ended by a signal".to_owned(),
    }
}

fn parse<T: DeserializeOwned>(ran: &Ran, words: &[&str]) -> anyhow::Result<T> {
    serde_json::from_str(&ran.out).with_context(|| {
        let (words, how) = (typed(words), exited(ran.code));
        format!("{words} gives no JSON and {how}: {}", ran.err.trim_end())
    })
}

/// Runs a tool other than osmoda in the story's directory, and shows it.
///
/// # Errors
/// It fails.
pub fn show_tool(scene: &Scene, words: &[&str], shown: &str) -> anyhow::Result<String> {
    let (program, arguments) = words.split_first().context("a command without words")?;
    scene.story.command(shown);
    project::output(
        Command::new(program)
            .args(arguments)
            .current_dir(&scene.ground.directory),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let words = ["pause", "a", "--reason", "two words"];
        assert_eq!(typed(&words), r#"osmoda pause a --reason "two words""#);
    }

    #[test]
    fn waiting_ends_with_the_first_sight_and_with_an_error() {
        let mut looks = 0;
        let found = until("the third look", || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
        let failed = until::<()>("nothing", || bail!("blind")).unwrap_err();
        assert_eq!(format!("{failed:#}"), "waiting for nothing: blind");
    }
}
