//! `cargo xtask vm`: scenarios on a real machine, a Debian guest under qemu.
//!
//! A scenario is a folder checks/NAME: testScript.py, which a NixOS test can use as it is;
//! debian.sh, which prepares the Debian guest; payload.txt, what it takes along. [`image`] makes
//! the guest, [`payload`] what goes in, [`accelerator`] finds out whether KVM works, and
//! [`scenario`] runs the driver (checks/driver, Python), which speaks to the guest.
//!
//! Invariants: everything is below target/vm; nothing is mounted; whatever ends this command, no
//! machine stays behind; every scenario has a bound. Start with [`run`].

#![allow(clippy::print_stderr, reason = "a command for people at a terminal")]

mod accelerator;
mod apt;
mod bounded;
mod image;
mod payload;
mod scenario;

use std::{
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, bail};

use crate::{process, project};
use payload::Item;
use scenario::Scenario;

/// Lines of a log that are shown when something fails.
const TAIL_LINES: usize = 60;

/// File among a scenario's own that names the runtime; checks/osmoda.sh reads it in the guest.
const RUNTIME: &str = "runtime";

/// Programs that are called, and the Debian package of each.
const PROGRAMS: [(&str, &str); 7] = [
    ("apt-config", "apt"),
    ("debootstrap", "debootstrap"),
    ("mkfs.ext4", "e2fsprogs"),
    ("python3", "python3"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
];

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Scenarios (folders of checks/ with a testScript.py); if none is named, all that fit into CI
    scenarios: Vec<String>,
    /// Where none is named: those that do not (a file long.txt says why)
    #[arg(long, conflicts_with = "scenarios")]
    long: bool,
    /// What starts agents in the guest, instead of what the scenario asks for
    #[arg(long, value_parser = ["auto", "native", "systemd"])]
    runtime: Option<String>,
    /// Machines at once; by default one for each processor, at most two
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Leave the machine's disk behind, and say how to start it again
    #[arg(long)]
    keep: bool,
    /// Make the image of Debian anew, with today's packages
    #[arg(long)]
    rebuild_image: bool,
}

/// Runs scenarios, some at once.
///
/// # Errors
/// One fails; or the guest or what goes into it cannot be made.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let scenarios = match args.scenarios.is_empty() {
        true => scenario::of_length(args.long)?,
        false => scenario::named(&args.scenarios)?,
    };
    let payloads = scenarios
        .iter()
        .map(|each| payload::read_list(&each.folder))
        .collect::<anyhow::Result<Vec<_>>>()?;
    play(args, &scenarios, &payloads)
}

/// Runs these with what each takes along.
fn play(args: &Args, scenarios: &[Scenario], payloads: &[Vec<Item>]) -> anyhow::Result<()> {
    demand_programs()?;
    process::end_descendants_on_signal()?;
    fs::create_dir_all(logs()).context("creating target/vm")?;
    let lock = lock()?;
    scenario::remove_stale_runs()?;

    let built = payload::Built::of(payloads.iter().flatten().cloned())?;
    let image = image::Image::ready(args.rebuild_image)?;
    let stage = Stage {
        args,
        built,
        accelerator: accelerator::choose(&image)?,
        image,
    };
    let failed = stage.play(scenarios.iter().zip(payloads))?;
    drop(lock);
    if !failed.is_empty() {
        bail!(
            "{} of {} scenarios failed: {}",
            failed.len(),
            scenarios.len(),
            failed.join(", ")
        );
    }
    Ok(())
}

/// Runs one script that is no scenario, with files that are there already, programs among them;
/// gives the directory in which it has left what it copied out of the guest.
///
/// # Errors
/// It fails; or the guest or what goes into it cannot be made.
pub fn run_with(folder: &Path, files: Vec<PathBuf>) -> anyhow::Result<PathBuf> {
    let scenario = Scenario::elsewhere(folder)?;
    let items: Vec<Item> = files.into_iter().map(Item::Program).collect();
    let left = directory().join("out").join(&scenario.name);
    // What an earlier run has left would be believed.
    let _ = fs::remove_dir_all(&left);
    let alone = Args {
        scenarios: Vec::new(),
        long: false,
        runtime: None,
        jobs: Some(NonZero::<usize>::MIN),
        keep: false,
        rebuild_image: false,
    };
    play(&alone, &[scenario], &[items])?;
    Ok(left)
}

/// Everything that each scenario needs.
struct Stage<'a> {
    args: &'a Args,
    built: payload::Built,
    image: image::Image,
    accelerator: &'static str,
}

impl Stage<'_> {
    /// Plays all, some at once; gives the names of those that failed.
    fn play<'s>(
        &self,
        scenarios: impl Iterator<Item = (&'s Scenario, &'s Vec<Item>)> + Send,
    ) -> anyhow::Result<Vec<&'s str>> {
        let jobs = self.args.jobs.map_or_else(default_jobs, NonZero::get);
        let queue = Mutex::new(scenarios);
        let failed = Mutex::new(Vec::new());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some((scenario, items)) = next() {
                if !self.play_one(scenario, items)? {
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.push(scenario.name.as_str());
                }
            }
            anyhow::Ok(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                let ended = worker.join();
                ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        Ok(failed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Plays one, and says whether it passed.
    fn play_one(&self, scenario: &Scenario, items: &[Item]) -> anyhow::Result<bool> {
        let name = &scenario.name;
        println!("{name} ({})", self.accelerator);
        let files = directory().join("files").join(name);
        self.built.assemble(&scenario.folder, items, &files)?;
        if let Some(runtime) = &self.args.runtime {
            project::write_file(&files.join(RUNTIME), runtime)?;
        }
        let verdict = scenario.run(&self.image, self.accelerator, &files, self.args.keep)?;
        let took = verdict.took.as_secs_f64();
        let log = scenario.log();
        match &verdict.failure {
            Some(reason) => {
                println!("{name}: {reason} after {took:.1} s; log: {}", log.display());
            }
            None => println!("{name}: passed in {took:.1} s"),
        }
        if self.args.keep {
            println!(
                "the last lines of {} say how to start it again",
                log.display()
            );
        }
        Ok(verdict.failure.is_none())
    }
}

/// An emulated guest has one processor; more than two would want much memory.
fn default_jobs() -> usize {
    thread::available_parallelism().map_or(1, |processors| processors.get().min(2))
}

/// Where all of this command's files are.
fn directory() -> PathBuf {
    project::target().join("vm")
}

/// Where logs are left.
fn logs() -> PathBuf {
    directory().join("logs")
}

/// Names the packages to install where programs are missing.
fn demand_programs() -> anyhow::Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the Debian guest is made for x86_64; this machine is another");
    }
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| project::find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    missing.dedup();
    if !missing.is_empty() {
        let packages = missing.join(" ");
        bail!("for the VM: apt-get install --no-install-recommends {packages}");
    }
    Ok(())
}

/// Held while scenarios run: two commands at once would remove each other's image.
fn lock() -> anyhow::Result<fs::File> {
    let path = directory().join("lock");
    let file = project::create_file(&path)?;
    if file.try_lock().is_err() {
        println!("another cargo xtask vm is running here: waiting for it");
        file.lock()
            .with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(file)
}
