//! Why an evaluation gave no value, and where in which file.

use std::{fmt, io, path::PathBuf, time::Duration};

/// One thing that is wrong in a file, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file that must be changed.
    pub file: PathBuf,
    /// Line from 1; 0 if the place is not known.
    pub line: u32,
    /// Column from 1, in characters; 0 if the place is not known.
    pub column: u32,
    /// Characters to underline, at least 1 where the place is known.
    pub length: u32,
    /// What is wrong; at most [`super::MESSAGE_MAX`] bytes.
    pub message: String,
    /// What to do about it, if that is known.
    pub hint: Option<&'static str>,
}

impl fmt::Display for Diagnostic {
    /// `FILE:LINE:COLUMN: MESSAGE (HINT)`, leaving out what is not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        self.hint.map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// Why an evaluation gave no value.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// There is no `nix` to ask.
    #[error(
        "cannot evaluate Nix specs: {command} was not found on PATH; install Nix: on Debian and \
         Ubuntu `apt install nix-bin`, on Fedora `dnf install nix`, on Arch `pacman -S nix`, \
         elsewhere the installer at https://nixos.org/download; or write the specs as YAML or JSON"
    )]
    NixMissing {
        /// The command that was looked for.
        command: &'static str,
    },
    /// The file is not a Nix expression.
    #[error("{0}")]
    Syntax(Diagnostic),
    /// The expression has no value, or reaches for something it may not read.
    #[error("{0}")]
    Eval(Diagnostic),
    /// It has a value, parts of which cannot stand in a manifest; never empty.
    #[error("{}", Lines(.0))]
    Refused(Vec<Diagnostic>),
    /// It takes too long.
    #[error("evaluating {what} took longer than {} s and was stopped", limit.as_secs())]
    Timeout {
        /// A file, or several, or a flake reference.
        what: String,
        /// [`super::EvalOptions::timeout`].
        limit: Duration,
    },
    /// Its value is too large.
    #[error("the value of {what} is too large: its limit is {limit} bytes of JSON")]
    TooLarge {
        /// A file, or several, or a flake reference.
        what: String,
        /// [`super::EvalOptions::max_output`].
        limit: usize,
    },
    /// A directory with more specs than osmoda takes.
    #[error(
        "{directory} holds {count} Nix specs; at most {} are taken",
        super::SPEC_FILES_MAX
    )]
    TooMany {
        /// The directory.
        directory: String,
        /// Specs in it.
        count: usize,
    },
    /// `nix` answered what osmoda does not understand.
    #[error("nix gave an answer for {what} that cannot be read")]
    Answer {
        /// A file, or several, or a flake reference.
        what: String,
        /// What is wrong with the JSON.
        #[source]
        source: serde_json::Error,
    },
    /// A file or a process could not be used.
    #[error("cannot {operation} {what}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl EvalError {
    /// The places to point at; empty where the error is not about the text of a file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Syntax(one) | Self::Eval(one) => std::slice::from_ref(one),
            Self::Refused(all) => all,
            _ => &[],
        }
    }

    /// Whether the same evaluation may succeed later with nothing changed in the specs.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NixMissing { .. } | Self::Timeout { .. } | Self::Io { .. } => true,
            Self::Syntax(_)
            | Self::Eval(_)
            | Self::Refused(_)
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::Answer { .. } => false,
        }
    }
}

struct Lines<'a>(&'a [Diagnostic]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{diagnostic}")?;
        }
        Ok(())
    }
}
