//! The document against itself and against the types that it speaks of.

use std::collections::BTreeSet;

use osmoda_core::{
    alert::Change,
    diff::Difference,
    observed::Generation,
    rollout::Verdict,
    spec::Severity,
    status::{Condition, ConditionStatus, ConditionType, Phase},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::document;
use crate::api::{operations, route::Route};

fn schema(name: &str) -> Value {
    document()["components"]["schemas"][name].clone()
}

/// Every place that something is referred to.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(to)) = fields.get("$ref") {
                found.insert(to.clone());
            }
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_operation_is_in_the_document_and_every_documented_one_is_served() {
    let document = document();
    let mut documented = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if method == "parameters" {
                continue;
            }
            documented += 1;
            let method = method.to_ascii_uppercase().parse().unwrap();
            let asked = Route::of(&method, &path.replace("{name}", "a"));
            assert!(asked.is_ok(), "{method} {path}: {asked:?}");
            assert!(
                operation["responses"]["200"]["content"].is_object(),
                "{path}"
            );
        }
    }
    assert_eq!(documented, operations::all().len());
}

#[test]
fn what_the_document_refers_to_is_in_it_and_nothing_else_is() {
    let document = document();
    let mut wanted = BTreeSet::new();
    references(&document, &mut wanted);
    for place in &wanted {
        let pointer = place.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{place}");
    }
    for (kind, spoken_of) in [
        // Data of an event: named in a text.
        ("schemas", BTreeSet::from(["LogLine".to_owned()])),
        ("responses", BTreeSet::new()),
    ] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let place = format!("#/components/{kind}/{name}");
            assert!(
                wanted.contains(&place) || spoken_of.contains(name),
                "{place}"
            );
        }
    }
}

/// The words of the schema are those that the type is read from and written as.
fn is_the_same_words<T: Serialize + DeserializeOwned>(name: &str, words: usize) {
    let schema = schema(name);
    let listed = schema["enum"].as_array().unwrap();
    assert_eq!(listed.len(), words, "{name}");
    for word in listed {
        let value: T = serde_json::from_value(word.clone()).unwrap();
        assert_eq!(&serde_json::to_value(value).unwrap(), word);
    }
}

#[test]
fn words_of_the_core_are_the_documents_words() {
    is_the_same_words::<Phase>("Phase", 10);
    is_the_same_words::<Verdict>("Verdict", 3);
    is_the_same_words::<ConditionType>("ConditionType", 7);
    is_the_same_words::<ConditionStatus>("ConditionStatus", 3);
    is_the_same_words::<Change>("Change", 4);
    is_the_same_words::<Severity>("Severity", 3);
}

#[test]
fn objects_of_the_core_have_the_documents_fields() {
    let fields =
        |value: Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    let condition: Condition = serde_json::from_value(json!({
        "type": "Ready", "status": "True", "reason": "", "message": "", "lastTransitionTime": ""
    }))
    .unwrap();
    let generation: Generation =
        serde_json::from_value(json!({"number": 1, "storePath": "/a"})).unwrap();
    let difference = Difference {
        path: String::new(),
        desired: String::new(),
        observed: String::new(),
        reason: String::new(),
    };
    for (name, sent) in [
        ("Condition", serde_json::to_value(condition).unwrap()),
        ("Generation", serde_json::to_value(generation).unwrap()),
        ("Difference", serde_json::to_value(difference).unwrap()),
    ] {
        assert_eq!(
            fields(sent),
            fields(schema(name)["properties"].clone()),
            "{name}"
        );
    }
}

#[test]
fn absent_values_are_null_and_may_be_so() {
    let schema = schema("AgentStatus");
    assert_eq!(
        schema["properties"]["pid"]["type"],
        json!(["integer", "null"])
    );
    let required = schema["required"].as_array().unwrap();
    assert!(required.contains(&json!("phase")) && !required.contains(&json!("pid")));
}

#[test]
fn what_can_be_impossible_as_things_are_is_documented_so() {
    let document = document();
    for path in ["/v1/agents/{name}/rollback", "/v1/system/rollback"] {
        let refused = &document["paths"][path]["post"]["responses"]["409"];
        assert!(refused.is_object(), "{path}");
    }
    let restart = &document["paths"]["/v1/agents/{name}/restart"]["post"]["responses"];
    assert_eq!(restart["409"], Value::Null);
}
