//! What is known of each anchor: the last checkpoint that it took, and since when it fails.
//!
//! It is kept in the state table, one row an anchor, beside the log and not in it: that a
//! checkpoint was anchored grows the log only when it is news (an anchor works again), or every
//! anchored checkpoint would ask for the next one. The row is a note to oneself. What proves
//! something is the copy that the anchor holds and, for a witness, its cosignature.

use std::collections::BTreeMap;

use osmoda_core::digest::Digest;
use serde::{Deserialize, Serialize};

/// Keys of the state table that hold an [`AnchorState`]; the anchor's name follows.
pub const STATE_PREFIX: &str = "anchor/";

/// One anchor, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnchorState {
    /// What tells it from the others: its kind and where it is. Never a secret.
    pub name: String,
    /// The last checkpoint that it took.
    pub last: Option<Anchored>,
    /// Since when it fails, and why.
    pub failing: Option<Failing>,
}

/// A checkpoint that an anchor has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Anchored {
    /// Entries that it covers.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Digest,
    /// When (RFC 3339).
    pub at: String,
    /// The checkpoint as a signed note, with the cosignatures that a witness added.
    pub note: String,
}

/// An outage of an anchor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failing {
    /// Since when (RFC 3339).
    pub since: String,
    /// Why the last try failed.
    pub reason: String,
    /// Trying again will not help: the anchor holds another history of this log.
    pub fork: bool,
}

impl AnchorState {
    /// Of an anchor that was never reached.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            last: None,
            failing: None,
        }
    }

    /// Its key in the state table.
    pub fn key(&self) -> String {
        format!("{STATE_PREFIX}{}", self.name)
    }
}

/// Reads the rows under [`STATE_PREFIX`], in the order of their names. What is no such row is
/// left out.
pub fn read_all(rows: &BTreeMap<String, Vec<u8>>) -> Vec<AnchorState> {
    let rows = rows.iter().filter(|(key, _)| key.starts_with(STATE_PREFIX));
    rows.filter_map(|(_, value)| serde_json::from_slice(value).ok())
        .collect()
}

/// Entries that at least one anchor vouches for, of a log of `size` entries. What an anchor
/// holds beyond the log's end (the log was cut, or is a copy from before) counts as its end.
pub fn anchored_size(anchors: &[AnchorState], size: u64) -> u64 {
    let sizes = anchors.iter().filter_map(|anchor| anchor.last.as_ref());
    sizes.map(|last| last.size.min(size)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchored(name: &str, size: u64) -> AnchorState {
        AnchorState {
            last: Some(Anchored {
                size,
                root: Digest::of(b""),
                at: String::new(),
                note: String::new(),
            }),
            ..AnchorState::new(name)
        }
    }

    #[test]
    fn rows_survive_and_strangers_are_left_out() {
        let state = anchored("directory:/mnt/a", 7);
        let rows = BTreeMap::from([
            (state.key(), serde_json::to_vec(&state).unwrap()),
            ("agent/a".to_owned(), b"{}".to_vec()),
            ("anchor/odd".to_owned(), b"?".to_vec()),
        ]);
        assert_eq!(read_all(&rows), [state]);
    }

    #[test]
    fn the_furthest_anchor_counts_and_never_beyond_the_log() {
        let all = [anchored("a", 3), anchored("b", 9), AnchorState::new("c")];
        assert_eq!(anchored_size(&all, 20), 9);
        assert_eq!(anchored_size(&all, 5), 5);
        assert_eq!(anchored_size(&[], 5), 0);
    }
}
