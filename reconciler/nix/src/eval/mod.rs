//! Evaluates specs written in Nix with the `nix` command line.
//!
//! Invariants: the value of a spec depends on the files below SPECS (and `--nixpkgs`) alone - no
//! environment, no other file, no network, no build; one broken file never takes the others
//! down; whatever a spec contains, this ends, within named bounds.
//!
//! Start at [`evaluate_specs`]. `walk.nix` is the half of it that runs inside Nix: it turns a
//! value into plain data with places. `command` is how Nix is called, `process` how it is
//! bounded, `tree` and `position` make a [`Tree`] of its answer, `stderr` an error.

mod command;
mod error;
mod flake;
mod info;
mod position;
mod recipe;
mod stderr;
mod tree;

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use osmoda_core::spec::tree::Tree;

pub use self::error::{Diagnostic, EvalError};
pub use self::info::NixInfo;
pub use self::recipe::Recipe;
use self::{position::Source, tree::Walk};
use crate::process::{self, Limits, RunError};

/// Default of [`EvalOptions::timeout`]. An evaluation of nixpkgs takes a few seconds.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// Default of [`EvalOptions::max_output`], in bytes.
pub const OUTPUT_MAX: usize = 16 << 20;
/// Default of [`EvalOptions::max_memory`], in bytes.
pub const MEMORY_MAX: u64 = 4 << 30;
/// Most Nix specs in one directory.
pub const SPEC_FILES_MAX: usize = 4096;
/// Most bytes of an error message taken over from Nix.
pub const MESSAGE_MAX: usize = 2048;
/// Deepest nesting of a spec's value; a manifest needs 8.
pub const DEPTH_MAX: usize = 32;
/// Most values in one spec, lists and attribute sets counted too.
pub const NODES_MAX: usize = 20_000;
/// Files evaluated at the same time when each has a process of its own.
const PARALLEL: usize = 2;

/// How to evaluate.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// What `pkgs` and `lib` are taken from (`--nixpkgs`): a directory with a `default.nix`.
    /// Without it, a spec that touches them is an error that names the flag.
    pub nixpkgs: Option<PathBuf>,
    /// Longest time of one `nix` process; default [`TIMEOUT`]. After a failure of the whole,
    /// each file has this time again, alone.
    pub timeout: Duration,
    /// Most bytes of JSON from one `nix` process; default [`OUTPUT_MAX`].
    pub max_output: usize,
    /// Most bytes of address space of one `nix` process; default [`MEMORY_MAX`].
    pub max_memory: u64,
    /// Directory of the `nix` commands; default: found on PATH.
    pub program_dir: Option<PathBuf>,
    /// Store URI for flakes; default: Nix' own choice. Files need no store.
    pub store: Option<String>,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            nixpkgs: None,
            timeout: TIMEOUT,
            max_output: OUTPUT_MAX,
            max_memory: MEMORY_MAX,
            program_dir: None,
            store: None,
        }
    }
}

impl EvalOptions {
    fn limits(&self) -> Limits {
        Limits {
            timeout: self.timeout,
            max_output: self.max_output,
            max_memory: Some(self.max_memory),
        }
    }
}

/// What to evaluate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NixSource {
    /// All its `*.nix` that begin neither with `.` nor with `_`; not those of subdirectories.
    Directory(PathBuf),
    /// One file; what lies beside it can be imported.
    File(PathBuf),
    /// `FLAKE#ATTRIBUTE`, giving `{ NAME = spec; }`, a list of manifests, or one manifest.
    Flake(String),
}

/// One spec and what became of it.
#[derive(Debug)]
pub struct EvaluatedSpec {
    /// The file's name without `.nix`; for a flake the attribute's name, or the manifest's.
    pub name: String,
    /// The file as it was found below the source; for a flake its reference.
    pub file: PathBuf,
    /// Its value.
    pub result: Result<Tree, EvalError>,
}

/// Evaluates every Nix spec of `source`, in order of name. Blocks for as long as Nix takes.
///
/// Places are those of attribute names, lines and columns from 1; a value has its name's place,
/// and what has none in that file has the place of what is around it. A flake has no places.
///
/// # Errors
/// [`EvalError`] if nothing could be evaluated: the source cannot be read, Nix is missing, or a
/// flake fails. What is wrong with one file is in its [`EvaluatedSpec::result`].
pub fn evaluate_specs(
    source: &NixSource,
    options: &EvalOptions,
) -> Result<Vec<EvaluatedSpec>, EvalError> {
    match source {
        NixSource::Directory(directory) => {
            let files = specs_in(directory)?;
            evaluate_files(files, directory, options)
        }
        NixSource::File(file) => evaluate_files(vec![file.clone()], beside(file), options),
        NixSource::Flake(reference) => flake::evaluate(reference, options),
    }
}

