//! A value as read from a file, where every node knows its place.
//!
//! YAML, JSON and Nix are read into this one tree at the edge; the decoder turns it into specs
//! and can point at what is wrong.

/// Position of a node in its source. Lines and columns count from 1, columns and lengths in
/// characters; line 0 means that the position is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// Line of the first character.
    pub line: u32,
    /// Column of the first character.
    pub column: u32,
    /// Characters to underline on that line, at least 1 where the position is known.
    pub length: u32,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// The kinds of value that YAML's core schema, JSON and Nix have in common.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    List(Vec<Tree>),
    /// In the order of the source; keys may repeat (the decoder refuses that).
    Map(Vec<(Key, Tree)>),
}

/// A key of a map and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where it stands.
    pub span: Span,
    /// Its text.
    pub text: String,
}
