//! Finds text that looks like a secret, without knowing any.
//!
//! A hand-written scanner instead of a regular expression engine: the shapes are prefixes with
//! an alphabet and a length, which is a table, and the daemon stays small. It errs towards
//! scrubbing: a false alarm costs a reader one word, a miss costs somebody a key.

use std::ops::Range;

use super::MARK;

/// A token that is known by its beginning.
struct Shape {
    prefix: &'static str,
    /// Fewest characters after the prefix.
    least: usize,
    /// What else than ASCII letters and digits may follow.
    also: &'static [u8],
}

const fn shape(prefix: &'static str, least: usize, also: &'static [u8]) -> Shape {
    Shape {
        prefix,
        least,
        also,
    }
}

const SHAPES: &[Shape] = &[
    shape("sk-", 16, b"-_"),
    shape("sk_live_", 16, b""),
    shape("sk_test_", 16, b""),
    shape("ghp_", 16, b""),
    shape("gho_", 16, b""),
    shape("ghu_", 16, b""),
    shape("ghs_", 16, b""),
    shape("ghr_", 16, b""),
    shape("github_pat_", 16, b"_"),
    shape("glpat-", 16, b"-_"),
    shape("xoxa-", 10, b"-"),
    shape("xoxb-", 10, b"-"),
    shape("xoxp-", 10, b"-"),
    shape("xoxr-", 10, b"-"),
    shape("xoxs-", 10, b"-"),
    shape("AKIA", 16, b""),
    shape("ASIA", 16, b""),
    shape("AIza", 30, b"-_"),
    shape("hf_", 16, b""),
];

/// Ends of names whose value is a secret, in lower case, without `-` and `_`.
const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
];

/// Fewest bytes after `NAME:` that count as a secret (`NAME=` takes any); `token: none` stays.
const LEAST_AFTER_COLON: usize = 8;

/// Whether a variable, option or member of this name holds a secret.
pub(crate) fn names_a_secret(name: &str) -> bool {
    let letters = || {
        let letters = name
            .bytes()
            .rev()
            .filter(|byte| !matches!(byte, b'-' | b'_'));
        letters.map(|byte| byte.to_ascii_lowercase())
    };
    // Every key of every entry is asked this: nothing is built for it.
    let ends_with = |end: &str| end.bytes().rev().eq(letters().take(end.len()));
    SECRET_NAMES.iter().any(|end| ends_with(end))
}

/// The text with everything that looks like a secret replaced; `None` if nothing does.
pub(super) fn replace(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out: Option<String> = None;
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        let Some(secret) = secret_at(bytes, at).filter(|secret| secret.start >= copied) else {
            at += 1;
            continue;
        };
        let out = out.get_or_insert_default();
        out.push_str(&text[copied..secret.start]);
        out.push_str(MARK);
        copied = secret.end;
        at = secret.end;
    }
    let mut out = out?;
    out.push_str(&text[copied..]);
    Some(out)
}

/// The secret that the characters at `at` give away, if they do. Both ends lie beside ASCII
/// characters, so they are boundaries of characters.
fn secret_at(text: &[u8], at: usize) -> Option<Range<usize>> {
    match text[at] {
        b'=' | b':' => named(text, at).or_else(|| password_of_url(text, at)),
        b'-' => private_key(text, at),
        b'B' | b'b' => bearer(text, at),
        b'e' => web_token(text, at),
        b's' | b'g' | b'x' | b'A' | b'h' => prefixed(text, at),
        _ => None,
    }
}

fn starts_a_word(text: &[u8], at: usize) -> bool {
    at == 0 || !text[at - 1].is_ascii_alphanumeric()
}

/// Length of the run of letters, digits and `also` at the beginning of `text`.
fn run(text: &[u8], also: &[u8]) -> usize {
    text.iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || also.contains(byte))
        .count()
}

fn prefixed(text: &[u8], at: usize) -> Option<Range<usize>> {
    if !starts_a_word(text, at) {
        return None;
    }
    let rest = &text[at..];
    let shape = SHAPES
        .iter()
        .find(|shape| rest.starts_with(shape.prefix.as_bytes()))?;
    let length = run(&rest[shape.prefix.len()..], shape.also);
    (length >= shape.least).then(|| at..at + shape.prefix.len() + length)
}

