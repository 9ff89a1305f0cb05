//! Rules that need no file: bounds of the decoder itself, and the rules between documents.
//! What each field accepts is tested on real files, next to the loader.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::spec::{
    limits,
    set::{self, SpecSet},
    tree::Key,
};

fn tree(value: Value) -> Tree {
    let span = Span::default();
    Tree { span, value }
}

fn text(text: &str) -> Tree {
    tree(Value::String(text.to_owned()))
}

fn list<const N: usize>(items: [&str; N]) -> Tree {
    tree(Value::List(items.map(text).to_vec()))
}

fn map<const N: usize>(entries: [(&str, Tree); N]) -> Tree {
    let span = Span::default();
    let entries = entries.map(|(name, value)| {
        let text = name.to_owned();
        (Key { span, text }, value)
    });
    tree(Value::Map(entries.to_vec()))
}

fn agent(name: &str, spec: Tree) -> Tree {
    map([
        ("apiVersion", text(API_VERSION)),
        ("kind", text("Agent")),
        ("metadata", map([("name", text(name))])),
        ("spec", spec),
    ])
}

fn codes(document: &Tree) -> Vec<&'static str> {
    let invalid = decode(document).expect_err("an invalid document");
    invalid.errors.iter().map(SpecError::code).collect()
}

/// Agents written as `a: b c` (a depends on b and c), checked against each other.
fn check(lines: &[&str]) -> SpecSet {
    let documents = lines.iter().enumerate().map(|(source, line)| {
        let (name, dependencies) = line.split_once(':').expect("NAME: DEPENDENCIES");
        let dependencies = dependencies.split_whitespace().map(text).collect();
        let spec = map([
            ("command", list(["/bin/true"])),
            ("dependsOn", tree(Value::List(dependencies))),
        ]);
        (source, decode(&agent(name, spec)))
    });
    set::check(documents.collect(), &BTreeSet::new())
}

fn valid(set: &SpecSet) -> Vec<&str> {
    set.agents.keys().map(AgentName::as_str).collect()
}

fn sentences(set: &SpecSet) -> Vec<String> {
    let refused = set.refused.iter();
    refused.map(|refused| refused.error.to_string()).collect()
}

#[test]
fn a_document_with_countless_mistakes_is_reported_within_bounds() {
    let span = Span::default();
    let stray = |index| {
        let text = format!("x{index}");
        (Key { span, text }, tree(Value::Null))
    };
    let spec = tree(Value::Map((0..1000).map(stray).collect()));
    let invalid = decode(&agent("a", spec)).unwrap_err();
    assert_eq!(invalid.errors.len(), limits::MAX_ERRORS + 1);
    let last = invalid.errors.last().map(ToString::to_string);
    let expected = "901 more errors in this document are not shown";
    assert_eq!(last.as_deref(), Some(expected));
}

#[test]
fn a_document_nested_without_end_is_one_mistake() {
    let mut deep = text("x");
    for _ in 0..=limits::MAX_DEPTH {
        deep = tree(Value::List(vec![deep]));
    }
    assert_eq!(codes(&deep), ["too-deep"]);
}

#[test]
fn a_name_survives_the_mistakes_of_its_document() {
    let invalid = decode(&agent("a", text("x"))).unwrap_err();
    assert!(matches!(invalid.subject, Subject::Agent(name, _) if name.as_str() == "a"));
    let unnamed = decode(&text("x")).unwrap_err();
    assert_eq!(unnamed.subject, Subject::Unknown);
}

#[test]
fn bounds_on_lengths_are_the_kernels() {
    let command = |bytes: usize| {
        let long = text(&"x".repeat(bytes));
        let command = tree(Value::List(vec![text("/bin/true"), long]));
        agent("a", map([("command", command)]))
    };
    assert!(decode(&command(limits::MAX_ARGUMENT_BYTES)).is_ok());
    assert_eq!(
        codes(&command(limits::MAX_ARGUMENT_BYTES + 1)),
        ["too-large"]
    );
    let many = vec![text("x"); limits::MAX_ARGUMENTS + 1];
    let many = map([("command", tree(Value::List(many)))]);
    assert_eq!(codes(&agent("a", many)), ["too-large"]);
}

#[test]
fn the_edges_of_a_range_are_inside() {
    let with_grace = |period: &str| {
        let stop = map([("gracePeriod", text(period))]);
        agent("a", map([("command", list(["a"])), ("stop", stop)]))
    };
    for inside in ["0s", "1d", "24h", "10s"] {
        assert!(decode(&with_grace(inside)).is_ok(), "{inside}");
    }
    for outside in ["1d1ms", "2d"] {
        assert_eq!(codes(&with_grace(outside)), ["out-of-range"], "{outside}");
    }
}

#[test]
fn decimals_are_exact_to_the_thousandth() {
    let factor = |value| {
        let backoff = map([("factor", tree(value))]);
        let restart = map([("backoff", backoff)]);
        let spec = map([("command", list(["a"])), ("restart", restart)]);
        match decode(&agent("a", spec)) {
            Ok(Document::Agent(draft)) => Some(draft.spec.restart.backoff.factor_milli),
            _ => None,
        }
    };
    assert_eq!(factor(Value::Int(2)), Some(2000));
    assert_eq!(factor(Value::Float(1.5)), Some(1500));
    assert_eq!(factor(Value::Float(1.001)), Some(1001));
    assert_eq!(factor(Value::Float(100.0)), Some(100_000));
    for refused in [1.0005, 0.999, 100.001, f64::NAN, f64::INFINITY, -2.0] {
        assert_eq!(factor(Value::Float(refused)), None, "{refused}");
    }
    assert_eq!(factor(Value::Int(i64::MAX)), None);
}

