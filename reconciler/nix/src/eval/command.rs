//! The command lines and the environment with which `nix` is run.
//!
//! **Files** are evaluated by `nix-instantiate --eval` in restricted mode, against the dummy
//! store, with an environment that holds nothing of ours and no configuration file: the value
//! depends on the files alone, nothing is written outside a private directory, and neither /nix
//! nor a Nix daemon need exist. Pure mode is not used: it has no search path, so that nothing
//! below the specs could be allowed; and on 2.8 with `--file` it still reads the environment.
//!
//! **Flakes** need the store, their lock file and perhaps the network, so `nix eval` runs with
//! the caller's home and configuration, but pure, and without the evaluation cache.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs::File,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{DEPTH_MAX, EvalError, EvalOptions, NODES_MAX};

const WALK: &str = include_str!("walk.nix");

/// Evaluates files.
pub(super) const INSTANTIATE: &str = "nix-instantiate";
/// Evaluates flakes, and answers for the version.
pub(super) const NIX: &str = "nix";

/// Settings that hold for every evaluation, whatever a configuration file says.
const SETTINGS: [(&str, &str); 6] = [
    ("allow-import-from-derivation", "false"),
    ("allow-unsafe-native-code-during-evaluation", "false"),
    ("eval-cache", "false"),
    ("plugin-files", ""),
    // Evaluation builds nothing; without this some versions wait for the network all the same.
    ("substituters", ""),
    ("warn-dirty", "false"),
];

/// Settings of restricted mode. (`allowed-uris` would let fetchers through.)
const RESTRICTED: [(&str, &str); 3] = [
    ("allowed-uris", ""),
    ("experimental-features", ""),
    ("restrict-eval", "true"),
];

