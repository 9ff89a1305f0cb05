//! `osmoda validate` and `osmoda render`: specs, without a daemon.

use osmoda_node::{
    error::chain,
    specs::{self, LoadOptions, Loaded, ManifestFormat, SpecsRef},
};

use crate::{
    args::{Machine, Render, Specs},
    failure::{Answer, Failure, Outcome, USAGE},
    output,
};

/// Says what is wrong with SPECS, or that nothing is.
pub fn validate(args: &Specs) -> Outcome {
    let loaded = load(args)?;
    let node = if loaded.node.is_some() {
        " and a node"
    } else {
        ""
    };
    let plural = if loaded.agents.len() == 1 { "" } else { "s" };
    output::print(&format!(
        "ok: {} agent{plural}{node}\n",
        loaded.agents.len()
    ))?;
    Ok(Answer::Yes)
}

/// Prints the manifests of SPECS.
pub fn render(args: &Render) -> Outcome {
    let loaded = load(&args.specs)?;
    let format = match args.output {
        Machine::Yaml => ManifestFormat::Yaml,
        Machine::Json => ManifestFormat::Json,
    };
    let text =
        specs::render_manifests(&loaded, format).map_err(|error| Failure::because(&error))?;
    output::print(&text)?;
    if !text.is_empty() && !text.ends_with('\n') {
        output::print("\n")?;
    }
    Ok(Answer::Yes)
}

/// Loads SPECS, all of which must be valid.
///
/// # Errors
/// Exit code 2; every mistake has been shown on standard error.
pub fn load(args: &Specs) -> Result<Loaded, Failure> {
    let mut options = LoadOptions::default();
    options.nix.nixpkgs.clone_from(&args.nixpkgs);
    let loaded = specs::load(&SpecsRef::parse(&args.specs), &options).map_err(|error| {
        Failure::usage(chain(&error)).hint("SPECS is a directory, a file, or FLAKE#attr")
    })?;
    if loaded.rejected.is_empty() {
        return Ok(loaded);
    }
    let report = specs::render_errors(&loaded.rejected, output::colour_errors());
    output::note(report.trim_end());
    Err(Failure::new(USAGE, ""))
}
