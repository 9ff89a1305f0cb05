//! Verifies a ledger, or a whole export of one, from nothing but the file.
//!
//! Needs no daemon, opens read-only, keeps no more in memory than the tree's frontier and the
//! intents that are open. What it checks row by row is in `audit`; here are the two kinds of
//! file (`database`, `export`), the checkpoints (`checkpoints`) and the report. A file that is
//! not sound is a report with `ok: false`; an error means that it could not be read at all.

mod checkpoints;
mod database;
mod export;

use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use osmoda_core::digest::Digest;
use serde::Serialize;

use self::{database::verify_database, export::verify_export};
use crate::{
    audit::Audit,
    checkpoint::Checkpoint,
    error::ReadError,
    export::BEGINNING,
    note::{Note, VerifierKey},
    store::SignedAt,
};

/// What is to be checked besides the file itself.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Checkpoints that were kept elsewhere: the log must begin as each of them says.
    pub checkpoints: Vec<Note>,
    /// Keys to trust. Those named as the log are its own; without one, the first key that the
    /// log names is believed.
    pub keys: Vec<VerifierKey>,
    /// Threads to use; as many as there are processors, if not given.
    pub threads: Option<NonZeroUsize>,
}

impl VerifyOptions {
    /// Entries that the given checkpoints vouch for, of a log of `size` entries.
    fn anchored(&self, size: u64) -> u64 {
        let read = |note: &Note| note.text().parse::<Checkpoint>().ok();
        let sizes = self.checkpoints.iter().filter_map(read);
        sizes
            .map(|checkpoint| checkpoint.size.min(size))
            .max()
            .unwrap_or(0)
    }
}

/// What was found. Serializes as `ledger verify -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Everything is as it must be.
    pub ok: bool,
    /// Name of the log, if it could be read.
    pub origin: Option<String>,
    /// Entries that were found sound, from the beginning on; all of them if `ok`.
    pub size: u64,
    /// RFC 6962 root over these entries.
    pub root: Option<Digest>,
    /// Chain value after the last of them.
    pub chain: Option<Digest>,
    /// The first entry that is not sound; absent if the fault is not in an entry.
    pub first_bad: Option<u64>,
    /// What is wrong, in a sentence.
    pub reason: Option<String>,
    /// The last stored checkpoint that is right.
    pub checkpoint: Option<SignedAt>,
    /// How many stored checkpoints are right.
    pub checkpoints: u64,
    /// The key that signs the log now (C2SP vkey). From the file alone it is only what the log
    /// says of itself.
    pub key: Option<String>,
    /// Entries after the last one that was anchored away from the machine.
    pub unanchored: u64,
    /// Intents without an outcome; no failure.
    pub open_intents: Vec<u64>,
    /// Entries whose time is more than a second before that of the entry before; no failure.
    pub clock_regressions: Vec<u64>,
    /// Entries whose body was pruned or redacted, as a later entry says; no failure.
    pub without_body: u64,
}

/// Why a file could not be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// SQLite cannot open the file here; where its write-ahead log lies beside it, SQLite
    /// must be able to write in that directory.
    #[error("cannot open {path}; if a -wal file lies beside it, copy both to where you can write")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ReadError,
    },
}

/// Verifies the ledger or export at `path`. `progress` is told now and then how many entries
/// were checked, and of how many (0 if that is not known).
///
/// # Errors
/// [`VerifyError`] if the file cannot be read; a file that is wrong gives a [`Report`].
pub fn verify(
    path: &Path,
    options: &VerifyOptions,
    progress: impl FnMut(u64, u64),
) -> Result<Report, VerifyError> {
    let fail = |source| VerifyError::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(fail)?;
    let mut first = Vec::new();
    let begins = (&file).take(BEGINNING.len() as u64);
    { begins }.read_to_end(&mut first).map_err(fail)?;
    if first == BEGINNING {
        let rest = BufReader::with_capacity(1 << 16, file);
        return verify_export(rest, options, progress).map_err(fail);
    }
    verify_database(path, options, progress)
}

/// What is wrong, and at which entry.
struct Bad {
    seq: Option<u64>,
    reason: String,
}

impl Bad {
    fn file(reason: impl Into<String>) -> Self {
        Self {
            seq: None,
            reason: reason.into(),
        }
    }

    fn entry(seq: u64, reason: impl ToString) -> Self {
        Self {
            seq: Some(seq),
            reason: format!("entry {seq}: {}", reason.to_string()),
        }
    }
}

/// What was found before it becomes a report.
#[derive(Default)]
struct Found {
    origin: Option<String>,
    audit: Option<Audit>,
    bad: Option<Bad>,
    checkpoint: Option<SignedAt>,
    checkpoints: u64,
    key: Option<String>,
    /// Entries that a checkpoint away from the machine vouches for.
    anchored: u64,
}

impl Found {
    fn bad(bad: Bad) -> Self {
        Self {
            bad: Some(bad),
            ..Self::default()
        }
    }
}

fn report(found: Found) -> Report {
    let audit = found.audit.as_ref();
    let size = audit.map_or(0, Audit::next);
    let (first_bad, reason) = match found.bad {
        Some(bad) => (bad.seq, Some(bad.reason)),
        None => (None, None),
    };
    Report {
        ok: reason.is_none(),
        origin: found.origin,
        size,
        root: audit.map(|audit| audit.frontier().root()),
        chain: audit.map(Audit::chain),
        first_bad,
        reason,
        checkpoint: found.checkpoint,
        checkpoints: found.checkpoints,
        key: found.key,
        unanchored: size.saturating_sub(found.anchored),
        open_intents: audit.map(Audit::open_intents).unwrap_or_default(),
        clock_regressions: audit.map_or_else(Vec::new, |audit| audit.clock_regressions().to_vec()),
        without_body: audit.map_or(0, Audit::without_body),
    }
}
