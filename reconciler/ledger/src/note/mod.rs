//! Signed notes: a text and the lines of those who signed it.
//!
//! Format and rules are those of C2SP signed-note. Pure: nothing here reads a file or a clock.
//!
//! Invariants:
//! - A [`Note`] is well-formed whatever it was made from; its text is printed as it was read.
//! - A text is believed only after [`Note::verify`] with a key that the caller trusts.
//!   Signatures of other keys are carried along and mean nothing.
//!
//! Where to start: [`Note::parse`], [`VerifierKey`] and [`NoteSigner`] in `key`.

mod key;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};

pub use key::{Algorithm, KeyError, NoteSigner, VerifierKey};

/// Longest note, in bytes. Room for the signatures below at post-quantum sizes.
pub const NOTE_MAX: usize = 512 * 1024;
/// Most signature lines of a note.
pub const SIGNATURES_MAX: usize = 100;

/// How a signature line begins: an em dash and a space.
const LINE_START: &str = "\u{2014} ";
/// Bytes of the key id that precede a signature.
const ID_BYTES: usize = 4;

/// Why bytes are not a note, or a note is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is too long, or has too many signatures.
    #[error(
        "the note is longer than {NOTE_MAX} bytes or has more than {SIGNATURES_MAX} signatures"
    )]
    TooLong,
    /// It is not UTF-8, or holds control characters.
    #[error("the note is not plain UTF-8 text")]
    NotText,
    /// No blank line separates a text from signatures.
    #[error("the note has no text that is followed by a blank line and signatures")]
    NoSignatures,
    /// A line after the blank line is no signature.
    #[error("line {0} of the note's signatures is malformed")]
    MalformedSignature(usize),
    /// A known key did not make the signature that bears its name and id.
    #[error("the note's signature of {0} is wrong")]
    WrongSignature(String),
    /// None of the keys that are trusted signed it.
    #[error("the note bears no signature of a known key")]
    Unsigned,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Name of the key.
    pub name: String,
    /// Its id; name and id together say which key it is.
    pub key_id: u32,
    /// What the key's algorithm made of the text.
    pub bytes: Vec<u8>,
}

/// A signature of a trusted key that was found right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified<'k> {
    /// Whose.
    pub key: &'k VerifierKey,
    /// When it was made, in seconds since 1970, if the algorithm signs that
    /// ([`Algorithm::CosignatureV1`]).
    pub timestamp: Option<u64>,
}

/// A text with signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// A note of `text`, not signed yet.
    ///
    /// # Errors
    /// [`NoteError::NotText`] if it does not end in a newline or holds control characters,
    /// [`NoteError::TooLong`].
    pub fn new(text: impl Into<String>) -> Result<Self, NoteError> {
        let text = text.into();
        if text.len() > NOTE_MAX {
            return Err(NoteError::TooLong);
        }
        let fits = text.ends_with('\n') && is_plain(&text);
        fits.then(|| Self {
            text,
            signatures: Vec::new(),
        })
        .ok_or(NoteError::NotText)
    }

    /// Reads a signed note. That says nothing about who signed it: see [`Note::verify`].
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_MAX {
            return Err(NoteError::TooLong);
        }
        let whole = str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        if !is_plain(whole) {
            return Err(NoteError::NotText);
        }
        // The text may hold empty lines itself; the last one separates.
        let split = whole.rfind("\n\n").ok_or(NoteError::NoSignatures)?;
        let (text, lines) = (&whole[..=split], &whole[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::NoSignatures)?;
        let mut note = Self::new(text)?;
        for (index, line) in lines.split('\n').enumerate() {
            if index == SIGNATURES_MAX {
                return Err(NoteError::TooLong);
            }
            let signature = Signature::parse_line(line);
            note.signatures
                .push(signature.ok_or(NoteError::MalformedSignature(index + 1))?);
        }
        Ok(note)
    }

    /// What was signed, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signature lines, in order, of whatever worth.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature line, unless the same one is there already.
    ///
    /// # Errors
    /// [`NoteError::TooLong`] if it has [`SIGNATURES_MAX`] already.
    pub fn add(&mut self, signature: Signature) -> Result<(), NoteError> {
        if self.signatures.contains(&signature) {
            return Ok(());
        }
        if self.signatures.len() == SIGNATURES_MAX {
            return Err(NoteError::TooLong);
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Drops the signature lines that `wanted` does not want.
    pub fn keep(&mut self, wanted: impl FnMut(&Signature) -> bool) {
        self.signatures.retain(wanted);
    }

    /// Checks every signature that bears name and id of one of `keys`, and gives those that
    /// are right, one for each key and time. Signatures of other keys are passed over.
    ///
    /// # Errors
    /// [`NoteError::WrongSignature`] if a known key did not make what bears its name,
    /// [`NoteError::Unsigned`] if no known key signed it.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Vec<Verified<'k>>, NoteError> {
        let mut verified = Vec::new();
        for signature in &self.signatures {
            let mut known = keys.iter().filter(|key| key.is_named_by(signature));
            let Some(first) = known.next() else { continue };
            let right = std::iter::once(first).chain(known).find_map(|key| {
                let timestamp = key.verify(&self.text, signature)?;
                Some(Verified { key, timestamp })
            });
            let right = right.ok_or_else(|| NoteError::WrongSignature(first.to_string()))?;
            if !verified.contains(&right) {
                verified.push(right);
            }
        }
        match verified.is_empty() {
            true => Err(NoteError::Unsigned),
            false => Ok(verified),
        }
    }
}

impl fmt::Display for Note {
    /// The note as it is exchanged and stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Signature {
    /// Reads a signature line without its newline; `None` if it is malformed.
    pub fn parse_line(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(LINE_START)?.split_once(' ')?;
        let bytes = STANDARD.decode(encoded).ok()?;
        let (id, signature) = bytes.split_first_chunk::<ID_BYTES>()?;
        (is_key_name(name) && !signature.is_empty()).then(|| Self {
            name: name.to_owned(),
            key_id: u32::from_be_bytes(*id),
            bytes: signature.to_owned(),
        })
    }
}

impl fmt::Display for Signature {
    /// The line, without newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.key_id.to_be_bytes()[..], &self.bytes].concat();
        write!(f, "{LINE_START}{} {}", self.name, STANDARD.encode(bytes))
    }
}

/// Whether a text holds no control character but newlines.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= b' ' || byte == b'\n')
}

/// Whether a text may be the name of a key: not empty, no space of any script, no plus.
pub(crate) fn is_key_name(name: &str) -> bool {
    let allowed = |c: char| !c.is_whitespace() && c != '+' && !c.is_control();
    !name.is_empty() && name.chars().all(allowed)
}
