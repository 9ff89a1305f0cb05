//! journald's files, read as they are: what journalctl(1) tells in tens of milliseconds is there in
//! less than one, and a restart waits for it.
//!
//! The format is that of systemd.io/JOURNAL_FILE_FORMAT: a header, then objects. A hash table leads
//! to each `NAME=value` (a data object), from there a chain of arrays to the entries that have it,
//! from an entry its values. Only what is needed is understood: files with keyed hashes (systemd
//! 246 and later), and values that are not compressed (shorter than 512 bytes, mostly). For all
//! else there is [`io::ErrorKind::Unsupported`], and journalctl.
//!
//! Invariants: journald writes meanwhile, so whatever a file says is checked against its length;
//! every chain leads forward, so that each walk ends; nothing of it is written.

use std::{
    fs::{self, File},
    hash::Hasher as _,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// Below these, in a directory named by the machine's id, are the files.
const DIRECTORIES: [&str; 2] = ["/run/log/journal", "/var/log/journal"];
/// What the files end with that are whole; one that was found broken ends with a tilde.
const EXTENSION: &str = "journal";

const SIGNATURE: &[u8; 8] = b"LPKSHHRH";
/// Bytes of a header that are in every version.
const HEADER_BYTES: usize = 208;
const INCOMPATIBLE_KEYED: u32 = 4;
const INCOMPATIBLE_COMPACT: u32 = 16;
/// Compression changes data objects, which say so themselves.
const INCOMPATIBLE_KNOWN: u32 = 1 | 2 | 8 | INCOMPATIBLE_KEYED | INCOMPATIBLE_COMPACT;

const OBJECT_BYTES: u64 = 16;
const DATA: u8 = 1;
const ENTRY: u8 = 3;
const ENTRY_ARRAY: u8 = 6;
const COMPRESSED: u8 = 1 | 2 | 4;

/// Most of a value that is read: longer ones are cut there.
const VALUE_BYTES_MAX: u64 = 64 * 1024;
/// Most values of one entry: journald takes no more (ENTRY_FIELD_COUNT_MAX).
const VALUES_MAX: u64 = 1024;

/// One file that is open.
pub(super) struct JournalFile {
    file: File,
    compact: bool,
    id: [u8; 16],
    table: u64,
    buckets: u64,
    /// When its last entry came, in microseconds since 1970.
    pub tail_realtime_us: u64,
}

/// An entry, without its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    offset: u64,
    size: u64,
    pub realtime_us: u64,
    pub monotonic_us: u64,
}

/// Every file of this machine, the one with the latest entry first.
///
/// # Errors
/// `NotFound`: there is none. `Unsupported`: one is of another kind.
pub(super) fn open_all() -> io::Result<Vec<JournalFile>> {
    let id = fs::read_to_string("/etc/machine-id")?;
    let mut files = Vec::new();
    for directory in DIRECTORIES {
        files.extend(open_in(&Path::new(directory).join(id.trim()))?);
    }
    if files.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    files.sort_by_key(|file| std::cmp::Reverse(file.tail_realtime_us));
    Ok(files)
}

fn open_in(directory: &Path) -> io::Result<Vec<JournalFile>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path: PathBuf = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != EXTENSION)
        {
            continue;
        }
        match JournalFile::open(&path) {
            // Removed meanwhile, or not begun.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
                ) => {}
            file => files.push(file?),
        }
    }
    Ok(files)
}

impl JournalFile {
    /// # Errors
    /// `Unsupported`: it is of another kind.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0)?;
        let flags = number32(&header, 12);
        let known = flags & !INCOMPATIBLE_KNOWN == 0 && flags & INCOMPATIBLE_KEYED != 0;
        if &header[..8] != SIGNATURE || !known {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut id = [0; 16];
        id.copy_from_slice(&header[24..40]);
        Ok(Self {
            file,
            compact: flags & INCOMPATIBLE_COMPACT != 0,
            id,
            table: number(&header, 104),
            buckets: number(&header, 112) / 16,
            tail_realtime_us: number(&header, 192),
        })
    }

