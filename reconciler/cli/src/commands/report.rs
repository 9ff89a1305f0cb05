//! `osmoda ledger report`: what an auditor is given about a stretch of the ledger.

use std::{fs, path::Path};

use osmoda_ledger::{
    checkpoint::Checkpoint,
    note::{NOTE_MAX, Note, NoteError, VerifierKey},
    report::{Bound, CheckpointGiven, ReportError, report as report_on},
};
use osmoda_node::error::chain;

use super::{follow, ledger::chosen, pages};
use crate::{
    args::{Global, Report},
    failure::{Failure, NO, Outcome},
    output,
    show::audit,
};

const FORMS: &str = "write a checkpoint's file, a number of entries, 10m for ten minutes ago, \
                     or a time such as 2026-01-31T12:00:00Z";

/// Exits 1 if the ledger is not sound or an end of the period is not what it should be.
pub fn report(global: &Global, args: &Report) -> Outcome {
    let keys = verifier_keys(&args.keys)?;
    let bound = |text: &Option<String>, default| match text {
        Some(text) => bound(text, &keys),
        None => Ok(default),
    };
    let from = bound(&args.from, Bound::Start)?;
    let to = bound(&args.to, Bound::End)?;
    let path = chosen(global, args.file.path.clone())?;
    let found = report_on(&path, &from, &to, |_, _| {}).map_err(|error| {
        let failure = match error {
            ReportError::Read(_) => Failure::internal(chain(&error)),
            _ => Failure::usage(chain(&error)),
        };
        failure.hint(FORMS)
    })?;
    match (&args.html, args.output.output) {
        (Some(path), _) => pages::write(path, &audit::html::html(&found))?,
        (None, Some(format)) => output::object(format, &found)?,
        (None, None) => output::print(&audit::text(&found))?,
    }
    Ok(found.ok.into())
}

/// Reads public keys in C2SP's vkey format.
///
/// # Errors
/// Exit code 2.
pub fn verifier_keys(texts: &[String]) -> Result<Vec<VerifierKey>, Failure> {
    let parse = |text: &String| {
        let key: Result<VerifierKey, _> = text.trim().parse();
        key.map_err(|error| {
            Failure::usage(format!("{text:?} is no public key: {error}"))
                .hint("`osmoda ledger key` prints that of a node, `osmoda witness` its own")
        })
    };
    texts.iter().map(parse).collect()
}

fn bound(text: &str, keys: &[VerifierKey]) -> Result<Bound, Failure> {
    if let Ok(size) = text.parse() {
        return Ok(Bound::Size(size));
    }
    if Path::new(text).exists() {
        return checkpoint(Path::new(text), keys).map(Bound::Checkpoint);
    }
    let time = follow::time(text);
    time.map(Bound::Time).map_err(|_| {
        Failure::usage(format!(
            "{text:?} is no file, no number and no point in time"
        ))
        .hint(FORMS)
    })
}

fn checkpoint(path: &Path, keys: &[VerifierKey]) -> Result<CheckpointGiven, Failure> {
    let unreadable = |why: String| {
        Failure::usage(format!("{} is no checkpoint: {why}", path.display())).hint(FORMS)
    };
    let length = fs::metadata(path)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    if length > NOTE_MAX as u64 {
        return Err(unreadable(NoteError::TooLong.to_string()));
    }
    let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let note = Note::parse(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let read: Checkpoint = note
        .text()
        .parse()
        .map_err(|error| unreadable(format!("{error}")))?;
    let signed_by = match note.verify(keys) {
        Ok(verified) => verified
            .iter()
            .map(|one| one.key.name().to_owned())
            .collect(),
        Err(NoteError::Unsigned) if keys.is_empty() => Vec::new(),
        Err(error) => {
            let message = format!(
                "the checkpoint {} is not to be believed: {error}",
                path.display()
            );
            return Err(Failure::new(NO, message));
        }
    };
    Ok(CheckpointGiven {
        origin: read.origin,
        size: read.size,
        root: read.root,
        signed_by,
    })
}