#[test]
fn every_ring_is_named_whole_and_refuses_only_its_own_agents() {
    let set = check(&["a: b", "b: c", "c: a", "d: a", "e:", "f: e"]);
    assert_eq!(valid(&set), ["d", "e", "f"]);
    let expected = [
        "dependsOn leads in a circle: a -> b -> c -> a",
        "dependsOn leads in a circle: b -> c -> a -> b",
        "dependsOn leads in a circle: c -> a -> b -> c",
    ];
    assert_eq!(sentences(&set), expected);
}

#[test]
fn a_bridge_between_two_rings_is_no_part_of_either() {
    let set = check(&["a: b", "b: a bridge", "bridge: c", "c: d", "d: c"]);
    assert_eq!(valid(&set), ["bridge"]);
    assert_eq!(set.refused.len(), 4);
}

#[test]
fn agents_of_several_rings_are_all_refused() {
    let set = check(&["a: b c", "b: a", "c: a"]);
    assert_eq!(valid(&set), [""; 0]);
    let set = check(&["a: b", "b: c d", "c: a", "d: b"]);
    assert_eq!(valid(&set), [""; 0]);
}

#[test]
fn a_long_ring_is_named_in_part_and_found_quickly() {
    let lines: Vec<String> = (0..2000)
        .map(|n| format!("n{n:04}: n{:04}", (n + 1) % 2000))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let set = check(&lines);
    assert_eq!(set.refused.len(), 2000);
    let first = &sentences(&set)[0];
    assert!(
        first.ends_with("n0011 -> … (1988 more) -> n0000"),
        "{first}"
    );
}

#[test]
fn a_name_declared_twice_is_refused_everywhere_but_stays_known() {
    let set = check(&["a:", "a:", "b: a"]);
    assert_eq!(valid(&set), ["b"]);
    assert_eq!(sentences(&set), ["agent `a` is declared more than once"; 2]);
    let other: Vec<Option<usize>> = set
        .refused
        .iter()
        .map(|refused| {
            refused
                .error
                .related
                .as_ref()
                .and_then(|place| place.source)
        })
        .collect();
    assert_eq!(other, [Some(1), Some(0)], "each points at the other");
}

#[test]
fn an_unknown_dependency_refuses_its_agent_alone() {
    let set = check(&["a: resaercher", "researcher:", "c: a"]);
    assert_eq!(valid(&set), ["c", "researcher"]);
    let hint = set.refused[0].error.hint.as_deref();
    assert_eq!(hint, Some("did you mean `researcher`?"));
    assert_eq!(set.refused[0].source, 0);
}

#[test]
fn more_than_one_node_leaves_none() {
    let node = || {
        decode(&map([
            ("apiVersion", text(API_VERSION)),
            ("kind", text("Node")),
        ]))
    };
    let one = set::check(vec![(0, node())], &BTreeSet::new());
    assert!(one.node.is_some());
    let two = set::check(vec![(0, node()), (1, node())], &BTreeSet::new());
    assert_eq!(two.node, None);
    assert_eq!(sentences(&two), ["there is more than one Node"; 2]);
}

/// Words of the schema.
const WORDS: &str = "\
    apiVersion kind metadata spec name labels command environment credentials path dependsOn \
    heartbeat source timeout file probes startup liveness httpGet port expect exec mcp url \
    resources memory high max cpu runaway above for restart backoff factor jitter initial stop \
    signal gracePeriod rollout sandbox operators users listen metrics healthChecks rollback \
    alerts provider ledger anchors directory witness key kinds osmoda/v1 Agent Node Notify \
    File 1s 512Mi 95% SIGTERM Slack /run/x a 200-399";

/// Trees whose keys and words are mostly those of the schema, so that mistakes go deep.
fn any_tree() -> impl Strategy<Value = Tree> {
    let words: Vec<&'static str> = WORDS.split(' ').collect();
    let word =
        prop_oneof![4 => prop::sample::select(words).prop_map(str::to_owned), 1 => "(?s).{0,6}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        word.clone().prop_map(Value::String),
    ];
    let span = (0..3_u32, 0..3_u32, 0..3_u32).prop_map(|(line, column, length)| Span {
        line,
        column,
        length,
    });
    let leaf = (span.clone(), leaf).prop_map(|(span, value)| Tree { span, value });
    leaf.prop_recursive(6, 80, 8, move |inner| {
        let key = (span.clone(), word.clone()).prop_map(|(span, text)| Key { span, text });
        let value = prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            prop::collection::vec((key, inner), 0..8).prop_map(Value::Map),
        ];
        (span.clone(), value).prop_map(|(span, value)| Tree { span, value })
    })
}

proptest! {
    #[test]
    fn any_tree_is_decoded_or_explained(root in any_tree(), inner in any_tree(), is_node: bool) {
        let kind = if is_node { "Node" } else { "Agent" };
        let wrapped = map([
            ("apiVersion", text(API_VERSION)),
            ("kind", text(kind)),
            ("metadata", map([("name", text("a"))])),
            ("spec", inner),
        ]);
        for document in [root, wrapped] {
            let Err(invalid) = decode(&document) else {
                continue;
            };
            prop_assert!(!invalid.errors.is_empty());
            for error in &invalid.errors {
                prop_assert!(!error.to_string().is_empty());
                prop_assert!(!error.to_string().contains('\n'));
            }
        }
    }
}
