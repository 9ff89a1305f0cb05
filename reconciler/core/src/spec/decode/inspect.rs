//! What must hold anywhere in a document, whatever its fields mean.
//!
//! No key twice in a map, no NUL byte in a string, no nesting beyond the bound.

use super::reader::Reader;
use crate::spec::{
    error::{SpecError, SpecErrorKind},
    limits,
    tree::{Key, Tree, Value},
};
use std::collections::BTreeMap;

/// Notes what is wrong anywhere in `document`; false if it is nested too deeply to go on.
pub(super) fn inspect(reader: &mut Reader, document: &Tree) -> bool {
    walk(reader, document, "", 0)
}

fn walk(reader: &mut Reader, tree: &Tree, path: &str, depth: usize) -> bool {
    if depth > limits::MAX_DEPTH {
        let kind = SpecErrorKind::TooDeep;
        let hint = format!("at most {} levels are allowed", limits::MAX_DEPTH);
        reader.note(SpecError::new(kind, "", tree.span).hint(hint));
        return false;
    }
    match &tree.value {
        Value::String(text) => {
            if text.contains('\0') {
                reader.note(SpecError::new(SpecErrorKind::NulByte, path, tree.span));
            }
            true
        }
        Value::List(items) => {
            let mut items = items.iter().enumerate();
            items.all(|(index, item)| walk(reader, item, &format!("{path}[{index}]"), depth + 1))
        }
        Value::Map(entries) => {
            keys(reader, entries, path);
            entries.iter().all(|(key, value)| {
                let path = super::reader::join(path, &key.text);
                walk(reader, value, &path, depth + 1)
            })
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => true,
    }
}

fn keys(reader: &mut Reader, entries: &[(Key, Tree)], path: &str) {
    let mut first_places = BTreeMap::new();
    for (key, _) in entries {
        if key.text.contains('\0') {
            reader.note(SpecError::new(SpecErrorKind::NulByte, path, key.span));
        }
        let Some(first) = first_places.insert(key.text.as_str(), key.span) else {
            continue;
        };
        first_places.insert(key.text.as_str(), first);
        let kind = SpecErrorKind::DuplicateKey {
            key: key.text.clone(),
        };
        let error = SpecError::new(kind, path, key.span);
        reader.note(error.related(None, first, "first given here"));
    }
}
