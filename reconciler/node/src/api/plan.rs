//! Manifests that somebody wants to know the consequences of: the body of POST /v1/plan.
//!
//! The command line has checked them against each other; here each is read by itself.

use std::{path::PathBuf, sync::Arc};

use serde_json::value::RawValue;

use super::{limits::MANIFESTS_MAX, respond::Problem};
use crate::specs::{Loaded, LoadedAgent, load_manifest};

/// Reads a JSON array of manifests of agents.
///
/// # Errors
/// 400 that names the manifest by its place in the array, and every mistake in it.
pub fn read(body: &[u8]) -> Result<Loaded, Problem> {
    let manifests: Vec<Box<RawValue>> = serde_json::from_slice(body).map_err(|error| {
        Problem::invalid(format!(
            "the body is not a JSON array of manifests: {error}"
        ))
    })?;
    if manifests.len() > MANIFESTS_MAX {
        return Err(Problem::invalid(format!(
            "more than {MANIFESTS_MAX} manifests"
        )));
    }
    let mut loaded = Loaded::default();
    for (place, manifest) in manifests.iter().enumerate() {
        let agent = load_manifest(manifest.get()).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Problem::invalid(format!("manifest {place}: {}", errors.join("; ")))
                .hint("`osmoda validate SPECS` shows every mistake in its place")
        })?;
        let name = agent.name.clone();
        let file = PathBuf::from(format!("manifest {place}"));
        let entry = LoadedAgent {
            agent: Arc::new(agent),
            file,
            recipe: None,
        };
        if loaded.agents.insert(name.clone(), entry).is_some() {
            return Err(Problem::invalid(format!(
                "manifest {place}: a second agent {name}"
            )));
        }
    }
    Ok(loaded)
}
