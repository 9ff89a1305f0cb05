//! From SPECS to decoded documents, each with the number of its source.
//!
//! Nothing here stops at a mistake: a file that cannot be read or parsed becomes a [`Failure`],
//! a document that cannot be decoded an `Err` among the documents.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use osmoda_core::{
    name::AgentName,
    spec::{
        API_VERSION,
        decode::{self, Document, Invalid, Subject},
        error::{SpecError, SpecErrorKind},
        tree::{Span, Tree, Value},
    },
};
use osmoda_nix::eval::Recipe;

use super::{
    LIST_KIND, LoadError, LoadOptions, SpecsRef,
    files::{self, FileError, Language},
    json, manifest, nix,
    report::{Place, SourceError},
    yaml::{self, YamlError},
};

/// Most bytes of source text that are kept to show lines of; beyond it, places are shown alone.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// A file (or flake reference) and its text, if it is kept.
pub(super) struct Source {
    pub file: PathBuf,
    pub text: Option<String>,
    /// How what it needs is built, if it is written in Nix.
    pub recipe: Option<Arc<Recipe>>,
}

/// A mistake of a whole file.
pub(super) struct Failure {
    pub source: usize,
    /// The agent that the file would declare, where its name is that of the file.
    pub agent: Option<AgentName>,
    pub error: SourceError,
}

pub(super) type Decoded = Result<(Document, Arc<str>), Invalid>;

/// Everything found in SPECS.
#[derive(Default)]
pub(super) struct Gathered {
    pub sources: Vec<Source>,
    /// Documents and their canonical manifests.
    pub documents: Vec<(usize, Decoded)>,
    pub failures: Vec<Failure>,
    /// Names that a file which failed may declare: that of the file.
    pub elsewhere: BTreeSet<AgentName>,
    kept: usize,
}

/// Reads and decodes everything.
pub(super) fn gather(specs: &SpecsRef, options: &LoadOptions) -> Result<Gathered, LoadError> {
    let mut gathered = Gathered::default();
    match specs {
        SpecsRef::Flake(reference) => nix::flake(&mut gathered, reference, &options.nix),
        SpecsRef::Path(path) => {
            let files = files::list(path)?;
            let (nix_files, files): (Vec<_>, Vec<_>) = files
                .into_iter()
                .partition(|(_, language)| *language == Language::Nix);
            for (file, language) in files {
                gathered.file(file, language);
            }
            let nix_files = nix_files.into_iter().map(|(file, _)| file).collect();
            nix::files(&mut gathered, path, nix_files, &options.nix);
        }
    }
    Ok(gathered)
}

/// Decodes one document and makes its canonical manifest.
pub(super) fn decode(tree: &Tree) -> Decoded {
    let document = decode::decode(tree)?;
    match manifest::canonical(tree) {
        Ok(manifest) => Ok((document, manifest.into())),
        Err(error) => {
            let rule = format!("cannot be written as canonical JSON: {error}");
            let error = SpecError::new(SpecErrorKind::Invalid { rule }, "", tree.span);
            let subject = match document {
                Document::Agent(draft) => Subject::Agent(draft.name, draft.name_span),
                Document::Node(draft) => Subject::Node(draft.span),
            };
            Err(Invalid {
                subject,
                errors: vec![error],
                depends_on: Vec::new(),
            })
        }
    }
}

/// A Node where an agent is wanted.
pub(super) fn not_an_agent(span: Span) -> SpecError {
    let kind = SpecErrorKind::UnknownValue {
        found: "Node".to_owned(),
        allowed: "Agent".to_owned(),
    };
    SpecError::new(kind, "kind", span)
}

impl YamlError {
    /// The mistake as one of a manifest.
    pub(super) fn into_spec_error(self) -> SpecError {
        let rule = self.message;
        let mut error = SpecError::new(SpecErrorKind::Invalid { rule }, "", self.span);
        error.hint = self.hint.map(str::to_owned);
        error
    }
}

impl Gathered {
    /// Numbers a source, and keeps its text while there is room.
    pub fn source(&mut self, file: PathBuf, text: Option<String>) -> usize {
        let size = text.as_ref().map_or(0, String::len);
        let fits = self.kept + size <= MAX_KEPT_BYTES;
        if fits {
            self.kept += size;
        }
        let text = text.filter(|_| fits);
        self.sources.push(Source {
            file,
            text,
            recipe: None,
        });
        self.sources.len() - 1
    }

