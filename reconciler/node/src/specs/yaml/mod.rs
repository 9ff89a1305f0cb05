//! Reads YAML 1.2 into trees, with the place of every node.
//!
//! The core schema decides types (YAML 1.2.2 section 10.3): `yes` and `no` are strings. Anchors
//! and aliases are expanded within a bound; merge keys, tags other than `!!str` and keys that
//! are not strings are refused, because what they would mean is not what it looks like.
//!
//! Where to start: [`read`].

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, StrInput};
use osmoda_core::spec::{
    limits::MAX_DEPTH,
    tree::{Key, Span, Tree, Value},
};

use super::scalar;

/// Most nodes (maps, lists, scalars; keys not counted) of one file.
pub const MAX_NODES: usize = 100_000;
/// Most that aliases may add to one file: 1 per node plus 1 per byte of text.
pub const MAX_ALIASED_SIZE: usize = 1 << 20;
/// Most documents of one file.
pub const MAX_DOCUMENTS: usize = 10_000;

/// Why a text is not YAML, or not YAML that a spec may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// The text to underline.
    pub span: Span,
    /// Stable identifier in kebab-case.
    pub code: &'static str,
    /// One sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

/// Reads all documents of a file that are not empty.
///
/// # Errors
/// The first [`YamlError`]: after one, nothing that follows can be trusted.
pub fn read(text: &str) -> Result<Vec<Tree>, YamlError> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH + 1,
        block_nesting_limit: MAX_DEPTH + 1,
    };
    let mut builder = Builder {
        events: Parser::new_from_str_with_options(text, options),
        lines: text.lines().collect(),
        nodes: 0,
        aliased: 0,
        anchors: BTreeMap::new(),
    };
    builder.documents()
}

type Place = granit_parser::Span;

struct Builder<'a> {
    events: Parser<'a, StrInput<'a>>,
    lines: Vec<&'a str>,
    nodes: usize,
    aliased: usize,
    anchors: BTreeMap<usize, Anchored>,
}

struct Anchored {
    tree: Tree,
    size: usize,
}

