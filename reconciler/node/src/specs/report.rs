//! Mistakes in spec files, for people: the place, the line, the reason, the way out.
//!
//! Text from a file is shown with its control characters made visible, so that a spec cannot
//! steer a terminal. Without colour the output is plain and the same every time.
//!
//! Where to start: [`render_errors`].

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use annotate_snippets::{
    Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};
use osmoda_core::spec::tree::Span;

use super::Rejected;

/// Longest line of source that is kept for showing, in bytes.
pub const MAX_EXCERPT_BYTES: usize = 4096;
/// Width at which a long line is cut around what is underlined, in columns.
const WIDTH: usize = 100;

/// A mistake and its place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// Stable identifier of the kind of mistake, in kebab-case.
    pub code: &'static str,
    /// The field, such as `spec.stop.signal`; empty if it is not about one.
    pub path: String,
    /// One precise sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where.
    pub place: Place,
    /// A second place, and what is there.
    pub related: Option<(Place, &'static str)>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named, or a flake reference.
    pub file: PathBuf,
    /// Line, column and length; line 0 if not known.
    pub span: Span,
    /// That line, if it is known and at most [`MAX_EXCERPT_BYTES`] long. It may hold a secret in
    /// the wrong place: it is for the user's own terminal, not for a log or the ledger.
    pub excerpt: Option<String>,
}

impl Place {
    /// The place and its line in the file's text, if there is one.
    pub(super) fn new(file: &Path, span: Span, text: Option<&str>) -> Self {
        let index = usize::try_from(span.line)
            .ok()
            .and_then(|l| l.checked_sub(1));
        let line = index.and_then(|index| text?.lines().nth(index));
        Self {
            file: file.to_owned(),
            span,
            excerpt: line
                .filter(|line| line.len() <= MAX_EXCERPT_BYTES)
                .map(visible),
        }
    }

    /// Bytes of the excerpt to underline.
    fn underlined(&self, excerpt: &str) -> std::ops::Range<usize> {
        let start = usize::try_from(self.span.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let length = usize::try_from(self.span.length).unwrap_or(1).max(1);
        let byte = |index: usize| {
            let found = excerpt.char_indices().nth(index);
            found.map_or(excerpt.len(), |(byte, _)| byte)
        };
        byte(start)..byte(start.saturating_add(length))
    }
}

impl fmt::Display for Place {
    /// `FILE:LINE:COLUMN`, or the file alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.span.line > 0 {
            write!(f, ":{}:{}", self.span.line, self.span.column)?;
        }
        Ok(())
    }
}

impl fmt::Display for SourceError {
    /// One line, without the excerpt: fit for a log or a condition's message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SourceError {}

/// All mistakes of all files in the order of files and lines, and how many there are; empty if
/// there are none.
pub fn render_errors(rejected: &[Rejected], colour: bool) -> String {
    let mut errors: Vec<&SourceError> = rejected.iter().flat_map(|file| &file.errors).collect();
    if errors.is_empty() {
        return String::new();
    }
    errors.sort_by_key(|error| (&error.place.file, error.place.span, &error.path, error.code));
    let base = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = base.term_width(WIDTH);
    let mut text = String::new();
    for error in &errors {
        text.push_str(&renderer.render(&[group(error)]));
        text.push_str("\n\n");
    }
    let files: BTreeSet<&PathBuf> = errors.iter().map(|error| &error.place.file).collect();
    text.push_str(&summary(errors.len(), files.len()));
    text
}

fn summary(errors: usize, files: usize) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (many, several) = (plural(errors), plural(files));
    format!("{errors} error{many} in {files} file{several}\n")
}

/// Text without the control characters of ISO 6429's C1 set, which some terminals obey (the
/// renderer takes care of the others). Character for character, so that columns stay right.
fn visible(text: &str) -> String {
    let is_c1 = |c: char| ('\u{80}'..='\u{9f}').contains(&c);
    text.replace(is_c1, "\u{fffd}")
}

fn group(error: &SourceError) -> Group<'_> {
    let title = Level::ERROR.primary_title(visible(&error.message));
    let mut group = Group::with_title(title.id(error.code));
    group = pointed_at(group, &error.place, None, AnnotationKind::Primary);
    if let Some((place, label)) = &error.related {
        group = pointed_at(group, place, Some(label), AnnotationKind::Context);
    }
    match &error.help {
        Some(help) => group.element(Level::HELP.message(normalize_untrusted_str(&visible(help)))),
        None => group,
    }
}

fn pointed_at<'a>(
    group: Group<'a>,
    place: &'a Place,
    label: Option<&'static str>,
    kind: AnnotationKind,
) -> Group<'a> {
    let path = visible(&place.file.to_string_lossy());
    let line = usize::try_from(place.span.line).unwrap_or_default();
    if let Some(excerpt) = &place.excerpt {
        let annotation: Annotation<'a> = kind.span(place.underlined(excerpt)).label(label);
        let snippet = Snippet::source(excerpt.as_str())
            .path(path)
            .line_start(line)
            .annotation(annotation);
        return group.element(snippet);
    }
    let mut origin = Origin::path(path);
    if line > 0 {
        let column = usize::try_from(place.span.column).unwrap_or_default();
        origin = origin.line(line).char_column(column);
    }
    let group = group.element(origin);
    match label {
        Some(label) => group.element(Level::NOTE.message(label)),
        None => group,
    }
}
