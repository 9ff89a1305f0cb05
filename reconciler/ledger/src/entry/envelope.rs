//! Reads the fields of an entry that verification and queries need, from checked bytes.

use osmoda_core::{digest::Digest, time::Wall};
use serde::Deserialize;

use super::{ENTRY_VERSION, stamp};
use crate::{
    check::{CheckError, check_along},
    tlog::GrowingLeaf,
};

/// The fields of a canonical entry of version 1, borrowed from its bytes.
///
/// Texts are as they are spelled in the entry. That is what they mean, too, for everything
/// this project writes there: kinds, agents and ids hold no character that needs an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Its place in the log.
    pub seq: u64,
    /// UUIDv7.
    pub id: &'a str,
    /// When, for people.
    pub ts: Wall,
    /// Name of the kind; one that this version does not know is not a fault.
    pub kind: &'a str,
    /// The agent concerned.
    pub agent: Option<&'a str>,
    /// The incident it belongs to.
    pub incident: Option<&'a str>,
    causes: &'a str,
    body: &'a str,
}

/// Why bytes are not an entry of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// They are not even a canonical object.
    #[error("the entry is not canonical: {0}")]
    NotCanonical(CheckError),
    /// A field is missing or has the wrong type.
    #[error("the entry has no proper field {0:?}")]
    Field(&'static str),
    /// A field that version 1 does not have.
    #[error("the entry has a field that version 1 does not know")]
    Unknown,
}

/// The first element of `causes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FirstCause<'a> {
    pub log: &'a str,
    pub seq: u64,
    pub leaf: Digest,
}

const FIELDS: [&str; 13] = [
    "actor", "agent", "body", "boot", "causes", "id", "incident", "kind", "mono", "node", "seq",
    "ts", "v",
];

/// Where a field stands in [`FIELDS`]: spelled out, since comparing a key with constants is
/// many times as fast as with the elements of a list.
fn place(key: &str) -> Option<usize> {
    Some(match key {
        "actor" => 0,
        "agent" => 1,
        "body" => 2,
        "boot" => 3,
        "causes" => 4,
        "id" => 5,
        "incident" => 6,
        "kind" => 7,
        "mono" => 8,
        "node" => 9,
        "seq" => 10,
        "ts" => 11,
        "v" => 12,
        _ => return None,
    })
}

impl<'a> Envelope<'a> {
    /// Checks `bytes` (one pass) and reads their fields.
    ///
    /// # Errors
    /// [`EnvelopeError`] if they are not a canonical entry of version 1.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        Self::parse_along(bytes, |_| ())
    }

    /// As [`Envelope::parse`], with the leaf hash of `bytes`, whatever they are. A block's hash has to
    /// wait for that of the block before it; the processor walks over the block meanwhile. One after
    /// the other, verification took 5 % longer.
    pub(crate) fn parse_and_hash(bytes: &'a [u8]) -> (Result<Self, EnvelopeError>, Digest) {
        let mut leaf = GrowingLeaf::new(bytes);
        let parsed = Self::parse_along(bytes, |at| leaf.follow(at));
        (parsed, leaf.finish())
    }

    fn parse_along(bytes: &'a [u8], along: impl FnMut(usize)) -> Result<Self, EnvelopeError> {
        let mut found = [None; FIELDS.len()];
        let mut unknown = false;
        let member = |key: &str, value: &'a str| match place(key) {
            Some(place) => found[place] = Some(value),
            None => unknown = true,
        };
        check_along(bytes, member, along).map_err(EnvelopeError::NotCanonical)?;
        if unknown {
            return Err(EnvelopeError::Unknown);
        }
        Self::read(&found)
    }

    fn read(found: &[Option<&'a str>; FIELDS.len()]) -> Result<Self, EnvelopeError> {
        let field = |index: usize, first: u8| {
            let value = found[index].filter(|value| value.as_bytes().first() == Some(&first));
            value.ok_or(EnvelopeError::Field(FIELDS[index]))
        };
        let text = |index: usize| field(index, b'"').map(|value| &value[1..value.len() - 1]);
        let optional = |index: usize| found[index].map(|_| text(index)).transpose();
        let number = |index: usize| {
            let value = found[index].and_then(|digits| digits.parse::<u64>().ok());
            value.ok_or(EnvelopeError::Field(FIELDS[index]))
        };
        field(0, b'{')?; // actor
        text(3)?; // boot
        let mono = text(8)?;
        mono.parse::<u64>()
            .map_err(|_| EnvelopeError::Field("mono"))?;
        text(9)?; // node
        if number(12)? != ENTRY_VERSION {
            return Err(EnvelopeError::Field("v"));
        }
        Ok(Self {
            seq: number(10)?,
            id: text(5)?,
            ts: stamp::parse(text(11)?.as_bytes()).ok_or(EnvelopeError::Field("ts"))?,
            kind: text(7)?,
            agent: optional(1)?,
            incident: optional(6)?,
            causes: field(4, b'[')?,
            body: field(2, b'{')?,
        })
    }

    /// The first cause, if there is one and it has just the members that it should. There is
    /// one spelling of such a cause, so it is taken apart and not parsed.
    pub(crate) fn first_cause(&self) -> Option<FirstCause<'a>> {
        const HEX_DIGITS: usize = 64;
        let rest = self.causes.strip_prefix(r#"[{"leaf":""#)?;
        let (leaf, rest) = rest.split_at_checked(HEX_DIGITS)?;
        let (log, rest) = rest.strip_prefix(r#"","log":""#)?.split_once('"')?;
        let (seq, _) = rest.strip_prefix(r#","seq":"#)?.split_once('}')?;
        Some(FirstCause {
            log,
            seq: seq.parse().ok()?,
            leaf: Digest::from_hex(leaf).ok()?,
        })
    }

    /// The body, read as `T`.
    pub(crate) fn body_as<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_str(self.body).ok()
    }
}
