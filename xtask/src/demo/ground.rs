//! What the story plays on: the program, what it needs, and a copy of specs/ with places of its
//! own for everything, all of it in target/demo and new each time.

use std::{
    fs::{self, File, TryLockError},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail, ensure};

use super::{copy, story::Story};
use crate::{package, project};

/// What the example specs need beyond osmoda: program, Debian package, what for.
const NEEDS: [(&str, &str, &str); 2] = [
    ("nix", "nix-bin", "specs are written in Nix"),
    (
        "python3",
        "python3",
        "the example agents are written in Python",
    ),
];

/// Longest path of a runtime directory, in bytes: a Unix socket's whole path has at most 107
/// (unix(7)), and the names of sockets below it need room.
const RUNTIME_PATH_MAX: usize = 75;

/// Places of the story.
pub struct Ground {
    /// Working directory of every command.
    pub directory: PathBuf,
    /// The osmoda program.
    pub program: PathBuf,
    /// State directory.
    pub state: PathBuf,
    /// Runtime directory.
    pub runtime: PathBuf,
    /// What the daemon writes to standard error.
    pub log: PathBuf,
    /// Where the summarizer finds its jobs.
    pub spool: PathBuf,
    /// Where the researcher listens.
    pub researcher_port: u16,
    /// Where the toolbox listens.
    pub toolbox_port: u16,
    /// Held as long as the story plays: one at a time in a checkout.
    _lock: File,
}

/// Whether a demo could run here: what is needed is there, or can be installed.
///
/// # Errors
/// The reason why not.
pub fn possible() -> Result<(), String> {
    let missing = NEEDS
        .iter()
        .find(|(program, ..)| project::find_program(program).is_none());
    match missing {
        Some((program, package, _)) if !package::can_install() => Err(format!(
            "{program} is missing (as root: apt-get install {package})"
        )),
        _ => Ok(()),
    }
}

/// Prepares everything; says what takes time or changes the machine.
///
/// # Errors
/// Something needed is missing, the build fails, or another demo plays in this checkout.
pub fn prepare(story: &Story, program: Option<&Path>) -> anyhow::Result<Ground> {
    for (program, package, reason) in NEEDS {
        package::ensure(package, program, || {
            story.says(&format!(
                "{program} is missing ({reason}): apt-get install {package} ..."
            ));
        })?;
    }
    let program = match program {
        Some(path) => std::path::absolute(path).context("finding the program")?,
        None => build(story)?,
    };
    ensure!(program.is_file(), "{} is no program", program.display());

    let directory = project::target().join("demo");
    let lock = lock(&directory.with_extension("lock"))?;
    empty(&directory)?;
    let mut runtime = directory.join("run");
    if runtime.as_os_str().as_bytes().len() > RUNTIME_PATH_MAX {
        runtime = std::env::temp_dir().join(format!("osmoda-demo-{}", std::process::id()));
        empty(&runtime)?;
    }
    let spool = directory.join("spool");
    let ports = copy::copy_specs(
        story,
        &project::root().join("specs"),
        &directory.join("specs"),
        &spool,
    )?;
    Ok(Ground {
        state: directory.join("state"),
        log: directory.join("daemon.log"),
        runtime,
        spool,
        program,
        researcher_port: ports.researcher,
        toolbox_port: ports.toolbox,
        directory,
        _lock: lock,
    })
}

impl Ground {
    /// Removes what is not below target/demo. The rest stays, to be looked at.
    pub fn leave(&self) {
        if !self.runtime.starts_with(&self.directory) {
            // It is in the directory for temporary files: no harm if it stays.
            let _ = fs::remove_dir_all(&self.runtime);
        }
    }
}

/// A debug build: in a fresh checkout it takes a fraction of a release build's time.
fn build(story: &Story) -> anyhow::Result<PathBuf> {
    story.says("building osmoda, unoptimised since that is quicker: cargo build --package osmoda");
    let status = project::cargo()
        .args(["build", "--locked", "--package", "osmoda"])
        .stdin(Stdio::null())
        .status()
        .context("running cargo")?;
    ensure!(status.success(), "osmoda does not build: {status}");
    Ok(project::build_directory().join("debug").join("osmoda"))
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = project::create_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another demo plays in this checkout"),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

fn empty(directory: &Path) -> anyhow::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("emptying {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))
}
