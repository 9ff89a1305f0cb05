//! The file of a private key: of this user, mode 0600, made once and then only read. The log's
//! own key lies in such a file, and so does a witness's.
//!
//! The text is that of [`crate::note::NoteSigner`] and a newline. A second file, with `.next`
//! at the end of its name, is there while one key follows another: the log names the new key
//! first, and then the file takes the place of the old one. No error and no message ever holds
//! what the file holds.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use crate::{
    note::{Algorithm, KeyError, NoteSigner, VerifierKey},
    store::sync_directory,
};

/// Longest file, in bytes.
const FILE_MAX: u64 = 1024;
/// Bytes of a secret.
const SEED: usize = 32;

/// Why the log has no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refused.
    #[error("cannot {operation} the private key {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else could have read or replaced it.
    #[error("the private key {path} {fault}")]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        fault: String,
    },
    /// It does not hold a key.
    #[error("the private key {path} is no key: {fault}")]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: KeyError,
    },
}

/// Reads the keys of the log `origin`, or makes its first one. `named` is the key that the log
/// itself names last. Gives one key, or two if the first is just being followed by the second.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn load(
    path: &Path,
    origin: &str,
    named: Option<&str>,
) -> Result<Vec<NoteSigner>, KeyFileError> {
    let mut keys = Vec::new();
    match read(path, origin)? {
        Some(key) => keys.push(key),
        None => {
            let key = generate(origin, Algorithm::Ed25519)
                .map_err(|source| failed("make", path, source))?;
            publish(path, &key)?;
            keys.push(key);
        }
    }
    let next = next_to(path);
    if let Some(key) = read(&next, origin)? {
        // Only if the log names it was the change begun; else nobody has heard of it.
        match named == Some(&*key.verifier().to_string()) {
            true => keys.push(key),
            false => fs::remove_file(&next).map_err(|source| failed("remove", &next, source))?,
        }
    }
    Ok(keys)
}

/// The public half of the key at `path`, if there is one.
///
/// # Errors
/// [`KeyFileError`].
pub fn verifier(path: &Path, origin: &str) -> Result<Option<VerifierKey>, KeyFileError> {
    Ok(read(path, origin)?.map(|key| key.verifier()))
}

/// Makes the key that is to follow, beside the one in use.
pub(super) fn make_next(path: &Path, origin: &str) -> Result<NoteSigner, KeyFileError> {
    let next = next_to(path);
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &next, error));
        }
        _ => {}
    }
    let key =
        generate(origin, Algorithm::Ed25519).map_err(|source| failed("make", &next, source))?;
    publish(&next, &key)?;
    Ok(key)
}

/// The key that follows takes the place of the one in use.
pub(super) fn promote(path: &Path) -> Result<(), KeyFileError> {
    fs::rename(next_to(path), path)
        .and_then(|()| sync_directory(path))
        .map_err(|source| failed("replace", path, source))
}

fn next_to(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".next");
    name.into()
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// Reads the key of a witness; `None` if there is no file.
///
/// # Errors
/// [`KeyFileError`], also if it is a key of another kind.
pub fn read_witness(path: &Path) -> Result<Option<NoteSigner>, KeyFileError> {
    read_as(path, Algorithm::CosignatureV1)
}

/// Makes the key of a witness where there is no file yet.
///
/// # Errors
/// [`KeyFileError`], also if the name cannot be one.
pub fn make_witness(path: &Path, name: &str) -> Result<NoteSigner, KeyFileError> {
    let made = generate(name, Algorithm::CosignatureV1);
    let key = made.map_err(|source| failed("make", path, source))?;
    publish(path, &key)?;
    Ok(key)
}

/// `None` if there is no file. A log that was begun anew has a new origin: the secret stays,
/// its name becomes that of the log.
fn read(path: &Path, origin: &str) -> Result<Option<NoteSigner>, KeyFileError> {
    let Some(key) = read_as(path, Algorithm::Ed25519)? else {
        return Ok(None);
    };
    let renamed = key.renamed(origin).map_err(|fault| no_key(path, fault));
    renamed.map(Some)
}

fn no_key(path: &Path, fault: KeyError) -> KeyFileError {
    KeyFileError::NoKey {
        path: path.to_owned(),
        fault,
    }
}

fn read_as(path: &Path, algorithm: Algorithm) -> Result<Option<NoteSigner>, KeyFileError> {
    let flags = libc_nofollow();
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path, error)),
    };
    let meta = file
        .metadata()
        .map_err(|error| failed("look at", path, error))?;
    let refuse = |fault: String| KeyFileError::Unsafe {
        path: path.to_owned(),
        fault,
    };
    if !meta.is_file() {
        return Err(refuse("is not a regular file; put the key there".into()));
    }
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != own {
        let owner = meta.uid();
        return Err(refuse(format!(
            "belongs to user {owner}, not to {own}; chown it"
        )));
    }
    if meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o7777;
        let fault =
            format!("has mode {mode:04o}, so that others can use it; chmod 600, or rotate it");
        return Err(refuse(fault));
    }
    let mut text = Zeroizing::new(String::with_capacity(FILE_MAX as usize + 1));
    let limited = Read::by_ref(&mut file)
        .take(FILE_MAX)
        .read_to_string(&mut text);
    limited.map_err(|error| failed("read", path, error))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let key = NoteSigner::parse(line).map_err(|fault| no_key(path, fault))?;
    if key.verifier().algorithm() != algorithm {
        return Err(no_key(path, KeyError::Algorithm));
    }
    Ok(Some(key))
}

/// A link could lead to somebody else's file.
fn libc_nofollow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}

/// A key of the kernel's random numbers; an early boot that has none yet is waited for.
fn generate(name: &str, algorithm: Algorithm) -> io::Result<NoteSigner> {
    let mut seed = Zeroizing::new([0; SEED]);
    while getrandom(seed.as_mut_slice(), GetRandomFlags::empty())? != SEED {}
    NoteSigner::from_seed(name, algorithm, &seed).map_err(io::Error::other)
}

/// Writes the key, durably, where nothing is yet.
fn publish(path: &Path, key: &NoteSigner) -> Result<(), KeyFileError> {
    let mut draft = OsString::from(path);
    draft.push(".part");
    let draft = PathBuf::from(draft);
    let written = write_draft(&draft, key).and_then(|()| {
        // Unlike a rename, a link never replaces a key that came from elsewhere meanwhile.
        fs::hard_link(&draft, path)?;
        fs::remove_file(&draft)?;
        sync_directory(path)
    });
    written.map_err(|source| {
        // The draft is of no use; that it failed is told already.
        let _ = fs::remove_file(&draft);
        failed("write", path, source)
    })
}

fn write_draft(draft: &Path, key: &NoteSigner) -> io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut make = OpenOptions::new();
    let mut file: File = make.write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(key.to_secret_text().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
