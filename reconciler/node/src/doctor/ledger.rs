//! The ledger: whether it can be read, whether its end holds together, and what vouches for it.

use std::{fs, io, path::Path};

use osmoda_ledger::{Head, ReadError, Reader, Record};

use super::Findings;
use crate::error::chain;

/// Entries at the end whose bytes are compared with their hashes; `ledger verify` checks all.
const TAIL: u64 = 256;
/// Entries that no copy elsewhere vouches for, above which it is time to anchor.
const UNANCHORED_WARN: u64 = 100_000;

pub(super) fn ledger(path: &Path) -> Findings {
    let mut findings = Findings::of("ledger");
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            findings.ok(format!("{shown} comes with the first daemon"));
        }
        Err(error) => findings.fail(
            format!("{shown} cannot be looked at: {error}"),
            "run as the daemon's user, or name it with --ledger",
        ),
        Ok(data) => {
            findings.ok(format!("{shown}: {} KiB", data.len() / 1024));
            judge_head(&mut findings, path, read(path));
        }
    }
    findings
}

fn read(path: &Path) -> Result<(Head, Vec<Record>), ReadError> {
    let reader = Reader::open(path)?;
    let head = reader.head()?;
    // By number: a daemon at work may have appended more since.
    let tail = reader.entries(head.size.saturating_sub(TAIL), TAIL.min(head.size))?;
    Ok((head, tail))
}

fn judge_head(findings: &mut Findings, path: &Path, read: Result<(Head, Vec<Record>), ReadError>) {
    let verify = format!("`osmoda ledger verify {}` says more", path.display());
    let (head, tail) = match read {
        Ok(read) => read,
        Err(error) => return findings.fail(chain(&error), verify),
    };
    match first_bad(&head, &tail) {
        None => findings.ok(format!(
            "{} entries; the last {} hold together",
            head.size,
            tail.len()
        )),
        Some(seq) => findings.fail(
            format!("entry {seq} is not what its hashes say"),
            format!("{verify}; keep a copy of the file as it is"),
        ),
    }
    let unanchored = head.unanchored;
    let message =
        format!("{unanchored} entries are vouched for by no copy outside of this machine");
    match unanchored {
        0..UNANCHORED_WARN => findings.ok(message),
        _ => findings.warn(message, "anchor it: docs/ledger-format.md"),
    }
}

/// The first entry of the tail that does not fit its leaf hash, the chain, or the head.
fn first_bad(head: &Head, tail: &[Record]) -> Option<u64> {
    use osmoda_ledger::tlog;
    let mut chain = None;
    for record in tail {
        let leaf = record.entry.as_deref().map(tlog::leaf);
        let fits = leaf.is_none_or(|leaf| leaf == record.leaf)
            && chain.is_none_or(|chain| tlog::chain_next(&chain, &record.leaf) == record.chain);
        if !fits {
            return Some(record.seq);
        }
        chain = Some(record.chain);
    }
    let last = tail.last()?;
    let fits = last.seq.checked_add(1) == Some(head.size) && last.chain == head.chain;
    (!fits).then_some(last.seq)
}

#[cfg(test)]
mod tests {
    use osmoda_core::digest::Digest;
    use osmoda_ledger::tlog;

    use super::*;
    use crate::doctor::{Level, levels};

    /// A sound end of a log: its head, and its last entries.
    fn sound() -> (Head, Vec<Record>) {
        let mut chain = tlog::chain_start("o");
        let records = [7_u64, 8].map(|seq| {
            let entry = format!("{{\"seq\":{seq}}}").into_bytes();
            let leaf = tlog::leaf(&entry);
            chain = tlog::chain_next(&chain, &leaf);
            Record {
                seq,
                leaf,
                chain,
                entry: Some(entry),
            }
        });
        let head = Head {
            origin: "o".to_owned(),
            size: 9,
            root: Digest::of(b""),
            chain,
            checkpoint: None,
            unanchored: 9,
        };
        (head, records.into())
    }

    fn judged(read: Result<(Head, Vec<Record>), ReadError>) -> Vec<Level> {
        let mut findings = Findings::of("ledger");
        judge_head(&mut findings, Path::new("l"), read);
        levels(&findings)
    }

    #[test]
    fn an_end_that_holds_together_is_well_and_a_changed_one_fails() {
        assert_eq!(judged(Ok(sound())), [Level::Ok, Level::Ok]);
        let (head, mut tail) = sound();
        tail[0].entry = Some(b"{}".to_vec());
        assert_eq!(first_bad(&head, &tail), Some(7));
        let (head, mut tail) = sound();
        tail[1].leaf = tlog::leaf(b"{}");
        tail[1].entry = None;
        assert_eq!(
            first_bad(&head, &tail),
            Some(8),
            "the chain goes on from another leaf"
        );
        let (mut head, tail) = sound();
        head.size = 10;
        assert_eq!(first_bad(&head, &tail), Some(8), "the last one is missing");
        assert_eq!(judged(Ok((head, tail))), [Level::Fail, Level::Ok]);
    }

    #[test]
    fn a_redacted_entry_is_no_damage() {
        let (head, mut tail) = sound();
        tail[0].entry = None;
        assert_eq!(first_bad(&head, &tail), None);
    }

    #[test]
    fn many_entries_without_an_anchor_warn() {
        let (mut head, tail) = sound();
        head.unanchored = UNANCHORED_WARN;
        assert_eq!(judged(Ok((head, tail))), [Level::Ok, Level::Warn]);
    }

    #[test]
    fn a_file_that_is_no_ledger_fails_and_none_is_well() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ledger.db");
        assert_eq!(levels(&ledger(&path)), [Level::Ok]);
        fs::write(&path, "no database at all, whatever its name says").unwrap();
        assert_eq!(levels(&ledger(&path)), [Level::Ok, Level::Fail]);
    }
}
