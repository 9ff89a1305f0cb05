//! Brings a body within the byte rules of entries: scrubbed, plain numbers, ASCII keys, cut.
//!
//! Data from outside (an agent's last output, an operator's reason) must never make an entry
//! impossible, because an act may wait for it. So nothing here fails; what does not fit is cut
//! and leaves its length and hash behind.

use std::borrow::Cow;

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
/// Limits for the length of strings, tried in this order until an entry fits that was too long
/// with [`MAX_STRING`].
pub(super) const SHORTER_LIMITS: [usize; 3] = [4096, 1024, 256];
/// Level of the members of a body: the entry is 1, the body is 2.
const BODY_LEVEL: usize = 3;

/// The body with its strings cut to `string_max` bytes; itself if nothing has to change, as with
/// nearly all of them.
pub(super) fn body<'b>(
    body: &'b Map<String, Value>,
    scrubber: &Scrubber,
    string_max: usize,
) -> Cow<'b, Map<String, Value>> {
    let fit = Fit {
        scrubber,
        string_max,
    };
    match fit.leaves_object(body, BODY_LEVEL) {
        true => Cow::Borrowed(body),
        false => Cow::Owned(fit.object(body, BODY_LEVEL)),
    }
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
    /// Whether [`Self::object`] would give the same again.
    fn leaves_object(&self, object: &Map<String, Value>, level: usize) -> bool {
        object.iter().all(|(key, value)| {
            let hidden = matches!(value, Value::String(text) if !text.is_empty());
            self.leaves_key(key)
                && !(hidden && names_a_secret(key))
                && self.leaves_value(value, level)
        })
    }

    fn leaves_value(&self, value: &Value, level: usize) -> bool {
        match value {
            Value::Null | Value::Bool(_) => true,
            Value::Number(number) => is_exact(number),
            Value::String(text) => text.len() <= self.string_max && self.leaves_text(text),
            Value::Array(_) | Value::Object(_) if level >= MAX_DEPTH => false,
            Value::Array(items) => items.iter().all(|item| self.leaves_value(item, level + 1)),
            Value::Object(object) => self.leaves_object(object, level + 1),
        }
    }

    fn leaves_key(&self, key: &str) -> bool {
        key.is_ascii() && key.len() <= MAX_KEY && self.leaves_text(key)
    }

    fn leaves_text(&self, text: &str) -> bool {
        matches!(self.scrubber.scrub(text), Cow::Borrowed(_))
    }

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
        match is_exact(number) {
            true => Value::Number(number.clone()),
            false => Value::String(number.to_string()),
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

/// Whether it is an integer that every reader takes for the same.
fn is_exact(number: &Number) -> bool {
    let magnitude = number
        .as_u64()
        .or_else(|| number.as_i64().map(i64::unsigned_abs));
    magnitude.is_some_and(|magnitude| magnitude <= MAX_INTEGER)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bodies with what has to be changed here and there, and bodies without.
    fn any_body() -> impl Strategy<Value = Value> {
        let odd = prop::sample::select(vec![
            json!({"dbPassword": "x"}),
            json!({"token": ""}),
            json!({"secret": 5}),
            json!({"sw0rdfish": [1, {"deep": "say sw0rdfish"}]}),
            json!({"list": ["ghp_0123456789abcdefghij", true, null]}),
            json!({"häßlich": -7}),
            json!({"number": 1.5, "large": MAX_INTEGER + 1, "small": MAX_INTEGER}),
            json!({"long": "long text"}),
            (0..MAX_DEPTH).fold(json!({}), |inner, _| json!({"in": inner})),
        ]);
        let plain = crate::canonical::tests::entry_object();
        (plain, prop::option::of(odd)).prop_map(|(mut body, odd)| {
            if let (Some(body), Some(Value::Object(odd))) = (body.as_object_mut(), odd) {
                body.extend(odd);
            }
            body
        })
    }

    proptest! {
        #[test]
        fn a_body_is_left_alone_exactly_if_it_would_come_out_the_same(
            body in any_body(),
            string_max in prop::sample::select(vec![8, MAX_STRING]),
        ) {
            let scrubber = Scrubber::new();
            scrubber.learn("K", b"sw0rdfish");
            let fit = Fit { scrubber: &scrubber, string_max };
            let Value::Object(body) = body else { unreachable!("a strategy of objects") };
            let same = fit.object(&body, BODY_LEVEL) == body;
            prop_assert_eq!(fit.leaves_object(&body, BODY_LEVEL), same);
        }
    }
}
