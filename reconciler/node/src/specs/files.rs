//! Which files are specs, and how their bytes become text.
//!
//! Reading never hangs and never takes unbounded memory: what is not a regular file is refused
//! without being read, sizes are bounded. A file that cannot be read is a mistake of that file
//! alone.
//!
//! Where to start: [`SpecsRef`] for what a user names, [`list`] for a directory, [`read`] for one
//! file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use osmoda_core::spec::tree::Span;
use rustix::process::geteuid;

/// Largest spec file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most spec files of a directory.
pub const MAX_FILES: usize = 10_000;

/// What a user names as SPECS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecsRef {
    /// A directory with specs, or one file.
    Path(PathBuf),
    /// A flake reference with an attribute: `FLAKE#attr`.
    Flake(String),
}

impl SpecsRef {
    /// Reads the command line's SPECS: a path if there is such a file or no `#` in the text.
    pub fn parse(text: &str) -> Self {
        let path = Path::new(text);
        if text.contains('#') && fs::symlink_metadata(path).is_err() {
            Self::Flake(text.to_owned())
        } else {
            Self::Path(path.to_owned())
        }
    }

    /// The directory or file; `None` for a flake reference.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Flake(_) => None,
        }
    }
}

impl std::fmt::Display for SpecsRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Flake(reference) => f.write_str(reference),
        }
    }
}

/// The language of a spec file, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Nix,
    Yaml,
    Json,
}

impl Language {
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "nix" => Some(Self::Nix),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// SPECS as a whole cannot be read: nothing is known about any agent.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nothing is there.
    #[error("there is no {}", path.display())]
    Missing {
        /// SPECS.
        path: PathBuf,
    },
    /// It is there and cannot be read.
    #[error("cannot read {} as uid {}", path.display(), geteuid().as_raw())]
    Unreadable {
        /// SPECS.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that is no spec by its name, or neither file nor directory.
    #[error("{} is neither a directory nor a .nix, .yaml, .yml or .json file", path.display())]
    NotSpecs {
        /// SPECS.
        path: PathBuf,
    },
    /// More files than [`MAX_FILES`].
    #[error("{} has more than {MAX_FILES} spec files", path.display())]
    TooMany {
        /// SPECS.
        path: PathBuf,
    },
}

impl LoadError {
    fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            _ => Self::Unreadable { path, source },
        }
    }
}

/// The spec files at a path, sorted by name: the one file, or those of a directory whose names
/// end in a known way and do not begin with `.` or `_`.
pub(super) fn list(path: &Path) -> Result<Vec<(PathBuf, Language)>, LoadError> {
    let metadata = fs::metadata(path).map_err(|error| LoadError::from_io(path, error))?;
    if !metadata.is_dir() {
        let path = path.to_owned();
        return match Language::of(&path) {
            Some(language) if metadata.is_file() => Ok(vec![(path, language)]),
            _ => Err(LoadError::NotSpecs { path }),
        };
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| LoadError::from_io(path, error))? {
        let entry = entry.map_err(|error| LoadError::from_io(path, error))?;
        let name = entry.file_name();
        let is_hidden = matches!(name.as_encoded_bytes().first(), Some(b'.' | b'_'));
        let file = entry.path();
        let Some(language) = Language::of(&file).filter(|_| !is_hidden) else {
            continue;
        };
        if files.len() == MAX_FILES {
            let path = path.to_owned();
            return Err(LoadError::TooMany { path });
        }
        files.push((file, language));
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files)
}

/// Why a file gives no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileError {
    pub code: &'static str,
    pub message: String,
    pub hint: Option<&'static str>,
    pub span: Span,
}

impl FileError {
    fn new(code: &'static str, message: impl Into<String>, hint: Option<&'static str>) -> Self {
        Self {
            code,
            message: message.into(),
            hint,
            span: Span::default(),
        }
    }
}

/// The text of a file, without a byte order mark.
pub(super) fn read(path: &Path) -> Result<String, FileError> {
    let bytes = read_bytes(path)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        FileError {
            span: place_after(&error.as_bytes()[..valid]),
            ..FileError::new("not-utf8", "is not UTF-8 text", Some("save it as UTF-8"))
        }
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = open(path).map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        let message = "is not a regular file";
        return Err(FileError::new("not-a-file", message, None));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed shows that there are more; a growing file stays bounded.
    let mut bounded = file.take(MAX_FILE_BYTES + 1);
    bounded
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("is larger than {} KiB", MAX_FILE_BYTES >> 10);
        return Err(FileError::new("too-large", message, None));
    }
    Ok(bytes)
}

/// O_NONBLOCK: opening a FIFO must not wait for a writer.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

fn unreadable(path: &Path, error: &io::Error) -> FileError {
    let target = fs::read_link(path).ok();
    match (error.kind(), target) {
        (io::ErrorKind::NotFound, Some(target)) => {
            let target = target.display();
            let message = format!("is a symbolic link to {target}, which does not exist");
            FileError::new("dangling-link", message, None)
        }
        _ => FileError::new("unreadable", format!("cannot be read: {error}"), None),
    }
}

/// The place of the first character after some valid text.
fn place_after(bytes: &[u8]) -> Span {
    let text = String::from_utf8_lossy(bytes);
    let line = text.matches('\n').count() + 1;
    let column = text
        .rsplit('\n')
        .next()
        .map_or(0, |last| last.chars().count())
        + 1;
    Span {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
        length: 1,
    }
}
