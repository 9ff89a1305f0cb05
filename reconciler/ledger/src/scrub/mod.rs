//! Keeps secrets out of entries: learned credential values, and text that looks like a token.
//!
//! Every string and key of a draft's body, and the command of its actor, pass through
//! [`Scrubber::scrub`] before they become bytes. The envelope (kind, agent, ids, digests) does
//! not: it is made of names, numbers and hashes that cannot carry a credential.
//!
//! - Learned values ([`learned`]) are found wherever they stand, plain or encoded, and become
//!   `[scrubbed:NAME]`. Values shorter than [`MIN_LEARNED`] bytes are *not* searched for: a
//!   short word would be cut out of every text, and is no secret worth the name.
//! - Token shapes ([`shapes`]) become `[scrubbed]`, whoever they belong to.
//!
//! What it cannot see: a learned value that is a JSON number, one that is split over several
//! strings, and encodings other than base64, percent and JSON escapes.

mod learned;
mod shapes;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    sync::{PoisonError, RwLock},
};

pub use learned::{MIN_LEARNED, MIN_LINE, VALUES_PER_NAME};
pub(crate) use shapes::names_a_secret;

/// What a text that looks like a token becomes.
pub(crate) const MARK: &str = "[scrubbed]";

/// Removes secrets from text; shared by the store, which uses it, and whoever reads credentials.
#[derive(Default)]
pub struct Scrubber {
    learned: RwLock<learned::Learned>,
}

impl Scrubber {
    /// A scrubber that knows token shapes only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns the value of the credential `name`, which is shown in its place.
    ///
    /// The last [`VALUES_PER_NAME`] values of a name stay known, so that output written before
    /// a rotation is scrubbed after it. Learning the same value again costs nothing.
    pub fn learn(&self, name: &str, value: &[u8]) {
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        learned.learn(name, value);
    }

    /// Forgets all values of `name`.
    pub fn forget(&self, name: &str) {
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        learned.forget(name);
    }

    /// The text without secrets; borrowed if there were none.
    pub fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let known = {
            let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
            learned.replace(text)
        };
        match known {
            None => shapes::replace(text).map_or(Cow::Borrowed(text), Cow::Owned),
            Some(text) => Cow::Owned(shapes::replace(&text).unwrap_or(text)),
        }
    }
}

impl std::fmt::Debug for Scrubber {
    /// Says nothing of what it has learned.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scrubber")
    }
}
