//! From draft to bytes and back: the envelope, and what happens to data that does not fit.

use osmoda_core::{
    digest::Digest,
    event::{Actor, EventKind},
    name::AgentName,
    time::{Mono, Wall},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    canonical::{MAX_DEPTH, MAX_ENTRY, MAX_STRING},
    scrub::Scrubber,
};

fn draft(body: Value) -> Draft {
    let Value::Object(body) = body else {
        panic!("a body is an object")
    };
    Draft {
        kind: EventKind::ActionIntended,
        agent: Some(AgentName::new("researcher").unwrap()),
        incident: None,
        causes: Vec::new(),
        actor: Actor::Reconciler,
        body,
    }
}

fn bytes_of(draft: &Draft, scrubber: &Scrubber) -> Vec<u8> {
    let causes = [EntryRef {
        log: "n/osmoda/0".into(),
        seq: 3,
        leaf: Digest([7; 32]),
    }];
    let context = Context {
        seq: 4,
        id: "0190-x",
        incident: Some("0190-i"),
        causes: &causes,
        ts: Wall(1_000_000),
        mono: Mono(u64::MAX),
        boot: "boot-1",
        node: "n",
        scrubber,
    };
    let mut out = b"before".to_vec();
    let beginning = beginning(draft, scrubber).unwrap();
    write(&mut out, &beginning, draft, &context).unwrap();
    out.strip_prefix(b"before").unwrap().to_vec()
}

/// The body of the entry made from `body`, after a check that the whole is canonical.
fn body_after(body: Value) -> Value {
    let bytes = bytes_of(&draft(body), &Scrubber::new());
    Envelope::parse(&bytes).unwrap();
    serde_json::from_slice::<Value>(&bytes).unwrap()["body"].clone()
}

