//! What each part does. Every function gets the log to write to and gives a verdict.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail};

use super::{Context, Verdict, programs, surface};
use crate::{architecture, demo, docs, project, sim};

/// The cargo-nextest that is installed where none is found.
const NEXTEST_VERSION: &str = "0.9.143";

/// The cargo-deny that is installed where none is found.
const DENY_VERSION: &str = "0.20.2";

/// Exit code of checks/systemd/namespace.sh where this host cannot have such a systemd.
const NO_NAMESPACES: i32 = 77;

/// Programs of the host whose tests do nothing where they are missing.
const ASKED_FOR: &[&str] = &[
    "nix",
    "nix-instantiate",
    "openssl",
    "prlimit",
    "python3",
    "setpriv",
    "setsid",
    "systemd-notify",
];

/// Seeds of the simulator with `--all`.
const MANY_SEEDS: u32 = 5000;

/// cargo-deny on its way.
pub struct Building(Child);

pub fn format(context: &mut Context) -> anyhow::Result<Verdict> {
    run(context, project::cargo().args(["fmt", "--all", "--check"]))?;
    passed("")
}

pub fn architecture(context: &mut Context) -> anyhow::Result<Verdict> {
    let breaches = architecture::check()?;
    project::write_file(&context.log, breaches.join("\n"))?;
    if !breaches.is_empty() {
        bail!("{} breaches of the rules", breaches.len());
    }
    passed("")
}

pub fn python(context: &mut Context) -> anyhow::Result<Verdict> {
    let files = project::files_with_extension(&project::root(), "py")?;
    if files.is_empty() {
        return passed("no file");
    }
    let Some(python) = project::find_program("python3") else {
        return skipped("python3 is not installed");
    };
    let mut command = Command::new(python);
    command
        .args(["-m", "py_compile"])
        .args(&files)
        // The compiled files go out of the tree.
        .env("PYTHONPYCACHEPREFIX", project::target().join("python"));
    run(context, &mut command)?;
    passed(&format!("{} files", files.len()))
}

pub fn nix(context: &mut Context) -> anyhow::Result<Verdict> {
    let Some(instantiate) = project::find_program("nix-instantiate") else {
        return skipped("nix-instantiate is not installed");
    };
    let files = project::files_with_extension(&project::root(), "nix")?;
    let mut command = Command::new(instantiate);
    // What a file means is shown by the module's tests and by those of the specs.
    command
        .args(["--parse", "--store", "dummy://"])
        .args(&files);
    run(context, &mut command)?;
    passed(&format!("{} files", files.len()))
}

pub fn module(context: &mut Context) -> anyhow::Result<Verdict> {
    let library = match docs::Library::find(None) {
        Ok(library) => library,
        Err(reason) => return skipped(&reason),
    };
    let failing = library.failing_tests()?;
    let stale = docs::documents(&library)?;
    let failures = failing.iter().map(|failure| format!("{failure:#}"));
    let stale_lines = stale
        .iter()
        .map(|document| format!("{} is stale: cargo xtask docs", document.path));
    let told: Vec<String> = failures.chain(stale_lines).collect();
    project::write_file(&context.log, told.join("\n"))?;
    if !told.is_empty() {
        bail!(
            "{} tests fail, {} documents are stale",
            failing.len(),
            stale.len()
        );
    }
    passed("")
}

pub fn clippy(context: &mut Context) -> anyhow::Result<Verdict> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked"];
    run(
        context,
        project::cargo()
            .args(arguments)
            .args(["--", "-D", "warnings"]),
    )?;
    passed("")
}

pub fn tests(context: &mut Context) -> anyhow::Result<Verdict> {
    ensure_nextest(context)?;
    run(context, project::nextest().args(["--workspace"]))?;
    let summary = summary_of_nextest(context);
    let missing = ASKED_FOR.iter().copied();
    let missing: Vec<&str> = missing
        .filter(|program| project::find_program(program).is_none())
        .collect();
    match missing.is_empty() {
        true => passed(&summary),
        false => passed(&format!(
            "{summary}; nothing that needs {}",
            missing.join(", ")
        )),
    }
}

