//! From what walk.nix prints to a [`Tree`] with places, and a list of what was refused.

use std::path::Path;

use osmoda_core::spec::tree::{Key, Span, Tree, Value};
use serde::Deserialize;

use super::{DEPTH_MAX, NODES_MAX, error::Diagnostic, position::Source};

/// What walk.nix gives for one file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Walk {
    Root(Node),
    Large(()),
}

/// A node as walk.nix prints it.
#[derive(Debug, Deserialize)]
pub(super) enum Node {
    #[serde(rename = "n")]
    Null(()),
    #[serde(rename = "b")]
    Bool(bool),
    #[serde(rename = "i")]
    Int(i64),
    #[serde(rename = "f")]
    Float(f64),
    #[serde(rename = "s")]
    String(String),
    #[serde(rename = "l")]
    List(Vec<Node>),
    #[serde(rename = "a")]
    Attributes(Vec<(String, Vec<u32>, Node)>),
    #[serde(rename = "path")]
    Path(String),
    #[serde(rename = "copied")]
    Copied(String),
    #[serde(rename = "function")]
    Function(()),
    #[serde(rename = "deep")]
    Deep(()),
}

/// Gives the tree of one walk, or everything in it that cannot stand in a manifest.
///
/// `file` is named in errors; its text in `source` refines the places.
pub(super) fn build(walk: Walk, file: &Path, source: &Source) -> Result<Tree, Vec<Diagnostic>> {
    let mut builder = Builder {
        file,
        source,
        refused: Vec::new(),
    };
    let start = source.start();
    let tree = match walk {
        Walk::Root(node) => builder.tree(node, start),
        Walk::Large(()) => {
            let message = format!("the value is too large: more than {NODES_MAX} parts");
            builder.refuse(start, message, Some("does it contain itself?"))
        }
    };
    if builder.refused.is_empty() {
        Ok(tree)
    } else {
        Err(builder.refused)
    }
}

struct Builder<'a> {
    file: &'a Path,
    source: &'a Source,
    refused: Vec<Diagnostic>,
}

impl Builder<'_> {
    fn tree(&mut self, node: Node, span: Span) -> Tree {
        let value = match node {
            Node::Null(()) => Value::Null,
            Node::Bool(value) => Value::Bool(value),
            Node::Int(value) => Value::Int(value),
            Node::Float(value) => Value::Float(value),
            Node::String(value) => Value::String(value),
            Node::List(nodes) => {
                Value::List(nodes.into_iter().map(|n| self.tree(n, span)).collect())
            }
            Node::Attributes(attributes) => Value::Map(self.map(attributes, span)),
            Node::Path(path) => {
                let hint = "a path would be copied into the world-readable store; write it as a \
                            string, or as toString ./FILE";
                return self.refuse(span, format!("{path} is a path, not a string"), Some(hint));
            }
            Node::Copied(path) => {
                let message = format!("the text mentions a file by its copy in the store, {path}");
                let hint = "evaluating a spec copies nothing; write toString ./FILE for the \
                            file's own path";
                return self.refuse(span, message, Some(hint));
            }
            Node::Function(()) => {
                let message = "a function cannot stand in a manifest".to_owned();
                return self.refuse(span, message, None);
            }
            Node::Deep(()) => {
                let message = format!("the value is nested more than {DEPTH_MAX} levels deep");
                return self.refuse(span, message, Some("does it contain itself?"));
            }
        };
        Tree { span, value }
    }

    /// In the order of the source, as [`Value::Map`] wants it; Nix sorts by name.
    fn map(&mut self, attributes: Vec<(String, Vec<u32>, Node)>, outer: Span) -> Vec<(Key, Tree)> {
        let mut placed: Vec<(Key, Node)> = attributes
            .into_iter()
            .map(|(text, place, node)| {
                let span = match place[..] {
                    [line, column] => self.source.key(line, column, &text),
                    _ => outer,
                };
                (Key { span, text }, node)
            })
            .collect();
        placed.sort_by_key(|(key, _)| key.span);
        placed
            .into_iter()
            .map(|(key, node)| {
                let tree = self.tree(node, key.span);
                (key, tree)
            })
            .collect()
    }

    fn refuse(&mut self, span: Span, message: String, hint: Option<&'static str>) -> Tree {
        self.refused.push(Diagnostic {
            file: self.file.to_path_buf(),
            line: span.line,
            column: span.column,
            length: span.length,
            message,
            hint,
        });
        Tree {
            span,
            value: Value::Null,
        }
    }
}
