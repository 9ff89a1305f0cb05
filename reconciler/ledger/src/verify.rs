//! Verifies a ledger, or a whole export of one, from nothing but the file.
//!
//! Needs no daemon, opens read-only, keeps no more in memory than the tree's frontier and the
//! intents that are open. What it checks row by row is in `audit`; here are the two kinds of
//! file and the report. A file that is not sound is a report with `ok: false`; an error means
//! that the file could not be read at all.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use osmoda_core::digest::Digest;
use serde::Serialize;

use crate::{
    audit::{Audit, Row, RowFault},
    error::{ReadError, Severity},
    export::{self, Footer, Header, Line},
    query,
    reader::Reader,
    store::{SignedAt, is_origin, read_log, schema},
    tlog::Frontier,
};

/// Entries between two calls of the progress function.
const PROGRESS_EVERY: u64 = 8192;

/// What is to be checked besides the file itself.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyOptions {}

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
    /// The last stored checkpoint.
    pub checkpoint: Option<SignedAt>,
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
    _options: &VerifyOptions,
    progress: impl FnMut(u64, u64),
) -> Result<Report, VerifyError> {
    let fail = |source| VerifyError::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(fail)?;
    let mut first = Vec::new();
    let begins = (&file).take(export::BEGINNING.len() as u64);
    { begins }.read_to_end(&mut first).map_err(fail)?;
    if first == export::BEGINNING {
        let rest = BufReader::with_capacity(1 << 16, file);
        return verify_export(rest, progress).map_err(fail);
    }
    verify_database(path, progress)
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

fn report(audit: Option<Audit>, origin: Option<String>, bad: Option<Bad>) -> Report {
    let size = audit.as_ref().map_or(0, Audit::next);
    let (first_bad, reason) = match bad {
        Some(bad) => (bad.seq, Some(bad.reason)),
        None => (None, None),
    };
    Report {
        ok: reason.is_none(),
        origin,
        size,
        root: audit.as_ref().map(|audit| audit.frontier().root()),
        chain: audit.as_ref().map(Audit::chain),
        first_bad,
        reason,
        checkpoint: None,
        unanchored: size,
        open_intents: audit.as_ref().map(Audit::open_intents).unwrap_or_default(),
        clock_regressions: audit
            .as_ref()
            .map(|audit| audit.clock_regressions().to_vec())
            .unwrap_or_default(),
        without_body: audit.as_ref().map_or(0, Audit::without_body),
    }
}

/// What only the end of a log shows: bodies that nothing explains, and whether the size and
/// tree that the file claims are those of its entries.
fn check_end(audit: &Audit, claimed: &Frontier) -> Result<(), Bad> {
    if let Some(seq) = audit.first_unexplained() {
        return Err(Bad::entry(seq, RowFault::Missing));
    }
    let (has, says) = (audit.next(), claimed.size());
    if has < says {
        let reason = format!("it is missing; the file says that it has {says} entries");
        return Err(Bad::entry(has, reason));
    }
    if has > says {
        return Err(Bad::entry(says, "it is after the end that the file states"));
    }
    match audit.frontier() == claimed {
        true => Ok(()),
        false => Err(Bad::file("the stored tree is not that of the entries")),
    }
}

fn verify_database(path: &Path, progress: impl FnMut(u64, u64)) -> Result<Report, VerifyError> {
    let sqlite = |source: ReadError| VerifyError::Sqlite {
        path: path.to_owned(),
        source,
    };
    let reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(error) => return unreadable(error, None, None).map_err(sqlite),
    };
    // One transaction, so that a daemon that writes meanwhile does not move the end.
    let opened = reader.connection().execute_batch("BEGIN");
    if let Err(error) = opened {
        return unreadable(error.into(), None, None).map_err(sqlite);
    }
    let (origin, claimed) = match read_head(&reader) {
        Ok(Ok(head)) => head,
        Ok(Err(reason)) => return Ok(report(None, None, Some(Bad::file(reason)))),
        Err(error) => return unreadable(error, None, None).map_err(sqlite),
    };
    let mut audit = Audit::new(&origin);
    match follow(&reader, &mut audit, claimed.size(), progress) {
        Ok(followed) => {
            let bad = followed.and_then(|()| check_end(&audit, &claimed)).err();
            Ok(report(Some(audit), Some(origin), bad))
        }
        Err(error) => unreadable(error, Some(audit), Some(origin)).map_err(sqlite),
    }
}

