//! What the checker refuses, and that it agrees with the writer on everything else.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::canonical::{canonical_entry, tests::entry_object};

fn fault(text: &str) -> Option<Fault> {
    check(text.as_bytes(), |_, _| ()).err().map(|e| e.fault)
}

#[test]
fn each_value_has_one_spelling() {
    for good in [
        r#"{}"#,
        r#"{"a":[],"b":{},"c":[null,true,false,0,-1,9007199254740991,-9007199254740991]}"#,
        r#"{"":"","\u0000":1,"\b":2,"!":3,"\"":4,"\\":5,"a":"é\u001f/\n"}"#,
    ] {
        assert_eq!(fault(good), None, "{good}");
    }
    for (bad, expected) in [
        ("", Fault::Syntax),
        ("[]", Fault::Syntax),
        ("{} ", Fault::Trailing),
        ("{}{}", Fault::Trailing),
        (r#"{"a": 1}"#, Fault::Syntax),
        (r#"{"a":1,}"#, Fault::Syntax),
        (r#"{"a":[1,]}"#, Fault::Syntax),
        (r#"{"a":[1 ]}"#, Fault::Syntax),
        (r#"{"a":tru}"#, Fault::Syntax),
        (r#"{"a":1"#, Fault::Syntax),
        (r#"{"a":"x"#, Fault::Syntax),
        ("{\"a\":\"\n\"}", Fault::Syntax),
        (r#"{"a":1,"a":1}"#, Fault::KeyOrder),
        (r#"{"b":1,"a":1}"#, Fault::KeyOrder),
        (r#"{"\n":1,"\u0000":2}"#, Fault::KeyOrder),
        (r#"{"x":{"b":1,"a":1}}"#, Fault::KeyOrder),
        (r#"{"é":1}"#, Fault::Key),
        (r#"{"a":"\/"}"#, Fault::Escape),
        (r#"{"a":"\u000a"}"#, Fault::Escape),
        (r#"{"a":"\u001F"}"#, Fault::Escape),
        (r#"{"a":"\u0041"}"#, Fault::Escape),
        (r#"{"a":"\ud800"}"#, Fault::Escape),
        (r#"{"a":"\u00"}"#, Fault::Escape),
        (r#"{"a":-0}"#, Fault::Number),
        (r#"{"a":01}"#, Fault::Number),
        (r#"{"a":-}"#, Fault::Number),
        (r#"{"a":1.0}"#, Fault::Number),
        (r#"{"a":1e3}"#, Fault::Number),
        (r#"{"a":9007199254740992}"#, Fault::Number),
        (r#"{"a":-9007199254740992}"#, Fault::Number),
        (r#"{"a":99999999999999999999999999}"#, Fault::Number),
    ] {
        assert_eq!(fault(bad), Some(expected), "{bad}");
    }
    assert_eq!(
        check(b"{\"a\":\"\xff\"}", |_, _| ()).unwrap_err().fault,
        Fault::Utf8
    );
}

#[test]
fn keys_are_ordered_beyond_their_first_eight_bytes() {
    let pair = |a: &str, b: &str| fault(&format!(r#"{{"{a}":1,"{b}":2}}"#));
    for (first, second) in [
        ("", "a"),
        ("a", "aa"),
        ("abcdefg", "abcdefgh"),
        ("abcdefgh", "abcdefghi"),
        ("abcdefghi", "abcdefghj"),
        ("abcdefgh\\n", "abcdefgh!"),
        (r"\u0000", "!"),
    ] {
        assert_eq!(pair(first, second), None, "{first:?} {second:?}");
        assert_eq!(
            pair(second, first),
            Some(Fault::KeyOrder),
            "{second:?} {first:?}"
        );
        assert_eq!(pair(first, first), Some(Fault::KeyOrder), "{first:?} twice");
    }
}

/// Blocks and words are how it is read; no fault may hide where they meet.
#[test]
fn a_fault_is_found_wherever_it_stands() {
    for before in 0..200 {
        let with = |text: &str| format!(r#"{{"a":"{}{text}"}}"#, "x".repeat(before));
        assert_eq!(fault(&with("")), None, "after {before}");
        assert_eq!(fault(&with("é\\n")), None, "after {before}");
        assert_eq!(fault(&with("\n")), Some(Fault::Syntax), "after {before}");
        assert_eq!(
            fault(&with(r"\u0041")),
            Some(Fault::Escape),
            "after {before}"
        );
        let cut = with("");
        assert_eq!(
            fault(&cut[..cut.len() - 2]),
            Some(Fault::Syntax),
            "cut after {before}"
        );
        let number = |digits: &str| format!(r#"{{"{}":{digits}}}"#, "x".repeat(before));
        assert_eq!(fault(&number("1234567")), None, "after {before}");
        assert_eq!(fault(&number("9007199254740991")), None, "after {before}");
        for bad in ["9007199254740992", "12345678901234567", "01", "1.5", "1x"] {
            assert!(fault(&number(bad)).is_some(), "{bad} after {before}");
        }
    }
}

#[test]
fn digits_are_counted_up_to_the_first_byte_that_is_none() {
    for byte in 0..=u8::MAX {
        for place in 0..8 {
            let mut eight = *b"90817263";
            eight[place] = byte;
            let expected = if byte.is_ascii_digit() { 8 } else { place };
            assert_eq!(leading_digits(eight), expected, "{byte} at {place}");
        }
    }
}

#[test]
fn lengths_and_depth_are_bounded_as_the_writer_bounds_them() {
    let with = |text: &str| format!("{{\"a\":\"{text}\"}}");
    assert_eq!(fault(&with(&"x".repeat(MAX_STRING))), None);
    assert_eq!(
        fault(&with(&"x".repeat(MAX_STRING + 1))),
        Some(Fault::LongString)
    );
    // An escape counts as the one byte it stands for.
    assert_eq!(fault(&with(&"\\n".repeat(MAX_STRING))), None);
    assert_eq!(
        fault(&with(&"\\n".repeat(MAX_STRING + 1))),
        Some(Fault::LongString)
    );
    let nested = |levels| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(fault(&nested(MAX_DEPTH - 1)), None);
    assert_eq!(fault(&nested(MAX_DEPTH)), Some(Fault::Deep));
    assert_eq!(fault(&" ".repeat(MAX_ENTRY + 1)), Some(Fault::LongEntry));
}

#[test]
fn members_of_the_outermost_object_are_given_as_they_are_spelled() {
    let mut members = Vec::new();
    let text = br#"{"a":{"b":1},"c":"x\n","d":-7}"#;
    check(text, |key, value| members.push((key, value))).unwrap();
    let expected = [("a", r#"{"b":1}"#), ("c", r#""x\n""#), ("d", "-7")];
    assert_eq!(members, expected);
}

proptest! {
    /// Bytes near to canonical ones: the checker accepts them exactly if reading and writing
    /// them again changes nothing.
    #[test]
    fn it_accepts_exactly_what_the_writer_writes(
        value in entry_object(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        mutation in 0..4,
    ) {
        let mut bytes = canonical_entry(&value).unwrap();
        let at = at.index(bytes.len());
        match mutation {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => { bytes.remove(at); }
            _ => bytes[at] ^= 1 << (byte & 7),
        }
        let rewritten = serde_json::from_slice::<Value>(&bytes)
            .ok()
            .filter(Value::is_object)
            .and_then(|value| canonical_entry(&value).ok());
        prop_assert_eq!(
            check(&bytes, |_, _| ()).is_ok(),
            rewritten.as_deref() == Some(&bytes[..]),
            "{}", String::from_utf8_lossy(&bytes)
        );
    }

    #[test]
    fn it_survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let parsed = serde_json::from_slice::<Value>(&bytes).is_ok();
        prop_assert!(parsed || check(&bytes, |_, _| ()).is_err());
    }
}