/// Variables that a flake evaluation keeps: who we are, where caches and keys lie, how to reach
/// the network and the store.
const KEPT_FOR_FLAKES: [&str; 19] = [
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_STATE_HOME",
    "XDG_DATA_HOME",
    "NIX_REMOTE",
    "NIX_STORE_DIR",
    "NIX_STATE_DIR",
    "NIX_LOG_DIR",
    "NIX_CONF_DIR",
    "NIX_SSL_CERT_FILE",
    "SSL_CERT_FILE",
    "SSH_AUTH_SOCK",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// A command for `files` (absolute, canonical) that may read `roots` and nothing else.
///
/// `private` is an empty directory of ours that outlives the command.
pub(super) fn for_files(
    files: &[&Path],
    roots: &[&Path],
    options: &EvalOptions,
    private: &Path,
) -> Result<Command, EvalError> {
    let nixpkgs = nixpkgs(options)?;
    let mut expression = format!("({}).files [", walk(false));
    for file in files {
        write!(expression, " {}", quoted(file)?).ok();
    }
    write!(expression, " ] {}", nixpkgs.quoted).ok();

    let mut command = Command::new(program(options, INSTANTIATE));
    environment(&mut command);
    command
        .env("HOME", private)
        .env("NIX_CONF_DIR", private)
        .args(["--store", "dummy://"]);
    // Output paths are those of the store that the bundles are made in.
    if let Some(store) = std::env::var_os("NIX_STORE_DIR") {
        command.env("NIX_STORE_DIR", store);
    }
    restricted(&mut command, &expression, roots, &nixpkgs, private)?;
    Ok(command)
}

/// Has `command`, which finds a real store, write the derivations that the spec in `file`
/// (absolute, canonical) names into that store, and print what is to be realised. Nothing is built.
pub(super) fn for_needs(
    mut command: Command,
    file: &Path,
    roots: &[&Path],
    options: &EvalOptions,
    private: &Path,
) -> Result<Command, EvalError> {
    let nixpkgs = nixpkgs(options)?;
    let (walk, file) = (walk(false), quoted(file)?);
    let expression = format!("({walk}).fileNeeds {file} {}", nixpkgs.quoted);
    command.arg("--read-write-mode");
    restricted(&mut command, &expression, roots, &nixpkgs, private)?;
    Ok(command)
}

/// What `pkgs` is taken from.
struct Nixpkgs {
    path: Option<PathBuf>,
    /// In the Nix language.
    quoted: String,
}

fn nixpkgs(options: &EvalOptions) -> Result<Nixpkgs, EvalError> {
    let path = options.nixpkgs.as_deref().map(canonical).transpose()?;
    let quoted = path.as_deref().map_or(Ok("null".to_owned()), quoted)?;
    Ok(Nixpkgs { path, quoted })
}

/// Has `nix-instantiate` evaluate `expression`, reading `roots` and nixpkgs and nothing else.
fn restricted(
    command: &mut Command,
    expression: &str,
    roots: &[&Path],
    nixpkgs: &Nixpkgs,
    private: &Path,
) -> Result<(), EvalError> {
    command.args(["--eval", "--strict", "--json", "--show-trace"]);
    settings(command, &SETTINGS);
    settings(command, &RESTRICTED);
    let readable = roots.iter().copied().chain(nixpkgs.path.as_deref());
    for (index, root) in readable.enumerate() {
        // Only what is on the search path may be read. The name before `=` is of no use but
        // keeps a `=` or a URL in a path from being understood.
        let mut entry = OsString::from(format!("osmoda-{index}="));
        entry.push(root);
        command.arg("-I").arg(entry);
    }
    command
        .arg("-")
        .stdin(Stdio::from(expression_file(private, expression)?))
        .current_dir(private)
        .env("TMPDIR", private);
    for directory in ["CACHE", "CONFIG", "DATA", "STATE"] {
        command.env(format!("XDG_{directory}_HOME"), private.join("home"));
    }
    Ok(())
}

/// A command for the attribute of a flake.
pub(super) fn for_flake(reference: &str, options: &EvalOptions) -> Command {
    let mut command = Command::new(program(options, NIX));
    environment(&mut command);
    for name in KEPT_FOR_FLAKES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    of_flake(
        &mut command,
        reference,
        &format!("({}).flake", walk(true)),
        options,
    );
    command
}

/// As [`for_needs`], for one spec of the attribute of a flake. (`nix eval` writes derivations
/// unless it is told not to.)
pub(super) fn for_flake_needs(
    mut command: Command,
    reference: &str,
    name: &str,
    options: &EvalOptions,
) -> Command {
    let name = crate::expression::string(name);
    let apply = format!("({}).flakeNeeds {name}", walk(true));
    of_flake(&mut command, reference, &apply, options);
    command
}

fn of_flake(command: &mut Command, reference: &str, apply: &str, options: &EvalOptions) {
    command
        .args(["--extra-experimental-features", "nix-command flakes"])
        .args(["eval", "--json", "--no-write-lock-file", "--show-trace"])
        .args(["--apply", apply]);
    if let Some(store) = &options.store {
        command.args(["--store", store]);
    }
    settings(command, &SETTINGS);
    command.arg(reference).stdin(Stdio::null()).current_dir("/");
}

/// `nix --version`.
pub(super) fn for_version(options: &EvalOptions) -> Command {
    let mut command = Command::new(program(options, NIX));
    command.arg("--version").stdin(Stdio::null());
    environment(&mut command);
    command
}

/// The canonical form of a path; specs and nixpkgs are compared and allowed by it.
pub(super) fn canonical(path: &Path) -> Result<PathBuf, EvalError> {
    path.canonicalize().map_err(|source| EvalError::Io {
        operation: "open",
        what: path.display().to_string(),
        source,
    })
}

fn program(options: &EvalOptions, name: &str) -> PathBuf {
    options
        .program_dir
        .as_ref()
        .map_or_else(|| PathBuf::from(name), |dir| dir.join(name))
}

fn walk(allow_sources: bool) -> String {
    format!(
        "({WALK}) {{ maxDepth = {DEPTH_MAX}; maxNodes = {NODES_MAX}; \
         allowSources = {allow_sources}; }}"
    )
}

fn settings(command: &mut Command, settings: &[(&str, &str)]) {
    for (name, value) in settings {
        command.args(["--option", name, value]);
    }
}

fn environment(command: &mut Command) {
    let default = || OsString::from("/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin");
    let path = std::env::var_os("PATH").unwrap_or_else(default);
    command
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .env("NO_COLOR", "1")
        .env("NIX_PATH", "")
        .env("NIX_USER_CONF_FILES", "");
}

/// The expression goes in by a file on stdin: an argument's length is bounded (128 KiB on
/// Linux), and a file by name would have to be readable in restricted mode.
fn expression_file(private: &Path, expression: &str) -> Result<File, EvalError> {
    let path = private.join("expression");
    let failed = |source| EvalError::Io {
        operation: "write",
        what: path.display().to_string(),
        source,
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(failed)?;
    file.write_all(expression.as_bytes()).map_err(failed)?;
    file.rewind().map_err(failed)?;
    Ok(file)
}

/// A path as a string of the Nix language.
fn quoted(path: &Path) -> Result<String, EvalError> {
    let text = path.to_str().ok_or_else(|| EvalError::Io {
        operation: "evaluate",
        what: path.display().to_string(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidFilename, "not valid UTF-8"),
    })?;
    Ok(crate::expression::string(text))
}

/// Whether a file of that name in a directory of specs is a Nix spec.
pub(super) fn is_spec_name(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.ends_with(b".nix") && !name.starts_with(b".") && !name.starts_with(b"_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_and_underscored_files_are_not_specs() {
        for good in ["a.nix", "a.b.nix", "A.nix"] {
            assert!(is_spec_name(OsStr::new(good)), "{good}");
        }
        for bad in [".nix", ".a.nix", "_a.nix", "a.yaml", "anix", "a.nix~"] {
            assert!(!is_spec_name(OsStr::new(bad)), "{bad}");
        }
    }
}
