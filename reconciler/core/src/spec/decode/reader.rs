//! Reads values out of a [`Tree`] and keeps every mistake it meets.
//!
//! No method stops at a mistake: it notes it and returns `None` (or an empty collection), and
//! the caller goes on with the next field. What was read counts only if no mistake was noted.
//! Where to start: [`Reader::fields`] for a map with known keys, then one method per type.

use crate::spec::{
    error::{SpecError, SpecErrorKind},
    limits,
    nearest::nearest,
    tree::{Key, Span, Tree, Value},
};

/// A value and how to speak about it.
#[derive(Clone)]
pub(super) struct Slot<'a> {
    /// The field's path, such as `spec.stop.signal`.
    pub path: String,
    /// Its value.
    pub tree: &'a Tree,
    /// Its key, where it has one: what is underlined when something is missing in the value.
    pub key: Option<Span>,
}

impl Slot<'_> {
    /// Where to point when nothing in the value itself is wrong, but something lacks.
    pub fn heading(&self) -> Span {
        self.key.unwrap_or(self.tree.span)
    }
}

/// The entries of a map with known keys.
pub(super) struct Fields<'a> {
    path: String,
    heading: Span,
    entries: &'a [(Key, Tree)],
    is_map: bool,
}

impl<'a> Fields<'a> {
    /// The field of this name (of several, the first; the others are already noted).
    pub fn get(&self, name: &str) -> Option<Slot<'a>> {
        let (key, tree) = self.entries.iter().find(|(key, _)| key.text == name)?;
        Some(Slot {
            path: join(&self.path, name),
            tree,
            key: Some(key.span),
        })
    }

    /// Whether the field is there.
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.text == name)
    }

    /// Whether the value is a map at all; if not, that is already noted.
    pub fn is_map(&self) -> bool {
        self.is_map
    }

    /// The map's own path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where to point when a field lacks.
    pub fn heading(&self) -> Span {
        self.heading
    }
}

/// Collects mistakes.
#[derive(Default)]
pub(super) struct Reader {
    errors: Vec<SpecError>,
    omitted: usize,
}

impl Reader {
    /// Notes a mistake, up to [`limits::MAX_ERRORS`].
    pub fn note(&mut self, error: SpecError) {
        if self.errors.len() < limits::MAX_ERRORS {
            self.errors.push(error);
        } else {
            self.omitted += 1;
        }
    }

    /// Notes that the value at `slot` breaks a rule: the end of a sentence, `must be ...`.
    pub fn invalid(&mut self, slot: &Slot<'_>, rule: impl Into<String>) {
        let kind = SpecErrorKind::Invalid { rule: rule.into() };
        self.note(SpecError::new(kind, &slot.path, slot.tree.span));
    }

    /// Notes that the value at `slot` contradicts another one.
    pub fn conflict(&mut self, slot: &Slot<'_>, reason: impl Into<String>) {
        let reason = reason.into();
        let kind = SpecErrorKind::Conflict { reason };
        self.note(SpecError::new(kind, &slot.path, slot.heading()));
    }

    /// Whether nothing was noted so far.
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// All mistakes in the order of the source.
    pub fn finish(mut self) -> Vec<SpecError> {
        self.errors.sort_by_key(|error| error.span);
        if self.omitted > 0 {
            let omitted = self.omitted;
            let kind = SpecErrorKind::TooManyErrors { omitted };
            self.errors.push(SpecError::new(kind, "", Span::default()));
        }
        self.errors
    }

