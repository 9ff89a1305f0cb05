//! `osmoda run`: hands over to the node daemon.

use osmoda_node::{
    daemon::{self, DaemonError, DaemonOptions},
    error::chain,
    paths::Wanted,
    specs::{LoadOptions, SpecsRef},
};
use tracing_subscriber::EnvFilter;

use super::resolve;
use crate::{
    args::{Global, Run},
    failure::{Answer, Failure, Outcome},
    output,
};

/// Runs until SIGTERM.
pub fn run(global: &Global, args: Run) -> Outcome {
    let paths = resolve(Wanted {
        state: global.state_dir.clone(),
        runtime: global.runtime_dir.clone(),
        profiles: args.profile_dir,
    })?;
    let specs = match &args.specs {
        Some(text) => absolute(SpecsRef::parse(text))?,
        None => SpecsRef::Path(paths.specs.clone()),
    };
    log_to_stderr();
    let mut load = LoadOptions::default();
    load.nix.nixpkgs = args.nixpkgs;
    let options = DaemonOptions {
        paths,
        specs,
        load,
        runtime: args.runtime.into(),
        bundles: args.bundles.into(),
        keep_agents: args.keep_agents,
        ledger: args.ledger,
        system_root: args.system_root,
    };
    match daemon::run(options) {
        Ok(()) => Ok(Answer::Yes),
        Err(error) => {
            let failure = Failure::new(error.exit_code(), chain(&error));
            Err(match error {
                DaemonError::Specs(_) => failure.hint(
                    "SPECS is a directory, a file, or FLAKE#attr that the daemon's user may read",
                ),
                _ => failure,
            })
        }
    }
}

/// The ledger and the next daemon, started elsewhere, must know the files by the same names.
fn absolute(specs: SpecsRef) -> Result<SpecsRef, Failure> {
    match specs {
        SpecsRef::Path(path) => match std::path::absolute(&path) {
            Ok(path) => Ok(SpecsRef::Path(path)),
            Err(error) => Err(Failure::usage(format!(
                "SPECS {:?} cannot be made an absolute path: {error}",
                path.display()
            ))),
        },
        flake @ SpecsRef::Flake(_) => Ok(flake),
    }
}

/// What the daemon has to say, from `info` on, or as OSMODA_LOG chooses.
pub(super) fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("OSMODA_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output::colour_errors())
        .init();
}
