//! The file that EnvironmentFile= names: all variables of one start, secrets among them.
//!
//! Mode 0600 in a directory of mode 0700, read by PID 1 at the start and removed at the end of the
//! instance, so that a value is never a property of a unit, which anybody may read. Its syntax is
//! that of systemd.exec(5): here every value is in double quotes.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use crate::StartError;

/// Variables that systemd sets by itself and the contract does not have (systemd.exec(5)).
pub(super) const SYSTEMDS_OWN: [&str; 14] = [
    "CACHE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "JOURNAL_STREAM",
    "LOGNAME",
    "LOGS_DIRECTORY",
    "MAINPID",
    "MANAGERPID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "RUNTIME_DIRECTORY",
    "SHELL",
    "STATE_DIRECTORY",
    "SYSTEMD_EXEC_PID",
    "TMPDIR",
];

/// The text of the file.
///
/// # Errors
/// [`StartError::Invalid`] names a variable that systemd would not pass on; never its value.
pub(super) fn text(all: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, StartError> {
    let mut text = Vec::new();
    for (name, value) in all {
        if !is_name(name) || !is_value(value) {
            return Err(StartError::Invalid {
                what: format!(
                    "environment: {name:?} or its value cannot be passed on by systemd: a name has \
                     letters, digits and underscores, a value is UTF-8"
                ),
                source: io::ErrorKind::InvalidInput.into(),
            });
        }
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b"=\"");
        for byte in value {
            if matches!(byte, b'"' | b'\\' | b'`' | b'$') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
        text.extend_from_slice(b"\"\n");
    }
    Ok(text)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let begins = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    begins && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_value(value: &[u8]) -> bool {
    !value.contains(&0) && std::str::from_utf8(value).is_ok()
}

/// Puts a text into place, in one step.
///
/// # Errors
/// It cannot be written.
pub(super) fn put(file: &Path, text: &[u8]) -> io::Result<()> {
    let draft = file.with_extension("new"); // an agent's name has no dot; a probe's number no letter
    if let Some(directory) = file.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let _ = fs::remove_file(&draft); // left by a daemon that died
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(&draft)?.write_all(text)?;
    fs::rename(&draft, file)
}

/// Removes a file; none is a success.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn of(name: &str, value: &[u8]) -> Result<Vec<u8>, StartError> {
        text(&BTreeMap::from([(name.to_owned(), value.to_vec())]))
    }

    #[test]
    fn what_systemd_would_read_otherwise_is_escaped() {
        let file = of("A_1", b"a \"b\" $c `d` \\ #e\n f").unwrap();
        let expected = "A_1=\"a \\\"b\\\" \\$c \\`d\\` \\\\ #e\n f\"\n";
        assert_eq!(String::from_utf8(file).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_passed_on_is_named_without_its_value() {
        for (name, value) in [
            ("A=B", &b"hunter2"[..]),
            ("1A", b"hunter2"),
            ("", b"hunter2"),
            ("A", b"hunter\0"),
            ("A", b"hunter\xff"),
        ] {
            let error = of(name, value).unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
            assert!(!error.contains("hunter"), "{error}");
        }
    }

    #[test]
    fn nobody_else_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("environment/a");
        for text in [b"one", b"two"] {
            put(&file, text).unwrap();
            assert_eq!(fs::read(&file).unwrap(), text);
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(file.parent().unwrap()), 0o700);
        remove(&file).unwrap();
        remove(&file).unwrap();
        assert!(!file.exists());
    }
}
