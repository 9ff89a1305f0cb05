//! Turns a document into an agent or a node, and reports every mistake in it at once.
//!
//! [`decode`] is the only maker of specs: what it returns has its defaults applied, its units
//! parsed and its rules checked. The rules between agents are [`super::set`]'s.
//!
//! Where to start: [`decode`] for the envelope (apiVersion, kind, metadata), `agent` for `spec`
//! of an Agent, `node` for that of a Node, `reader` and `values` for how values are read.

mod agent;
mod inspect;
mod node;
mod policy;
mod probe;
mod reader;
mod text;
mod values;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

pub(in crate::spec) use self::reader::did_you_mean;
use self::reader::{Fields, Reader, Slot};
pub use self::text::RESERVED_VARIABLES;
use super::{
    API_VERSION, Agent, AgentSpec, Node,
    error::{SpecError, SpecErrorKind},
    tree::{Span, Tree, Value},
};
use crate::name::AgentName;

/// A valid document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// `kind: Agent`.
    Agent(Box<AgentDraft>),
    /// `kind: Node`.
    Node(Box<NodeDraft>),
}

/// An agent whose own rules hold; those between agents are not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentDraft {
    /// `metadata.name`.
    pub name: AgentName,
    /// Where the name stands.
    pub name_span: Span,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec`, with defaults applied.
    pub spec: AgentSpec,
    /// Where each entry of `spec.dependsOn` stands, in its order.
    pub dependency_spans: Vec<Span>,
}

impl AgentDraft {
    /// The agent, given its manifest as RFC 8785 canonical JSON.
    pub fn with_manifest(self, manifest: Arc<str>) -> Agent {
        Agent {
            name: self.name,
            labels: self.labels,
            spec: self.spec.into(),
            manifest,
        }
    }
}

/// A node whose own rules hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDraft {
    /// The node.
    pub node: Node,
    /// Where its `kind` stands.
    pub span: Span,
}

/// A document with mistakes, and whose it is as far as that can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What it would have declared.
    pub subject: Subject,
    /// Every mistake, at least one, in the order of the source.
    pub errors: Vec<SpecError>,
    /// The entries of an agent's `spec.dependsOn`, as far as they could be read.
    pub depends_on: Vec<(AgentName, Span)>,
}

/// What an invalid document would have declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An agent with a valid name, standing there.
    Agent(AgentName, Span),
    /// A node, its `kind` standing there.
    Node(Span),
    /// It cannot be told.
    Unknown,
}

#[derive(Clone, Copy)]
enum Kind {
    Agent,
    Node,
}

const KINDS: [(&str, Kind); 2] = [("Agent", Kind::Agent), ("Node", Kind::Node)];
const ENVELOPE: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];

/// Decodes one document.
///
/// # Errors
/// [`Invalid`] lists every mistake, at most [`super::limits::MAX_ERRORS`] one by one.
pub fn decode(document: &Tree) -> Result<Document, Invalid> {
    let mut reader = Reader::default();
    let root = Slot {
        path: String::new(),
        tree: document,
        key: None,
    };
    if !inspect::inspect(&mut reader, document) {
        return Err(invalid(reader, Subject::Unknown));
    }
    let fields = reader.fields(&root, &ENVELOPE);
    api_version(&mut reader, &fields);
    let kind_slot = fields.get("kind");
    let kind = reader.required(&fields, ("kind", "Agent"), |reader, slot| {
        reader.choice(slot, &KINDS)
    });
    let kind_span = kind_slot.map_or(document.span, |slot| slot.tree.span);
    match kind {
        Some(Kind::Agent) => decode_agent(reader, &fields),
        Some(Kind::Node) => decode_node(reader, &fields, kind_span),
        None => {
            let subject = match named(&fields) {
                Some((name, span)) => Subject::Agent(name, span),
                None => Subject::Unknown,
            };
            Err(invalid(reader, subject))
        }
    }
}

fn invalid(reader: Reader, subject: Subject) -> Invalid {
    Invalid {
        subject,
        errors: reader.finish(),
        depends_on: Vec::new(),
    }
}

fn api_version(reader: &mut Reader, fields: &Fields<'_>) {
    let version = reader.required(fields, ("apiVersion", API_VERSION), |reader, slot| {
        let text = reader.text(slot, super::limits::MAX_LABEL_BYTES)?;
        Some((text, slot.tree.span))
    });
    let Some((found, span)) = version else {
        return;
    };
    if found != API_VERSION {
        let found = found.to_owned();
        let kind = SpecErrorKind::UnsupportedVersion { found };
        reader.note(SpecError::new(kind, "apiVersion", span));
    }
}

/// The name, where it can be told, without noting anything.
fn named(fields: &Fields<'_>) -> Option<(AgentName, Span)> {
    let metadata = fields.get("metadata")?;
    let Value::Map(entries) = &metadata.tree.value else {
        return None;
    };
    let (_, tree) = entries.iter().find(|(key, _)| key.text == "name")?;
    let Value::String(text) = &tree.value else {
        return None;
    };
    Some((AgentName::new(text).ok()?, tree.span))
}

fn decode_agent(mut reader: Reader, fields: &Fields<'_>) -> Result<Document, Invalid> {
    let metadata = reader.required(
        fields,
        ("metadata", "{name: researcher}"),
        |reader, slot| Some(reader.agent_metadata(slot)),
    );
    let (name, labels) = metadata.unwrap_or_default();
    let own_name = name.as_ref().map(|(name, _)| name);
    let spec = reader.required(fields, ("spec", "{command: […]}"), |reader, slot| {
        Some(reader.agent_spec(slot, own_name))
    });
    match (name, spec) {
        (Some((name, name_span)), Some((spec, dependency_spans))) if reader.is_clean() => {
            Ok(Document::Agent(Box::new(AgentDraft {
                name,
                name_span,
                labels,
                spec,
                dependency_spans,
            })))
        }
        (Some((name, span)), spec) => {
            let mut invalid = invalid(reader, Subject::Agent(name, span));
            if let Some((spec, spans)) = spec {
                invalid.depends_on = spec.depends_on.into_iter().zip(spans).collect();
            }
            Err(invalid)
        }
        (None, _) => Err(invalid(reader, Subject::Unknown)),
    }
}

fn decode_node(
    mut reader: Reader,
    fields: &Fields<'_>,
    kind_span: Span,
) -> Result<Document, Invalid> {
    let name = reader.optional(fields, "metadata", Reader::node_metadata);
    let node = reader.optional(fields, "spec", |reader, slot| {
        Some(reader.node_spec(slot, name.as_deref()))
    });
    let mut node = node.unwrap_or_default();
    node.name = name.or(node.name);
    if reader.is_clean() {
        let span = kind_span;
        return Ok(Document::Node(Box::new(NodeDraft { node, span })));
    }
    Err(invalid(reader, Subject::Node(kind_span)))
}
