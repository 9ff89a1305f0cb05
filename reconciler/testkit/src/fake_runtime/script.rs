//! What a fake agent does: the part of `osmoda-test-agent`'s vocabulary that needs no process.
//!
//! A path that begins with `/nonexistent` does not exist, everything else does. Unknown actions
//! do nothing, so any command is an agent that runs until it is stopped. Two words are the
//! fake's own, for programs that are bad and do not end: `ill-after MS` (every probe fails from
//! then on, and it is silent) and `never-ready`.

use std::{io, time::Duration};

use osmoda_core::{observed::ExitStatus, spec::AgentSpec};
use osmoda_runtime::StartError;

/// Beginning of the paths that do not exist.
pub const MISSING: &str = "/nonexistent";

/// How a script ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    After(Duration, ExitStatus),
    Never,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    pub prints: Vec<String>,
    pub ignores_term: bool,
    /// Exit code that SIGTERM is answered with; by default the signal ends it.
    pub code_on_term: Option<i32>,
    /// How long after its start it falls ill.
    pub ill_after: Option<Duration>,
    /// It never says READY=1, and its startup and readiness probes fail.
    pub never_ready: bool,
    pub ending: Ending,
}

impl Script {
    /// Reads argv, whose first word is the program. A program that only prints runs on.
    pub fn of(command: &[String]) -> Self {
        let mut script = Self {
            prints: Vec::new(),
            ignores_term: false,
            code_on_term: None,
            ill_after: None,
            never_ready: false,
            ending: Ending::Never,
        };
        let words: Vec<&str> = command.iter().skip(1).map(String::as_str).collect();
        for action in words.split(|word| *word == "then") {
            match action {
                ["print", lines @ ..] => {
                    script
                        .prints
                        .extend(lines.iter().map(|line| (*line).to_owned()));
                }
                ["ignore-term"] => script.ignores_term = true,
                ["ill-after", millis] => {
                    script.ill_after = millis.parse().ok().map(Duration::from_millis);
                }
                ["never-ready"] => script.never_ready = true,
                ["exit-on-term", code] => {
                    script.prints.push("waiting".to_owned());
                    script.code_on_term = code.parse().ok();
                }
                _ => script.ending = ending(action).unwrap_or(script.ending),
            }
        }
        script
    }
}

fn ending(action: &[&str]) -> Option<Ending> {
    let signal = |signal, core_dumped| ExitStatus::Signal {
        signal,
        core_dumped,
    };
    let now = Duration::ZERO;
    Some(match action {
        ["exit", code] => Ending::After(
            now,
            ExitStatus::Code {
                code: code.parse().ok()?,
            },
        ),
        ["abort"] => Ending::After(now, signal(6, false)),
        ["kill-self", number] => Ending::After(now, signal(number.parse().ok()?, false)),
        ["crash-after", millis] => Ending::After(
            Duration::from_millis(millis.parse().ok()?),
            signal(6, false),
        ),
        _ => return None,
    })
}

/// What a real runtime finds missing before there is a process.
pub(super) fn check(spec: &AgentSpec) -> Result<(), StartError> {
    let missing = spec
        .credentials
        .iter()
        .find(|(_, file)| file.path.starts_with(MISSING));
    if let Some((name, credential)) = missing {
        return Err(StartError::Credential {
            name: name.clone(),
            path: credential.path.clone(),
            source: io::ErrorKind::NotFound.into(),
        });
    }
    check_program(&spec.command)
}

/// Whether there is such a program.
pub(super) fn check_program(command: &[String]) -> Result<(), StartError> {
    match command.first() {
        Some(program) if !program.starts_with(MISSING) => Ok(()),
        program => Err(StartError::Invalid {
            what: format!("cannot execute {}", program.map_or("", String::as_str)),
            source: io::ErrorKind::NotFound.into(),
        }),
    }
}