    /// The last entries, at most `count`, that have this `NAME=value`, in the order they came.
    ///
    /// # Errors
    /// The file cannot be read, or is broken.
    pub fn last_with(&self, value: &str, count: usize) -> io::Result<Vec<Entry>> {
        let Some(data) = self.find(value.as_bytes())? else {
            return Ok(Vec::new());
        };
        let all = number(&data, 56);
        let count = all.min(count as u64);
        let mut offsets = Vec::new();
        // The first is noted in the data object itself, the others in arrays, each as full as can
        // be but the last.
        if count == all && all > 0 {
            offsets.push(number(&data, 40));
        }
        let (mut array, mut before) = (number(&data, 48), 1);
        while before < all {
            let size = self.object(array, ENTRY_ARRAY)?.size;
            let width = if self.compact { 4 } else { 8 };
            let used = (size.saturating_sub(24) / width).min(all - before);
            let skipped = (all - count).saturating_sub(before).min(used);
            let mut items = vec![0; usize::try_from((used - skipped) * width).map_err(broken)?];
            self.file
                .read_exact_at(&mut items, array + 24 + skipped * width)?;
            offsets.extend(items.chunks_exact(usize::from(width as u8)).map(little));
            before += used;
            if before < all {
                let next = self.number_at(array + 16)?;
                array = forward(array, next)?;
            }
        }
        offsets.into_iter().map(|at| self.entry(at)).collect()
    }

    /// The values of an entry, as `NAME=value`. One that is compressed is `None`.
    ///
    /// # Errors
    /// The file cannot be read, or is broken.
    pub fn values(&self, entry: &Entry) -> io::Result<Vec<Option<Vec<u8>>>> {
        let width = if self.compact { 4 } else { 16 };
        let count = (entry.size.saturating_sub(64) / width).min(VALUES_MAX);
        let mut items = vec![0; usize::try_from(count * width).map_err(broken)?];
        self.file.read_exact_at(&mut items, entry.offset + 64)?;
        let number_bytes = if self.compact { 4 } else { 8 };
        let offsets = items.chunks_exact(usize::from(width as u8));
        offsets
            .map(|item| self.value(little(&item[..number_bytes])))
            .collect()
    }

    fn entry(&self, offset: u64) -> io::Result<Entry> {
        let size = self.object(offset, ENTRY)?.size;
        Ok(Entry {
            offset,
            size,
            realtime_us: self.number_at(offset + 24)?,
            monotonic_us: self.number_at(offset + 32)?,
        })
    }

    /// The head of the data object of this value.
    fn find(&self, value: &[u8]) -> io::Result<Option<[u8; 64]>> {
        if self.buckets == 0 {
            return Ok(None);
        }
        let hash = self.hash(value);
        let mut at = self.number_at(self.table + hash % self.buckets * 16)?;
        while at != 0 {
            let mut head = [0; 64];
            self.file.read_exact_at(&mut head, at)?;
            if number(&head, 16) == hash && self.value(at)?.is_some_and(|found| found == value) {
                return Ok(Some(head));
            }
            match number(&head, 24) {
                0 => break,
                next => at = forward(at, next)?,
            }
        }
        Ok(None)
    }

    fn value(&self, at: u64) -> io::Result<Option<Vec<u8>>> {
        let object = self.object(at, DATA)?;
        if object.flags & COMPRESSED != 0 {
            return Ok(None);
        }
        let head = if self.compact { 72 } else { 64 };
        let length = object.size.saturating_sub(head).min(VALUE_BYTES_MAX);
        let mut value = vec![0; usize::try_from(length).map_err(broken)?];
        self.file.read_exact_at(&mut value, at + head)?;
        Ok(Some(value))
    }

    fn object(&self, at: u64, kind: u8) -> io::Result<Object> {
        let mut head = [0; OBJECT_BYTES as usize];
        self.file.read_exact_at(&mut head, at)?;
        let size = number(&head, 8);
        let end = at.checked_add(size).ok_or(io::ErrorKind::InvalidData)?;
        if head[0] != kind || size < OBJECT_BYTES || end > self.file.metadata()?.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let flags = head[1];
        Ok(Object { flags, size })
    }

    fn number_at(&self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// SipHash-2-4 with the file's id as its key.
    fn hash(&self, value: &[u8]) -> u64 {
        #[expect(
            deprecated,
            reason = "the file has this hash, whatever a map of today has"
        )]
        let mut hasher =
            std::hash::SipHasher::new_with_keys(number(&self.id, 0), number(&self.id, 8));
        hasher.write(value);
        hasher.finish()
    }
}

/// What every object begins with.
struct Object {
    flags: u8,
    size: u64,
}

/// Journald only ever appends.
fn forward(from: u64, to: u64) -> io::Result<u64> {
    match to > from {
        true => Ok(to),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn broken(_: std::num::TryFromIntError) -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn number(bytes: &[u8], at: usize) -> u64 {
    little(&bytes[at..at + 8])
}

fn number32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn little(bytes: &[u8]) -> u64 {
    let bytes = bytes.iter().rev();
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
