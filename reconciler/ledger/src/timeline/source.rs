//! Reads a ledger or an export of one from its first entry to its last, one at a time.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufReader, Read as _},
    path::Path,
};

use osmoda_core::digest::Digest;

use super::{
    link::{Facts, Identity},
    merge::Log,
};
use crate::{
    error::ReadError,
    export::{self, Header, Line},
    query::Record,
    reader::Reader,
};

/// Entries read from a database at a time.
const PAGE: u64 = 512;

/// One entry as it stands in its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub seq: u64,
    pub leaf: Digest,
    /// `None` if it was dropped.
    pub body: Option<Vec<u8>>,
    pub facts: Facts,
}

/// A log that is being read.
pub(crate) struct Source {
    origin: String,
    /// Seq of the next entry.
    next: u64,
    /// Entries to be read.
    size: u64,
    from: Backing,
}

enum Backing {
    Database {
        reader: Box<Reader>,
        page: VecDeque<Record>,
    },
    Export {
        file: BufReader<File>,
        /// Leaf of, and chain value after, each entry that was read: a link may name any of
        /// them later. 64 bytes an entry.
        seen: Vec<(Digest, Digest)>,
    },
}

impl Source {
    /// Begins to read at most `size` entries.
    pub(crate) fn open(path: &Path, size: u64) -> Result<Self, ReadError> {
        let file = |source| ReadError::File {
            operation: "read",
            path: path.to_owned(),
            source,
        };
        let opened = File::open(path).map_err(file)?;
        let mut first = Vec::new();
        let beginning = (&opened).take(export::BEGINNING.len() as u64);
        { beginning }.read_to_end(&mut first).map_err(file)?;
        if first != export::BEGINNING {
            let reader = Reader::open(path)?;
            let origin = reader.head()?.origin;
            let (reader, page) = (Box::new(reader), VecDeque::new());
            let from = Backing::Database { reader, page };
            return Ok(Self::new(origin, size, from));
        }
        let mut lines = BufReader::new(opened);
        let mut line = Vec::new();
        export::read_line(&mut lines, &mut line).map_err(file)?;
        let header = Header::parse_rest(&line)
            .ok_or_else(|| ReadError::Damaged("its first line is no header".into()))?;
        let seen = Vec::new();
        Ok(Self::new(
            header.origin,
            size,
            Backing::Export { file: lines, seen },
        ))
    }

    fn new(origin: String, size: u64, from: Backing) -> Self {
        Self {
            origin,
            next: 0,
            size,
            from,
        }
    }

    /// Name of the log.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The next entry; `None` at the end.
    pub(crate) fn read(&mut self) -> Result<Option<Read>, ReadError> {
        if self.next >= self.size {
            return Ok(None);
        }
        let Some(record) = self.record()? else {
            return Ok(None);
        };
        // Where a file that was not verified leaves entries out, its numbers still only grow.
        self.next = record.seq.max(self.next) + 1;
        Ok(Some(Read {
            seq: record.seq,
            leaf: record.leaf,
            facts: Facts::of(record.entry.as_deref()),
            body: record.entry,
        }))
    }

    fn record(&mut self) -> Result<Option<Record>, ReadError> {
        match &mut self.from {
            Backing::Database { reader, page } => {
                if page.is_empty() {
                    page.extend(reader.entries(self.next, PAGE)?);
                }
                Ok(page.pop_front())
            }
            Backing::Export { file, seen } => {
                let mut text = Vec::new();
                export::read_line(file, &mut text)
                    .map_err(|error| ReadError::Damaged(error.to_string()))?;
                let Some(line) = Line::parse(&text) else {
                    return Ok(None);
                };
                let row = line.row();
                let digest = |bytes: &[u8]| Digest(bytes.try_into().unwrap_or_default());
                let (leaf, chain) = (digest(row.leaf), digest(row.chain));
                seen.push((leaf, chain));
                Ok(Some(Record {
                    seq: u64::try_from(row.seq).unwrap_or_default(),
                    leaf,
                    chain,
                    entry: row.body.map(<[u8]>::to_vec),
                }))
            }
        }
    }

    fn hashes(&self, seq: u64) -> Result<Option<(Digest, Digest)>, ReadError> {
        match &self.from {
            Backing::Database { reader, .. } => {
                let found = reader.entry(seq)?;
                Ok(found.map(|record| (record.leaf, record.chain)))
            }
            Backing::Export { seen, .. } => {
                let index = usize::try_from(seq).unwrap_or(usize::MAX);
                Ok(seen.get(index).copied())
            }
        }
    }
}

impl Log for Source {
    type Error = ReadError;

    fn origin(&self) -> &str {
        &self.origin
    }

    fn next(&mut self) -> Result<Option<Read>, ReadError> {
        self.read()
    }

    fn is(&self, seq: u64, identity: &Identity) -> Result<bool, ReadError> {
        let found = self.hashes(seq)?;
        Ok(found.is_some_and(|(leaf, chain)| match identity {
            Identity::Leaf(named) => *named == leaf,
            Identity::Chain(named) => *named == chain,
        }))
    }
}
