//! Makes a manifest of what a Nix file gives.
//!
//! A file may give a whole manifest (it has `apiVersion`), a `spec` with `labels` beside it, or
//! the fields of the spec themselves, again with `labels` among them. All but the first take
//! the agent's name from the file.

use osmoda_core::spec::{
    API_VERSION,
    tree::{Key, Span, Tree, Value},
};

/// The manifest for `value`, named `name` unless it names itself.
pub(super) fn manifest(name: &str, value: Tree) -> Tree {
    let Value::Map(entries) = value.value else {
        return value;
    };
    let span = value.span;
    let has = |name: &str| entries.iter().any(|(key, _)| key.text == name);
    if has("apiVersion") {
        return map(span, entries);
    }
    let named = entry(span, "name", text(span, name));
    let (spec, metadata) = if has("spec") {
        // What is neither goes to metadata, where the decoder calls it unknown.
        let (specs, others): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(key, _)| key.text == "spec");
        (specs, others)
    } else {
        let (labels, fields): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|(key, _)| key.text == "labels");
        (vec![entry(span, "spec", map(span, fields))], labels)
    };
    let metadata = std::iter::once(named).chain(metadata).collect();
    let envelope = [
        entry(span, "apiVersion", text(span, API_VERSION)),
        entry(span, "kind", text(span, "Agent")),
        entry(span, "metadata", map(span, metadata)),
    ];
    map(span, envelope.into_iter().chain(spec).collect())
}

fn entry(span: Span, name: &str, tree: Tree) -> (Key, Tree) {
    let text = name.to_owned();
    (Key { span, text }, tree)
}

fn text(span: Span, text: &str) -> Tree {
    Tree {
        span,
        value: Value::String(text.to_owned()),
    }
}

fn map(span: Span, entries: Vec<(Key, Tree)>) -> Tree {
    Tree {
        span,
        value: Value::Map(entries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specs::{json, manifest::to_json};

    fn check(given: &str, expected: &str) {
        let manifest = manifest("worker", json::read(given).unwrap());
        assert_eq!(
            to_json(&manifest),
            serde_json::from_str::<serde_json::Value>(expected).unwrap()
        );
    }

    #[test]
    fn a_bare_spec_is_named_by_its_file() {
        check(
            r#"{"command":["a"],"labels":{"team":"x"}}"#,
            r#"{"apiVersion":"osmoda/v1","kind":"Agent",
                "metadata":{"name":"worker","labels":{"team":"x"}},"spec":{"command":["a"]}}"#,
        );
        check(
            r#"{"spec":{"command":["a"]},"labels":{"team":"x"}}"#,
            r#"{"apiVersion":"osmoda/v1","kind":"Agent",
                "metadata":{"name":"worker","labels":{"team":"x"}},"spec":{"command":["a"]}}"#,
        );
    }

    #[test]
    fn a_manifest_and_what_is_no_map_stay_as_they_are() {
        let manifest = r#"{"apiVersion":"osmoda/v1","kind":"Node"}"#;
        check(manifest, manifest);
        check("[1]", "[1]");
    }

    #[test]
    fn a_misspelt_neighbour_of_spec_is_not_lost() {
        check(
            r#"{"spec":{},"lables":{}}"#,
            r#"{"apiVersion":"osmoda/v1","kind":"Agent",
                "metadata":{"name":"worker","lables":{}},"spec":{}}"#,
        );
    }
}
