//! Names that are parsed once, at the edge, and trusted afterwards.

use std::{borrow::Borrow, fmt};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// Longest agent name, in bytes (a DNS label, RFC 1123 section 2.1).
pub const AGENT_NAME_MAX: usize = 63;

/// The name of an agent: a DNS label that cannot be mistaken for a profile's generation link.
///
/// Lower-case letters, digits and `-`; it begins and ends with a letter or digit, has at most
/// [`AGENT_NAME_MAX`] bytes and does not end in `-N-link` (Nix names generations so). A name of up
/// to 24 bytes lies in the value itself: to look one up among thousands follows no pointers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentName(CompactString);

/// Why a text is not an agent name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum NameError {
    #[error("is empty")]
    Empty,
    #[error("has {0} characters; at most {AGENT_NAME_MAX} are allowed")]
    TooLong(usize),
    #[error("contains {0:?}; only a-z, 0-9 and '-' are allowed")]
    BadCharacter(char),
    #[error("begins or ends with '-'")]
    EdgeHyphen,
    #[error("ends in '-N-link', which is how Nix names the generations of a profile")]
    GenerationLink,
}

impl AgentName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`NameError`] says which rule of a DNS label is broken.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(bad) = text
            .chars()
            .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-'))
        {
            return Err(NameError::BadCharacter(bad));
        }
        if text.len() > AGENT_NAME_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(NameError::EdgeHyphen);
        }
        if is_generation_link(text) {
            return Err(NameError::GenerationLink);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_generation_link(text: &str) -> bool {
    let Some(stem) = text.strip_suffix("-link") else {
        return false;
    };
    let Some((_, number)) = stem.rsplit_once('-') else {
        return false;
    };
    !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

impl TryFrom<String> for AgentName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<AgentName> for String {
    fn from(name: AgentName) -> Self {
        name.0.into_string()
    }
}

impl Borrow<str> for AgentName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for AgentName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label_and_not_a_generation_link() {
        for good in ["a", "researcher", "a-1", "1-link", "x-link", "a1-link"] {
            assert!(AgentName::new(good).is_ok(), "{good}");
        }
        assert_eq!(AgentName::new("").unwrap_err(), NameError::Empty);
        assert_eq!(
            AgentName::new("A").unwrap_err(),
            NameError::BadCharacter('A')
        );
        assert_eq!(
            AgentName::new("a/b").unwrap_err(),
            NameError::BadCharacter('/')
        );
        assert_eq!(AgentName::new("-a").unwrap_err(), NameError::EdgeHyphen);
        assert_eq!(AgentName::new("a-").unwrap_err(), NameError::EdgeHyphen);
        assert_eq!(
            AgentName::new("a-12-link").unwrap_err(),
            NameError::GenerationLink
        );
        assert_eq!(
            AgentName::new(&"a".repeat(64)).unwrap_err(),
            NameError::TooLong(64)
        );
        assert!(AgentName::new(&"a".repeat(63)).is_ok());
    }
}
