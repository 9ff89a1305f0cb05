//! Loads SPECS: finds the files, reads them, decodes them, checks them against each other.
//!
//! What is valid is returned even if something else is not: one broken file never hides another
//! agent. What is not valid comes back as [`Rejected`], every mistake with its place. The code
//! blocks (files, and the `nix` process): call it from a blocking thread.
//!
//! An agent that is missing from [`Loaded::agents`] was removed by its author only if no
//! rejected file may declare it: see [`Loaded::may_declare`].
//!
//! Where to start: [`load`]; [`render_errors`] for showing what is wrong.

mod bare;
mod files;
mod gather;
mod json;
mod manifest;
mod nix;
mod report;
mod scalar;
mod stamp;
mod yaml;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use osmoda_core::{
    name::AgentName,
    spec::{
        Agent, Node,
        decode::{Document, Invalid, Subject},
        error::SpecError,
        set::{self, Refused},
    },
};
use osmoda_nix::eval::Recipe;

use self::gather::{Failure, Gathered, Source};
pub use self::{
    files::{LoadError, MAX_FILE_BYTES, MAX_FILES, SpecsRef},
    manifest::{ManifestFormat, RenderError, render_manifests},
    report::{MAX_EXCERPT_BYTES, Place, SourceError, render_errors},
    stamp::Stamp,
    yaml::{MAX_ALIASED_SIZE, MAX_DOCUMENTS, MAX_NODES},
};

/// `kind` of a document that holds others under `items`, as [`render_manifests`] writes it.
const LIST_KIND: &str = "List";

/// How to load.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// How `.nix` files and flakes are evaluated.
    pub nix: osmoda_nix::eval::EvalOptions,
}

/// What SPECS declare.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Every valid agent.
    pub agents: BTreeMap<AgentName, LoadedAgent>,
    /// The node, if one is declared and valid.
    pub node: Option<LoadedNode>,
    /// Every file with a mistake, sorted by name.
    pub rejected: Vec<Rejected>,
}

/// A valid agent and where it is from.
#[derive(Debug, Clone)]
pub struct LoadedAgent {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Its file as it was named, or the flake reference.
    pub file: PathBuf,
    /// How what it needs is built, if it is written in Nix.
    pub recipe: Option<Arc<Recipe>>,
}

/// A valid node and where it is from.
#[derive(Debug, Clone)]
pub struct LoadedNode {
    /// The node.
    pub node: Node,
    /// Its manifest as RFC 8785 canonical JSON.
    pub manifest: Arc<str>,
    /// Its file as it was named, or the flake reference.
    pub file: PathBuf,
}

/// A file with mistakes. Other documents of the same file may be valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The file as it was named, or the flake reference.
    pub file: PathBuf,
    /// Agents that it declares and that are refused, as far as their names are known.
    pub agents: Vec<AgentName>,
    /// Whether a Node is among what is refused.
    pub node: bool,
    /// Whether it may declare agents whose names are not known: the file could not be read, or
    /// a document of it says no valid name.
    pub incomplete: bool,
    /// Every mistake, at least one, in the order of the file.
    pub errors: Vec<SourceError>,
}

impl Loaded {
    /// Whether a rejected file may declare `agent`, last seen in `file`: its absence then is a
    /// mistake to be mended, not a removal.
    pub fn may_declare(&self, agent: &AgentName, file: &Path) -> bool {
        self.rejected.iter().any(|rejected| {
            rejected.agents.contains(agent) || (rejected.incomplete && rejected.file == file)
        })
    }
}

/// Loads SPECS.
///
/// # Errors
/// [`LoadError`]: SPECS as a whole is missing or cannot be read; then nothing is known, and the
/// last valid specs stay in force.
pub fn load(specs: &SpecsRef, options: &LoadOptions) -> Result<Loaded, LoadError> {
    Ok(assemble(gather::gather(specs, options)?))
}

/// Reads the manifest of one agent back from a bundle.
///
/// # Errors
/// Every mistake. A bundle written by another version of osmoda may well have some.
pub fn load_manifest(json: &str) -> Result<Agent, Vec<SpecError>> {
    let tree = json::read(json).map_err(|error| vec![error.into_spec_error()])?;
    let (document, manifest) = gather::decode(&tree).map_err(|invalid| invalid.errors)?;
    match document {
        Document::Agent(draft) => Ok(draft.with_manifest(manifest)),
        Document::Node(draft) => Err(vec![gather::not_an_agent(draft.span)]),
    }
}