/// JSON Web Token, RFC 7519: three base64url parts; the first begins `{"`, the last is empty
/// if it is unsigned.
fn web_token(text: &[u8], at: usize) -> Option<Range<usize>> {
    if !starts_a_word(text, at) || !text[at..].starts_with(b"eyJ") {
        return None;
    }
    let mut end = at + run(&text[at..], b"-_");
    for _ in 0..2 {
        if text.get(end) != Some(&b'.') {
            return None;
        }
        end += 1 + run(&text[end + 1..], b"-_");
    }
    Some(at..end)
}

/// `Bearer TOKEN`, RFC 6750 section 2.1.
fn bearer(text: &[u8], at: usize) -> Option<Range<usize>> {
    const WORD: &[u8] = b"bearer ";
    let word = text.get(at..at + WORD.len())?;
    if !starts_a_word(text, at) || !word.eq_ignore_ascii_case(WORD) {
        return None;
    }
    let from = at + WORD.len();
    let length = run(&text[from..], b"-._~+/=");
    (length >= LEAST_AFTER_COLON).then(|| from..from + length)
}

/// PEM, RFC 7468: from the begin line of a private key to its end line, or to the end.
fn private_key(text: &[u8], at: usize) -> Option<Range<usize>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const LABEL: &[u8] = b"PRIVATE KEY-----";
    const LABEL_MAX: usize = 64; // "ENCRYPTED PRIVATE KEY-----" and the like
    let rest = &text[at..];
    if !rest.starts_with(BEGIN) {
        return None;
    }
    let begin = find(&rest[..rest.len().min(LABEL_MAX)], LABEL)? + LABEL.len();
    let end = find(&rest[begin..], LABEL).map_or(rest.len(), |end| begin + end + LABEL.len());
    Some(at..at + end)
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len())
        .position(|window| window == needle)
}

/// `NAME=value`, `NAME: value`, `"NAME": "value"`: the value, if the name is that of a secret.
fn named(text: &[u8], at: usize) -> Option<Range<usize>> {
    const NAME_MAX: usize = 64;
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'-';
    let before = text[..at].trim_ascii_end();
    let before = before.strip_suffix(b"\\").unwrap_or(before);
    let before = match before {
        [name @ .., b'\\', b'"'] | [name @ .., b'"' | b'\''] => name,
        name => name,
    };
    let length = before.iter().rev().take(NAME_MAX);
    let length = length.take_while(|byte| is_name(byte)).count();
    let name = std::str::from_utf8(&before[before.len() - length..]).ok()?;
    if !names_a_secret(name) {
        return None;
    }
    let mut from = at + 1;
    while matches!(text.get(from), Some(b' ' | b'\t' | b'"' | b'\'' | b'\\')) {
        from += 1;
    }
    let quoted = matches!(text[from - 1], b'"' | b'\'').then(|| text[from - 1]);
    let ends = |byte: &u8| match quoted {
        Some(quote) => *byte == quote,
        None => byte.is_ascii_whitespace() || b"&,;\"'".contains(byte),
    };
    let length = text[from..].iter().position(ends);
    let length = length.unwrap_or(text.len() - from);
    let least = if text[at] == b'=' || quoted.is_some() {
        1
    } else {
        LEAST_AFTER_COLON
    };
    let already = text[from..].starts_with(b"[scrubbed");
    (length >= least && !already).then(|| from..from + length)
}

/// `scheme://user:password@host`, RFC 3986 section 3.2.1: the password.
fn password_of_url(text: &[u8], at: usize) -> Option<Range<usize>> {
    let authority = text[at..].strip_prefix(b"://")?;
    let length = authority
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || b"/?#\"'<>".contains(byte));
    let authority = &authority[..length.unwrap_or(authority.len())];
    let host = authority.iter().rposition(|byte| *byte == b'@')?;
    let colon = authority[..host].iter().position(|byte| *byte == b':')?;
    let from = at + 3 + colon + 1;
    let to = at + 3 + host;
    (from < to).then_some(from..to)
}
