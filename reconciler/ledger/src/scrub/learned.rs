//! Finds learned values in text, all at once.
//!
//! Needles are indexed by their first [`MIN_LEARNED`] bytes, behind a bitmap of first byte
//! pairs, so a text is walked once at about a nanosecond a byte however many values are known.
//! Where several needles begin at one place the longest wins.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};

/// Shortest value that is searched for, in bytes.
pub const MIN_LEARNED: usize = 6;
/// Shortest line of a multi-line value that is searched for on its own, in bytes.
pub const MIN_LINE: usize = 8;
/// Values that stay known for one name: the newest and those before it.
pub const VALUES_PER_NAME: usize = 3;

type Prefix = [u8; MIN_LEARNED];

#[derive(Default)]
pub(super) struct Learned {
    names: BTreeMap<Arc<str>, VecDeque<Value>>,
    index: HashMap<Prefix, Vec<Needle>>,
    pairs: PairSet,
}

struct Value {
    bytes: Box<[u8]>,
    needles: Vec<Arc<str>>,
}

struct Needle {
    text: Arc<str>,
    name: Arc<str>,
}

impl Learned {
    pub(super) fn learn(&mut self, name: &str, value: &[u8]) {
        if value.len() < MIN_LEARNED {
            return;
        }
        let name: Arc<str> = name.into();
        let values = self.names.entry(Arc::clone(&name)).or_default();
        if values.iter().any(|known| *known.bytes == *value) {
            return;
        }
        let value = Value {
            bytes: value.into(),
            needles: needles_of(value),
        };
        for text in &value.needles {
            let Some(prefix) = text.as_bytes().first_chunk::<MIN_LEARNED>() else {
                continue;
            };
            self.pairs.insert([prefix[0], prefix[1]]);
            let bucket = self.index.entry(*prefix).or_default();
            bucket.push(Needle {
                text: Arc::clone(text),
                name: Arc::clone(&name),
            });
            bucket.sort_by_key(|needle| std::cmp::Reverse(needle.text.len()));
        }
        values.push_back(value);
        if values.len() > VALUES_PER_NAME
            && let Some(oldest) = values.pop_front()
        {
            self.remove_needles(&oldest);
        }
    }

    pub(super) fn forget(&mut self, name: &str) {
        for value in self.names.remove(name).unwrap_or_default() {
            self.remove_needles(&value);
        }
        if self.index.is_empty() {
            self.pairs = PairSet::default();
        }
    }

    fn remove_needles(&mut self, value: &Value) {
        for text in &value.needles {
            let Some(prefix) = text.as_bytes().first_chunk::<MIN_LEARNED>() else {
                continue;
            };
            if let Some(bucket) = self.index.get_mut(prefix) {
                bucket.retain(|needle| !Arc::ptr_eq(&needle.text, text));
                if bucket.is_empty() {
                    self.index.remove(prefix);
                }
            }
        }
    }

    /// The text with every learned value replaced; `None` if there is none in it.
    pub(super) fn replace(&self, text: &str) -> Option<String> {
        if self.index.is_empty() {
            return None;
        }
        let bytes = text.as_bytes();
        let mut out: Option<String> = None;
        let (mut at, mut copied) = (0, 0);
        while at + MIN_LEARNED <= bytes.len() {
            let Some(needle) = self.at(&bytes[at..]) else {
                at += 1;
                continue;
            };
            let out = out.get_or_insert_default();
            out.push_str(&text[copied..at]);
            out.push_str("[scrubbed:");
            out.push_str(&needle.name);
            out.push(']');
            at += needle.text.len();
            copied = at;
        }
        let mut out = out?;
        out.push_str(&text[copied..]);
        Some(out)
    }

    fn at(&self, rest: &[u8]) -> Option<&Needle> {
        let prefix = rest.first_chunk::<MIN_LEARNED>()?;
        if !self.pairs.contains([prefix[0], prefix[1]]) {
            return None;
        }
        let bucket = self.index.get(prefix)?;
        bucket
            .iter()
            .find(|needle| rest.starts_with(needle.text.as_bytes()))
    }
}

/// Which pairs of bytes some needle begins with.
struct PairSet(Box<[u64; 1024]>);

impl Default for PairSet {
    fn default() -> Self {
        Self(Box::new([0; 1024]))
    }
}

impl PairSet {
    fn insert(&mut self, pair: [u8; 2]) {
        let bit = u16::from_le_bytes(pair);
        self.0[usize::from(bit >> 6)] |= 1 << (bit & 63);
    }

    fn contains(&self, pair: [u8; 2]) -> bool {
        let bit = u16::from_le_bytes(pair);
        self.0[usize::from(bit >> 6)] & 1 << (bit & 63) != 0
    }
}

/// Every text in which `value` may show: itself, without the newline that ends a credential
/// file, its long lines, and the encoded forms of the whole.
fn needles_of(value: &[u8]) -> Vec<Arc<str>> {
    let mut forms = Vec::new();
    for whole in [value, value.trim_ascii()] {
        let text = String::from_utf8_lossy(whole);
        forms.push(json_escaped(&text));
        forms.push(text.into_owned());
        forms.push(percent_encoded(whole, b"0123456789ABCDEF"));
        forms.push(percent_encoded(whole, b"0123456789abcdef"));
        forms.extend(base64_forms(whole));
    }
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    for line in lines.filter(|line| line.len() >= MIN_LINE) {
        let text = String::from_utf8_lossy(line);
        forms.push(json_escaped(&text));
        forms.push(text.into_owned());
    }
    forms.retain(|form| form.len() >= MIN_LEARNED);
    forms.sort_unstable();
    forms.dedup();
    forms.into_iter().map(Arc::from).collect()
}

fn json_escaped(text: &str) -> String {
    let mut quoted = Vec::new();
    crate::canonical::write_string(&mut quoted, text);
    String::from_utf8_lossy(&quoted[1..quoted.len() - 1]).into_owned()
}

/// RFC 3986 section 2.1; everything but the unreserved characters is encoded.
fn percent_encoded(value: &[u8], digits: &[u8; 16]) -> String {
    let mut out = String::with_capacity(value.len());
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(digits[usize::from(byte >> 4)]));
            out.push(char::from(digits[usize::from(byte & 15)]));
        }
    }
    out
}

/// RFC 4648 sections 4 and 5: the value alone, and the characters that stay the same when it
/// stands inside a longer text (such as `user:VALUE`) at each of the three alignments.
fn base64_forms(value: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for engine in [&BASE64_STANDARD_NO_PAD, &BASE64_URL_SAFE_NO_PAD] {
        forms.push(engine.encode(value));
        for (before, unsteady) in [(0, 0), (1, 2), (2, 3)] {
            let shifted = [&vec![0; before][..], value].concat();
            let steady = shifted.len() * 8 / 6; // characters made of known bits only
            let encoded = engine.encode(&shifted);
            forms.push(encoded[unsteady.min(steady)..steady].to_owned());
        }
    }
    forms
}
