//! What can be wrong with a spec, where, and what was probably meant.
//!
//! A [`SpecError`] shows as one precise sentence; its [`code`](SpecError::code) is for programs
//! and never changes its meaning. Sentences do not quote what could be a secret: a value is
//! repeated only where the field cannot hold one.

use std::fmt;

use super::{API_VERSION, tree::Span};
use crate::{
    name::{AgentName, NameError},
    units::UnitError,
};

/// One mistake in a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// The mistake.
    pub kind: SpecErrorKind,
    /// The field, such as `spec.probes.liveness.period`; empty for a whole document.
    pub path: String,
    /// The text to underline.
    pub span: Span,
    /// A second place that belongs to the mistake, such as the first of two equal keys.
    pub related: Option<Related>,
    /// What to do about it: one sentence without a full stop.
    pub hint: Option<String>,
}

/// A second place that belongs to a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// Source (as numbered by the caller of [`super::set::check`]); `None`: the same as the error's.
    pub source: Option<usize>,
    /// Where in that source.
    pub span: Span,
    /// What is there.
    pub label: &'static str,
}

/// The kinds of mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecErrorKind {
    /// A key that no version of this schema has at this place.
    UnknownField {
        /// The key.
        field: String,
    },
    /// A key that stands twice in one map.
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A field that must be there.
    MissingField {
        /// Its name.
        field: &'static str,
    },
    /// A value of another type.
    WrongType {
        /// The type that is wanted, with its article.
        wanted: &'static str,
        /// What is there instead.
        found: String,
    },
    /// A word that is none of those allowed.
    UnknownValue {
        /// The word.
        found: String,
        /// What would be valid.
        allowed: String,
    },
    /// A number, duration or size beyond its bounds.
    OutOfRange {
        /// The value.
        found: String,
        /// The least allowed value.
        least: String,
        /// The greatest allowed value.
        most: String,
    },
    /// A duration, size or percentage that cannot be read.
    Unit {
        /// The text.
        found: String,
        /// Why.
        error: UnitError,
    },
    /// Not an agent's name.
    Name {
        /// The text.
        found: String,
        /// Why.
        error: NameError,
    },
    /// A text that breaks the rule of its field.
    Invalid {
        /// The rule, as the end of a sentence: `must be an absolute path`.
        rule: String,
    },
    /// A text, map or list with more than its bound.
    TooLarge {
        /// What there is too much of: `bytes`, `entries`.
        unit: &'static str,
        /// How many there are.
        found: usize,
        /// How many are allowed.
        most: usize,
    },
    /// A name that osmoda sets itself.
    Reserved {
        /// The name.
        name: String,
    },
    /// Two settings that contradict each other.
    Conflict {
        /// How, as the end of a sentence.
        reason: String,
    },
    /// A string with a NUL byte, which no argument, variable or path can hold.
    NulByte,
    /// Maps and lists nested beyond [`super::limits::MAX_DEPTH`].
    TooDeep,
    /// A manifest of another version.
    UnsupportedVersion {
        /// Its `apiVersion`.
        found: String,
    },
    /// An agent's name that is declared more than once.
    DuplicateAgent {
        /// The name.
        name: AgentName,
    },
    /// A dependency on an agent that nobody declares.
    UnknownAgent {
        /// The dependency.
        name: AgentName,
    },
    /// Dependencies that lead back to where they began.
    DependencyCycle {
        /// The ring in the order of dependency; the last depends on the first.
        ring: Vec<AgentName>,
    },
    /// More than one Node.
    SecondNode,
    /// More mistakes than are worth listing.
    TooManyErrors {
        /// How many were left out.
        omitted: usize,
    },
}

/// Most names of a ring that are spelled out.
const RING_SHOWN: usize = 12;

impl SpecErrorKind {
    /// Stable identifier of the kind, in kebab-case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownField { .. } => "unknown-field",
            Self::DuplicateKey { .. } => "duplicate-key",
            Self::MissingField { .. } => "missing-field",
            Self::WrongType { .. } => "wrong-type",
            Self::UnknownValue { .. } => "unknown-value",
            Self::OutOfRange { .. } => "out-of-range",
            Self::Unit { .. } => "bad-unit",
            Self::Name { .. } => "bad-name",
            Self::Invalid { .. } => "invalid-value",
            Self::TooLarge { .. } => "too-large",
            Self::Reserved { .. } => "reserved-name",
            Self::Conflict { .. } => "conflict",
            Self::NulByte => "nul-byte",
            Self::TooDeep => "too-deep",
            Self::UnsupportedVersion { .. } => "unsupported-version",
            Self::DuplicateAgent { .. } => "duplicate-agent",
            Self::UnknownAgent { .. } => "unknown-agent",
            Self::DependencyCycle { .. } => "dependency-cycle",
            Self::SecondNode => "second-node",
            Self::TooManyErrors { .. } => "too-many-errors",
        }
    }
}

