//! URLs and keys, read afresh for every try, and learned by the scrubber before they are used.

use std::{fs, io::Read as _, path::Path};

use osmoda_core::spec::Alert;
use osmoda_ledger::Scrubber;

/// Longest content of such a file, in bytes.
const FILE_MAX: u64 = 8 * 1024;

/// What the files of a receiver hold.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The URL, if a file is named for it.
    pub url: Option<String>,
    /// The key or token, if a file is named for it.
    pub key: Option<String>,
}

/// Reads them. Blocks.
///
/// # Errors
/// A sentence that names the file and never its content.
pub fn read(alert: &Alert, scrubber: &Scrubber) -> Result<Secrets, String> {
    let one = |path: &Option<String>, what: &str| {
        let value = path.as_deref().map(read_file).transpose()?;
        if let Some(value) = &value {
            let name = format!("alerts/{}/{what}", alert.name);
            scrubber.learn(&name, value.as_bytes());
            // Of a URL, the path is the secret; an answer may repeat that alone.
            let path = value
                .split_once("://")
                .and_then(|(_, rest)| rest.split_once('/'));
            if let Some((_, path)) = path {
                scrubber.learn(&format!("{name}-path"), path.as_bytes());
            }
        }
        Ok::<_, String>(value)
    };
    Ok(Secrets {
        url: one(&alert.url_file, "url")?,
        key: one(&alert.key_file, "key")?,
    })
}

fn read_file(path: &str) -> Result<String, String> {
    let failed = |why: &dyn std::fmt::Display| format!("cannot read {path}: {why}");
    let file = fs::File::open(Path::new(path)).map_err(|error| failed(&error))?;
    let mut text = String::new();
    let read = file.take(FILE_MAX).read_to_string(&mut text);
    read.map_err(|error| failed(&error))?;
    match text.trim() {
        "" => Err(failed(&"it is empty")),
        text => Ok(text.to_owned()),
    }
}
