//! Writes a ledger as lines of JSON that keep the exact bytes of every entry.
//!
//! The first line names the log, the last line what it amounts to, each line between is one
//! entry; the members of every line are in this order and without spaces:
//!
//! ```text
//! {"format":"osmoda-ledger-export/1","origin":"n/osmoda/…","complete":true,"size":2}
//! {"seq":0,"leaf":"HEX","chain":"HEX","entry":{…}}
//! {"seq":1,"leaf":"HEX","chain":"HEX","entry":null}
//! {"size":2,"root":"HEX","chain":"HEX"}
//! ```
//!
//! `entry` is the stored canonical bytes, so SHA-256 of 0x00 and what stands between
//! `"entry":` and the final `}` is `leaf`; null if the body was dropped. `chain` is the value
//! after the entry. An export that leaves entries out says `"complete":false`: each of its
//! entries can be checked against its leaf, but not the log as a whole.

use std::io::{self, BufRead, Read as _, Write};

use osmoda_core::{digest::Digest, time::Wall};
use serde::Deserialize;

use crate::{
    audit::Row, canonical::MAX_ENTRY, entry::Envelope, error::ReadError, query, reader::Reader,
    store::read_log, tlog::Frontier,
};

/// How every export begins.
pub(crate) const BEGINNING: &[u8] = b"{\"format\":\"osmoda-ledger-export/1\",";
/// Longest line, in bytes: an entry and what stands around it.
const LINE_MAX: u64 = MAX_ENTRY as u64 + 1024;

/// Which entries to export; all of them by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Only entries of this time or later.
    pub since: Option<Wall>,
    /// Only entries of this agent.
    pub agent: Option<String>,
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The ledger cannot be read.
    #[error("cannot read the ledger to be exported")]
    Read(#[from] ReadError),
    /// The output cannot be written.
    #[error("cannot write the export")]
    Write(#[from] io::Error),
}

/// Writes the entries that `options` choose, as of one moment, and gives their number.
/// It copies bytes and does not judge them; that is what verifying the export is for.
///
/// # Errors
/// [`ExportError`].
pub fn export(
    reader: &Reader,
    options: &ExportOptions,
    out: &mut impl Write,
) -> Result<u64, ExportError> {
    let snapshot = reader
        .connection()
        .unchecked_transaction()
        .map_err(ReadError::from)?;
    let (origin, size, frontier) = read_log(&snapshot).map_err(ReadError::from)?;
    let complete = *options == ExportOptions::default();
    out.write_all(BEGINNING)?;
    let name = serde_json::to_string(&origin).map_err(io::Error::from)?;
    writeln!(
        out,
        "\"origin\":{name},\"complete\":{complete},\"size\":{size}}}"
    )?;
    let mut written = 0;
    let mut chain = crate::tlog::chain_start(&origin);
    query::for_each_row(&snapshot, 0, |row| {
        let [leaf, after] = [row.leaf, row.chain].map(digest);
        chain = after;
        if complete || chosen(options, row.body) {
            written += 1;
            write_line(out, row, leaf, after)?;
        }
        Ok::<_, io::Error>(())
    })
    .map_err(ReadError::from)??;
    if complete {
        let tree = Frontier::from_bytes(size, &frontier);
        let damaged = || ReadError::Damaged("its tree does not fit its size".into());
        let root = tree.ok_or_else(damaged)?.root();
        writeln!(
            out,
            "{{\"size\":{size},\"root\":\"{root}\",\"chain\":\"{chain}\"}}"
        )?;
    }
    Ok(written)
}

/// 32 bytes as a digest; anything else, which verification refuses, as zeros.
fn digest(bytes: &[u8]) -> Digest {
    Digest(bytes.try_into().unwrap_or_default())
}

fn chosen(options: &ExportOptions, body: Option<&[u8]>) -> bool {
    let Some(Ok(entry)) = body.map(Envelope::parse) else {
        return false;
    };
    let since = options.since.is_none_or(|since| entry.ts >= since);
    since
        && options
            .agent
            .as_deref()
            .is_none_or(|agent| entry.agent == Some(agent))
}

fn write_line(out: &mut impl Write, row: &Row<'_>, leaf: Digest, chain: Digest) -> io::Result<()> {
    let seq = row.seq;
    write!(
        out,
        "{{\"seq\":{seq},\"leaf\":\"{leaf}\",\"chain\":\"{chain}\",\"entry\":"
    )?;
    out.write_all(row.body.unwrap_or(b"null"))?;
    out.write_all(b"}\n")
}

/// Reads a line without its newline; empty at the end of the file. A line that is too long is
/// read in part, which is then malformed.
pub(crate) fn read_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
    line.clear();
    file.take(LINE_MAX).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(())
}

/// First line of an export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub origin: String,
    pub complete: bool,
    pub size: u64,
}

impl Header {
    /// Reads the first line after [`BEGINNING`].
    pub(crate) fn parse_rest(rest: &[u8]) -> Option<Self> {
        serde_json::from_slice(&[b"{", rest].concat()).ok()
    }
}

/// Last line of a complete export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Footer {
    pub size: u64,
    pub root: Digest,
    pub chain: Digest,
}

impl Footer {
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// A line that holds an entry.
pub(crate) struct Line<'a> {
    seq: i64,
    leaf: Digest,
    chain: Digest,
    body: Option<&'a [u8]>,
}

impl<'a> Line<'a> {
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"{\"seq\":")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let seq = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        let (leaf, rest) = hex_member(&rest[digits..], b",\"leaf\":\"")?;
        let (chain, rest) = hex_member(rest, b",\"chain\":\"")?;
        let body = rest.strip_prefix(b",\"entry\":")?.strip_suffix(b"}")?;
        Some(Self {
            seq,
            leaf,
            chain,
            body: (body != b"null").then_some(body),
        })
    }

    pub(crate) fn row(&self) -> Row<'_> {
        Row {
            seq: self.seq,
            body: self.body,
            leaf: &self.leaf.0,
            chain: &self.chain.0,
        }
    }
}

/// The digest after `name`, and what follows its closing quote.
fn hex_member<'a>(text: &'a [u8], name: &[u8]) -> Option<(Digest, &'a [u8])> {
    let (hex, rest) = text.strip_prefix(name)?.split_at_checked(64)?;
    let digest = Digest::from_hex(std::str::from_utf8(hex).ok()?).ok()?;
    Some((digest, rest.strip_prefix(b"\"")?))
}
