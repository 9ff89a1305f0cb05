//! The writer against the samples of RFC 8785 and against an independent canonicalizer.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::check::check;

/// JSON values under the rules of entries, to a small depth.
pub(crate) fn entry_value() -> impl Strategy<Value = Value> {
    const LIMIT: i64 = (1 << 53) - 1;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-LIMIT..=LIMIT).prop_map(Value::from),
        (-9i64..=9).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[\\x00-\\x7f]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[\\x00-\\x7f]{0,3}", inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Like [`entry_value`], but an object at the top.
pub(crate) fn entry_object() -> impl Strategy<Value = Value> {
    prop::collection::vec(("[\\x00-\\x7f]{0,3}", entry_value()), 0..6)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

proptest! {
    #[test]
    fn we_write_what_an_independent_canonicalizer_writes(value in entry_value()) {
        let ours = canonical_entry(&value).unwrap();
        let theirs = serde_json_canonicalizer::to_vec(&value).unwrap();
        prop_assert_eq!(String::from_utf8(ours), String::from_utf8(theirs));
    }

    #[test]
    fn what_we_write_reads_back_and_passes_the_check(value in entry_object()) {
        let bytes = canonical_entry(&value).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
        prop_assert_eq!(check(&bytes, |_, _| ()), Ok(()));
    }

    #[test]
    fn manifests_may_hold_decimals_and_keys_of_any_script(
        numbers in prop::collection::vec(any::<f64>().prop_filter("finite", |x| x.is_finite()), 4),
        keys in prop::collection::btree_set("\\PC{1,3}", 4),
    ) {
        let members = keys.into_iter().zip(numbers).map(|(k, n)| (k, Value::from(n)));
        let value = Value::Object(members.collect());
        let theirs = serde_json_canonicalizer::to_string(&value).unwrap();
        prop_assert_eq!(canonical_manifest(&value).unwrap(), theirs);
    }
}

#[test]
fn the_numbers_of_rfc_8785_take_their_shortest_form_in_manifests() {
    let value: Value =
        serde_json::from_str("[333333333.33333329,1E30,4.50,2e-3,1.0,-0.0]").unwrap();
    assert_eq!(
        canonical_manifest(&value).unwrap(),
        "[333333333.3333333,1e+30,4.5,0.002,1,0]"
    );
}

#[test]
fn the_strings_of_rfc_8785_keep_only_the_escapes_they_need() {
    let text = "\u{20ac}$\u{f}\nA'B\"\\\\\"/\u{7f}\u{8}\t\u{c}\r";
    let written = canonical_entry(&json!([text])).unwrap();
    assert_eq!(
        String::from_utf8(written).unwrap(),
        "[\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\u{7f}\\b\\t\\f\\r\"]"
    );
}

#[test]
fn the_keys_of_rfc_8785_are_ordered_by_utf_16() {
    let value = json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7});
    let text = canonical_manifest(&value).unwrap();
    let order: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).collect();
    // "\r"=2, "1"=4, U+0080=6, U+00F6=7, U+20AC=1, U+1F600=5 (surrogates), U+FB33=3
    assert_eq!(String::from_utf8(order).unwrap(), "21467153");
}

#[test]
fn an_entry_refuses_what_implementations_disagree_about() {
    use CanonicalError as E;
    let refused = |value| canonical_entry(&value).unwrap_err();
    assert_eq!(refused(json!(0.5)), E::Decimal("0.5".into()));
    assert_eq!(refused(json!(1.0)), E::Decimal("1.0".into()));
    assert_eq!(
        refused(json!(1u64 << 53)),
        E::Integer("9007199254740992".into())
    );
    assert_eq!(
        refused(json!(-(1i64 << 53))),
        E::Integer("-9007199254740992".into())
    );
    assert_eq!(refused(json!({"\u{e9}": 1})), E::Key("\u{e9}".into()));
    let long = "x".repeat(MAX_STRING + 1);
    assert_eq!(refused(json!(long)), E::LongString(MAX_STRING + 1));
    let deep = |levels| (0..levels).fold(Value::Null, |inner, _| Value::from(vec![inner]));
    assert!(canonical_entry(&deep(MAX_DEPTH)).is_ok());
    assert_eq!(refused(deep(MAX_DEPTH + 1)), E::Deep);
}