impl<'a> Builder<'a> {
    fn documents(&mut self) -> Result<Vec<Tree>, YamlError> {
        let mut documents = Vec::new();
        while let Some((event, place)) = self.next()? {
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                event => {
                    let document = self.node(event, place, 0)?;
                    if document.value == Value::Null {
                        continue;
                    }
                    if documents.len() == MAX_DOCUMENTS {
                        let message = format!("has more than {MAX_DOCUMENTS} documents");
                        return Err(error(document.span, "too-large", message, None));
                    }
                    documents.push(document);
                }
            }
        }
        Ok(documents)
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Place)>, YamlError> {
        let Some(event) = self.events.next() else {
            return Ok(None);
        };
        event.map(Some).map_err(|found| {
            let marker = found.marker();
            let span = Span {
                line: to_u32(marker.line()),
                column: to_u32(marker.col() + 1),
                length: 1,
            };
            let info = found.info();
            let hint = if info.contains("tab") {
                Some("indent with spaces: YAML does not allow tabs there")
            } else {
                None
            };
            error(span, "yaml-syntax", format!("is not YAML: {info}"), hint)
        })
    }

    fn expect_next(&mut self, place: Place) -> Result<(Event<'a>, Place), YamlError> {
        let span = self.span(place);
        let end = || error(span, "yaml-syntax", "ends within a value".to_owned(), None);
        self.next()?.ok_or_else(end)
    }

    fn node(&mut self, event: Event<'a>, place: Place, depth: usize) -> Result<Tree, YamlError> {
        let span = self.span(place);
        self.bounds(span, depth)?;
        self.tag(&event, place)?;
        let anchor = event.anchor_id();
        let tree = match event {
            Event::Alias(id) => return self.alias(id, span),
            Event::Scalar(text, style, _, tag) => {
                let value = if style == ScalarStyle::Plain && tag.is_none() {
                    scalar::resolve(&text)
                } else {
                    Value::String(text.into_owned())
                };
                Tree { span, value }
            }
            Event::SequenceStart(..) => self.list(place, depth)?,
            Event::MappingStart(..) => self.map(place, depth)?,
            _ => {
                let message = "is not YAML: a value is missing".to_owned();
                return Err(error(span, "yaml-syntax", message, None));
            }
        };
        if let Some(id) = anchor {
            let size = size(&tree);
            let tree = tree.clone();
            self.anchors.insert(id, Anchored { tree, size });
        }
        Ok(tree)
    }

    fn bounds(&mut self, span: Span, depth: usize) -> Result<(), YamlError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("has more than {MAX_NODES} values");
            return Err(error(span, "too-large", message, None));
        }
        if depth > MAX_DEPTH {
            let message = format!("is nested deeper than {MAX_DEPTH} levels");
            return Err(error(span, "too-deep", message, None));
        }
        Ok(())
    }

    fn tag(&self, event: &Event<'a>, place: Place) -> Result<(), YamlError> {
        let Some(tag) = event.tag() else {
            return Ok(());
        };
        let is_scalar = matches!(event, Event::Scalar(..));
        if is_scalar && tag.is_yaml_core_schema_tag("str") {
            return Ok(());
        }
        let message = format!("has the tag `{}`, which specs may not use", tag.original());
        let span = self.span(place.tag_span().unwrap_or(place));
        let hint = "remove the tag; to make a number a string, put it in quotes";
        Err(error(span, "yaml-tag", message, Some(hint)))
    }

    /// A copy of what the anchor names.
    fn alias(&mut self, id: usize, span: Span) -> Result<Tree, YamlError> {
        let Some(anchored) = self.anchors.get(&id) else {
            let message = "is an alias of a value that contains it".to_owned();
            return Err(error(span, "yaml-alias", message, None));
        };
        self.aliased += anchored.size;
        if self.aliased > MAX_ALIASED_SIZE {
            let message = "has aliases that expand to more than 1 MiB".to_owned();
            return Err(error(span, "yaml-alias", message, None));
        }
        Ok(anchored.tree.clone())
    }

    fn list(&mut self, start: Place, depth: usize) -> Result<Tree, YamlError> {
        let mut items = Vec::new();
        loop {
            let (event, place) = self.expect_next(start)?;
            if event == Event::SequenceEnd {
                break;
            }
            items.push(self.node(event, place, depth + 1)?);
        }
        let first = items.first().map(|item: &Tree| item.span);
        Ok(Tree {
            span: self.collection_span(start, first),
            value: Value::List(items),
        })
    }

    fn map(&mut self, start: Place, depth: usize) -> Result<Tree, YamlError> {
        let mut entries = Vec::new();
        loop {
            let (event, place) = self.expect_next(start)?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.key(event, place, depth)?;
            let (event, place) = self.expect_next(start)?;
            entries.push((key, self.node(event, place, depth + 1)?));
        }
        let first = entries.first().map(|(key, _): &(Key, Tree)| key.span);
        Ok(Tree {
            span: self.collection_span(start, first),
            value: Value::Map(entries),
        })
    }

    fn key(&mut self, event: Event<'a>, place: Place, depth: usize) -> Result<Key, YamlError> {
        let is_plain = matches!(event, Event::Scalar(_, ScalarStyle::Plain, _, None));
        let tree = self.node(event, place, depth + 1)?;
        let span = self.span(place);
        match tree.value {
            Value::String(text) if is_plain && text == "<<" => {
                let message = "uses the merge key `<<`, which specs may not use".to_owned();
                let hint = "write the fields out, or give the whole map an anchor and an alias";
                Err(error(span, "yaml-merge", message, Some(hint)))
            }
            Value::String(text) => Ok(Key { span, text }),
            Value::List(_) | Value::Map(_) => {
                let message = "has a list or a map as a key".to_owned();
                Err(error(span, "yaml-key", message, None))
            }
            _ => {
                let message = "has a key that is not a string".to_owned();
                Err(error(
                    span,
                    "yaml-key",
                    message,
                    Some("put the key in quotes"),
                ))
            }
        }
    }

    /// A flow collection begins with its bracket; a block collection has no text of its own and
    /// is shown as its first entry.
    fn collection_span(&self, start: Place, first: Option<Span>) -> Span {
        match first {
            Some(first) if start.is_empty() => first,
            _ => self.span(start),
        }
    }

    /// The place of a node, cut at the end of its first line.
    fn span(&self, place: Place) -> Span {
        let (start, end) = (place.start, place.end);
        let length = if end.line() == start.line() {
            end.col().saturating_sub(start.col())
        } else {
            let line = self.lines.get(start.line().saturating_sub(1));
            let chars = line.map_or(0, |line| line.trim_end().chars().count());
            chars.saturating_sub(start.col())
        };
        Span {
            line: to_u32(start.line()),
            column: to_u32(start.col() + 1),
            length: to_u32(length.max(1)),
        }
    }
}

fn error(span: Span, code: &'static str, message: String, hint: Option<&'static str>) -> YamlError {
    YamlError {
        span,
        code,
        message,
        hint,
    }
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// 1 per node plus 1 per byte of text.
fn size(tree: &Tree) -> usize {
    let inner = match &tree.value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
        Value::String(text) => text.len(),
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| key.text.len() + size(value))
            .sum(),
    };
    inner + 1
}

#[cfg(test)]
mod tests;
