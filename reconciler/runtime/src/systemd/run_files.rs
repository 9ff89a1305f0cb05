//! What the journal's files tell of one run: its last lines, and what PID 1 noted of it.
//!
//! Where they cannot be read ([`super::journal_file`] says when), journalctl is asked.

use std::io;

use super::{
    journal::{ManagerId, Stamp},
    journal_file::{self, Entry, JournalFile},
};

/// How long before the end of a run a signal may have been sent that led to it, in microseconds.
const MOMENT_US: u64 = 3_000_000;
/// The same of SIGTERM, which asks a program to end: as long as an agent has for it unless its spec
/// says otherwise (`stop.gracePeriod`), and a moment.
const ASKED_US: u64 = 13_000_000;
/// Most notes of PID 1 on one run that are looked at.
const NOTES_MAX: usize = 20;
/// MESSAGE_ID of PID 1's notes that a unit is dead (sd-messages.h: SD_MESSAGE_UNIT_SUCCESS,
/// SD_MESSAGE_UNIT_FAILURE_RESULT). It makes one of them before it tells anybody.
const DEAD: [&str; 2] = [
    "7ad2d189f7e94e70a38c781354912448",
    "d9b373ed55a64feb8242e02dbe79a49c",
];

/// What the journal tells of a run that is over.
#[derive(Debug)]
pub struct End {
    /// Somebody had PID 1 send it a signal before (`systemctl kill`), not too long before.
    pub sent_a_signal: bool,
    /// Its last lines, as [`last`] gives them.
    pub words: io::Result<Vec<String>>,
}

/// That, once PID 1's note on the end is there; what was written before is in the journal then.
/// Blocks, briefly.
///
/// # Errors
/// The files cannot be read.
pub fn end(run: ManagerId, lines: usize) -> io::Result<Option<End>> {
    let of_it = format!("INVOCATION_ID={}", run.0);
    let mut end = None;
    let mut sent = Vec::new();
    for file in journal_file::open_all()? {
        // Files come with the latest first: what follows is of long before that end.
        if end.is_some_and(|end| file.tail_realtime_us.saturating_add(ASKED_US) < end) {
            break;
        }
        for entry in file.last_with(&of_it, NOTES_MAX)? {
            let values = file.values(&entry)?;
            if !has(&values, "_PID=1") {
                continue;
            }
            if DEAD
                .iter()
                .any(|id| has(&values, &format!("MESSAGE_ID={id}")))
            {
                end = Some(noted_at(&entry, &values));
            }
            // The note has no MESSAGE_ID: "Sent signal SIGTERM to main process 53 (sleep) on
            // client request."
            let message = value(&values, "MESSAGE=").unwrap_or_default();
            let message = String::from_utf8_lossy(message);
            if message.contains("Sent signal") && message.contains("client request") {
                let asks = message.contains("signal SIGTERM");
                let leads_to_it = if asks { ASKED_US } else { MOMENT_US };
                sent.push(noted_at(&entry, &values).saturating_add(leads_to_it));
            }
        }
    }
    Ok(end.map(|end| End {
        sent_a_signal: sent.iter().any(|until| *until >= end),
        words: last(run, lines),
    }))
}

/// The last lines that a run wrote, at most so many. Blocks, briefly.
///
/// # Errors
/// The files cannot be read, or a line is compressed.
pub fn last(run: ManagerId, lines: usize) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    for (file, entry) in output(run, lines)? {
        let values = file.values(&entry)?;
        if !has(&values, "_TRANSPORT=stdout") {
            continue;
        }
        match value(&values, "MESSAGE=") {
            Some(line) => all.push(String::from_utf8_lossy(line).into_owned()),
            None if values.contains(&None) => return Err(io::ErrorKind::Unsupported.into()),
            None => {}
        }
    }
    all.drain(..all.len().saturating_sub(lines));
    Ok(all)
}

/// When a run wrote its last line so far; `None`: it has written none. Blocks, briefly.
///
/// # Errors
/// The files cannot be read.
pub fn last_at(run: ManagerId) -> io::Result<Option<Stamp>> {
    for (file, entry) in output(run, NOTES_MAX)?.into_iter().rev() {
        if has(&file.values(&entry)?, "_TRANSPORT=stdout") {
            return Ok(Some(Stamp {
                realtime_us: entry.realtime_us,
                monotonic_us: entry.monotonic_us,
            }));
        }
    }
    Ok(None)
}

/// The last entries of a run's processes, in the order they came: as many as were asked for, and
/// some more that may be no output (what systemd's child says before it is the program).
fn output(run: ManagerId, count: usize) -> io::Result<Vec<(std::rc::Rc<JournalFile>, Entry)>> {
    let of_it = format!("_SYSTEMD_INVOCATION_ID={}", run.0);
    let wanted = count.saturating_add(NOTES_MAX);
    let mut all = Vec::new();
    for file in journal_file::open_all()? {
        let file = std::rc::Rc::new(file);
        let found = file.last_with(&of_it, wanted)?;
        all.extend(found.into_iter().map(|entry| (file.clone(), entry)));
        if all.len() >= wanted {
            break;
        }
    }
    all.sort_by_key(|(_, entry)| entry.realtime_us);
    all.drain(..all.len().saturating_sub(wanted));
    Ok(all)
}

/// When PID 1 noted it: journald may have been late.
fn noted_at(entry: &Entry, values: &[Option<Vec<u8>>]) -> u64 {
    let told = value(values, "_SOURCE_REALTIME_TIMESTAMP=");
    let told = told.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    told.unwrap_or(entry.realtime_us)
}

fn has(values: &[Option<Vec<u8>>], wanted: &str) -> bool {
    let mut values = values.iter().flatten();
    values.any(|value| value == wanted.as_bytes())
}

/// What stands behind this name, which ends with its equals sign.
fn value<'a>(values: &'a [Option<Vec<u8>>], name: &str) -> Option<&'a [u8]> {
    let mut values = values.iter().flatten();
    values.find_map(|value| value.strip_prefix(name.as_bytes()))
}