pub fn systemd(context: &mut Context) -> anyhow::Result<Verdict> {
    let script = project::root().join("checks/systemd/namespace.sh");
    let tried = Command::new(script)
        .arg("true")
        .stdin(Stdio::null())
        .output()
        .context("running checks/systemd/namespace.sh")?;
    let told = String::from_utf8_lossy(&tried.stderr);
    match tried.status.code() {
        Some(0) => {}
        Some(NO_NAMESPACES) => return skipped(told.trim().lines().last().unwrap_or_default()),
        _ => bail!("checks/systemd/namespace.sh: {}: {told}", tried.status),
    }
    ensure_nextest(context)?;
    let mut command = project::nextest();
    command
        .args(["--workspace", "--run-ignored", "only"])
        .args(["-E", "test(under_a_systemd_of_its_own)"]);
    run(context, &mut command)?;
    passed(&summary_of_nextest(context))
}

pub fn doctest(context: &mut Context) -> anyhow::Result<Verdict> {
    run(
        context,
        project::cargo().args(["test", "--workspace", "--doc", "--locked"]),
    )?;
    passed("")
}

pub fn simulation(context: &mut Context) -> anyhow::Result<Verdict> {
    ensure_nextest(context)?;
    run(context, &mut sim::command(MANY_SEEDS))?;
    passed(&format!("{MANY_SEEDS} seeds"))
}

pub fn day(context: &mut Context) -> anyhow::Result<Verdict> {
    ensure_nextest(context)?;
    run(context, &mut sim::day())?;
    passed(&summary_of_nextest(context))
}

pub fn deny(context: &mut Context) -> anyhow::Result<Verdict> {
    if let Some(Building(mut child)) = context.deny.take() {
        let status = child.wait().context("waiting for cargo-deny's build")?;
        if !status.success() {
            let log = deny_build_log();
            fs::copy(&log, &context.log).context("copying the log of cargo-deny's build")?;
            bail!("cargo-deny {DENY_VERSION} could not be built: {status}");
        }
    }
    // The graph names crates of other systems too, which no build here has downloaded.
    run(context, project::cargo().args(["fetch", "--locked"]))?;
    let program = project::find_program("cargo-deny").context("cargo-deny is not to be found")?;
    let mut command = Command::new(program);
    // Advisories are left out: they need the network, and change without a commit.
    command
        .current_dir(project::root())
        .args(["--offline", "--locked", "--log-level", "error", "check"])
        .args(["licenses", "bans", "sources"]);
    run(context, &mut command)?;
    passed("")
}

pub fn demo(context: &mut Context) -> anyhow::Result<Verdict> {
    if let Err(reason) = demo::possible() {
        return skipped(&reason);
    }
    let osmoda = build_osmoda(context)?;
    let program = this_program()?;
    run(
        context,
        Command::new(program).args(["demo", "--osmoda"]).arg(osmoda),
    )?;
    passed(&last_line_with(context, demo::TALLY).unwrap_or_default())
}

pub fn vm(context: &mut Context) -> anyhow::Result<Verdict> {
    // A process of its own: what it prints belongs into the log.
    let program = this_program()?;
    run(context, Command::new(program).arg("vm"))?;
    passed("")
}

pub fn scenarios(context: &mut Context) -> anyhow::Result<Verdict> {
    let program = this_program()?;
    run(context, Command::new(program).args(["vm", "--long"]))?;
    passed("")
}

pub fn powercuts(context: &mut Context) -> anyhow::Result<Verdict> {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root may mount");
    }
    for program in ["qemu-storage-daemon", "mkfs.ext4"] {
        if project::find_program(program).is_none() {
            return skipped(&format!("{program} is not installed"));
        }
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            return skipped(&format!("there is no {device}"));
        }
    }
    ensure_nextest(context)?;
    let mut command = project::nextest();
    command
        .args(["--workspace", "--profile", "simulation"])
        // One after the other: they all want the first free loop device.
        .args(["--test-threads", "1", "--run-ignored", "only"])
        .args(["--success-output", "immediate"])
        .args(["-E", "package(osmoda-ledger) and test(powercut::)"]);
    run(context, &mut command)?;
    passed(&summary_of_nextest(context))
}

