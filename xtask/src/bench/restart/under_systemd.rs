//! `cargo xtask bench systemd`: osmoda's systemd runtime beside systemd's own RestartSec=0, under
//! the same manager.
//!
//! Where the machine was booted with systemd, that is the manager; elsewhere
//! checks/systemd/namespace.sh boots one in namespaces, and this program measures in there. With
//! `--vm` it measures in the Debian guest of `cargo xtask vm`, wherever it is called: that is the
//! target's machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

use super::{
    Settings, contenders,
    measure::{self, Ground, Part},
    report::{Report, Row},
};
use crate::{
    bench::{
        build::{self, Common},
        goal::{Bound, Goal},
        machine::{self, Machine},
        output,
    },
    process, project, vm,
};

/// What exists where systemd is process 1 (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// Boots one, and runs a command under it.
const NAMESPACE: &str = "checks/systemd/namespace.sh";

/// What is done in the guest.
const IN_GUEST: &str = "xtask/bench/under-systemd";

/// P12: how many times as long as systemd itself osmoda may take.
const TIMES_SYSTEMD: f64 = 1.5;

/// Arguments.
#[derive(clap::Args)]
pub struct SystemdArgs {
    /// Kills of one agent in a batch; batches repeat until the medians are steady.
    #[arg(long, default_value_t = 12)]
    kills: usize,
    /// How many agents are killed at once.
    #[arg(long, default_value_t = 50)]
    burst: usize,
    /// Measure in the Debian guest of `cargo xtask vm`.
    #[arg(long)]
    vm: bool,
    /// Where the C programs are that are compiled already: there is no compiler in the guest.
    #[arg(long, hide = true)]
    programs: Option<PathBuf>,
    /// The commit that osmoda was built of, where there is no checkout.
    #[arg(long, hide = true)]
    commit: Option<String>,
}

impl SystemdArgs {
    fn c_program(&self, name: &str) -> anyhow::Result<PathBuf> {
        match &self.programs {
            Some(directory) => Ok(directory.join(name)),
            None => build::c_program(name, &output::directory()),
        }
    }
}

/// Measures and writes target/bench/systemd.{json,md,svg}.
///
/// # Errors
/// There is no systemd to be had, or a contender did not do what it was measured for.
pub fn run(args: &SystemdArgs, common: &Common) -> anyhow::Result<Vec<Goal>> {
    let osmoda = common.osmoda()?;
    if args.vm {
        return run_in_guest(common, osmoda);
    }
    if !Path::new(BOOTED).is_dir() {
        return boot_and_run(args, common, &osmoda);
    }
    let place = output::Ground::new("systemd")?;
    let ground = Ground {
        agent: args.c_program("agent")?,
        directory: place.path().to_owned(),
        disk: place.path().to_owned(),
    };
    let floor = args.c_program("floor")?;
    let mut machine = Machine::look();
    if let Some(commit) = &args.commit {
        machine.commit.clone_from(commit);
    }
    println!("{}", machine.describe());
    let settings = Settings {
        kills: args.kills,
        burst: args.burst,
        flood: 0,
        many: 0,
    };
    let mut entrants = super::enter(contenders::under_systemd(floor, osmoda), &[]);
    let parts = [Part::Settled, Part::Burst];
    measure::all(&mut entrants, &ground, &settings, &parts);
    process::end_descendants(std::process::id());
    let report = Report {
        file_system: machine::file_system(&ground.disk),
        directories: machine::file_system(&ground.directory),
        machine,
        settings,
        rows: entrants.into_iter().map(Row::from).collect(),
    };
    let goals = vec![Goal::new(
        "P12",
        GOAL,
        Bound::Below(TIMES_SYSTEMD),
        "x",
        report.settled_to_best_peer(),
    )];
    output::publish("systemd", &report, &report.short_markdown(), &goals, common)?;
    report.demand_whole()?;
    Ok(goals)
}

/// What P12 says.
const GOAL: &str = "crash to restart under systemd, against its own RestartSec=0";

/// The same in namespaces. The goal is read back from what was written there.
fn boot_and_run(args: &SystemdArgs, common: &Common, osmoda: &Path) -> anyhow::Result<Vec<Goal>> {
    let file = output::directory().join("systemd.json");
    // What an earlier run has left would be believed.
    let _ = fs::remove_file(&file);
    let mut command = Command::new(project::root().join(NAMESPACE));
    command
        .arg(std::env::current_exe().context("looking for this program")?)
        .args(["bench", "systemd", "--kills", &args.kills.to_string()])
        .args(["--burst", &args.burst.to_string(), "--osmoda"])
        .arg(osmoda)
        .current_dir(project::root());
    if common.update_docs {
        command.arg("--update-docs");
    }
    let status = command.status().context("running namespace.sh")?;
    match status.code() {
        Some(0) => {}
        Some(77) => bail!("no systemd can be booted in namespaces here"),
        _ => bail!("{NAMESPACE}: {status}"),
    }
    read_goal(&file)
}

/// The same in the guest; its results become those of this machine.
fn run_in_guest(common: &Common, osmoda: PathBuf) -> anyhow::Result<Vec<Goal>> {
    let commit = output::directory().join("commit");
    project::write_file(&commit, Machine::look().commit)?;
    let files = vec![
        osmoda,
        commit,
        std::env::current_exe().context("looking for this program")?,
        build::c_program("agent", &output::directory())?,
        build::c_program("floor", &output::directory())?,
    ];
    let left = vm::run_with(&project::root().join(IN_GUEST), files)?;
    for name in ["systemd.json", "systemd.md", "systemd.svg"] {
        let to = output::directory().join(name);
        fs::copy(left.join(name), &to).with_context(|| format!("writing {}", to.display()))?;
    }
    let table = fs::read_to_string(left.join("systemd.md")).context("reading its table")?;
    println!("\n{table}");
    if common.update_docs {
        output::update_docs("systemd", &table)?;
    }
    read_goal(&left.join("systemd.json"))
}

/// What a run elsewhere has measured.
fn read_goal(file: &Path) -> anyhow::Result<Vec<Goal>> {
    let text = fs::read_to_string(file).context("the run left no result")?;
    let result: serde_json::Value = serde_json::from_str(&text).context("reading its result")?;
    let measured = result["goals"][0]["measured"].as_f64();
    ensure!(measured.is_some(), "the run measured nothing");
    let bound = Bound::Below(TIMES_SYSTEMD);
    Ok(vec![Goal::new("P12", GOAL, bound, "x", measured)])
}
