//! Peers that are no Debian packages: installed by name below target/tools, at the version that
//! is written here, so that a table can be made again.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::{package, project};

/// A program of a crate.
///
/// # Errors
/// It cannot be built.
pub fn from_crates(crate_name: &str, version: &str, program: &str) -> anyhow::Result<PathBuf> {
    let path = project::tools().join("bin").join(program);
    if is_installed(crate_name, version) && path.exists() {
        return Ok(path);
    }
    println!("installing {crate_name} {version} ...");
    let log = log(crate_name);
    let status = project::install_tool(crate_name, version, &log)?.status();
    let status = status.context("running cargo")?;
    ensure!(status.success(), "cargo install {crate_name} failed");
    ensure!(
        is_installed(crate_name, version),
        "cargo does not say that {crate_name} {version} is installed"
    );
    Ok(path)
}

/// What cargo says it has installed: some programs do not know their own version.
fn is_installed(crate_name: &str, version: &str) -> bool {
    let mut command = Command::new("cargo");
    command.args(["install", "--list", "--root"]);
    let listed = project::output(command.arg(project::tools()));
    let line = format!("{crate_name} v{version}:");
    listed.is_ok_and(|listed| listed.lines().any(|listed| listed == line))
}

/// A program of an npm package. Its install scripts do not run.
///
/// # Errors
/// There is no npm, or it fails.
pub fn from_npm(name: &str, version: &str, program: &str) -> anyhow::Result<PathBuf> {
    let place = project::tools().join("npm");
    let path = place.join("node_modules/.bin").join(program);
    let about = place.join("node_modules").join(name).join("package.json");
    let installed = || {
        let text = fs::read_to_string(&about).unwrap_or_default();
        let about: Value = serde_json::from_str(&text).unwrap_or_default();
        about["version"] == version && path.exists()
    };
    if installed() {
        return Ok(path);
    }
    let Some(npm) = project::find_program("npm") else {
        bail!("npm is not installed");
    };
    println!("installing {name} {version} ...");
    fs::create_dir_all(&place).with_context(|| format!("creating {}", place.display()))?;
    let mut command = Command::new(npm);
    command
        .args(["install", "--prefix"])
        .arg(&place)
        .args(["--no-audit", "--no-fund", "--ignore-scripts"])
        .arg(format!("{name}@{version}"));
    project::output(&mut command).with_context(|| format!("installing {name}"))?;
    ensure!(installed(), "{name} {version} was not installed");
    Ok(path)
}

/// A program of a Python package, in an environment of its own.
///
/// # Errors
/// There is no Python with venv, or pip fails.
pub fn from_pypi(name: &str, version: &str, program: &str) -> anyhow::Result<PathBuf> {
    let place = project::tools().join(format!("{name}-{version}"));
    let path = place.join("bin").join(program);
    if path.exists() {
        return Ok(path);
    }
    let python = package::ensure("python3", "python3", || {})?;
    println!("installing {name} {version} ...");
    let mut venv = Command::new(python);
    project::output(venv.args(["-m", "venv"]).arg(&place)).context("making an environment")?;
    let mut pip = Command::new(place.join("bin/pip"));
    pip.args(["install", "--quiet", "--no-input"])
        .arg(format!("{name}=={version}"));
    project::output(&mut pip).with_context(|| format!("installing {name}"))?;
    ensure!(path.exists(), "{name} {version} has no {program}");
    Ok(path)
}

fn log(name: &str) -> PathBuf {
    project::target()
        .join("bench")
        .join(format!("install-{name}.log"))
}
