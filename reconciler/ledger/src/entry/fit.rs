//! Brings a body within the byte rules of entries: scrubbed, plain numbers, ASCII keys, cut.
//!
//! Data from outside (an agent's last output, an operator's reason) must never make an entry
//! impossible, because an act may wait for it. So nothing here fails; what does not fit is cut
//! and leaves its length and hash behind.

use osmoda_core::digest::Digest;
use serde_json::{Map, Number, Value, json};

use crate::{
    canonical::{MAX_DEPTH, MAX_INTEGER, MAX_STRING},
    scrub::{MARK, Scrubber, names_a_secret},
};

/// Longest key, in bytes, before it is cut; more is no name.
const MAX_KEY: usize = 1024;
/// How much of a whole body is kept as text when nothing else makes it fit, in bytes.
const BODY_TEXT: usize = 4096;
/// Limits for the length of strings, tried in this order until the entry fits.
pub(super) const STRING_LIMITS: [usize; 4] = [MAX_STRING, 4096, 1024, 256];
/// Level of the members of a body: the entry is 1, the body is 2.
const BODY_LEVEL: usize = 3;

/// The body with its strings cut to `string_max` bytes.
pub(super) fn body(
    body: &Map<String, Value>,
    scrubber: &Scrubber,
    string_max: usize,
) -> Map<String, Value> {
    Fit {
        scrubber,
        string_max,
    }
    .object(body, BODY_LEVEL)
}

/// The body as one cut text, for what does not fit in any other way.
pub(super) fn body_as_text(body: &Map<String, Value>, scrubber: &Scrubber) -> Map<String, Value> {
    let fit = Fit {
        scrubber,
        string_max: usize::MAX,
    };
    let text = Value::Object(fit.object(body, BODY_LEVEL)).to_string();
    cut(&text, BODY_TEXT)
}

/// The first part of `text`, at most `keep` bytes, with length and hash of the whole.
fn cut(text: &str, keep: usize) -> Map<String, Value> {
    let mut shape = Map::new();
    shape.insert("cut".into(), text[..text.floor_char_boundary(keep)].into());
    shape.insert("length".into(), text.len().into());
    let hash = Digest::of(text.as_bytes()).to_string();
    shape.insert("sha256".into(), hash.into());
    shape
}

struct Fit<'a> {
    scrubber: &'a Scrubber,
    string_max: usize,
}

impl Fit<'_> {
    /// `level` is that of the object's members.
    fn object(&self, object: &Map<String, Value>, level: usize) -> Map<String, Value> {
        let mut out = Map::new();
        for (key, value) in object {
            let value = match value {
                Value::String(text) if names_a_secret(key) && !text.is_empty() => json!(MARK),
                value => self.value(value, level),
            };
            insert_beside(&mut out, self.key(key), value);
        }
        out
    }

    fn value(&self, value: &Value, level: usize) -> Value {
        match value {
            Value::Null | Value::Bool(_) => value.clone(),
            Value::Number(number) => self.number(number),
            Value::String(text) => self.string(&self.scrubber.scrub(text)),
            // A cut text is an object itself, so it takes the place of the last level.
            Value::Array(_) | Value::Object(_) if level >= MAX_DEPTH => {
                let text = self.scrubber.scrub(&value.to_string()).into_owned();
                Value::Object(cut(&text, self.string_max.min(MAX_STRING)))
            }
            Value::Array(items) => {
                let items = items.iter().map(|item| self.value(item, level + 1));
                Value::Array(items.collect())
            }
            Value::Object(object) => Value::Object(self.object(object, level + 1)),
        }
    }

    fn number(&self, number: &Number) -> Value {
        let magnitude = number
            .as_u64()
            .or_else(|| number.as_i64().map(i64::unsigned_abs));
        match magnitude {
            Some(magnitude) if magnitude <= MAX_INTEGER => Value::Number(number.clone()),
            _ => Value::String(number.to_string()),
        }
    }

    fn string(&self, text: &str) -> Value {
        if text.len() <= self.string_max {
            return text.into();
        }
        Value::Object(cut(text, self.string_max))
    }

    fn key(&self, key: &str) -> String {
        let key = self.scrubber.scrub(key);
        let mut out = String::with_capacity(key.len());
        for character in key.chars() {
            match character.is_ascii() {
                true => out.push(character),
                false => out.extend(character.escape_unicode()),
            }
        }
        if out.len() > MAX_KEY {
            let hash = Digest::of(out.as_bytes());
            out.truncate(MAX_KEY);
            out.push_str(&format!("~{hash}"));
        }
        out
    }
}

/// Inserts without replacing: keys that became equal are told apart by `#2`, `#3`, ...
fn insert_beside(map: &mut Map<String, Value>, key: String, value: Value) {
    let mut free = key.clone();
    let mut count = 1;
    while map.contains_key(&free) {
        count += 1;
        free = format!("{key}#{count}");
    }
    map.insert(free, value);
}
