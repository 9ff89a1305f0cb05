//! Specs from the output of a flake.
//!
//! Nix evaluates the whole attribute or nothing, so one broken spec takes the others with it; a
//! place in a flake's source would be a path in the store, which nobody can edit, so there is
//! none.

use std::path::PathBuf;

use osmoda_core::spec::tree::{Tree, Value};

use super::{
    Diagnostic, EvalError, EvalOptions, EvaluatedSpec, answer, ask, command, position::Source,
    stderr, tree, tree::Walk,
};

/// Evaluates `FLAKE#ATTRIBUTE`.
pub(super) fn evaluate(
    reference: &str,
    options: &EvalOptions,
) -> Result<Vec<EvaluatedSpec>, EvalError> {
    let file = PathBuf::from(reference);
    if reference.starts_with('-') || !reference.contains('#') {
        return Err(EvalError::Eval(Diagnostic {
            file,
            line: 0,
            column: 0,
            length: 0,
            message: "is not a flake reference".to_owned(),
            hint: Some("write FLAKE#ATTRIBUTE, such as .#agents"),
        }));
    }
    let mut command = command::for_flake(reference, options);
    let stdout = ask(&mut command, command::NIX, reference, options)?
        .map_err(|text| stderr::error(&text, &file, &[]))?;
    let walk: Walk = answer(&stdout, reference)?;
    let tree = tree::build(walk, &file, &Source::default()).map_err(EvalError::Refused)?;
    let specs = split(tree).into_iter().map(|(name, tree)| EvaluatedSpec {
        name,
        file: file.clone(),
        result: Ok(tree),
    });
    Ok(specs.collect())
}

/// `{ NAME = spec; }`, a list of manifests, or one manifest.
fn split(tree: Tree) -> Vec<(String, Tree)> {
    match tree.value {
        Value::List(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| (manifest_name(&item).unwrap_or(format!("{index}")), item))
            .collect(),
        Value::Map(entries) if !entries.iter().any(|(key, _)| key.text == "apiVersion") => entries
            .into_iter()
            .map(|(key, tree)| (key.text, tree))
            .collect(),
        value => {
            let tree = Tree {
                span: tree.span,
                value,
            };
            vec![(manifest_name(&tree).unwrap_or_default(), tree)]
        }
    }
}

/// `metadata.name`.
fn manifest_name(tree: &Tree) -> Option<String> {
    let get = |tree: &Tree, name: &str| match &tree.value {
        Value::Map(entries) => entries
            .iter()
            .find(|(key, _)| key.text == name)
            .map(|(_, tree)| tree.clone()),
        _ => None,
    };
    match get(&get(tree, "metadata")?, "name")?.value {
        Value::String(name) => Some(name),
        _ => None,
    }
}