    /// A map whose keys must be among `known`.
    pub fn fields<'a>(&mut self, slot: &Slot<'a>, known: &[&'static str]) -> Fields<'a> {
        let entries = self.map(slot, || {
            format!("give its fields: {}", listed(known, "and"))
        });
        for (key, _) in entries.unwrap_or_default() {
            if !known.contains(&key.text.as_str()) {
                self.note(unknown_field(&slot.path, key, known));
            }
        }
        Fields {
            path: slot.path.clone(),
            heading: slot.heading(),
            entries: entries.unwrap_or_default(),
            is_map: entries.is_some(),
        }
    }

    fn map<'a>(
        &mut self,
        slot: &Slot<'a>,
        hint: impl FnOnce() -> String,
    ) -> Option<&'a [(Key, Tree)]> {
        if let Value::Map(entries) = &slot.tree.value {
            return Some(entries);
        }
        self.wrong_type_because(slot, "a map", hint());
        None
    }

    /// A map with keys of the user's choice, at most [`limits::MAX_ENTRIES`] of them.
    pub fn entries<'a>(&mut self, slot: &Slot<'a>) -> Vec<(&'a Key, Slot<'a>)> {
        let hint = || "write a map from names to values".to_owned();
        let entries = self.map(slot, hint).unwrap_or_default();
        self.count(slot, "entries", entries.len(), limits::MAX_ENTRIES);
        let entries = entries.iter().take(limits::MAX_ENTRIES);
        entries
            .map(|(key, tree)| {
                let slot = Slot {
                    path: join(&slot.path, &key.text),
                    tree,
                    key: Some(key.span),
                };
                (key, slot)
            })
            .collect()
    }

    /// A list of at most `most` items.
    pub fn items<'a>(
        &mut self,
        slot: &Slot<'a>,
        most: usize,
        (wanted, example): (&'static str, &str),
    ) -> Vec<Slot<'a>> {
        let Value::List(items) = &slot.tree.value else {
            self.wrong_type(slot, wanted, example);
            return Vec::new();
        };
        self.count(slot, "entries", items.len(), most);
        let items = items.iter().take(most).enumerate();
        items
            .map(|(index, tree)| Slot {
                path: format!("{}[{index}]", slot.path),
                tree,
                key: None,
            })
            .collect()
    }

    /// Notes it if there is more of something than allowed; true if not.
    pub fn count(
        &mut self,
        slot: &Slot<'_>,
        unit: &'static str,
        found: usize,
        most: usize,
    ) -> bool {
        if found <= most {
            return true;
        }
        let kind = SpecErrorKind::TooLarge { unit, found, most };
        self.note(SpecError::new(kind, &slot.path, slot.tree.span));
        false
    }

    /// A field that may be left out.
    pub fn optional<'a, T>(
        &mut self,
        fields: &Fields<'a>,
        name: &str,
        read: impl FnOnce(&mut Self, &Slot<'a>) -> Option<T>,
    ) -> Option<T> {
        let slot = fields.get(name)?;
        read(self, &slot)
    }

    /// A field that must be there.
    pub fn required<'a, T>(
        &mut self,
        fields: &Fields<'a>,
        (name, example): (&'static str, &str),
        read: impl FnOnce(&mut Self, &Slot<'a>) -> Option<T>,
    ) -> Option<T> {
        if fields.is_map() && !fields.has(name) {
            let kind = SpecErrorKind::MissingField { field: name };
            let error = SpecError::new(kind, fields.path(), fields.heading());
            self.note(error.hint(format!("add for example {name}: {example}")));
        }
        self.optional(fields, name, read)
    }

    /// Notes that the value is of another type than wanted.
    pub fn wrong_type(&mut self, slot: &Slot<'_>, wanted: &'static str, example: &str) {
        let hint = match &slot.tree.value {
            Value::Null => {
                format!("leave the field out to use its default, or write for example {example}")
            }
            _ => format!("write for example {example}"),
        };
        self.wrong_type_because(slot, wanted, hint);
    }

    pub(super) fn wrong_type_because(
        &mut self,
        slot: &Slot<'_>,
        wanted: &'static str,
        hint: String,
    ) {
        let found = describe(&slot.tree.value);
        let kind = SpecErrorKind::WrongType { wanted, found };
        let span = match &slot.tree.value {
            Value::Null | Value::List(_) | Value::Map(_) => slot.heading(),
            _ => slot.tree.span,
        };
        self.note(SpecError::new(kind, &slot.path, span).hint(hint));
    }

    /// A string of at most `most` bytes.
    pub fn text<'a>(&mut self, slot: &Slot<'a>, most: usize) -> Option<&'a str> {
        let text = self.string(slot)?;
        self.count(slot, "bytes", text.len(), most).then_some(text)
    }

    fn string<'a>(&mut self, slot: &Slot<'a>) -> Option<&'a str> {
        match &slot.tree.value {
            Value::String(text) => return Some(text),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                let hint = format!("put it in quotes: \"{}\"", scalar(&slot.tree.value));
                self.wrong_type_because(slot, "a string", hint);
            }
            _ => self.wrong_type(slot, "a string", "\"text\""),
        }
        None
    }
}

/// `a.b`, or `b` at the top of a document; control characters of a key are escaped.
pub(super) fn join(path: &str, name: &str) -> String {
    let mut path = path.to_owned();
    if !path.is_empty() {
        path.push('.');
    }
    for c in name.chars() {
        if c.is_control() {
            path.extend(c.escape_default());
        } else {
            path.push(c);
        }
    }
    path
}

fn unknown_field(path: &str, key: &Key, known: &[&'static str]) -> SpecError {
    let field = key.text.clone();
    let hint = match nearest(&key.text, known.iter().copied()) {
        Some(name) => did_you_mean(name),
        None => format!("the fields here are {}", listed(known, "and")),
    };
    SpecError::new(SpecErrorKind::UnknownField { field }, path, key.span).hint(hint)
}

pub(in crate::spec) fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

/// `a, b or c`.
pub(super) fn alternatives(words: &[&'static str]) -> String {
    listed(words, "or")
}

fn listed(words: &[&'static str], last: &str) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [init @ .., end] => format!("{} {last} {end}", init.join(", ")),
    }
}

/// What a value is, without the text of a string: that could be a secret in the wrong place.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(_) => format!("the boolean {}", scalar(value)),
        Value::Int(_) | Value::Float(_) => format!("the number {}", scalar(value)),
        Value::String(_) => "a string".to_owned(),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        _ => String::new(),
    }
}