/// Reads a Node's manifest back, as it was kept; `None`: another version of osmoda kept it.
pub fn load_node(json: &str) -> Option<Loaded> {
    let mut gathered = Gathered::default();
    let decoded = gather::decode(&json::read(json).ok()?);
    gathered.documents.push((0, decoded));
    gathered.sources.push(Source {
        file: PathBuf::new(),
        text: None,
        recipe: None,
    });
    let loaded = assemble(gathered);
    loaded.node.is_some().then_some(loaded)
}

/// Checks the documents against each other and sorts out what is valid.
fn assemble(gathered: Gathered) -> Loaded {
    let Gathered {
        sources,
        documents,
        failures,
        elsewhere,
        ..
    } = gathered;
    let mut manifests = BTreeMap::new();
    let mut node_manifest = None;
    let documents: Vec<(usize, Result<Document, Invalid>)> = documents
        .into_iter()
        .map(|(source, result)| {
            let document = result.map(|(document, manifest)| {
                match &document {
                    Document::Agent(draft) => {
                        manifests.insert(draft.name.clone(), manifest);
                    }
                    Document::Node(_) => node_manifest = Some(manifest),
                }
                document
            });
            (source, document)
        })
        .collect();
    let set = set::check(documents, &elsewhere);
    let mut loaded = Loaded::default();
    for (name, (source, draft)) in set.agents {
        let (Some(manifest), Some(source)) = (manifests.remove(&name), sources.get(source)) else {
            continue;
        };
        let agent = LoadedAgent {
            agent: Arc::new(draft.with_manifest(manifest)),
            file: source.file.clone(),
            recipe: source.recipe.clone(),
        };
        loaded.agents.insert(name, agent);
    }
    if let (Some((source, node)), Some(manifest)) = (set.node, node_manifest)
        && let Some(source) = sources.get(source)
    {
        loaded.node = Some(LoadedNode {
            node,
            manifest,
            file: source.file.clone(),
        });
    }
    loaded.rejected = rejected(&sources, set.refused, failures);
    loaded
}

/// One entry per file, from the mistakes in documents and those of whole files.
fn rejected(sources: &[Source], refused: Vec<Refused>, failures: Vec<Failure>) -> Vec<Rejected> {
    let mut by_file: BTreeMap<PathBuf, Rejected> = BTreeMap::new();
    for Failure {
        source,
        agent,
        error,
    } in failures
    {
        let Some(source) = sources.get(source) else {
            continue;
        };
        let rejected = entry(&mut by_file, source);
        rejected.incomplete = true;
        rejected.agents.extend(agent);
        rejected.errors.push(error);
    }
    for Refused {
        source,
        subject,
        error,
    } in refused
    {
        let Some(error) = locate(sources, source, &error) else {
            continue;
        };
        let Some(source) = sources.get(source) else {
            continue;
        };
        let rejected = entry(&mut by_file, source);
        match subject {
            Subject::Agent(name, _) => rejected.agents.push(name),
            Subject::Node(_) => rejected.node = true,
            Subject::Unknown => rejected.incomplete = true,
        }
        rejected.errors.push(error);
    }
    for rejected in by_file.values_mut() {
        rejected.agents.sort();
        rejected.agents.dedup();
        rejected.errors.sort_by_key(|error| error.place.span);
    }
    by_file.into_values().collect()
}

fn entry<'a>(by_file: &'a mut BTreeMap<PathBuf, Rejected>, source: &Source) -> &'a mut Rejected {
    let file = source.file.clone();
    by_file.entry(file.clone()).or_insert(Rejected {
        file,
        agents: Vec::new(),
        node: false,
        incomplete: false,
        errors: Vec::new(),
    })
}

/// The mistake with its place in the file.
fn locate(sources: &[Source], source: usize, error: &SpecError) -> Option<SourceError> {
    let place = |source: usize, span| {
        let source = sources.get(source)?;
        Some(Place::new(&source.file, span, source.text.as_deref()))
    };
    let related = error.related.as_ref().and_then(|related| {
        let place = place(related.source.unwrap_or(source), related.span)?;
        Some((place, related.label))
    });
    Some(SourceError {
        code: error.code(),
        path: error.path.clone(),
        message: error.to_string(),
        help: error.hint.clone(),
        place: place(source, error.span)?,
        related,
    })
}
