//! The contenders, one file each. A new one implements [`Contender`] and joins [`all`].
//!
//! Rules of the comparison: nothing but the agent between a supervisor and the agent, unless
//! the row says so; settings that make a contender restart as fast as it can; foreground.

mod circus;
mod daemontools;
pub mod floor;
mod horust;
mod install;
mod monit;
mod osmoda;
mod pitchfork;
mod pm2;
mod runit;
mod s6;
mod service_directory;
mod supervisor;
mod systemd;
mod units;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

use crate::{package, process, project};
use service_directory::Script;

/// A program that restarts what dies.
pub trait Contender {
    /// Its row in the table.
    fn name(&self) -> String;

    /// Its version. Installs it where that is simple.
    ///
    /// # Errors
    /// It is not here; the error is the reason shown in the table.
    fn version(&self) -> anyhow::Result<String>;

    /// What was set that is not the default, in a few words.
    fn settings(&self) -> String;

    /// What kind of row it is.
    fn role(&self) -> Role {
        Role::Peer
    }

    /// Whether it looks around many times a second, or once, instead of waiting to be told. While
    /// it does it takes the processors, and what is in their caches, from who is measured: such
    /// contenders take turns among themselves.
    fn looks_around(&self) -> bool {
        false
    }

    /// Whether its manual has its directories on a disk, and not where a boot clears them.
    fn lives_on_disk(&self) -> bool {
        false
    }

    /// Writes what it needs into the job's directory; gives the command that runs it in the
    /// foreground.
    ///
    /// # Errors
    /// A file cannot be written.
    fn prepare(&self, job: &Job) -> anyhow::Result<Command>;

    /// Asks the running supervisor to end itself and its agents.
    ///
    /// # Errors
    /// Asking fails.
    fn ask_to_stop(&self, job: &Job, supervisor: u32) -> anyhow::Result<()> {
        let _ = job;
        process::kill(supervisor, Signal::TERM);
        Ok(())
    }

    /// Checks afterwards that its own records, if it keeps any, tell of `kills` restarts.
    ///
    /// # Errors
    /// They do not.
    fn verify(&self, job: &Job, kills: usize) -> anyhow::Result<()> {
        let _ = (job, kills);
        Ok(())
    }
}

/// What a row is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The bare minimum: what ratios are taken to.
    Floor,
    /// Somebody else's supervisor, set up as its manual has it.
    Peer,
    /// The same without the shell script of its manual: the least that it can take.
    Bare,
    /// Our own.
    Osmoda,
}

/// What a contender is to run.
pub struct Job {
    /// The agent's program.
    pub agent: PathBuf,
    /// A directory of its own, empty at first.
    pub directory: PathBuf,
    /// One on a disk, for what has to be durable.
    pub disk: PathBuf,
    /// Where agents report.
    pub socket_name: String,
    /// How many agents.
    pub count: usize,
}

/// Every contender, in the order in which they take turns.
pub fn all(floor: PathBuf, osmoda: PathBuf) -> Vec<Box<dyn Contender>> {
    let mut all: Vec<Box<dyn Contender>> = vec![
        Box::new(floor::Floor { program: floor }),
        Box::new(osmoda::Osmoda {
            program: osmoda,
            runtime: osmoda::Runtime::Native,
        }),
    ];
    for script in [Script::None, Script::Shell] {
        all.push(Box::new(daemontools::Daemontools { script }));
        all.push(Box::new(runit::Runit { script }));
        all.push(Box::new(s6::S6 { script }));
    }
    for restart_sec in ["0", "100ms"] {
        all.push(Box::new(systemd::Systemd { restart_sec }));
    }
    let others: [Box<dyn Contender>; 6] = [
        Box::new(pm2::Pm2),
        Box::new(supervisor::Supervisor),
        Box::new(pitchfork::Pitchfork),
        Box::new(horust::Horust),
        Box::new(circus::Circus),
        Box::new(monit::Monit),
    ];
    all.extend(others);
    all
}

/// Those of a comparison under one systemd, which has to be the one that was booted here.
pub fn under_systemd(floor: PathBuf, osmoda: PathBuf) -> Vec<Box<dyn Contender>> {
    vec![
        Box::new(floor::Floor { program: floor }),
        Box::new(units::Units { restart_sec: "0" }),
        Box::new(osmoda::Osmoda {
            program: osmoda,
            runtime: osmoda::Runtime::Systemd,
        }),
    ]
}

/// The version of a Debian package, which is installed first if that is possible.
fn debian_package(package: &str, program: &str) -> anyhow::Result<String> {
    package::ensure(package, program, || {})?;
    let query = ["-W", "-f=${Version}", package];
    let version = project::output(Command::new("dpkg-query").args(query));
    Ok(version.unwrap_or_else(|_| "of unknown version".to_owned()))
}

/// A program in a directory, with a clean environment: the measurement is not about inherited
/// variables.
fn clean_command(program: impl AsRef<std::ffi::OsStr>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", directory)
        .env("LANG", "C.UTF-8");
    command
}
