//! Verifies an export, line by line.

use std::io::{self, BufRead};

use super::{Bad, Found, VerifyOptions, checkpoints::Judge, report};
use crate::{
    audit::{Audit, RowFault},
    export::{self, Footer, Header, Line},
    store::is_origin,
    verify::Report,
};

/// Entries between two calls of the progress function.
const PROGRESS_EVERY: u64 = 8192;

/// Verifies what follows the fixed beginning of an export.
pub(super) fn verify_export(
    mut file: impl BufRead,
    options: &VerifyOptions,
    mut progress: impl FnMut(u64, u64),
) -> io::Result<Report> {
    let mut text = Vec::new();
    export::read_line(&mut file, &mut text)?;
    let header = match Header::parse_rest(&text) {
        Some(header) if is_origin(&header.origin) => header,
        _ => return Ok(report(Found::bad(Bad::file("its first line is no header")))),
    };
    let mut found = Found {
        origin: Some(header.origin.clone()),
        ..Found::default()
    };
    if !header.complete {
        let reason = "it holds only some entries of the log; only a whole export can be verified";
        found.bad = Some(Bad::file(reason));
        return Ok(report(found));
    }
    let mut judge = match Judge::new(&header.origin, &options.keys, &options.checkpoints) {
        Ok(judge) => judge,
        Err(reason) => {
            found.bad = Some(Bad::file(reason));
            return Ok(report(found));
        }
    };
    let sizes = judge.sizes();
    let mut audit = Audit::new(&header.origin);
    found.bad = loop {
        if sizes.binary_search(&audit.next()).is_ok()
            && let Err(reason) = judge.reached(audit.next(), &audit.frontier().root())
        {
            break Some(Bad::file(reason));
        }
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
    judge.hear(audit.keys());
    if found.bad.is_none() {
        let ended = judge.finish(audit.next(), &options.checkpoints);
        found.bad = ended.err().map(Bad::file);
    }
    found.anchored = options.anchored(audit.next());
    found.key = judge.key();
    found.audit = Some(audit);
    Ok(report(found))
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
