//! Which Nix is installed.

use std::time::Duration;

use super::{EvalOptions, command};
use crate::process::{self, Limits};

/// Time for `nix --version`.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// The version that `nix --version` names, such as `2.8.0`; what `doctor` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NixInfo {
    /// Version without the program's name.
    pub version: String,
}

impl NixInfo {
    /// Asks the `nix` on PATH; `None` if there is none, or it does not answer.
    pub fn detect() -> Option<Self> {
        Self::detect_with(&EvalOptions::default())
    }

    /// Asks the `nix` that `options` mean.
    pub fn detect_with(options: &EvalOptions) -> Option<Self> {
        let limits = Limits {
            timeout: VERSION_TIMEOUT,
            ..options.limits()
        };
        let done = process::run(&mut command::for_version(options), limits).ok()?;
        let text = String::from_utf8(done.stdout).ok()?;
        // `nix (Nix) 2.8.0`, `nix (Lix, like Nix) 2.91.1`
        let version = text.split_whitespace().last()?;
        (done.status.success() && version.starts_with(|c: char| c.is_ascii_digit())).then(|| Self {
            version: version.to_owned(),
        })
    }
}
