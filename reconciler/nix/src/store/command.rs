//! The commands of Nix that are used, and how their answers are read.

use std::{
    io::{Seek as _, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    BUILD_TIMEOUT, MESSAGE_MAX, NixStore, PathInfo, QUERY_TIMEOUT, REALISE_TIMEOUT, StoreError,
};
use crate::{
    hash,
    process::{self, Limits, RunError},
};

pub(super) const INSTANTIATE: &str = "nix-instantiate";
pub(super) const STORE: &str = "nix-store";

/// Most bytes of an answer: a closure of 100,000 paths has 7 MB of names.
const ANSWER_MAX: usize = 64 << 20;
/// Most bytes of address space of a command.
const MEMORY_MAX: u64 = 4 << 30;
/// Most paths on one command line.
const PATHS_AT_ONCE: usize = 256;
/// Seconds until a substituter that does not answer is given up.
const CONNECT_TIMEOUT: &str = "10";

impl NixStore {
    pub(crate) fn command(&self, program: &'static str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("NIX_STORE_DIR", self.dir.as_str())
            .env("NIX_STATE_DIR", &self.state_dir)
            .env("NIX_PATH", "")
            .env("LC_ALL", "C.UTF-8")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .current_dir("/");
        command
    }

    /// Whether the store is a directory of this machine with a database beside it, and not one
    /// that NIX_REMOTE names by a URL.
    pub(super) fn is_local(&self) -> bool {
        let remote = self
            .environment
            .iter()
            .find(|(name, _)| *name == "NIX_REMOTE");
        remote.is_none_or(|(_, value)| {
            ["", "auto", "daemon", "local"]
                .iter()
                .any(|local| value == local)
        })
    }

    /// The JSON of an expression's value.
    pub(super) fn evaluate(&self, expression: &str, what: &str) -> Result<String, StoreError> {
        let failed = |source| StoreError::Run {
            command: INSTANTIATE,
            source,
        };
        // By a file on stdin: the length of an argument is bounded.
        let mut file = tempfile::tempfile().map_err(failed)?;
        file.write_all(expression.as_bytes()).map_err(failed)?;
        file.rewind().map_err(failed)?;
        let mut command = self.command(INSTANTIATE);
        command
            .args(["--eval", "--read-write-mode", "--json", "-"])
            .stdin(Stdio::from(file));
        run(&mut command, INSTANTIATE, what, QUERY_TIMEOUT)
    }

    /// Those of `paths` that are not valid.
    pub(super) fn invalid(&self, paths: &[String]) -> Result<Vec<String>, StoreError> {
        let args = ["--check-validity", "--print-invalid"];
        self.lines_for(&args, paths, "tell which paths are valid")
    }

    /// What is known of valid paths, in their order.
    pub(super) fn infos(&self, paths: &[String]) -> Result<Vec<PathInfo>, StoreError> {
        let what = "tell hashes";
        let hashes = self.lines_for(&["--query", "--hash"], paths, what)?;
        let sizes = self.lines_for(&["--query", "--size"], paths, what)?;
        if hashes.len() != paths.len() || sizes.len() != paths.len() {
            return Err(unclear(what, &hashes.join("\n")));
        }
        let infos = hashes.iter().zip(&sizes).map(|(hash, size)| {
            Ok(PathInfo {
                nar_hash: hash::parse(hash).ok_or_else(|| unclear(what, hash))?,
                nar_size: size.trim().parse().map_err(|_| unclear(what, size))?,
            })
        });
        infos.collect()
    }

    /// All that a valid path needs, itself included.
    pub(super) fn closure(&self, path: &str) -> Result<Vec<String>, StoreError> {
        let args = ["--query", "--requisites"];
        self.lines_for(&args, &[path.to_owned()], "list a closure")
    }

    pub(super) fn fetch(&self, paths: &[String]) -> Result<(), StoreError> {
        let mut command = self.command(STORE);
        command
            .args(["--option", "connect-timeout", CONNECT_TIMEOUT])
            .arg("--realise")
            .args(paths);
        run(&mut command, STORE, "fetch store paths", REALISE_TIMEOUT).map(drop)
    }

    /// Builds derivations, or fetches what they give. A builder's memory is its own affair.
    pub(super) fn build_all(&self, derivations: &[String]) -> Result<(), StoreError> {
        let mut command = self.command(STORE);
        command
            .args(["--option", "connect-timeout", CONNECT_TIMEOUT])
            // Its last lines are then part of the error.
            .args(["--realise", "--fallback", "--no-build-output"])
            .args(derivations);
        let limits = Limits {
            timeout: BUILD_TIMEOUT,
            max_output: ANSWER_MAX,
            max_memory: None,
        };
        run_within(&mut command, STORE, "build", limits, first_message).map(drop)
    }

    /// Has Nix hash a path itself; gives what it complains of.
    pub(super) fn verify_path(
        &self,
        path: &str,
        timeout: Duration,
    ) -> Result<Option<String>, StoreError> {
        let mut command = self.command(STORE);
        command.args(["--verify-path", path]);
        match run(&mut command, STORE, "verify a path", timeout) {
            Ok(_) => Ok(None),
            Err(StoreError::Refused { message, .. }) => Ok(Some(message)),
            Err(error) => Err(error),
        }
    }

    /// Has Nix register a root (and make the link anew, as it is).
    pub(super) fn register_root(&self, link: &Path, target: &str) -> Result<(), StoreError> {
        let mut command = self.command(STORE);
        command
            .args(["--realise", target, "--indirect", "--add-root"])
            .arg(link);
        run(&mut command, STORE, "register a root", QUERY_TIMEOUT).map(drop)
    }

    fn lines_for(
        &self,
        args: &[&str],
        paths: &[String],
        what: &str,
    ) -> Result<Vec<String>, StoreError> {
        let mut lines = Vec::with_capacity(paths.len());
        for some in paths.chunks(PATHS_AT_ONCE) {
            let mut command = self.command(STORE);
            command.args(args).args(some);
            let answer = run(&mut command, STORE, what, QUERY_TIMEOUT)?;
            lines.extend(answer.lines().map(str::to_owned));
        }
        Ok(lines)
    }
}

/// Runs a command to its end; its stdout if it succeeded.
fn run(
    command: &mut Command,
    program: &'static str,
    what: &str,
    timeout: Duration,
) -> Result<String, StoreError> {
    let limits = Limits {
        timeout,
        max_output: ANSWER_MAX,
        max_memory: Some(MEMORY_MAX),
    };
    run_within(command, program, what, limits, message)
}

/// As [`run`], within these bounds; `message` finds the error in what it wrote.
fn run_within(
    command: &mut Command,
    program: &'static str,
    what: &str,
    limits: Limits,
    message: fn(&str) -> String,
) -> Result<String, StoreError> {
    let done = process::run(command, limits).map_err(|error| match error {
        RunError::Spawn(source) | RunError::Wait(source) => StoreError::Run {
            command: program,
            source,
        },
        RunError::Timeout => StoreError::Timeout {
            command: program,
            what: what.to_owned(),
            limit: limits.timeout,
        },
        RunError::TooLarge => unclear(what, "more than can be read"),
    })?;
    if done.status.success() {
        return String::from_utf8(done.stdout).map_err(|_| unclear(what, "no text"));
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let message = if said.trim().is_empty() {
        done.status.to_string()
    } else {
        message(&said)
    };
    Err(StoreError::Refused {
        command: program,
        what: what.to_owned(),
        message,
    })
}

/// The error in what Nix wrote: from its last `error:` to the end, in one line.
fn message(stderr: &str) -> String {
    let start = stderr.rfind("\nerror:").map_or(0, |at| at + 1);
    one_line(&stderr[start..])
}

/// The same from its first `error:`: of a build that failed, the last one only says that what
/// needs it failed too.
fn first_message(stderr: &str) -> String {
    let start = match stderr.starts_with("error:") {
        true => 0,
        false => stderr.find("\nerror:").map_or(0, |at| at + 1),
    };
    one_line(&stderr[start..])
}

fn one_line(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix("error:").unwrap_or(text);
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.truncate(line.floor_char_boundary(MESSAGE_MAX));
    line
}

fn unclear(what: &str, answer: &str) -> StoreError {
    let answer = &answer[..answer.floor_char_boundary(MESSAGE_MAX)];
    StoreError::Answer {
        command: STORE,
        what: what.to_owned(),
        answer: answer.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_complaint_the_error_is_kept() {
        let said = "warning: slow\nerror: first\nwarning: x\nerror: path '/nix/store/x'\n       is \
                    not valid\n";
        assert_eq!(message(said), "path '/nix/store/x' is not valid");
        assert_eq!(message("plain\n"), "plain");
        let said = "building\nerror: builder of x failed;\n  last line\nerror: y needs x\n";
        assert_eq!(
            first_message(said),
            "builder of x failed; last line error: y needs x"
        );
        assert_eq!(message(&"ä".repeat(MESSAGE_MAX)).len(), MESSAGE_MAX);
    }
}
