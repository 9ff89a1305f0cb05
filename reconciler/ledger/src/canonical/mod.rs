//! Writes canonical JSON (RFC 8785), for entries and for manifests.
//!
//! One writer with two sets of rules. Entries are hashed for years by programs in many
//! languages, so they keep to what no two of them disagree about: no decimals, integers within
//! ±(2^53−1), ASCII keys, bounded strings. Manifests are users' data and may hold decimals and
//! any key. The reading side, which refuses whatever this would not have written, is
//! [`crate::check`]; the tests compare both with an independent implementation.
//!
//! It is our own because the general crates accept all that an entry must refuse; telling
//! these apart needs the same walk over the value that writes it.

use serde_json::{Map, Number, Value};

/// Longest string of an entry, in bytes of UTF-8.
pub const MAX_STRING: usize = 16 * 1024;
/// Longest entry, in bytes.
pub const MAX_ENTRY: usize = 64 * 1024;
/// Deepest nesting of objects and arrays; the entry itself is level 1.
pub const MAX_DEPTH: usize = 64;
/// Largest magnitude of an integer: 2^53−1, exact in every JSON implementation (RFC 7493).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why a value has no canonical form under the rules asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum CanonicalError {
    #[error("{0} is not an integer; an entry holds no decimals")]
    Decimal(String),
    #[error("{0} lies outside ±(2^53−1); write it as a string")]
    Integer(String),
    #[error("the key {0:?} is not ASCII")]
    Key(String),
    #[error("a string has {0} bytes; at most {MAX_STRING} are allowed")]
    LongString(usize),
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    Deep,
}

/// Which values are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    Entry,
    Manifest,
}

/// Canonical text of a manifest: finite decimals are allowed, and keys of any script.
///
/// # Errors
/// [`CanonicalError::Integer`] for an integer that a double does not hold exactly, and
/// [`CanonicalError::Deep`].
pub fn canonical_manifest(value: &Value) -> Result<String, CanonicalError> {
    let mut out = Vec::new();
    write_value(&mut out, value, 1, Rules::Manifest)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Canonical bytes of a value under the rules of entries.
///
/// # Errors
/// [`CanonicalError`] names the rule that is broken.
pub fn canonical_entry(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::new();
    write_value(&mut out, value, 1, Rules::Entry)?;
    Ok(out)
}

/// Appends an object of an entry, which is at `depth` (the entry itself is 1).
pub(crate) fn write_entry_object(
    out: &mut Vec<u8>,
    object: &Map<String, Value>,
    depth: usize,
) -> Result<(), CanonicalError> {
    write_object(out, object, depth, Rules::Entry)
}

fn write_value(
    out: &mut Vec<u8>,
    value: &Value,
    depth: usize,
    rules: Rules,
) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(out, number, rules)?,
        Value::String(text) => write_checked_string(out, text, rules)?,
        Value::Array(items) => {
            if depth > MAX_DEPTH {
                return Err(CanonicalError::Deep);
            }
            let mut separator = b'[';
            for item in items {
                out.push(separator);
                separator = b',';
                write_value(out, item, depth + 1, rules)?;
            }
            out.extend_from_slice(if items.is_empty() { b"[]" } else { b"]" });
        }
        Value::Object(object) => write_object(out, object, depth, rules)?,
    }
    Ok(())
}

fn write_object(
    out: &mut Vec<u8>,
    object: &Map<String, Value>,
    depth: usize,
    rules: Rules,
) -> Result<(), CanonicalError> {
    if depth > MAX_DEPTH {
        return Err(CanonicalError::Deep);
    }
    let mut members: Vec<_> = object.iter().collect();
    // RFC 8785 section 3.2.3 orders keys by UTF-16 code units; for ASCII these are the bytes.
    match rules {
        Rules::Entry => members.sort_unstable_by_key(|(key, _)| key.as_bytes()),
        Rules::Manifest => members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16())),
    }
    let mut separator = b'{';
    for (key, value) in members {
        if rules == Rules::Entry && !key.is_ascii() {
            return Err(CanonicalError::Key(key.clone()));
        }
        out.push(separator);
        separator = b',';
        write_checked_string(out, key, rules)?;
        out.push(b':');
        write_value(out, value, depth + 1, rules)?;
    }
    out.extend_from_slice(if object.is_empty() { b"{}" } else { b"}" });
    Ok(())
}

fn write_number(out: &mut Vec<u8>, number: &Number, rules: Rules) -> Result<(), CanonicalError> {
    if number.is_f64() {
        return write_decimal(out, number, rules);
    }
    let magnitude = number
        .as_u64()
        .or_else(|| number.as_i64().map(i64::unsigned_abs));
    match magnitude {
        Some(magnitude) if magnitude <= MAX_INTEGER => {
            out.extend_from_slice(number.to_string().as_bytes());
            Ok(())
        }
        _ => Err(CanonicalError::Integer(number.to_string())),
    }
}

/// ECMAScript's Number::toString, which RFC 8785 section 3.2.2.3 prescribes.
fn write_decimal(out: &mut Vec<u8>, number: &Number, rules: Rules) -> Result<(), CanonicalError> {
    match number.as_f64() {
        Some(value) if rules == Rules::Manifest && value.is_finite() => {
            out.extend_from_slice(ryu_js::Buffer::new().format_finite(value).as_bytes());
            Ok(())
        }
        _ => Err(CanonicalError::Decimal(number.to_string())),
    }
}

fn write_checked_string(out: &mut Vec<u8>, text: &str, rules: Rules) -> Result<(), CanonicalError> {
    if rules == Rules::Entry && text.len() > MAX_STRING {
        return Err(CanonicalError::LongString(text.len()));
    }
    write_string(out, text);
    Ok(())
}

/// Appends a string with the shortest escapes (RFC 8785 section 3.2.2.2).
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..at]);
        plain_from = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}

#[cfg(test)]
pub(crate) mod tests;
