//! Debian packages that a command needs: used where they are, installed where that is possible.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::project;

/// Finds `program`, after installing `package` with apt where it is missing; `announce` is told
/// before anything is installed.
///
/// # Errors
/// It is missing and cannot be installed: no apt here, not root, or apt fails. The error says
/// what to type.
pub fn ensure(package: &str, program: &str, announce: impl FnOnce()) -> anyhow::Result<PathBuf> {
    if let Some(path) = project::find_program(program) {
        return Ok(path);
    }
    let Some(apt) = project::find_program("apt-get") else {
        bail!("{program} is missing, and there is no apt-get here to install {package} with");
    };
    if !rustix::process::geteuid().is_root() {
        bail!("{package} is not installed (as root: apt-get install {package})");
    }
    announce();
    // Lists of packages that are missing or old are the usual reason of a failure.
    if install(&apt, package).is_err() {
        project::output(Command::new(&apt).args(["-qq", "update"]))
            .context("asking for the newest lists of packages")?;
        install(&apt, package).context("installing it")?;
    }
    project::find_program(program)
        .with_context(|| format!("{package} is installed, and {program} is still not on PATH"))
}

/// Whether [`ensure`] has a chance to install what is missing.
pub fn can_install() -> bool {
    project::find_program("apt-get").is_some() && rustix::process::geteuid().is_root()
}

fn install(apt: &Path, package: &str) -> anyhow::Result<()> {
    let arguments = ["-qq", "install", "--yes", "--no-install-recommends"];
    project::output(
        Command::new(apt)
            .args(arguments)
            .arg(package)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .map(drop)
}
