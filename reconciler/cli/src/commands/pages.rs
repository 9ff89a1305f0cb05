//! Pages for browsers: files that are made, never replaced.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::Path,
};

use crate::{
    failure::{Failure, USAGE},
    output,
};

/// Writes a page to a new file and says so.
///
/// # Errors
/// Exit code 2 if the file is there already or cannot be made.
pub fn write(path: &Path, page: &str) -> Result<(), Failure> {
    let mut made = fs::OpenOptions::new();
    let made = made.write(true).create_new(true).open(path);
    let written = made.and_then(|mut file| file.write_all(page.as_bytes()));
    written.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AlreadyExists => "name a file that does not exist yet",
            _ => "name a file in a directory where you may write",
        };
        Failure::new(USAGE, format!("cannot write {}: {error}", path.display())).hint(hint)
    })?;
    output::print(&format!("wrote {}\n", path.display()))
}
