//! Why a command did not do what it should, and the exit code that says so.

use std::{fmt, io};

/// Exit code: the answer is "no".
pub const NO: u8 = 1;
/// Exit code: wrong usage or an invalid spec.
pub const USAGE: u8 = 2;
/// Exit code: the daemon cannot be reached.
pub const UNREACHABLE: u8 = 3;
/// Exit code: refused.
pub const REFUSED: u8 = 4;
/// Exit code: an internal error, or one of the system.
pub const INTERNAL: u8 = 5;

/// How a command ends: with 0 or [`NO`], or with a failure.
pub type Outcome = Result<Answer, Failure>;

/// The answer of a command that could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done; or "yes".
    Yes,
    /// "No": a difference, an agent that is not ready, a ledger that fails.
    No,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// What failed, on what, why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// What failed, on what, and why; empty: nothing is to be said.
    pub message: String,
    /// What to do next; may be empty.
    pub hint: String,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: String::new(),
        }
    }

    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    /// Something that should not happen, or that the system did not allow.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(INTERNAL, message)
    }

    /// An error and what caused it.
    pub fn because(error: &dyn std::error::Error) -> Self {
        Self::internal(osmoda_node::error::chain(error))
    }

    /// With what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Standard output was closed by its reader: the end, and no failure.
    pub fn is_broken_pipe(&self) -> bool {
        self.code == 0
    }
}

impl From<io::Error> for Failure {
    /// Of writing to standard output. Who closes it has seen enough.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(0, "");
        }
        Self::internal(format!("cannot write the output: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "osmoda: {}", self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\n  {}", self.hint)?;
        }
        Ok(())
    }
}
