//! What a spec has to have built before its agent can run.
//!
//! Evaluating a spec gives the paths of outputs and writes nothing, not even derivations. If such
//! an output is not in the store when its bundle is made, the spec is evaluated once more, this
//! time into the store, and what its text mentions is realised. Where to start: [`Recipe`].

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{EvalError, EvalOptions, EvaluatedSpec, NixSource, answer, ask, command, stderr};

/// Where a spec is from, and how it is evaluated.
#[derive(Debug, Clone)]
pub struct Recipe {
    origin: Origin,
    options: EvalOptions,
}

#[derive(Debug, Clone)]
enum Origin {
    /// A file, and the directory that it may read.
    File { file: PathBuf, directory: PathBuf },
    /// One spec of the attribute of a flake.
    Flake { reference: String, name: String },
}

impl Recipe {
    /// Of a spec that [`super::evaluate_specs`] found in `source` with these options.
    pub fn new(source: &NixSource, spec: &EvaluatedSpec, options: &EvalOptions) -> Self {
        let file = |directory: &Path| Origin::File {
            file: spec.file.clone(),
            directory: directory.to_path_buf(),
        };
        let origin = match source {
            NixSource::Directory(directory) => file(directory),
            NixSource::File(path) => file(super::beside(path)),
            NixSource::Flake(reference) => Origin::Flake {
                reference: reference.clone(),
                name: spec.name.clone(),
            },
        };
        Self {
            origin,
            options: options.clone(),
        }
    }

    /// Writes the derivations that the spec mentions into the store that `command` finds, and
    /// names them as `nix-store --realise` takes them. Builds nothing.
    pub(crate) fn derivations(
        &self,
        command: impl Fn(&'static str) -> Command,
    ) -> Result<Vec<String>, EvalError> {
        match &self.origin {
            Origin::Flake { reference, name } => {
                let found = command(command::NIX);
                let mut found = command::for_flake_needs(found, reference, name, &self.options);
                let stdout = ask(&mut found, command::NIX, reference, &self.options)?
                    .map_err(|text| stderr::error(&text, Path::new(reference), &[]))?;
                answer(&stdout, reference)
            }
            Origin::File { file, directory } => {
                let (root, real) = (command::canonical(directory)?, command::canonical(file)?);
                let roots = super::readable(&root, &[&real]);
                let private = super::private()?;
                let found = command(command::INSTANTIATE);
                let mut found =
                    command::for_needs(found, &real, &roots, &self.options, private.path())?;
                let what = file.display().to_string();
                let stdout = ask(&mut found, command::INSTANTIATE, &what, &self.options)?
                    .map_err(|text| stderr::error(&text, file, &roots))?;
                answer(&stdout, &what)
            }
        }
    }
}
