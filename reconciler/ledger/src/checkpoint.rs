//! What a checkpoint says: that the log of this origin has this size and this root.
//!
//! The text of a signed note, C2SP tlog-checkpoint. Pure; signing is `crate::note`'s and the
//! store's.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use osmoda_core::digest::Digest;

/// Largest tree of a checkpoint: what a signed 64-bit integer holds.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// Why a text is not a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Fewer than three lines, an empty line, or no newline at the end.
    #[error("a checkpoint has at least three lines, none of them empty")]
    Lines,
    /// The second line is not a plain decimal number in range.
    #[error("the tree size of a checkpoint is a decimal number below 2^63 without leading zero")]
    Size,
    /// The third line is not the base64 of 32 bytes.
    #[error("the root of a checkpoint is 32 bytes in base64")]
    Root,
}

/// The head of a log at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log: one line, not empty.
    pub origin: String,
    /// Number of leaves, at most [`SIZE_MAX`].
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Digest,
    /// Further lines, not empty. Ours have none; what they mean is the log's own affair.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// Without extension lines, as this project's logs sign them.
    pub fn new(origin: impl Into<String>, size: u64, root: Digest) -> Self {
        Self {
            origin: origin.into(),
            size,
            root,
            extensions: Vec::new(),
        }
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    /// Reads the text of a note.
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let lines = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?;
        let mut lines = lines.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty());
        let (origin, size, root) = match (line(), line(), line()) {
            (Some(origin), Some(size), Some(root)) => (origin, size, root),
            _ => return Err(CheckpointError::Lines),
        };
        let extensions: Vec<_> = lines.map(str::to_owned).collect();
        if extensions.iter().any(String::is_empty) {
            return Err(CheckpointError::Lines);
        }
        Ok(Self {
            origin: origin.to_owned(),
            size: parse_number(size).ok_or(CheckpointError::Size)?,
            root: parse_hash(root).ok_or(CheckpointError::Root)?,
            extensions,
        })
    }
}

impl fmt::Display for Checkpoint {
    /// The text of the note, with its last newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = STANDARD.encode(self.root.0);
        write!(f, "{}\n{}\n{root}\n", self.origin, self.size)?;
        self.extensions
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A decimal number up to [`SIZE_MAX`], without sign and leading zero.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let spelled = plain && (text == "0" || !text.starts_with('0'));
    let number: u64 = spelled.then(|| text.parse().ok())??;
    (number <= SIZE_MAX).then_some(number)
}

/// A hash in the base64 of C2SP's formats.
pub(crate) fn parse_hash(text: &str) -> Option<Digest> {
    STANDARD.decode(text).ok()?.try_into().ok().map(Digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of C2SP tlog-checkpoint.md.
    const SOFA: &str = "example.com/behind-the-sofa\n20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn the_published_checkpoint_is_read_and_printed_alike() {
        let checkpoint: Checkpoint = SOFA.parse().unwrap();
        assert_eq!(checkpoint.origin, "example.com/behind-the-sofa");
        assert_eq!(checkpoint.size, 20_852_163);
        assert_eq!(checkpoint.to_string(), SOFA);
        let extended = format!("{SOFA}one\ntwo\n");
        let read: Checkpoint = extended.parse().unwrap();
        assert_eq!(read.extensions, ["one", "two"]);
        assert_eq!(read.to_string(), extended);
    }

    #[test]
    fn other_spellings_are_refused() {
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        for (text, expected) in [
            (String::new(), CheckpointError::Lines),
            (SOFA.trim_end().to_owned(), CheckpointError::Lines),
            (format!("{SOFA}\n"), CheckpointError::Lines),
            (format!("{SOFA}\nafter\n"), CheckpointError::Lines),
            (format!("\n1\n{root}\n"), CheckpointError::Lines),
            ("a\n1\n".to_owned(), CheckpointError::Lines),
            (format!("a\n01\n{root}\n"), CheckpointError::Size),
            (format!("a\n+1\n{root}\n"), CheckpointError::Size),
            (format!("a\n-1\n{root}\n"), CheckpointError::Size),
            (format!("a\n1 \n{root}\n"), CheckpointError::Size),
            (format!("a\n0x1\n{root}\n"), CheckpointError::Size),
            (
                format!("a\n9223372036854775808\n{root}\n"),
                CheckpointError::Size,
            ),
            ("a\n1\nAAAA\n".to_owned(), CheckpointError::Root),
            (
                format!("a\n1\n{}\n", root.replace("q2I=", "q2J=")),
                CheckpointError::Root,
            ),
            (
                format!("a\n1\n{}\n", root.replace('=', "")),
                CheckpointError::Root,
            ),
        ] {
            assert_eq!(text.parse::<Checkpoint>(), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn the_sizes_at_the_edges_are_read() {
        for size in [0, 1, SIZE_MAX] {
            let text = Checkpoint::new("a", size, Digest::of(b"")).to_string();
            assert_eq!(text.parse::<Checkpoint>().unwrap().size, size);
        }
    }
}