pub fn programs(context: &mut Context) -> anyhow::Result<Verdict> {
    let osmoda = build_osmoda(context)?;
    programs::run(context, &osmoda)
}

pub fn metrics(context: &mut Context) -> anyhow::Result<Verdict> {
    let osmoda = build_osmoda(context)?;
    surface::metrics(context, &osmoda)
}

pub fn api(context: &mut Context) -> anyhow::Result<Verdict> {
    let osmoda = build_osmoda(context)?;
    surface::api(context, &osmoda)
}

pub fn mcp(context: &mut Context) -> anyhow::Result<Verdict> {
    let osmoda = build_osmoda(context)?;
    surface::mcp(context, &osmoda)
}

/// This program as it lies on the disk. The tests build the whole workspace and may have put it
/// there anew; the kernel then tells of the file that it was (proc(5), /proc/pid/exe).
fn this_program() -> anyhow::Result<std::path::PathBuf> {
    let told = std::env::current_exe().context("finding this program")?;
    let anew = told
        .to_str()
        .and_then(|path| path.strip_suffix(" (deleted)"))
        .map(Into::into);
    Ok(anew.unwrap_or(told))
}

/// The program that the tests run: another choice of packages would choose other features of
/// their dependencies, and build much of them again.
fn build_osmoda(context: &Context) -> anyhow::Result<std::path::PathBuf> {
    ensure_nextest(context)?;
    run(
        context,
        project::nextest().args(["--workspace", "--no-run"]),
    )?;
    Ok(project::build_directory().join("debug").join("osmoda"))
}

/// Starts to build cargo-deny, where it is missing, beside the parts that come before it.
///
/// # Errors
/// The build cannot be started.
pub fn start_building_deny() -> anyhow::Result<Option<Building>> {
    if project::find_program("cargo-deny").is_some() {
        return Ok(None);
    }
    println!("cargo-deny is missing: building {DENY_VERSION} into target/tools meanwhile");
    let child = project::install_tool("cargo-deny", DENY_VERSION, &deny_build_log())?
        .spawn()
        .context("starting cargo-deny's build")?;
    Ok(Some(Building(child)))
}

fn deny_build_log() -> std::path::PathBuf {
    project::target().join("test").join("cargo-deny-build.log")
}

fn ensure_nextest(context: &Context) -> anyhow::Result<()> {
    if project::find_program("cargo-nextest").is_some() {
        return Ok(());
    }
    println!("cargo-nextest is missing: building {NEXTEST_VERSION} into target/tools");
    let status = project::install_tool("cargo-nextest", NEXTEST_VERSION, &context.log)?
        .status()
        .context("starting cargo-nextest's build")?;
    if !status.success() {
        bail!("cargo-nextest {NEXTEST_VERSION} could not be built: {status}");
    }
    Ok(())
}

/// The last line in which nextest sums up, without its decoration.
fn summary_of_nextest(context: &Context) -> String {
    let line = last_line_with(context, "Summary [").unwrap_or_default();
    let summary = line.split_once("] ").map(|(_, summary)| summary.to_owned());
    summary.unwrap_or_default()
}

/// The last line of the log in which `mark` stands.
pub(super) fn last_line_with(context: &Context, mark: &str) -> Option<String> {
    let text = fs::read_to_string(&context.log).ok()?;
    let line = text.lines().rev().find(|line| line.contains(mark))?;
    Some(line.to_owned())
}

/// Runs a command with its output in the part's log.
pub(super) fn run(context: &Context, command: &mut Command) -> anyhow::Result<()> {
    let file = project::create_file(&context.log)?;
    let shown = project::show(command);
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("duplicating the log")?)
        .stderr(file)
        .status()
        .with_context(|| format!("running {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

fn passed(seen: &str) -> anyhow::Result<Verdict> {
    Ok(Verdict::Passed(seen.to_owned()))
}

fn skipped(reason: &str) -> anyhow::Result<Verdict> {
    Ok(Verdict::Skipped(reason.to_owned()))
}
