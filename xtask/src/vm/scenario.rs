//! Scenarios: folders of checks/ with a testScript.py, and how one is run.
//!
//! The Python driver (checks/driver) does the work in a process of its own; here are its bounds,
//! its log, and the verdict.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{TAIL_LINES, bounded, directory, image::Image, logs};
use crate::{process, project};

/// How long a scenario may take, boots included; a guest that hangs is ended then.
const SCENARIO_BOUND: Duration = Duration::from_secs(10 * 60);

/// The same for those that are too long for CI.
const LONG_BOUND: Duration = Duration::from_secs(40 * 60);

/// How much longer the driver itself may take to end after that.
const DRIVER_GRACE: Duration = Duration::from_secs(30);

/// Where the driver is in the checkout.
const DRIVER: &str = "checks/driver";

/// What makes a folder of checks/ a scenario.
const SCRIPT: &str = "testScript.py";

/// What makes it one that takes too long for CI; the file says why.
const LONG: &str = "long.txt";

/// One folder of checks/.
pub struct Scenario {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
}

/// Every scenario, in order of name.
///
/// # Errors
/// checks/ cannot be read.
pub fn all() -> anyhow::Result<Vec<Scenario>> {
    let checks = project::root().join("checks");
    let mut found = Vec::new();
    for entry in fs::read_dir(&checks).with_context(|| format!("reading {}", checks.display()))? {
        let folder = entry.context("reading checks")?.path();
        if let Some(name) = folder.file_name().and_then(OsStr::to_str)
            && folder.join(SCRIPT).exists()
        {
            let name = name.to_owned();
            found.push(Scenario { name, folder });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Every scenario that takes too long for CI, or every one that does not.
///
/// # Errors
/// checks/ cannot be read.
pub fn of_length(long: bool) -> anyhow::Result<Vec<Scenario>> {
    let mut scenarios = all()?;
    scenarios.retain(|each| each.is_long() == long);
    Ok(scenarios)
}

/// The scenarios of these names, in this order.
///
/// # Errors
/// A name is no scenario; the error says which there are.
pub fn named(names: &[String]) -> anyhow::Result<Vec<Scenario>> {
    let mut scenarios = all()?;
    let known: Vec<String> = scenarios.iter().map(|each| each.name.clone()).collect();
    names
        .iter()
        .map(|name| {
            let place = scenarios.iter().position(|each| each.name == *name);
            let Some(place) = place else {
                bail!(
                    "there is no scenario {name}; there are: {}",
                    known.join(", ")
                );
            };
            Ok(scenarios.swap_remove(place))
        })
        .collect()
}

/// How a scenario ended.
pub struct Verdict {
    /// None if it passed.
    pub failure: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Scenario {
    /// A script in a folder that is not among the scenarios'.
    ///
    /// # Errors
    /// The folder has no name.
    pub fn elsewhere(folder: &Path) -> anyhow::Result<Self> {
        let name = folder.file_name().and_then(OsStr::to_str);
        let name = name.context("a folder without a name")?.to_owned();
        let folder = folder.to_owned();
        Ok(Self { name, folder })
    }

    /// How long it may take.
    fn bound(&self) -> Duration {
        match self.is_long() {
            true => LONG_BOUND,
            false => SCENARIO_BOUND,
        }
    }

    /// Whether it takes too long for CI.
    fn is_long(&self) -> bool {
        self.folder.join(LONG).exists()
    }

    /// Where this scenario's log is.
    pub fn log(&self) -> PathBuf {
        logs().join(format!("{}.log", self.name))
    }

    /// Runs it in a fresh machine; `files` go into the guest. With `keep` the machine's disk
    /// stays, and the log's end says how to start it again.
    ///
    /// # Errors
    /// The driver cannot be run. A scenario that fails is a verdict, not an error.
    pub fn run(
        &self,
        image: &Image,
        accelerator: &str,
        files: &Path,
        keep: bool,
    ) -> anyhow::Result<Verdict> {
        let log = self.log();
        let _ = fs::remove_file(&log);
        let run_directory = if keep {
            directory().join(format!("kept-{}", self.name))
        } else {
            directory().join(format!("{RUN_PREFIX}{}-{}", std::process::id(), self.name))
        };
        let bound = self.bound();
        let mut command = driver(image, accelerator, &run_directory, bound);
        command
            .args(["--label", &format!("{}:", self.name)])
            .arg("--out-dir")
            .arg(directory().join("out").join(&self.name))
            .arg("--files")
            .arg(files)
            .arg(self.folder.join(SCRIPT));
        if keep {
            command.arg("--keep");
        }
        let start = Instant::now();
        let output = project::create_file(&log)?;
        let status = bounded::wait(command.stdout(output), bound + DRIVER_GRACE)
            .context("running the driver")?;
        let failure = match status {
            Some(status) if status.success() => None,
            Some(status) if status.code() == Some(OUT_OF_TIME) => {
                Some(format!("not over within {} s", bound.as_secs()))
            }
            Some(_) => Some("failed".to_owned()),
            None => Some("the driver hung and was ended".to_owned()),
        };
        if failure.is_some() {
            eprintln!("{}", bounded::tail(&log, TAIL_LINES));
        }
        Ok(Verdict {
            failure,
            took: start.elapsed(),
        })
    }
}

/// The driver's exit status when its time limit has passed.
const OUT_OF_TIME: i32 = 3;

/// Directories of runs begin with this, then have the process id of the command.
const RUN_PREFIX: &str = "run-";

/// The driver with what every run needs.
pub fn driver(image: &Image, accelerator: &str, run: &Path, limit: Duration) -> Command {
    let mut command = Command::new("setpriv");
    // Should this process die without a word, the driver ends its machine, and itself.
    command
        .args(["--pdeathsig", "TERM", "--", "python3", "-B"])
        .arg(project::root().join(DRIVER))
        .arg("--kernel")
        .arg(&image.kernel)
        .arg("--image")
        .arg(&image.disk)
        .arg("--run-dir")
        .arg(run)
        .args(["--accelerator", accelerator])
        .args(["--time-limit", &limit.as_secs().to_string()]);
    command
}

/// Removes the disks of runs whose command is gone: interrupted ones.
///
/// # Errors
/// target/vm cannot be read, or a directory cannot be removed.
pub fn remove_stale_runs() -> anyhow::Result<()> {
    for entry in fs::read_dir(directory()).context("reading target/vm")? {
        let path = entry.context("reading target/vm")?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if owner_of_run(name).is_some_and(|pid| !process::is_alive(pid)) {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

fn owner_of_run(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix(RUN_PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scenario_is_refused_with_the_known_ones() {
        let error = named(&["nonsense".to_owned()]).err().unwrap().to_string();
        assert!(
            error.contains("nonsense") && error.contains("selftest"),
            "{error}"
        );
    }

    #[test]
    fn the_driver_is_no_scenario_and_the_order_is_the_callers() {
        let names: Vec<String> = all().unwrap().into_iter().map(|each| each.name).collect();
        assert!(!names.contains(&"driver".to_owned()), "{names:?}");
        let reversed: Vec<String> = names.iter().rev().cloned().collect();
        let found = named(&reversed).unwrap().into_iter().map(|each| each.name);
        assert_eq!(found.collect::<Vec<_>>(), reversed);
    }

    #[test]
    fn each_scenario_is_either_for_ci_or_long() {
        let names = |found: Vec<Scenario>| found.into_iter().map(|each| each.name);
        let short: Vec<String> = names(of_length(false).unwrap()).collect();
        let long: Vec<String> = names(of_length(true).unwrap()).collect();
        assert!(short.contains(&"boot".to_owned()), "{short:?}");
        assert!(long.iter().all(|name| !short.contains(name)), "{long:?}");
        assert_eq!(short.len() + long.len(), all().unwrap().len());
    }

    #[test]
    fn only_directories_of_runs_have_an_owner() {
        assert_eq!(owner_of_run("run-42-boot"), Some(42));
        assert_eq!(owner_of_run("kept-boot"), None);
        assert_eq!(owner_of_run("run-x-boot"), None);
        assert_eq!(owner_of_run("image-00ff"), None);
    }

    #[test]
    fn the_driver_passes_its_own_tests() {
        let output = Command::new("python3")
            .args(["-B", "-m", "unittest", "discover", "-s", "tests"])
            .current_dir(project::root().join(DRIVER))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("Ran "), "{said}");
    }
}
