//! Documents around one field, and what the program's decoder says of them.

use std::collections::BTreeSet;

use osmoda_core::spec::{
    decode::{self, Document},
    error::{SpecError, SpecErrorKind},
    tree::{Key, Span, Tree, Value as TreeValue},
};
use serde_json::{Map, Value, json};

use crate::{
    fields::{self, ANY_KEY, FIRST, Kind},
    listed,
};

/// Neighbours without which a value of a field contradicts a default.
const COMPANIONS: [(&str, &str, &str); 3] = [
    ("spec.alerts[0]", "provider", "Webhook"),
    ("spec.alerts[0]", "urlFile", "/run/secrets/url"),
    ("spec.restart.backoff", "max", "1d"),
];

/// A valid document that has what is at `path`, and little else: `value`, or an example.
pub fn document_with(kind: Kind, path: &[String], value: Option<&Value>) -> Value {
    build(fields::schema(kind), &mut Vec::new(), path, value)
}

/// The program's judgement.
///
/// # Errors
/// Every mistake.
pub fn decoded(document: &Value) -> Result<Document, Vec<SpecError>> {
    decode::decode(&tree(document)).map_err(|invalid| invalid.errors)
}

/// What is wrong with the very value at `path`; contradictions with others are left aside.
pub fn complaints(document: &Value, path: &str) -> Vec<SpecErrorKind> {
    let errors = decoded(document).err().unwrap_or_default();
    let of_value = errors.into_iter().filter(|error| {
        let inside = error.path.strip_prefix(path);
        inside.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
            && !matches!(error.kind, SpecErrorKind::Conflict { .. })
    });
    of_value.map(|error| error.kind).collect()
}

/// The fields that the program lists when it is shown one that is none of them.
pub fn known_fields(kind: Kind, path: &[String]) -> BTreeSet<String> {
    let mut document = document_with(kind, path, None);
    let map = fields::at_mut(&mut document, path).as_object_mut().unwrap();
    // Far from every name, or the nearest one would be proposed instead.
    map.insert("????????????????????".to_owned(), json!(0));
    let errors = decoded(&document).unwrap_err();
    let unknown = errors.iter().find(|error| {
        matches!(error.kind, SpecErrorKind::UnknownField { .. })
            && error.path == fields::shown(path)
    });
    let hint = unknown.and_then(|error| error.hint.as_deref());
    let names = hint.and_then(|hint| hint.strip_prefix("the fields here are "));
    listed(names.expect("the hint lists the fields"), " and ")
}

/// The smallest value for `schema` that has all it must have, and what the rest of the path asks.
fn build(schema: &Value, here: &mut Vec<String>, path: &[String], value: Option<&Value>) -> Value {
    let (step, rest) = match path.split_first() {
        Some((step, rest)) => (Some(step.as_str()), rest),
        None => (None, path),
    };
    if step.is_none()
        && let Some(value) = value
    {
        return value.clone();
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(properties) = schema["properties"].as_object() {
        let mut map = Map::new();
        for name in needed(schema, step) {
            let on_path = step == Some(name.as_str());
            here.push(name.clone());
            let (path, value) = if on_path {
                (rest, value)
            } else {
                (&[][..], None)
            };
            map.insert(name.clone(), build(&properties[&name], here, path, value));
            here.pop();
        }
        let place = fields::shown(here);
        for (parent, name, text) in COMPANIONS {
            let is_own = step == Some(name) && (value.is_some() || !rest.is_empty());
            if parent == place && !is_own {
                map.insert(name.to_owned(), json!(text));
            }
        }
        return Value::Object(map);
    }
    match step {
        Some(ANY_KEY) => {
            here.push(ANY_KEY.to_owned());
            let inner = build(&schema["additionalProperties"], here, rest, value);
            here.pop();
            json!({ ANY_KEY: inner })
        }
        Some(FIRST) => {
            here.push(FIRST.to_owned());
            let inner = build(&schema["items"], here, rest, value);
            here.pop();
            json!([inner])
        }
        Some(step) => panic!("there is no {step} at {}", fields::shown(here)),
        None => example(schema, here),
    }
}

/// Fields that must be there, the next step of the path, and one of those of which exactly one
/// must be there.
fn needed(schema: &Value, step: Option<&str>) -> BTreeSet<String> {
    let names = |value: &Value| -> Vec<String> {
        let names = value["required"].as_array().into_iter().flatten();
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut needed: BTreeSet<String> = names(schema).into_iter().collect();
    needed.extend(step.map(str::to_owned));
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    let choices: Vec<String> = choices.flat_map(names).collect();
    if !choices.iter().any(|name| needed.contains(name)) {
        needed.extend(choices.into_iter().next());
    }
    needed
}

fn example(schema: &Value, here: &[String]) -> Value {
    let example = schema["examples"].get(0).or_else(|| schema["enum"].get(0));
    match (example, schema["type"].as_str()) {
        (Some(example), _) => example.clone(),
        (None, Some("object")) => json!({}),
        (None, Some("string")) => json!("text"),
        _ => panic!("{} has no example", fields::shown(here)),
    }
}

/// A document as the decoder reads it; nothing here asks for places.
fn tree(value: &Value) -> Tree {
    let value = match value {
        Value::Null => TreeValue::Null,
        Value::Bool(value) => TreeValue::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => TreeValue::Int(whole),
            None => TreeValue::Float(number.as_f64().unwrap()),
        },
        Value::String(text) => TreeValue::String(text.clone()),
        Value::Array(items) => TreeValue::List(items.iter().map(tree).collect()),
        Value::Object(entries) => TreeValue::Map(
            entries
                .iter()
                .map(|(name, value)| {
                    let key = Key {
                        span: Span::default(),
                        text: name.clone(),
                    };
                    (key, tree(value))
                })
                .collect(),
        ),
    };
    Tree {
        span: Span::default(),
        value,
    }
}