/// The directory of a file.
fn beside(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What may be read. A spec may be a link to a file elsewhere (on NixOS, into the store); whoever
/// put the link there wants that file read, but nothing beside it.
fn readable<'a>(root: &'a Path, files: &[&'a Path]) -> Vec<&'a Path> {
    let elsewhere = files.iter().filter(|file| !file.starts_with(root));
    std::iter::once(root).chain(elsewhere.copied()).collect()
}

/// A directory for one evaluation.
fn private() -> Result<tempfile::TempDir, EvalError> {
    let made = tempfile::Builder::new().prefix("osmoda-eval-").tempdir();
    made.map_err(|source| EvalError::Io {
        operation: "make a temporary directory in",
        what: std::env::temp_dir().display().to_string(),
        source,
    })
}

fn specs_in(directory: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let failed = |source| EvalError::Io {
        operation: "read the directory",
        what: directory.display().to_string(),
        source,
    };
    let mut files = Vec::new();
    for entry in directory.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A dangling link is kept, so that it is reported.
        let is_file = entry.path().metadata().map_or(true, |m| m.is_file());
        if is_file && command::is_spec_name(&entry.file_name()) {
            files.push(entry.path());
        }
    }
    if files.len() > SPEC_FILES_MAX {
        return Err(EvalError::TooMany {
            directory: directory.display().to_string(),
            count: files.len(),
        });
    }
    files.sort();
    Ok(files)
}

/// A spec file that exists.
struct SpecFile {
    /// As found.
    shown: PathBuf,
    /// Without symbolic links: how Nix names it in places.
    real: PathBuf,
}

fn evaluate_files(
    found: Vec<PathBuf>,
    directory: &Path,
    options: &EvalOptions,
) -> Result<Vec<EvaluatedSpec>, EvalError> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let root = command::canonical(directory)?;
    let mut specs = Vec::new();
    let mut files = Vec::new();
    for shown in found {
        match command::canonical(&shown) {
            Ok(real) => files.push(SpecFile { shown, real }),
            Err(error) => specs.push(evaluated(shown, Err(error))),
        }
    }
    let job = Job {
        root: &root,
        options,
    };
    let results = match job.together(&files) {
        Ok(results) => results,
        Err(error @ EvalError::NixMissing { .. }) => return Err(error),
        Err(error) if files.len() == 1 => vec![Err(error)],
        Err(error) => {
            tracing::debug!(%error, "evaluating the specs one by one");
            job.one_by_one(&files)
        }
    };
    for (file, result) in files.into_iter().zip(results) {
        specs.push(evaluated(file.shown, result));
    }
    specs.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(specs)
}

fn evaluated(file: PathBuf, result: Result<Tree, EvalError>) -> EvaluatedSpec {
    let name = file.file_stem().unwrap_or_default();
    EvaluatedSpec {
        name: name.to_string_lossy().into_owned(),
        file,
        result,
    }
}

/// What all files of one call have in common.
struct Job<'a> {
    root: &'a Path,
    options: &'a EvalOptions,
}

impl Job<'_> {
    /// All files in one process; an error is nobody's in particular.
    fn together(&self, files: &[SpecFile]) -> Result<Vec<Result<Tree, EvalError>>, EvalError> {
        let (what, first) = match files {
            [] => return Ok(Vec::new()),
            [one] => (one.shown.display().to_string(), one.shown.as_path()),
            many => (format!("{} files", many.len()), self.root),
        };
        let private = private()?;
        let paths: Vec<&Path> = files.iter().map(|file| file.real.as_path()).collect();
        let roots = readable(self.root, &paths);
        let mut command = command::for_files(&paths, &roots, self.options, private.path())?;
        let stdout = ask(&mut command, command::INSTANTIATE, &what, self.options)?
            .map_err(|text| stderr::error(&text, first, &roots))?;
        let walks: Vec<Walk> = answer(&stdout, &what)?;
        let results = files.iter().zip(walks).map(|(file, walk)| {
            let source = Source::read(&file.real);
            tree::build(walk, &file.shown, &source).map_err(EvalError::Refused)
        });
        Ok(results.collect())
    }

    /// Each file in a process of its own, [`PARALLEL`] at a time.
    fn one_by_one(&self, files: &[SpecFile]) -> Vec<Result<Tree, EvalError>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(file) = files.get(index) else {
                    return done;
                };
                let result = self.together(std::slice::from_ref(file));
                done.push((index, result.and_then(only)));
            }
        };
        let mut results: Vec<(usize, Result<Tree, EvalError>)> = thread::scope(|scope| {
            let workers: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().flat_map(|worker| match worker.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.collect()
        });
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

/// The result of the one file that was asked for.
fn only(results: Vec<Result<Tree, EvalError>>) -> Result<Tree, EvalError> {
    results.into_iter().next().unwrap_or_else(|| {
        Err(EvalError::Answer {
            what: "a file".to_owned(),
            source: serde::de::Error::custom("an empty list"),
        })
    })
}

/// Runs `nix`; its stdout, or its stderr if it failed.
fn ask(
    command: &mut Command,
    program: &'static str,
    what: &str,
    options: &EvalOptions,
) -> Result<Result<Vec<u8>, Vec<u8>>, EvalError> {
    let failed = |operation, source| EvalError::Io {
        operation,
        what: what.to_owned(),
        source,
    };
    match process::run(command, options.limits()) {
        Ok(done) if done.status.success() => Ok(Ok(done.stdout)),
        Ok(done) if done.stderr.is_empty() => {
            Ok(Err(format!("error: nix ended with {}", done.status).into()))
        }
        Ok(done) => Ok(Err(done.stderr)),
        Err(RunError::Spawn(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(EvalError::NixMissing { command: program })
        }
        Err(RunError::Spawn(error)) => Err(failed("run nix for", error)),
        Err(RunError::Wait(error)) => Err(failed("wait for nix to evaluate", error)),
        Err(RunError::Timeout) => Err(EvalError::Timeout {
            what: what.to_owned(),
            limit: options.timeout,
        }),
        Err(RunError::TooLarge) => Err(EvalError::TooLarge {
            what: what.to_owned(),
            limit: options.max_output,
        }),
    }
}

fn answer<T: serde::de::DeserializeOwned>(json: &[u8], what: &str) -> Result<T, EvalError> {
    serde_json::from_slice(json).map_err(|source| EvalError::Answer {
        what: what.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
