//! `osmoda doctor`: checks of this host, without a daemon.

use osmoda_node::{
    doctor::{self, Request},
    specs::{LoadOptions, SpecsRef},
};

use super::paths;
use crate::{
    args::{Doctor, Global},
    failure::Outcome,
    output, show,
};

/// Shows what was found; "no" if something does not work.
pub fn doctor(global: &Global, args: &Doctor) -> Outcome {
    let paths = paths(global)?;
    let specs = match &args.specs {
        Some(text) => SpecsRef::parse(text),
        None => SpecsRef::Path(paths.specs.clone()),
    };
    let mut load = LoadOptions::default();
    load.nix.nixpkgs.clone_from(&args.nixpkgs);
    let report = doctor::examine(&Request {
        paths,
        specs,
        load,
        ledger: args.ledger.clone(),
        bundles: args.bundles.into(),
        runtime: args.runtime.into(),
    });
    match args.output.output {
        Some(format) => output::object(format, &report)?,
        None => output::print(&show::doctor::report(&report))?,
    }
    Ok(report.ok.into())
}