    /// Notes how what a source needs is built.
    pub fn built_by(&mut self, source: usize, recipe: Recipe) {
        if let Some(source) = self.sources.get_mut(source) {
            source.recipe = Some(Arc::new(recipe));
        }
    }

    /// Decodes a document of a source, or all items of a List.
    pub fn document(&mut self, source: usize, tree: &Tree) {
        match items_of_list(tree) {
            None => self.documents.push((source, decode(tree))),
            Some(Ok(items)) => {
                for item in items {
                    self.documents.push((source, decode(item)));
                }
            }
            Some(Err(error)) => {
                let invalid = Invalid {
                    subject: Subject::Unknown,
                    errors: vec![error],
                    depends_on: Vec::new(),
                };
                self.documents.push((source, Err(invalid)));
            }
        }
    }

    /// Notes a mistake of a whole source.
    pub fn fail(&mut self, source: usize, agent: Option<AgentName>, error: SourceError) {
        if let Some(source) = self.sources.get(source) {
            self.elsewhere.extend(name_of(&source.file));
        }
        self.failures.push(Failure {
            source,
            agent,
            error,
        });
    }

    fn file(&mut self, file: PathBuf, language: Language) {
        let text = match files::read(&file) {
            Ok(text) => text,
            Err(error) => {
                let error = unreadable(&file, error);
                let source = self.source(file, None);
                self.fail(source, None, error);
                return;
            }
        };
        let documents = match language {
            Language::Json => json::read(&text).map(|tree| vec![tree]),
            _ => yaml::read(&text),
        };
        match documents {
            Ok(documents) if documents.is_empty() => {
                let error = empty(&file);
                let source = self.source(file, Some(text));
                self.fail(source, None, error);
            }
            Ok(documents) => {
                let source = self.source(file, Some(text));
                for document in &documents {
                    self.document(source, document);
                }
            }
            Err(error) => {
                let error = unparsable(&file, error, &text);
                let source = self.source(file, Some(text));
                self.fail(source, None, error);
            }
        }
    }
}

/// The agent that a file is named after.
pub(super) fn name_of(file: &Path) -> Option<AgentName> {
    AgentName::new(file.file_stem()?.to_str()?).ok()
}

/// The items of a document of `kind: List`; `None` if it is another one.
fn items_of_list(tree: &Tree) -> Option<Result<&[Tree], SpecError>> {
    let Value::Map(entries) = &tree.value else {
        return None;
    };
    let get = |name: &str| entries.iter().find(|(key, _)| key.text == name);
    let text = |name: &str| match get(name).map(|(_, tree)| &tree.value) {
        Some(Value::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if text("kind") != Some(LIST_KIND) {
        return None;
    }
    let stranger = entries
        .iter()
        .map(|(key, _)| key)
        .find(|key| !matches!(key.text.as_str(), "apiVersion" | "kind" | "items"));
    if let Some(key) = stranger {
        let field = key.text.clone();
        let kind = SpecErrorKind::UnknownField { field };
        return Some(Err(SpecError::new(kind, "", key.span)));
    }
    if text("apiVersion") != Some(API_VERSION) {
        let rule = format!("needs apiVersion: {API_VERSION}");
        let kind = SpecErrorKind::Invalid { rule };
        return Some(Err(SpecError::new(kind, "", tree.span)));
    }
    Some(match get("items").map(|(_, tree)| &tree.value) {
        Some(Value::List(items)) => Ok(items),
        _ => {
            let kind = SpecErrorKind::MissingField { field: "items" };
            Err(SpecError::new(kind, "", tree.span))
        }
    })
}

fn unreadable(file: &Path, error: FileError) -> SourceError {
    SourceError {
        code: error.code,
        path: String::new(),
        message: format!("the file {}", error.message),
        help: error.hint.map(str::to_owned),
        place: Place::new(file, error.span, None),
        related: None,
    }
}

fn unparsable(file: &Path, error: YamlError, text: &str) -> SourceError {
    SourceError {
        code: error.code,
        path: String::new(),
        message: format!("the file {}", error.message),
        help: error.hint.map(str::to_owned),
        place: Place::new(file, error.span, Some(text)),
        related: None,
    }
}

/// An empty file is a mistake: it may be one that is just being written.
fn empty(file: &Path) -> SourceError {
    SourceError {
        code: "empty-file",
        path: String::new(),
        message: "the file declares nothing".to_owned(),
        help: Some("delete it, or begin its name with `_` to keep it aside".to_owned()),
        place: Place::new(file, Span::default(), None),
        related: None,
    }
}
