//! The schema as a list of fields, each of which can be put into a document.
//!
//! A path leads from the document to a field: a name of a property, [`ANY_KEY`] for an entry of
//! a map whose keys are the user's, [`FIRST`] for an item of a list.

use std::sync::LazyLock;

use osmoda_core::spec::{decode::Document, error::SpecErrorKind};
use serde_json::Value;

use crate::verdict::{complaints, decoded, document_with};

/// A key that is valid wherever users choose keys.
pub const ANY_KEY: &str = "a";
/// The first item of a list, as the program writes it in paths.
pub const FIRST: &str = "[0]";

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../docs/manifest.schema.json")).unwrap()
});

/// The kinds of manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Agent,
    Node,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Agent, Self::Node];
}

/// The schema of a kind.
pub fn schema(kind: Kind) -> &'static Value {
    &SCHEMA["$defs"][format!("{kind:?}")]
}

/// A field that holds a value and not further fields.
#[derive(Debug)]
pub struct Field {
    pub kind: Kind,
    pub path: Vec<String>,
    pub schema: &'static Value,
}

impl Field {
    /// All fields below `spec`.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let spec = &schema(kind)["properties"]["spec"];
            walk(spec, vec!["spec".to_owned()], &mut |path, schema| {
                if path.len() > 1 && !is_item(&path) && !is_group(schema) {
                    all.push(Self { kind, path, schema });
                }
            });
        }
        assert!(all.len() > 100, "only {} fields were found", all.len());
        all
    }

    /// For messages.
    pub fn name(&self) -> String {
        format!("{:?} {}", self.kind, shown(&self.path))
    }

    /// What the program says against this value at this place, whatever else is wrong.
    pub fn complaints(&self, value: &Value) -> Vec<SpecErrorKind> {
        let document = document_with(self.kind, &self.path, Some(value));
        complaints(&document, &shown(&self.path))
    }

    /// The document with this field so, or left out.
    pub fn decoded(&self, value: Option<&Value>) -> Document {
        let mut document = document_with(self.kind, &self.path, value);
        if value.is_none() {
            let (name, parent) = self.path.split_last().unwrap();
            let map = at_mut(&mut document, parent).as_object_mut().unwrap();
            map.remove(name);
        }
        match decoded(&document) {
            Ok(document) => document,
            Err(errors) => panic!("{}: {errors:?}\n{document:#}", self.name()),
        }
    }
}

/// Every map with fields, the document itself included.
pub fn maps(kind: Kind) -> Vec<(Vec<String>, &'static Value)> {
    let mut maps = Vec::new();
    walk(schema(kind), Vec::new(), &mut |path, schema| {
        if schema.get("properties").is_some() {
            maps.push((path, schema));
        }
    });
    maps
}

/// The path as the program shows it: `spec.alerts[0].name`.
pub fn shown(path: &[String]) -> String {
    let mut shown = String::new();
    for step in path {
        if !shown.is_empty() && step != FIRST {
            shown.push('.');
        }
        shown.push_str(step);
    }
    shown
}

/// The value at a path of a document.
pub fn at_mut<'a>(document: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter()
        .fold(document, |value, step| match step.as_str() {
            FIRST => &mut value[0],
            name => &mut value[name],
        })
}

/// A group has no value of its own: without an example, only its fields say what it is.
fn is_group(schema: &Value) -> bool {
    schema.get("properties").is_some() && schema.get("examples").is_none()
}

/// An entry or item has no name of its own.
fn is_item(path: &[String]) -> bool {
    path.last()
        .is_some_and(|step| step == FIRST || step == ANY_KEY)
}

fn walk(
    schema: &'static Value,
    path: Vec<String>,
    visit: &mut impl FnMut(Vec<String>, &'static Value),
) {
    let below = |step: &str| [path.as_slice(), &[step.to_owned()]].concat();
    if let Some(properties) = schema["properties"].as_object() {
        for (name, inner) in properties {
            walk(inner, below(name), visit);
        }
    }
    if schema["additionalProperties"].is_object() {
        walk(&schema["additionalProperties"], below(ANY_KEY), visit);
    }
    // Items without fields are judged with their list.
    if schema["items"].get("properties").is_some() {
        walk(&schema["items"], below(FIRST), visit);
    }
    visit(path, schema);
}