#[test]
fn the_bytes_of_an_entry_are_these() {
    let mut draft = draft(json!({"reason": "Crashed", "n": 1}));
    draft.actor = Actor::Operator {
        uid: 0,
        gid: 1,
        pid: 2,
        command: "osmoda".into(),
    };
    let leaf = "07".repeat(32);
    let expected = format!(
        concat!(
            r#"{{"actor":{{"command":"osmoda","gid":1,"pid":2,"type":"Operator","uid":0}},"#,
            r#""agent":"researcher","body":{{"n":1,"reason":"Crashed"}},"boot":"boot-1","#,
            r#""causes":[{{"leaf":"{leaf}","log":"n/osmoda/0","seq":3}}],"id":"0190-x","#,
            r#""incident":"0190-i","kind":"ActionIntended","mono":"18446744073709551615","#,
            r#""node":"n","seq":4,"ts":"1970-01-01T00:00:01.000000Z","v":1}}"#
        ),
        leaf = leaf
    );
    let bytes = bytes_of(&draft, &Scrubber::new());
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

#[test]
fn actors_are_written_as_their_type_serializes() {
    for actor in [Actor::Reconciler, Actor::System] {
        let mut draft = draft(json!({}));
        draft.actor = actor.clone();
        let entry: Value = serde_json::from_slice(&bytes_of(&draft, &Scrubber::new())).unwrap();
        assert_eq!(entry["actor"], serde_json::to_value(&actor).unwrap());
    }
}

#[test]
fn the_envelope_is_read_back() {
    let bytes = bytes_of(&draft(json!({})), &Scrubber::new());
    let envelope = Envelope::parse(&bytes).unwrap();
    assert_eq!((envelope.seq, envelope.kind), (4, "ActionIntended"));
    assert_eq!((envelope.id, envelope.ts), ("0190-x", Wall(1_000_000)));
    assert_eq!(envelope.agent, Some("researcher"));
    assert_eq!(envelope.incident, Some("0190-i"));
    let cause = envelope.first_cause().unwrap();
    assert_eq!((cause.seq, cause.leaf), (3, Digest([7; 32])));
}

#[test]
fn a_first_cause_that_is_not_one_is_none() {
    let bytes = bytes_of(&draft(json!({})), &Scrubber::new());
    let text = String::from_utf8(bytes).unwrap();
    let leaf = "07".repeat(32);
    let cause = |causes: &str| {
        let whole = format!(r#"[{{"leaf":"{leaf}","log":"n/osmoda/0","seq":3}}]"#);
        assert!(text.contains(&whole));
        let changed = text.replace(&whole, causes);
        let envelope = Envelope::parse(changed.as_bytes()).unwrap();
        envelope.first_cause().map(|cause| cause.seq)
    };
    let good = format!(r#"{{"leaf":"{leaf}","log":"n","seq":7}}"#);
    assert_eq!(cause(&format!("[{good}]")), Some(7));
    assert_eq!(cause(&format!("[{good},{good}]")), Some(7));
    for bad in [
        "[]".to_owned(),
        format!("[[],{good}]"),
        format!(r#"[{{"leaf":"{leaf}"}},{good}]"#),
        format!(r#"[{{"leaf":"{leaf}","log":"n"}},{good}]"#),
        format!(r#"[{{"leaf":"{leaf}","log":"n","seq":-7}}]"#),
        format!(r#"[{{"leaf":"{leaf}","log":"n","seq":7,"x":1}}]"#),
        format!(
            r#"[{{"leaf":"{}","log":"n","seq":7}}]"#,
            leaf.replace('7', "G")
        ),
        format!(r#"[{{"leaf":"é{}","log":"n","seq":7}}]"#, &leaf[2..]),
    ] {
        assert_eq!(cause(&bad), None, "{bad}");
    }
}

#[test]
fn an_envelope_with_missing_wrong_or_unknown_fields_is_refused() {
    let bytes = bytes_of(&draft(json!({})), &Scrubber::new());
    let entry: Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
    let parse = |entry: &Map<String, Value>| {
        let bytes = crate::canonical::canonical_entry(&Value::Object(entry.clone())).unwrap();
        Envelope::parse(&bytes).map(|_| ())
    };
    assert_eq!(parse(&entry), Ok(()));
    for field in entry.keys() {
        let mut wrong = entry.clone();
        wrong.insert(field.clone(), Value::Null);
        assert!(parse(&wrong).is_err(), "{field} of the wrong type");
        if field != "agent" && field != "incident" {
            let mut missing = entry.clone();
            missing.remove(field);
            assert!(parse(&missing).is_err(), "{field} missing");
        }
    }
    let mut unknown = entry.clone();
    unknown.insert("zzz".into(), Value::Null);
    assert_eq!(parse(&unknown), Err(EnvelopeError::Unknown));
    let mut later = entry.clone();
    later.insert("v".into(), 2.into());
    assert_eq!(parse(&later), Err(EnvelopeError::Field("v")));
}

#[test]
fn a_long_string_is_cut_and_leaves_its_length_and_hash() {
    let exact = "x".repeat(MAX_STRING);
    assert_eq!(body_after(json!({"o": exact}))["o"], json!(exact));
    let long = format!("{}é", "x".repeat(MAX_STRING - 1)); // the limit falls into the é
    let cut = &body_after(json!({"o": [long]}))["o"][0];
    assert_eq!(cut["cut"], json!("x".repeat(MAX_STRING - 1)));
    assert_eq!(cut["length"], json!(long.len()));
    assert_eq!(
        cut["sha256"],
        json!(Digest::of(long.as_bytes()).to_string())
    );
}

#[test]
fn a_long_body_is_cut_in_its_strings_first_and_whole_last() {
    let lines = vec!["y".repeat(2000); 100];
    let cut = body_after(json!({"lines": lines, "reason": "Crashed"}));
    assert_eq!(cut["reason"], "Crashed");
    assert_eq!(cut["lines"][99]["length"], 2000);
    let many: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let whole = body_after(json!({"many": many}));
    assert!(
        whole["cut"]
            .as_str()
            .unwrap()
            .starts_with("{\"many\":[\"0\"")
    );
    assert_eq!(whole["length"], json!({"many": many}).to_string().len());
}

#[test]
fn escapes_count_when_it_is_decided_whether_an_entry_fits() {
    let control = "\u{1}".repeat(MAX_STRING); // six bytes each
    let bytes = bytes_of(&draft(json!({"a": control})), &Scrubber::new());
    assert!(bytes.len() <= MAX_ENTRY);
    Envelope::parse(&bytes).unwrap();
}

#[test]
fn numbers_and_keys_that_json_readers_disagree_about_become_text() {
    let after = body_after(json!({"f": 0.5, "big": u64::MAX, "small": i64::MIN, "é": 1, "ok": -3}));
    let expected = json!({
        "f": "0.5", "big": "18446744073709551615", "small": "-9223372036854775808",
        "\\u{e9}": 1, "ok": -3
    });
    assert_eq!(after, expected);
}

#[test]
fn keys_that_become_equal_are_both_kept() {
    let after = body_after(json!({"é": 1, "\\u{e9}": 2}));
    let mut values: Vec<_> = after.as_object().unwrap().values().cloned().collect();
    values.sort_by_key(|value| value.as_i64());
    assert_eq!(values, [json!(1), json!(2)]);
    let long = "k".repeat(MAX_STRING + 1);
    assert_eq!(body_after(json!({long: 1})).as_object().unwrap().len(), 1);
}

#[test]
fn deep_nesting_ends_in_a_cut_text() {
    let deep = (0..100).fold(json!("core"), |inner, _| json!([inner]));
    let bytes = bytes_of(&draft(json!({"deep": deep})), &Scrubber::new());
    Envelope::parse(&bytes).unwrap();
    let just = (0..MAX_DEPTH - 2).fold(json!("core"), |inner, _| json!([inner]));
    assert!(
        body_after(json!({"deep": deep}))
            .to_string()
            .contains("\"cut\"")
    );
    assert!(
        body_after(json!({"deep": just.clone()}))
            .to_string()
            .contains("core")
    );
}

#[test]
fn secrets_leave_strings_keys_members_named_so_and_the_command() {
    let scrubber = Scrubber::new();
    scrubber.learn("K", b"sw0rdfish");
    let mut draft = draft(json!({
        "out": ["say sw0rdfish"], "sw0rdfish": 1, "dbPassword": "short", "token": ""
    }));
    draft.actor = Actor::Operator {
        uid: 0,
        gid: 0,
        pid: 1,
        command: "sw0rdfish".into(),
    };
    let entry: Value = serde_json::from_slice(&bytes_of(&draft, &scrubber)).unwrap();
    assert_eq!(entry["actor"]["command"], "[scrubbed:K]");
    let expected = json!({
        "out": ["say [scrubbed:K]"], "[scrubbed:K]": 1, "dbPassword": "[scrubbed]", "token": ""
    });
    assert_eq!(entry["body"], expected);
}

proptest! {
    #[test]
    fn any_body_becomes_a_canonical_entry(
        body in crate::canonical::tests::entry_object(),
        extra in prop::collection::vec(("\\PC{0,4}", any::<f64>()), 0..4),
    ) {
        let Value::Object(mut body) = body else { unreachable!("a strategy of objects") };
        body.extend(extra.into_iter().map(|(key, number)| (key, Value::from(number))));
        let bytes = bytes_of(&draft(Value::Object(body)), &Scrubber::new());
        prop_assert!(Envelope::parse(&bytes).is_ok());
    }

    #[test]
    fn no_entry_contains_a_learned_value(
        body in crate::canonical::tests::entry_object(),
        secret in "[g-z%&]{8,20}", // letters that neither field names nor hashes spell
        before in "\\PC{0,8}",
    ) {
        let scrubber = Scrubber::new();
        scrubber.learn("X", secret.as_bytes());
        let planted = json!({
            "p": format!("{before}{secret}"), "l": [{secret.clone(): secret.clone()}], "rest": body
        });
        let bytes = bytes_of(&draft(planted), &scrubber);
        let text = String::from_utf8(bytes).unwrap();
        prop_assert!(!text.contains(&secret), "{}", text);
    }
}

#[test]
fn the_hash_is_of_all_bytes_also_of_what_is_no_entry() {
    let good = bytes_of(&draft(json!({"text": "x".repeat(300)})), &Scrubber::new());
    let (parsed, hash) = Envelope::parse_and_hash(&good);
    assert_eq!(parsed, Envelope::parse(&good));
    assert_eq!(hash, crate::tlog::leaf(&good));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        let (parsed, hash) = Envelope::parse_and_hash(&bad);
        assert!(parsed.is_err(), "byte {at}");
        assert_eq!(hash, crate::tlog::leaf(&bad), "byte {at}");
    }
}
