//! A consistent copy of a ledger while it is being written.

use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, backup::Backup};

use crate::{
    error::ReadError,
    reader::Reader,
    store::{read_log, sync_directory},
};

/// Copies the ledger at `source` to `target`, which must not exist yet. The copy is one
/// snapshot, of mode 0600, without a write-ahead log, durable, and verifies like the original.
/// Gives the number of entries in it.
///
/// # Errors
/// [`ReadError`]; a half-made copy is removed.
pub fn backup(source: &Path, target: &Path) -> Result<u64, ReadError> {
    let reader = Reader::open(source)?;
    let mut draft = target.as_os_str().to_owned();
    draft.push(".part");
    let draft = PathBuf::from(draft);
    let copied = copy(&reader, &draft).and_then(|size| {
        publish(&draft, target)?;
        Ok(size)
    });
    if copied.is_err() {
        // Nothing else can be done about a copy that failed; the failure itself is told.
        let _ = fs::remove_file(&draft);
    }
    copied
}

fn copy(reader: &Reader, draft: &Path) -> Result<u64, ReadError> {
    let file = |operation| {
        move |source| ReadError::File {
            operation,
            path: draft.to_owned(),
            source,
        }
    };
    let mut make = fs::OpenOptions::new();
    make.write(true).create(true).truncate(true).mode(0o600);
    make.open(draft).map_err(file("create"))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(draft, flags)?;
    // All pages in one step are one snapshot; it does not hold up a writer in WAL mode.
    Backup::new(reader.connection(), &mut target)?.step(-1)?;
    let (_, size, _) = read_log(&target)?;
    target.close().map_err(|(_, error)| error)?;
    let written = File::open(draft).and_then(|file| file.sync_all());
    written.map_err(file("write"))?;
    Ok(size)
}

/// Gives the copy its name, unless that is taken.
fn publish(draft: &Path, target: &Path) -> Result<(), ReadError> {
    let named = fs::hard_link(draft, target)
        .and_then(|()| fs::remove_file(draft))
        .and_then(|()| sync_directory(target));
    named.map_err(|source| ReadError::File {
        operation: "write the copy to",
        path: target.to_owned(),
        source,
    })
}
