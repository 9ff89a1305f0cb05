//! docs/manifest.schema.json, which is generated from the options of the NixOS module, says of
//! every field what the program itself says: name, words, bounds and default.
//!
//! Where to start: [`fields::Field`] for how one field is put into a document that is otherwise
//! as small as it can be; the tests below ask the program's decoder about such documents.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod fields;
mod verdict;

use std::collections::BTreeSet;

use osmoda_core::{
    spec::{
        Sandbox,
        decode::{Document, RESERVED_VARIABLES},
        error::SpecErrorKind,
    },
    units::{ByteSize, CpuPercent, Period},
};
use serde_json::{Value, json};

use fields::{Field, Kind, schema};
use verdict::{decoded, document_with, known_fields};

#[test]
fn every_map_of_the_schema_has_the_fields_that_the_program_knows() {
    let mut maps = 0;
    for kind in Kind::ALL {
        for (path, map) in fields::maps(kind) {
            let told: BTreeSet<String> = map["properties"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            assert_eq!(told, known_fields(kind, &path), "{kind:?} {path:?}");
            maps += 1;
        }
    }
    assert!(maps > 40, "only {maps} maps were found");
}

#[test]
fn what_the_schema_requires_the_program_misses() {
    for kind in Kind::ALL {
        for (path, map) in fields::maps(kind) {
            for name in map["properties"].as_object().unwrap().keys() {
                let mut document = document_with(kind, &path, None);
                let place = fields::at_mut(&mut document, &path);
                let required = required(map, place);
                place.as_object_mut().unwrap().remove(name);
                let errors = decoded(&document).err().unwrap_or_default();
                let missed = errors.iter().any(|error| {
                    matches!(&error.kind, SpecErrorKind::MissingField { field } if field == name)
                        && error.path == fields::shown(&path)
                });
                let wanted = required.contains(name.as_str());
                assert_eq!(missed, wanted, "{kind:?} {path:?} {name}");
            }
        }
    }
}

#[test]
fn every_example_is_accepted() {
    for field in Field::all() {
        let examples = field.schema["examples"].as_array();
        let examples = examples.cloned().unwrap_or_default();
        assert!(!examples.is_empty(), "{} has no example", field.name());
        for example in examples {
            let found = field.complaints(&example);
            assert!(found.is_empty(), "{} = {example}: {found:?}", field.name());
        }
    }
}

#[test]
fn every_default_is_what_the_program_takes_when_nothing_is_said() {
    let mut defaults = 0;
    for field in Field::all() {
        let Some(default) = field.schema.get("default") else {
            continue;
        };
        let silent = meant(field.decoded(None));
        let spoken = meant(field.decoded(Some(default)));
        assert_eq!(spoken, silent, "{} = {default}", field.name());
        defaults += 1;
    }
    assert!(defaults > 60, "only {defaults} defaults were found");
}

/// The program tells a sandbox that was asked for from one that is its default, to be able to say
/// where it cannot be had. What is done is the same.
fn meant(document: Document) -> Document {
    match document {
        Document::Agent(mut draft) => {
            draft.spec.sandbox.get_or_insert(Sandbox::Default);
            Document::Agent(draft)
        }
        node @ Document::Node(_) => node,
    }
}

#[test]
fn the_program_takes_each_word_and_knows_no_other() {
    let mut choices = 0;
    for field in Field::all() {
        let words: BTreeSet<String> = strings(&field.schema["enum"]).map(str::to_owned).collect();
        let wrong = field.complaints(&json!("no-such-word"));
        let known = wrong.iter().find_map(|kind| match kind {
            SpecErrorKind::UnknownValue { allowed, .. } => Some(listed(allowed, " or ")),
            _ => None,
        });
        assert_eq!(known.unwrap_or_default(), words, "{}", field.name());
        choices += usize::from(!words.is_empty());
    }
    assert!(choices > 10, "only {choices} choices were found");
}

#[test]
fn every_bound_is_the_programs_own() {
    let mut bounds = 0;
    for field in Field::all() {
        if let Some((least, most, below, above)) = field_bounds(&field) {
            let name = field.name();
            for inside in [least, most] {
                let found = field.complaints(&inside);
                assert!(found.is_empty(), "{name} = {inside}: {found:?}");
            }
            for outside in [below, above].into_iter().flatten() {
                assert!(
                    !field.complaints(&outside).is_empty(),
                    "{name} = {outside} is accepted"
                );
            }
            bounds += 1;
        }
    }
    assert!(bounds > 40, "only {bounds} bounds were found");
}

#[test]
fn names_that_osmoda_sets_itself_are_reserved_in_both() {
    let names = &schema(Kind::Agent)["properties"]["spec"]["properties"]["environment"];
    let reserved: BTreeSet<&str> = strings(&names["propertyNames"]["not"]["enum"]).collect();
    assert_eq!(reserved, BTreeSet::from(RESERVED_VARIABLES));
}

/// Least and greatest value, and the nearest ones beyond where there are any.
type Bounds = (Value, Value, Option<Value>, Option<Value>);

fn field_bounds(field: &Field) -> Option<Bounds> {
    let quantity = &field.schema["x-osmoda"];
    if let Some(unit) = quantity["unit"].as_str() {
        let least = quantity["least"].as_str().unwrap();
        let most = quantity["most"].as_str().unwrap();
        let (read, write) = unit_of(unit);
        let before = read(least).checked_sub(1).map(write);
        let after = Some(write(read(most) + 1));
        return Some((json!(least), json!(most), before, after));
    }
    let (least, most) = (field.schema.get("minimum")?, field.schema.get("maximum")?);
    // A decimal is kept in thousandths.
    let step = if field.schema.get("multipleOf").is_some() {
        0.001
    } else {
        1.0
    };
    let beyond = |bound: &Value, step: f64| {
        let value = bound.as_f64().unwrap() + step;
        if step.fract() == 0.0 {
            #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
            let whole = value as i64;
            json!(whole)
        } else {
            json!(value)
        }
    };
    let (before, after) = (beyond(least, -step), beyond(most, step));
    Some((least.clone(), most.clone(), Some(before), Some(after)))
}

/// Reads a text with a unit, and writes one.
type Unit = (fn(&str) -> u64, fn(u64) -> Value);

fn unit_of(unit: &str) -> Unit {
    match unit {
        "duration" => (
            |text| {
                let period = Period::parse(text).unwrap().get();
                u64::try_from(period.as_millis()).unwrap()
            },
            |millis| json!(format!("{millis}ms")),
        ),
        "size" => (
            |text| ByteSize::parse(text).unwrap().0,
            |bytes| json!(bytes),
        ),
        "percent" => (
            |text| u64::from(CpuPercent::parse(text).unwrap().0),
            |percent| json!(format!("{percent}%")),
        ),
        other => panic!("the unit {other} is not known here"),
    }
}

/// What a map must have, given what is in it.
fn required<'a>(map: &'a Value, given: &Value) -> BTreeSet<&'a str> {
    let rules = map["allOf"].as_array().into_iter().flatten();
    let applies = |rule: &&Value| {
        let conditions = rule["if"]["properties"].as_object().unwrap();
        let holds = |(name, wanted): (&String, &Value)| given[name] == wanted["const"];
        conditions.iter().all(holds)
    };
    let more = rules.filter(applies).map(|rule| &rule["then"]["required"]);
    std::iter::once(&map["required"])
        .chain(more)
        .flat_map(strings)
        .collect()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// The words of `a, b LAST c`.
fn listed(text: &str, last: &str) -> BTreeSet<String> {
    let (init, end) = text.rsplit_once(last).unwrap_or(("", text));
    let init = init.split(", ").filter(|word| !word.is_empty());
    init.chain([end]).map(str::to_owned).collect()
}