/// Damage is a report; that the file cannot be read here and now is an error.
fn unreadable(
    error: ReadError,
    audit: Option<Audit>,
    origin: Option<String>,
) -> Result<Report, ReadError> {
    match &error {
        ReadError::Sqlite(source) if Severity::of(source) == Severity::Damage => {
            let bad = match &audit {
                Some(audit) => Bad::entry(audit.next(), source),
                None => Bad::file(source.to_string()),
            };
            Ok(report(audit, origin, Some(bad)))
        }
        _ => Err(error),
    }
}

/// Origin and claimed tree; the inner error says what is wrong with them.
fn read_head(reader: &Reader) -> Result<Result<(String, Frontier), String>, ReadError> {
    let connection = reader.connection();
    if let Err(reason) = schema::check(connection)? {
        return Ok(Err(reason));
    }
    let (origin, size, frontier) = read_log(connection)?;
    if !is_origin(&origin) {
        return Ok(Err(format!("{origin:?} is not the origin of a ledger")));
    }
    let frontier = Frontier::from_bytes(size, &frontier);
    let fits = frontier.ok_or_else(|| "the stored tree does not fit its size".to_owned());
    Ok(fits.map(|frontier| (origin, frontier)))
}

fn follow(
    reader: &Reader,
    audit: &mut Audit,
    total: u64,
    mut progress: impl FnMut(u64, u64),
) -> Result<Result<(), Bad>, ReadError> {
    let followed = query::for_each_row(reader.connection(), 0, |row: &Row<'_>| {
        if audit.next().is_multiple_of(PROGRESS_EVERY) {
            progress(audit.next(), total);
        }
        audit.row(row)
    })?;
    progress(audit.next(), total);
    Ok(followed.map_err(|fault| Bad::entry(audit.next(), fault)))
}

fn verify_export(mut file: impl BufRead, mut progress: impl FnMut(u64, u64)) -> io::Result<Report> {
    let mut text = Vec::new();
    // `verify` has read the fixed beginning of the header already.
    export::read_line(&mut file, &mut text)?;
    let header = match Header::parse_rest(&text) {
        Some(header) if is_origin(&header.origin) => header,
        _ => {
            return Ok(report(
                None,
                None,
                Some(Bad::file("its first line is no header")),
            ));
        }
    };
    let origin = header.origin;
    if !header.complete {
        let reason = "it holds only some entries of the log; only a whole export can be verified";
        return Ok(report(None, Some(origin), Some(Bad::file(reason))));
    }
    let mut audit = Audit::new(&origin);
    let bad = loop {
        export::read_line(&mut file, &mut text)?;
        if let Some(line) = Line::parse(&text) {
            if audit.next().is_multiple_of(PROGRESS_EVERY) {
                progress(audit.next(), header.size);
            }
            if let Err(fault) = audit.row(&line.row()) {
                break Some(Bad::entry(audit.next(), fault));
            }
            continue;
        }
        let Some(footer) = Footer::parse(&text) else {
            break Some(Bad::entry(audit.next(), "its line is missing or malformed"));
        };
        export::read_line(&mut file, &mut text)?;
        break match text.is_empty() {
            true => check_footer(&audit, &footer, header.size).err(),
            false => Some(Bad::file("there is something after its last line")),
        };
    };
    progress(audit.next(), header.size);
    Ok(report(Some(audit), Some(origin), bad))
}

fn check_footer(audit: &Audit, footer: &Footer, size: u64) -> Result<(), Bad> {
    if let Some(seq) = audit.first_unexplained() {
        return Err(Bad::entry(seq, RowFault::Missing));
    }
    let stated = (footer.size, footer.root, footer.chain);
    let found = (audit.next(), audit.frontier().root(), audit.chain());
    match stated == found && size == footer.size {
        true => Ok(()),
        false => Err(Bad::file(
            "size, root or chain of its last line are not those of its entries",
        )),
    }
}
