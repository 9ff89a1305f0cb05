//! What becomes of secrets in text, and what stays.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proptest::prelude::*;

use super::*;

fn knowing(name: &str, value: &str) -> Scrubber {
    let scrubber = Scrubber::new();
    scrubber.learn(name, value.as_bytes());
    scrubber
}

#[test]
fn a_learned_value_is_replaced_by_its_name_wherever_it_stands() {
    let scrubber = knowing("DB", "hunter2!\"x");
    for (text, expected) in [
        ("hunter2!\"x", "[scrubbed:DB]"),
        ("a=hunter2!\"xhunter2!\"x.", "a=[scrubbed:DB][scrubbed:DB]."),
        (r#"{"p":"hunter2!\"x"}"#, r#"{"p":"[scrubbed:DB]"}"#),
        ("?p=hunter2%21%22x&q", "?p=[scrubbed:DB]&q"),
        ("hunter2 and hunter", "hunter2 and hunter"),
        ("", ""),
    ] {
        assert_eq!(scrubber.scrub(text), expected, "{text}");
    }
}

#[test]
fn a_learned_value_is_found_in_base64_at_every_alignment() {
    let secret = "correct horse battery";
    let scrubber = knowing("K", secret);
    for before in ["", "u", "us", "use", "user:"] {
        for after in ["", "!", "!!"] {
            let encoded = BASE64_STANDARD.encode(format!("{before}{secret}{after}"));
            let scrubbed = scrubber.scrub(&encoded);
            assert!(scrubbed.contains("[scrubbed:K]"), "{before}{after}");
            let left = scrubbed.replace("[scrubbed:K]", "").len();
            assert!(left <= 16, "{left} characters are left of {encoded}");
        }
    }
}

#[test]
fn the_lines_of_a_multi_line_value_are_secrets_of_their_own() {
    let scrubber = knowing("PEM", "first line of key\nshort\n  second line of key\n");
    assert_eq!(scrubber.scrub("x first line of key"), "x [scrubbed:PEM]");
    assert_eq!(scrubber.scrub("second line of key"), "[scrubbed:PEM]");
    assert_eq!(scrubber.scrub("short"), "short");
}

#[test]
fn short_values_are_left_alone() {
    assert_eq!(knowing("PIN", "12345").scrub("12345"), "12345");
    assert_eq!(knowing("PIN", "123456").scrub("123456"), "[scrubbed:PIN]");
}

#[test]
fn rotated_values_stay_known_for_a_while_and_forgotten_ones_do_not() {
    let scrubber = Scrubber::new();
    for n in 0..=VALUES_PER_NAME {
        scrubber.learn("K", format!("value-number-{n}").as_bytes());
    }
    assert_eq!(scrubber.scrub("value-number-0"), "value-number-0");
    assert_eq!(scrubber.scrub("value-number-1"), "[scrubbed:K]");
    scrubber.learn("L", b"value-number-2");
    scrubber.forget("K");
    assert_eq!(scrubber.scrub("value-number-1"), "value-number-1");
    assert_eq!(scrubber.scrub("value-number-2"), "[scrubbed:L]");
    scrubber.forget("L");
    assert_eq!(scrubber.scrub("value-number-2"), "value-number-2");
}

#[test]
fn a_value_that_is_not_text_is_found_in_its_encodings() {
    let value = b"\xff\x80key\x00bytes";
    let scrubber = Scrubber::new();
    scrubber.learn("BIN", value);
    let encoded = BASE64_STANDARD.encode(value);
    assert!(scrubber.scrub(&encoded).starts_with("[scrubbed:BIN]"));
    let shown = String::from_utf8_lossy(value);
    assert_eq!(scrubber.scrub(&shown), "[scrubbed:BIN]");
}

#[test]
fn tokens_are_known_by_their_shape() {
    let scrubber = Scrubber::new();
    let letters = "Abcd1234Efgh5678Ijkl9012Mnop3456Qrst";
    for prefix in [
        "sk-",
        "sk-ant-",
        "ghp_",
        "gho_",
        "github_pat_",
        "xoxb-",
        "xoxp-",
        "AKIA",
        "AIza",
        "hf_",
        "glpat-",
        "sk_live_",
    ] {
        let text = format!("key {prefix}{letters}, then");
        assert_eq!(scrubber.scrub(&text), "key [scrubbed], then", "{prefix}");
    }
    for (text, expected) in [
        (
            "Authorization: Bearer abc.def-123",
            "Authorization: Bearer [scrubbed]",
        ),
        ("jwt eyJhbGciOi.eyJzdWIi.c2ln end", "jwt [scrubbed] end"),
        ("eyJhbGciOi.eyJzdWIi.", "[scrubbed]"),
        (
            "postgres://me:p@ss@db:5432/x?y",
            "postgres://me:[scrubbed]@db:5432/x?y",
        ),
        ("DB_PASSWORD=x y", "DB_PASSWORD=[scrubbed] y"),
        ("?api_key=a1&b=2", "?api_key=[scrubbed]&b=2"),
        ("--auth-token=abc", "--auth-token=[scrubbed]"),
        ("apiKey: abcdefgh", "apiKey: [scrubbed]"),
        (
            r#"{"password": "a b", "n": 1}"#,
            r#"{"password": "[scrubbed]", "n": 1}"#,
        ),
        (
            "a\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nb",
            "a\n[scrubbed]\nb",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMII", "[scrubbed]"),
    ] {
        assert_eq!(scrubber.scrub(text), expected, "{text}");
    }
}

#[test]
fn ordinary_text_stays_as_it_is() {
    let scrubber = knowing("K", "a learned value");
    for text in [
        "task-runner exited with code 1",
        "max_tokens=4096 model=x",
        "token: none",
        "the bearer of news",
        "http://127.0.0.1:8080/health",
        "https://user@example.org/",
        "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-researcher-1.0/bin/researcher",
        "disk-0123456789abcdefghij",
        "-----BEGIN CERTIFICATE-----",
        "2026-01-31T12:00:00.000000Z é 漢字",
    ] {
        assert!(
            matches!(scrubber.scrub(text), Cow::Borrowed(same) if same == text),
            "{text}"
        );
    }
}

#[test]
fn scrubbing_twice_changes_nothing_more() {
    let scrubber = knowing("K", "sw0rdfish");
    let once = scrubber.scrub("password=sw0rdfish token=abc").into_owned();
    assert_eq!(once, "password=[scrubbed:K] token=[scrubbed]");
    assert_eq!(scrubber.scrub(&once), once);
}

proptest! {
    #[test]
    fn no_text_keeps_a_learned_value(
        secret in "[^\\[\\]]{6,20}", before in "\\PC{0,20}", after in "\\PC{0,20}", times in 1usize..3,
    ) {
        prop_assume!(!"[scrubbed:NAME]".contains(&secret));
        let scrubber = knowing("NAME", &secret);
        let text = format!("{before}{}{after}", secret.repeat(times));
        prop_assert!(!scrubber.scrub(&text).contains(&secret));
    }

    #[test]
    fn any_text_can_be_scrubbed(text in "\\PC{0,60}", secret in any::<Vec<u8>>()) {
        let scrubber = Scrubber::new();
        scrubber.learn("N", &secret);
        let once = scrubber.scrub(&text).into_owned();
        prop_assert!(once.len() <= text.len() + 10 * text.len());
    }
}
