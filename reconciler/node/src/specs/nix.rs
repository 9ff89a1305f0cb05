//! `.nix` files and flakes, through osmoda-nix.

use std::{
    error::Error as _,
    path::{Path, PathBuf},
};

use osmoda_core::{name::AgentName, spec::tree::Span};
use osmoda_nix::eval::{self, EvalError, EvalOptions, EvaluatedSpec, NixSource, Recipe};

use super::{
    bare, files,
    gather::{Gathered, name_of},
    report::{Place, SourceError},
};

/// Evaluates the `.nix` files of SPECS, a directory or one file.
pub(super) fn files(
    gathered: &mut Gathered,
    specs: &Path,
    files: Vec<PathBuf>,
    options: &EvalOptions,
) {
    if files.is_empty() {
        return;
    }
    let source = if files.iter().any(|file| file == specs) {
        NixSource::File(specs.to_owned())
    } else {
        NixSource::Directory(specs.to_owned())
    };
    match eval::evaluate_specs(&source, options) {
        Ok(evaluated) => {
            let take = |spec| take(gathered, spec, &source, options);
            evaluated.into_iter().for_each(take);
        }
        Err(error) => {
            for file in files {
                let agent = name_of(&file);
                let source = source_with_text(gathered, file.clone());
                fail(gathered, source, agent, &file, &error);
            }
        }
    }
}

/// Evaluates a flake reference.
pub(super) fn flake(gathered: &mut Gathered, reference: &str, options: &EvalOptions) {
    let source = NixSource::Flake(reference.to_owned());
    match eval::evaluate_specs(&source, options) {
        Ok(evaluated) => {
            let take = |spec| take(gathered, spec, &source, options);
            evaluated.into_iter().for_each(take);
        }
        Err(error) => {
            let file = PathBuf::from(reference);
            let source = gathered.source(file.clone(), None);
            fail(gathered, source, None, &file, &error);
        }
    }
}

fn take(gathered: &mut Gathered, spec: EvaluatedSpec, of: &NixSource, options: &EvalOptions) {
    let recipe = Recipe::new(of, &spec, options);
    let EvaluatedSpec { name, file, result } = spec;
    let source = source_with_text(gathered, file.clone());
    gathered.built_by(source, recipe);
    match result {
        Ok(tree) => gathered.document(source, &bare::manifest(&name, tree)),
        Err(error) => {
            let agent = AgentName::new(&name).ok();
            fail(gathered, source, agent, &file, &error);
        }
    }
}

fn source_with_text(gathered: &mut Gathered, file: PathBuf) -> usize {
    let text = files::read(&file).ok();
    gathered.source(file, text)
}

fn fail(
    gathered: &mut Gathered,
    source: usize,
    agent: Option<AgentName>,
    file: &Path,
    error: &EvalError,
) {
    for error in mistakes(file, error) {
        gathered.fail(source, agent.clone(), error);
    }
}

/// One mistake per place that Nix points at, or one about the whole file.
fn mistakes(file: &Path, error: &EvalError) -> Vec<SourceError> {
    let code = code(error);
    let diagnostics = error.diagnostics();
    if diagnostics.is_empty() {
        return vec![SourceError {
            code,
            path: String::new(),
            message: with_causes(error),
            help: None,
            place: Place::new(file, Span::default(), None),
            related: None,
        }];
    }
    let mistake = |found: &eval::Diagnostic| {
        let span = Span {
            line: found.line,
            column: found.column,
            length: found.length,
        };
        let text = files::read(&found.file).ok();
        SourceError {
            code,
            path: String::new(),
            message: found.message.clone(),
            help: found.hint.map(str::to_owned),
            place: Place::new(&found.file, span, text.as_deref()),
            related: None,
        }
    };
    diagnostics.iter().map(mistake).collect()
}

fn code(error: &EvalError) -> &'static str {
    match error {
        EvalError::NixMissing { .. } => "nix-missing",
        EvalError::Syntax(_) => "nix-syntax",
        EvalError::Eval(_) => "nix-evaluation",
        EvalError::Refused(_) => "nix-value",
        EvalError::Timeout { .. } => "nix-timeout",
        EvalError::TooLarge { .. } | EvalError::TooMany { .. } => "too-large",
        _ => "nix",
    }
}

fn with_causes(error: &EvalError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
