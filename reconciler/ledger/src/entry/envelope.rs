//! Reads the fields of an entry that verification and queries need, from checked bytes.

use osmoda_core::time::Wall;
use serde::Deserialize;

use super::{ENTRY_VERSION, stamp};
use crate::check::{CheckError, check};

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
    causes: &'a [u8],
    body: &'a [u8],
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

/// One element of `causes`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ReadCause {
    pub log: String,
    pub seq: u64,
    pub leaf: String,
}

const FIELDS: [&str; 13] = [
    "actor", "agent", "body", "boot", "causes", "id", "incident", "kind", "mono", "node", "seq",
    "ts", "v",
];

impl<'a> Envelope<'a> {
    /// Checks `bytes` (one pass) and reads their fields.
    ///
    /// # Errors
    /// [`EnvelopeError`] if they are not a canonical entry of version 1.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let mut found = [None; FIELDS.len()];
        let mut unknown = false;
        let mut from = 0; // both lists are in order, so each is walked once
        let member = |key: &[u8], value: &'a [u8]| {
            let rest = FIELDS[from..].iter();
            let is_key = |field: &str| field.len() == key.len() && field.as_bytes() == key;
            match rest.clone().position(|field| is_key(field)) {
                Some(ahead) => {
                    found[from + ahead] = Some(value);
                    from += ahead + 1;
                }
                None => unknown = true,
            }
        };
        check(bytes, member).map_err(EnvelopeError::NotCanonical)?;
        if unknown {
            return Err(EnvelopeError::Unknown);
        }
        Self::read(&found)
    }

    fn read(found: &[Option<&'a [u8]>; FIELDS.len()]) -> Result<Self, EnvelopeError> {
        let field = |index: usize, first: u8| {
            let value = found[index].filter(|value| value.first() == Some(&first));
            value.ok_or(EnvelopeError::Field(FIELDS[index]))
        };
        let text = |index: usize| {
            let value = field(index, b'"')?;
            let inner = std::str::from_utf8(&value[1..value.len() - 1]);
            inner.map_err(|_| EnvelopeError::Field(FIELDS[index]))
        };
        let optional = |index: usize| found[index].map(|_| text(index)).transpose();
        let number = |index: usize| {
            let value = found[index].and_then(|value| std::str::from_utf8(value).ok());
            let value = value.and_then(|digits| digits.parse::<u64>().ok());
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

    /// The first cause, if there is one and it is well formed.
    pub(crate) fn first_cause(&self) -> Option<ReadCause> {
        let causes: Vec<ReadCause> = serde_json::from_slice(self.causes).ok()?;
        causes.into_iter().next()
    }

    /// The body, read as `T`.
    pub(crate) fn body_as<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::from_slice(self.body).ok()
    }
}
