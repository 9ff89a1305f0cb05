//! `osmoda ledger`: works on the file, without a daemon.
//!
//! What judges a ledger is in [`audit`]; what changes it, and so asks the daemon if one runs,
//! in [`operate`].

mod audit;
mod operate;

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use osmoda_ledger::{
    Reader, backup,
    export::{ExportError, ExportOptions, export},
};
use osmoda_node::{
    api::{source::entry_object, types::LedgerHead},
    error::chain,
};

use super::{anchor, follow, paths, report, timeline};
use crate::{
    args::{Global, Ledger, Output},
    failure::{Answer, Failure, Outcome, USAGE},
    output, show,
};

/// Branches to what is asked.
pub fn ledger(global: &Global, command: Ledger) -> Outcome {
    match command {
        Ledger::Verify {
            file,
            checkpoint,
            key,
            output,
        } => audit::verify_file(&chosen(global, file)?, &checkpoint, key, output),
        Ledger::Checkpoint { file, output } => operate::checkpoint(global, file.path, output),
        Ledger::Key {
            rotate,
            file,
            output,
        } => operate::key(global, file.path, rotate, output),
        Ledger::Prove { seq, file, output } => {
            audit::prove(&chosen(global, file.path)?, seq, output)
        }
        Ledger::VerifyProof {
            proof,
            key,
            entry,
            output,
        } => audit::verify_proof(&proof, &key, entry.as_deref(), output),
        Ledger::Prune {
            before,
            file,
            output,
        } => operate::prune(global, file.path, &before, output),
        Ledger::Redact {
            seq,
            reason,
            file,
            output,
        } => operate::redact(global, file.path, seq, reason, output),
        Ledger::Head { file, output } => head(&chosen(global, file.path)?, output),
        Ledger::Show { seq, file, output } => show_entry(&chosen(global, file.path)?, seq, output),
        Ledger::Export {
            format: _,
            since,
            agent,
            file,
        } => {
            let options = ExportOptions {
                since: since.as_deref().map(follow::time).transpose()?,
                agent: agent.map(String::from),
            };
            export_entries(&chosen(global, file.path)?, &options)
        }
        Ledger::Backup { target, file } => copy(&chosen(global, file.path)?, &target),
        Ledger::Timeline(args) => timeline::timeline(&args),
        Ledger::Report(args) => report::report(global, &args),
        Ledger::Anchor(args) => anchor::anchor(global, &args),
    }
}

/// The ledger that is meant.
///
/// # Errors
/// Exit code 2 if it is not there.
pub(super) fn chosen(global: &Global, file: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let path = match file {
        Some(path) => path,
        None => paths(global)?.ledger(),
    };
    if let Err(error) = std::fs::metadata(&path) {
        let message = format!("cannot read the ledger {}: {error}", path.display());
        return Err(
            Failure::new(USAGE, message).hint("name the file, or its directory with --state-dir")
        );
    }
    Ok(path)
}

fn reader(path: &Path) -> Result<Reader, Failure> {
    Reader::open(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::internal(format!(
        "cannot read the ledger {}: {}",
        path.display(),
        chain(error)
    ))
    .hint(format!(
        "`osmoda ledger verify {}` says more",
        path.display()
    ))
}

fn head(path: &Path, output: Output) -> Outcome {
    let head = reader(path)?
        .head()
        .map_err(|error| unreadable(path, &error))?;
    let head = LedgerHead::from(head);
    match output.output {
        Some(format) => output::object(format, &head)?,
        None => output::print(&show::ledger::head(&head))?,
    }
    Ok(Answer::Yes)
}

fn show_entry(path: &Path, seq: u64, output: Output) -> Outcome {
    let found = reader(path)?
        .entry(seq)
        .map_err(|error| unreadable(path, &error))?;
    let Some(record) = found else {
        return Err(
            Failure::usage(format!("{} has no entry {seq}", path.display()))
                .hint("`osmoda ledger head` says how many there are"),
        );
    };
    let entry = entry_object(&record).map_err(Failure::internal)?;
    match output.output {
        Some(format) => output::object(format, &entry)?,
        None => {
            let sentence = show::one_line(&show::events::sentence(&entry));
            let body = serde_json::to_string_pretty(&entry.entry);
            let body = body.map_err(|error| Failure::because(&error))?;
            output::print(&format!("{sentence}\nleaf {}\n{body}\n", entry.leaf))?;
        }
    }
    Ok(Answer::Yes)
}

fn export_entries(path: &Path, options: &ExportOptions) -> Outcome {
    let mut out = BufWriter::new(io::stdout().lock());
    match export(&reader(path)?, options, &mut out) {
        Ok(_) => {
            out.flush()?;
            Ok(Answer::Yes)
        }
        Err(ExportError::Write(error)) => Err(error.into()),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn copy(path: &Path, target: &Path) -> Outcome {
    let size = backup::backup(path, target).map_err(|error| {
        Failure::internal(format!("the ledger was not copied: {}", chain(&error)))
            .hint("the target must not exist, and its directory must be writable")
    })?;
    output::print(&format!("copied {size} entries to {}\n", target.display()))?;
    Ok(Answer::Yes)
}