impl SpecError {
    /// A mistake at a place, without a second place or a hint.
    pub fn new(kind: SpecErrorKind, path: impl Into<String>, span: Span) -> Self {
        Self {
            kind,
            path: path.into(),
            span,
            related: None,
            hint: None,
        }
    }

    /// The same mistake with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same mistake with a second place.
    #[must_use]
    pub fn related(mut self, source: Option<usize>, span: Span, label: &'static str) -> Self {
        self.related = Some(Related {
            source,
            span,
            label,
        });
        self
    }

    /// Stable identifier of the kind of mistake, in kebab-case.
    pub const fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// The field for a sentence; a whole document is called `the manifest`.
    fn place(&self) -> &str {
        if self.path.is_empty() {
            "the manifest"
        } else {
            &self.path
        }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        match &self.kind {
            SpecErrorKind::UnknownField { field } => {
                write!(f, "unknown field {} in {place}", Quoted(field))
            }
            SpecErrorKind::DuplicateKey { key } => {
                write!(f, "{} is given twice in {place}", Quoted(key))
            }
            SpecErrorKind::MissingField { field } => write!(f, "{place} needs `{field}`"),
            SpecErrorKind::WrongType { wanted, found } => {
                write!(f, "{place} must be {wanted}, but is {found}")
            }
            SpecErrorKind::UnknownValue { found, allowed } => {
                write!(f, "{place} is {}; it must be {allowed}", Quoted(found))
            }
            SpecErrorKind::OutOfRange { found, least, most } => {
                write!(f, "{place} is {found}; it must be from {least} to {most}")
            }
            SpecErrorKind::Unit { found, error } => write!(f, "{place}: {} {error}", Quoted(found)),
            SpecErrorKind::Name { found, error } => {
                write!(f, "{place}: {} {error}", Quoted(found))
            }
            SpecErrorKind::Invalid { rule } => write!(f, "{place} {rule}"),
            SpecErrorKind::TooLarge { unit, found, most } => {
                write!(f, "{place} has {found} {unit}; at most {most} are allowed")
            }
            SpecErrorKind::Reserved { name } => {
                write!(f, "{place}: `{name}` is set by osmoda itself")
            }
            SpecErrorKind::Conflict { reason } => write!(f, "{place} {reason}"),
            SpecErrorKind::NulByte => write!(f, "{place} contains a NUL byte"),
            SpecErrorKind::TooDeep => write!(f, "{place} is nested too deeply"),
            SpecErrorKind::UnsupportedVersion { found } => {
                let quoted = Quoted(found);
                write!(
                    f,
                    "apiVersion is {quoted}; this version reads `{API_VERSION}`"
                )
            }
            SpecErrorKind::DuplicateAgent { name } => {
                write!(f, "agent `{name}` is declared more than once")
            }
            SpecErrorKind::UnknownAgent { name } => {
                write!(f, "{place}: no agent is called `{name}`")
            }
            SpecErrorKind::DependencyCycle { ring } => write_ring(f, ring),
            SpecErrorKind::SecondNode => write!(f, "there is more than one Node"),
            SpecErrorKind::TooManyErrors { omitted } => {
                write!(f, "{omitted} more errors in this document are not shown")
            }
        }
    }
}

impl std::error::Error for SpecError {}

fn write_ring(f: &mut fmt::Formatter<'_>, ring: &[AgentName]) -> fmt::Result {
    f.write_str("dependsOn leads in a circle: ")?;
    for name in ring.iter().take(RING_SHOWN) {
        write!(f, "{name} -> ")?;
    }
    if ring.len() > RING_SHOWN {
        write!(f, "… ({} more) -> ", ring.len() - RING_SHOWN)?;
    }
    match ring.first() {
        Some(first) => write!(f, "{first}"),
        None => Ok(()),
    }
}

/// Shows a user's text between backticks: control characters escaped, at most 60 characters.
struct Quoted<'a>(&'a str);

const QUOTED_CHARS: usize = 60;

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`")?;
        for c in self.0.chars().take(QUOTED_CHARS) {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        let cut = self.0.chars().nth(QUOTED_CHARS).is_some();
        f.write_str(if cut { "…`" } else { "`" })
    }
}
