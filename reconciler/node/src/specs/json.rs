//! Reads JSON (RFC 8259) into a tree, with the place of every node.
//!
//! serde_json decides what is JSON and what a string or number means; here only the places are
//! found. The YAML reader would nearly do, but JSON strings may hold characters that YAML does
//! not allow, and a bundle's manifest must always be readable.
//!
//! Where to start: [`read`].

use osmoda_core::spec::{
    limits::MAX_DEPTH,
    tree::{Key, Span, Tree, Value},
};
use serde::de::IgnoredAny;

use super::yaml::{MAX_NODES, YamlError};

/// Reads one JSON value.
///
/// # Errors
/// The first mistake, with its place.
pub fn read(text: &str) -> Result<Tree, YamlError> {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Err(syntax(text, &error));
    }
    let mut cursor = Cursor {
        rest: text,
        line: 1,
        column: 1,
        nodes: 0,
    };
    cursor.blank();
    cursor.value(0)
}

/// What is left of a valid text, and where that begins.
struct Cursor<'a> {
    rest: &'a str,
    line: u32,
    column: u32,
    nodes: usize,
}

impl<'a> Cursor<'a> {
    fn value(&mut self, depth: usize) -> Result<Tree, YamlError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.error("too-large", format!("has more than {MAX_NODES} values")));
        }
        if depth > MAX_DEPTH {
            let message = format!("is nested deeper than {MAX_DEPTH} levels");
            return Err(self.error("too-deep", message));
        }
        let span = self.here(1);
        match self.rest.as_bytes().first() {
            Some(b'{') => {
                let value = Value::Map(self.entries(depth)?);
                Ok(Tree { span, value })
            }
            Some(b'[') => {
                let value = Value::List(self.items(depth)?);
                Ok(Tree { span, value })
            }
            Some(b'"') => {
                let (span, text) = self.string()?;
                let value = Value::String(text);
                Ok(Tree { span, value })
            }
            _ => self.word(),
        }
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<(Key, Tree)>, YamlError> {
        let mut entries = Vec::new();
        self.skip();
        while !self.rest.starts_with('}') {
            let (span, text) = self.string()?;
            self.blank();
            self.skip();
            entries.push((Key { span, text }, self.value(depth + 1)?));
            self.separator();
        }
        self.skip();
        Ok(entries)
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Tree>, YamlError> {
        let mut items = Vec::new();
        self.skip();
        while !self.rest.starts_with(']') {
            items.push(self.value(depth + 1)?);
            self.separator();
        }
        self.skip();
        Ok(items)
    }

    /// A string with its quotes.
    fn string(&mut self) -> Result<(Span, String), YamlError> {
        let mut is_escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let is_end = *c == '"' && !is_escaped;
            is_escaped = *c == '\\' && !is_escaped;
            is_end
        });
        let length = end.map_or(self.rest.len(), |(index, _)| index + 1);
        let (span, token) = self.take(length);
        let text = serde_json::from_str(token).map_err(|error| syntax(token, &error))?;
        Ok((span, text))
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<Tree, YamlError> {
        let is_end = |c: char| matches!(c, ',' | ']' | '}') || is_blank(c);
        let length = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (span, token) = self.take(length);
        let value = match token {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            number => match number.parse() {
                Ok(number) => Value::Int(number),
                Err(_) => {
                    let number = serde_json::from_str(number);
                    Value::Float(number.map_err(|error| syntax(token, &error))?)
                }
            },
        };
        Ok(Tree { span, value })
    }

    fn separator(&mut self) {
        self.blank();
        if self.rest.starts_with(',') {
            self.skip();
        }
    }

    /// Past one punctuation mark and the blanks after it.
    fn skip(&mut self) {
        self.take(1);
        self.blank();
    }

    fn blank(&mut self) {
        let length = self.rest.find(|c| !is_blank(c)).unwrap_or(self.rest.len());
        self.take(length);
    }

    /// Moves past `length` bytes, and gives them and their place.
    fn take(&mut self, length: usize) -> (Span, &'a str) {
        let (token, rest) = self.rest.split_at(length.min(self.rest.len()));
        let span = self.here(u32::try_from(token.chars().count()).unwrap_or(u32::MAX));
        for c in token.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.rest = rest;
        (span, token)
    }

    fn here(&self, length: u32) -> Span {
        Span {
            line: self.line,
            column: self.column,
            length,
        }
    }

    fn error(&self, code: &'static str, message: String) -> YamlError {
        YamlError {
            span: self.here(1),
            code,
            message,
            hint: None,
        }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn syntax(text: &str, error: &serde_json::Error) -> YamlError {
    let full = error.to_string();
    // serde_json appends the place, which is shown otherwise.
    let reason = full.split(" at line ").next().unwrap_or(&full);
    let reason = if error.is_eof() {
        "it ends too early"
    } else {
        reason
    };
    YamlError {
        span: place(text, error),
        code: "json-syntax",
        message: format!("is not JSON: {reason}"),
        hint: None,
    }
}

/// serde_json counts columns in bytes, and 0 is the end of the line before.
fn place(text: &str, error: &serde_json::Error) -> Span {
    let line = text.lines().nth(error.line().saturating_sub(1));
    let before = line.unwrap_or_default().bytes();
    let before: Vec<u8> = before.take(error.column().saturating_sub(1)).collect();
    let column = String::from_utf8_lossy(&before).chars().count() + 1;
    Span {
        line: u32::try_from(error.line()).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
        length: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specs::manifest::to_json;
    use osmoda_core::spec::tree;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn through_tree(text: &str) -> Value {
        to_json(&read(text).expect("valid JSON"))
    }

    #[test]
    fn values_are_those_of_json() {
        let text =
            r#"{"a":[1,-2,1.5,1e3,true,null,"yes","\u00e9\ud83d\ude00\/\"\\\n","~","1"],"":{}}"#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(through_tree(text)["a"][7], expected["a"][7]);
        assert_eq!(through_tree(text)["a"][3], json!(1000.0));
        assert_eq!(through_tree(text)[""], json!({}));
    }

    #[test]
    fn what_only_yaml_allows_is_refused() {
        for (text, line, column) in [
            ("{a: 1}", 1, 2),
            ("{\"a\": 'x'}", 1, 7),
            ("{\"a\": 1,}", 1, 9),
            ("{\"é\": 1,\n \"b\": x}", 2, 7),
            ("# comment\n{}", 1, 1),
            ("{} {}", 1, 4),
            ("\"\\ud83d\"", 1, 8),
            ("", 1, 1),
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(
                (error.code, error.span.line, error.span.column),
                ("json-syntax", line, column),
                "{text}: {}",
                error.message
            );
        }
    }

    #[test]
    fn every_node_knows_its_place_in_characters() {
        let tree = read("{\"é\": [1,\r\n\t\"a\\\"b\", {}],\n \"c\" : true}").unwrap();
        let tree::Value::Map(entries) = &tree.value else {
            panic!("a map");
        };
        let place = |span: Span| (span.line, span.column, span.length);
        assert_eq!(place(entries[0].0.span), (1, 2, 3));
        let tree::Value::List(items) = &entries[0].1.value else {
            panic!("a list");
        };
        assert_eq!(place(items[0].span), (1, 8, 1));
        assert_eq!(place(items[1].span), (2, 2, 6));
        assert_eq!(place(items[2].span), (2, 10, 1));
        assert_eq!(place(entries[1].0.span), (3, 2, 3));
        assert_eq!(place(entries[1].1.span), (3, 8, 4));
    }

    #[test]
    fn nesting_and_the_number_of_values_are_bounded() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(MAX_DEPTH + 1)).is_ok());
        assert_eq!(read(&nested(MAX_DEPTH + 2)).unwrap_err().code, "too-deep");
        assert!(read(&nested(100_000)).is_err());
        let wide = format!("[{}1]", "1,".repeat(MAX_NODES));
        assert_eq!(read(&wide).unwrap_err().code, "too-large");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1.0e9..1.0e9).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[ -~\t\n\u{7f}\u{85}\u{a0}\u{2028}\u{feff}\u{fffe}]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(".{0,8}", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_is_read_as_serde_json_reads_it(value in any_json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            prop_assert_eq!(through_tree(&text), value);
        }
    }
}
