//! Manifests as text: canonical JSON for bundles, JSON and YAML for people.
//!
//! A manifest is what its author wrote and nothing more: no defaults are added, so that a new
//! default is not a new deployment.

use osmoda_core::spec::{
    API_VERSION,
    tree::{Tree, Value as TreeValue},
};
use osmoda_ledger::canonical::{CanonicalError, canonical_manifest};
use serde_json::{Map, Number, Value};

use super::Loaded;

/// Text form of [`render_manifests`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestFormat {
    /// Several YAML documents.
    Yaml,
    /// One JSON value of `kind: List`.
    Json,
}

/// The same value for serde_json. Of a repeated key the last one counts; a float that is no
/// number is null. (The decoder refuses both before a manifest is made.)
pub(super) fn to_json(tree: &Tree) -> Value {
    match &tree.value {
        TreeValue::Null => Value::Null,
        TreeValue::Bool(value) => Value::Bool(*value),
        TreeValue::Int(number) => Value::Number((*number).into()),
        TreeValue::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        TreeValue::String(text) => Value::String(text.clone()),
        TreeValue::List(items) => Value::Array(items.iter().map(to_json).collect()),
        TreeValue::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key.text.clone(), to_json(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// RFC 8785 canonical JSON of a valid manifest: the bytes whose SHA-256 names its bundle.
pub(super) fn canonical(manifest: &Tree) -> Result<String, CanonicalError> {
    canonical_manifest(&to_json(manifest))
}

/// All valid manifests: the node's, then the agents' by name.
///
/// # Errors
/// [`RenderError`] cannot happen for what [`super::load`] returned; it is not hidden if it does.
pub fn render_manifests(loaded: &Loaded, format: ManifestFormat) -> Result<String, RenderError> {
    let node = loaded.node.iter().map(|node| node.manifest.as_ref());
    let agents = loaded.agents.values().map(|loaded| &*loaded.agent.manifest);
    let manifests: Result<Vec<Value>, _> = node.chain(agents).map(serde_json::from_str).collect();
    let manifests = manifests.map_err(RenderError::Manifest)?;
    match format {
        ManifestFormat::Json => {
            let list = serde_json::json!({
                "apiVersion": API_VERSION,
                "kind": super::LIST_KIND,
                "items": manifests,
            });
            let text = serde_json::to_string_pretty(&list).map_err(RenderError::Manifest)?;
            Ok(text + "\n")
        }
        ManifestFormat::Yaml => {
            let mut text = String::new();
            for manifest in &manifests {
                text.push_str("---\n");
                text.push_str(&serde_saphyr::to_string(manifest)?);
            }
            Ok(text)
        }
    }
}

/// A manifest could not be written as text.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A manifest is not JSON.
    #[error("cannot read a manifest back")]
    Manifest(#[source] serde_json::Error),
    /// The YAML serializer refused a value.
    #[error("cannot write a manifest as YAML")]
    Yaml(#[from] serde_saphyr::SerializeError),
}
