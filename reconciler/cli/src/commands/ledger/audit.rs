//! Judges a ledger or a proof, with what was kept elsewhere.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use osmoda_ledger::{
    ProveError, VerifyOptions,
    note::{NOTE_MAX, Note, VerifierKey},
    tlog,
    tlog_proof::{TEXT_MAX, TlogProof},
    verify,
};
use osmoda_node::{api::types::LedgerProof, error::chain};
use serde::Serialize;

use super::{reader, unreadable};
use crate::{
    args::Output,
    failure::{Answer, Failure, Outcome},
    output, show,
};

/// Longest entry, in bytes.
const ENTRY_MAX: usize = osmoda_ledger::canonical::MAX_ENTRY;

/// `osmoda ledger verify`.
pub fn verify_file(
    path: &Path,
    checkpoints: &[impl AsRef<Path>],
    keys: Vec<VerifierKey>,
    output: Output,
) -> Outcome {
    let mut options = VerifyOptions::default();
    for file in checkpoints {
        let file = file.as_ref();
        let bytes = read(file, NOTE_MAX)?;
        let note = Note::parse(&bytes).map_err(|error| {
            Failure::usage(format!("{} is no checkpoint: {error}", file.display()))
                .hint("`osmoda ledger checkpoint` prints one")
        })?;
        options.checkpoints.push(note);
    }
    options.keys = keys;
    let bar = progress_bar();
    let checked = verify(path, &options, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = checked.map_err(|error| Failure::usage(chain(&error)))?;
    match output.output {
        Some(format) => output::object(format, &report)?,
        None => output::print(&show::ledger::report(&report))?,
    }
    Ok(report.ok.into())
}

/// On standard error, and only if that is a terminal; what takes no time shows none.
fn progress_bar() -> ProgressBar {
    const CALM: Duration = Duration::from_millis(300);
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    let form = "{bar:40} {human_pos} of {human_len} entries, {per_sec}, {eta} left";
    // The form is fixed; were it wrong, the default one would do.
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(CALM);
    bar
}

/// `osmoda ledger prove`.
pub fn prove(path: &Path, seq: u64, output: Output) -> Outcome {
    let proof = reader(path)?.prove(seq).map_err(|error| match error {
        ProveError::NoEntry(_) => Failure::usage(format!("{} has no entry {seq}", path.display()))
            .hint("`osmoda ledger head` says how many there are"),
        ProveError::Unsigned(_) => {
            Failure::usage(chain(&error)).hint("`osmoda ledger checkpoint` signs what there is")
        }
        ProveError::Read(error) => unreadable(path, &error),
    })?;
    let proof = proof.to_string();
    match output.output {
        Some(format) => output::object(format, &LedgerProof { seq, proof })?,
        None => output::print(&proof)?,
    }
    Ok(Answer::Yes)
}

/// What a proof that holds says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Proved {
    ok: bool,
    reason: Option<String>,
    origin: Option<String>,
    seq: u64,
    size: Option<u64>,
    signed_by: Vec<String>,
    /// The entry, if the proof carries it or it was given.
    entry: Option<serde_json::Value>,
}

/// `osmoda ledger verify-proof`.
pub fn verify_proof(
    file: &Path,
    keys: &[VerifierKey],
    entry: Option<&Path>,
    output: Output,
) -> Outcome {
    let malformed = |error| Failure::usage(format!("{} is no proof: {error}", file.display()));
    let proof = TlogProof::parse(&read(file, TEXT_MAX)?).map_err(malformed)?;
    let entry = match entry {
        Some(entry) => read(entry, ENTRY_MAX)?,
        None => proof.extra.clone().ok_or_else(|| {
            Failure::usage(format!("{} does not carry its entry", file.display()))
                .hint("name the entry's exact bytes with --entry")
        })?,
    };
    let mut proved = Proved {
        ok: true,
        reason: None,
        origin: None,
        seq: proof.index,
        size: None,
        signed_by: Vec::new(),
        entry: serde_json::from_slice(&entry).ok(),
    };
    match proof.verify(&tlog::leaf(&entry), keys) {
        Ok((checkpoint, signed)) => {
            let signers = signed.iter().map(|signed| signed.key.to_string());
            proved.signed_by = signers.collect();
            proved.origin = Some(checkpoint.origin);
            proved.size = Some(checkpoint.size);
        }
        Err(error) => {
            proved.ok = false;
            proved.reason = Some(chain(&error));
            proved.entry = None;
        }
    }
    match output.output {
        Some(format) => output::object(format, &proved)?,
        None => output::print(&sentence(&proved))?,
    }
    Ok(proved.ok.into())
}

fn sentence(proved: &Proved) -> String {
    match (&proved.origin, proved.size) {
        (Some(origin), Some(size)) => {
            let entry = proved
                .entry
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            format!(
                "ok: entry {} is in {}, signed at {size} entries\n{}\n",
                proved.seq,
                show::one_line(origin),
                show::one_line(&entry)
            )
        }
        _ => {
            let reason = proved
                .reason
                .as_deref()
                .unwrap_or("the proof does not hold");
            format!("FAILED: {}\n", show::one_line(reason))
        }
    }
}

/// A file, or standard input for `-`, of at most `max` bytes.
fn read(file: &Path, max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = max as u64 + 1;
    let read = match file.as_os_str() == "-" {
        true => io::stdin().lock().take(limit).read_to_end(&mut bytes),
        false => File::open(file).and_then(|open| open.take(limit).read_to_end(&mut bytes)),
    };
    let cannot = |why: String| Failure::usage(format!("cannot read {}: {why}", file.display()));
    read.map_err(|error| cannot(error.to_string()))?;
    match bytes.len() > max {
        true => Err(cannot(format!("it has more than {max} bytes"))),
        false => Ok(bytes),
    }
}
