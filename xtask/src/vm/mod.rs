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

use std::{fs, path::PathBuf};

use anyhow::{Context, bail};

use crate::{process, project};

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
    /// Leave the machine's disk behind, and say how to start it again
    #[arg(long)]
    keep: bool,
    /// Make the image of Debian anew, with today's packages
    #[arg(long)]
    rebuild_image: bool,
}

/// Runs scenarios, one after the other.
///
/// # Errors
/// One fails; or the guest or what goes into it cannot be made.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let scenarios = match args.scenarios.is_empty() {
        true => scenario::of_length(args.long)?,
        false => scenario::named(&args.scenarios)?,
    };
    demand_programs()?;
    process::end_descendants_on_signal()?;
    fs::create_dir_all(logs()).context("creating target/vm")?;
    let lock = lock()?;
    scenario::remove_stale_runs()?;

    let payloads = scenarios
        .iter()
        .map(|each| payload::read_list(&each.folder))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let built = payload::Built::of(payloads.iter().flatten().cloned())?;
    let image = image::Image::ready(args.rebuild_image)?;
    let accelerator = accelerator::choose(&image)?;

    let mut failed = Vec::new();
    for (each, items) in scenarios.iter().zip(&payloads) {
        println!("{} ({accelerator})", each.name);
        let files = directory().join("files").join(&each.name);
        built.assemble(&each.folder, items, &files)?;
        if let Some(runtime) = &args.runtime {
            project::write_file(&files.join(RUNTIME), runtime)?;
        }
        let verdict = each.run(&image, accelerator, &files, args.keep)?;
        let took = verdict.took.as_secs_f64();
        let log = each.log();
        if let Some(reason) = verdict.failure {
            println!(
                "{}: {reason} after {took:.1} s; log: {}",
                each.name,
                log.display()
            );
            failed.push(each.name.as_str());
        } else {
            println!("{}: passed in {took:.1} s", each.name);
        }
        if args.keep {
            println!(
                "the last lines of {} say how to start it again",
                log.display()
            );
        }
    }
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
