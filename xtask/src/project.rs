//! Where things are in the checkout, and how its commands are run.
//!
//! Every path is derived from the root of the checkout, so the commands work from any directory.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// Variable that names another checkout than the one in which this program was built.
const CHECKOUT_VARIABLE: &str = "OSMODA_CHECKOUT";

/// The root of the checkout.
pub fn root() -> PathBuf {
    if let Some(checkout) = std::env::var_os(CHECKOUT_VARIABLE) {
        return checkout.into();
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Where results and caches of the developer's commands live; never under version control.
pub fn target() -> PathBuf {
    root().join("target")
}

/// Where cargo puts what it builds, which `CARGO_TARGET_DIR` may move away from [`target`].
pub fn build_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => target(),
    }
}

/// The cargo that runs this program, or the one on PATH.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    // What `cargo run` says of this package is news to build scripts that ask for such variables
    // (ring's does): they, and all that depends on them, would be built anew at each change
    // between `cargo xtask` and `cargo`.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_of_this_package) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether cargo sets this variable for the program that it runs, and for no other.
fn is_of_this_package(variable: &str) -> bool {
    ["CARGO_MANIFEST_", "CARGO_PKG_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
}

/// `cargo nextest run`, with nextest taken from [`tools`] or PATH.
pub fn nextest() -> Command {
    let mut command = cargo();
    command.args(["nextest", "run", "--locked", "--color", "never"]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(tools().join("bin")).chain(std::env::split_paths(&path));
    // A directory with a colon in its name cannot be on PATH; then PATH stays as it is.
    if let Ok(path) = std::env::join_paths(directories) {
        command.env("PATH", path);
    }
    command
}

/// Finds an executable: first among the tools that these commands install, then on PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(tools().join("bin"))
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate))
}

/// Where [`install_tool`] installs; the programs are in its `bin`.
pub fn tools() -> PathBuf {
    target().join("tools")
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// The command that builds a cargo tool into [`tools`] at the lowest priority, since it may run
/// beside other work; its output goes to `log`.
///
/// # Errors
/// The log cannot be created.
pub fn install_tool(crate_name: &str, version: &str, log: &Path) -> anyhow::Result<Command> {
    let file = create_file(log)?;
    let mut command = Command::new("nice");
    command
        .args(["-n", "19"])
        .arg(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["install", "--locked", "--version", version, "--root"])
        .arg(tools())
        .arg(crate_name)
        .current_dir(root())
        // A directory of its own: the workspace's build never waits for this one's lock.
        .env("CARGO_TARGET_DIR", tools().join("build"))
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("duplicating the log")?)
        .stderr(file);
    Ok(command)
}

/// Creates a file and the directories above it.
///
/// # Errors
/// The file system refuses.
pub fn create_file(path: &Path) -> anyhow::Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    }
    File::create(path).with_context(|| format!("creating {}", path.display()))
}

/// Writes a file and the directories above it.
///
/// # Errors
/// The file system refuses.
pub fn write_file(path: &Path, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
    use std::io::Write;
    create_file(path)?
        .write_all(content.as_ref())
        .with_context(|| format!("writing {}", path.display()))
}

/// What a command prints on standard output, without the last newline.
///
/// # Errors
/// It cannot be run, or fails; the error then ends with what it wrote to standard error.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {shown}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{shown}: {}: {}", output.status, stderr.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}

/// A command as one would type it.
pub fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// All files below `directory` whose name ends in `.extension`, in order of path. Build output
/// and hidden directories are left out.
///
/// # Errors
/// A directory cannot be read.
pub fn files_with_extension(directory: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(current) = pending.pop() {
        let entries =
            fs::read_dir(&current).with_context(|| format!("reading {}", current.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", current.display()))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let kind = entry.file_type().context("asking for the type of a file")?;
            if kind.is_dir() && name != "target" && !name.starts_with('.') {
                pending.push(entry.path());
            } else if kind.is_file() && entry.path().extension().is_some_and(|e| e == extension) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_does_not_hear_of_the_package_that_asks_for_it() {
        let command = cargo();
        let removed = |name: &str| {
            let mut variables = command.get_envs();
            variables.any(|(other, value)| other == name && value.is_none())
        };
        // Tests have these of cargo, too.
        assert!(removed("CARGO_MANIFEST_DIR"));
        assert!(removed("CARGO_PKG_NAME"));
        assert!(!removed("CARGO_TARGET_DIR"));
    }
}
