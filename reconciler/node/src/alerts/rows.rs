//! The outbox's rows in the state table of ledger.db, all below `alert/`.
//!
//! | key | value, as JSON |
//! |---|---|
//! | `alert/item/RECEIVER/NUMBER` | a message that waits; the number has 20 digits and rises |
//! | `alert/open/RECEIVER/SUBJECT` | what is open at the receiver, so that it can be resolved |
//! | `alert/state/RECEIVER` | since when it fails, and when it last took a message |
//! | `alert/receivers` | the receivers of the last valid Node |
//! | `alert/digest` | how far the last daily digest looked |

use std::collections::BTreeMap;

use osmoda_core::{alert::Open, spec::Alert};
use osmoda_ledger::StateChange;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::item::Item;

/// Begins every key.
pub const PREFIX: &str = "alert/";
/// The receivers of the last valid Node.
pub const RECEIVERS: &str = "alert/receivers";
/// How far the last digest looked.
pub const DIGEST: &str = "alert/digest";
const ITEM: &str = "alert/item/";
const OPEN: &str = "alert/open/";
const STATE: &str = "alert/state/";

/// How a receiver is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Doing {
    /// Since when it fails (RFC 3339).
    pub failing_since: Option<String>,
    /// Why the last try failed.
    pub reason: Option<String>,
    /// When it last took a message (RFC 3339).
    pub delivered_at: Option<String>,
}

/// Everything that an earlier daemon left.
#[derive(Debug, Default)]
pub struct Remembered {
    /// The receivers of the last valid Node.
    pub receivers: Vec<Alert>,
    /// What is known of each receiver, also of those that are no longer declared.
    pub by_receiver: BTreeMap<String, Shelf>,
}

/// What was left of one receiver.
#[derive(Debug, Default)]
pub struct Shelf {
    /// What waits, by number.
    pub items: BTreeMap<u64, Item>,
    /// What is open, by subject.
    pub open: BTreeMap<String, Open>,
    /// How it was doing.
    pub doing: Doing,
}

/// Reads what was left. A row that cannot be read, of another version, is passed over.
pub fn read(rows: &BTreeMap<String, Vec<u8>>) -> Remembered {
    let mut all = Remembered::default();
    for (key, value) in rows {
        if key == RECEIVERS {
            all.receivers = parse(value).unwrap_or_default();
        } else if let Some((receiver, number)) = split(key, ITEM) {
            if let (Ok(number), Some(item)) = (number.parse(), parse(value)) {
                shelf(&mut all, receiver).items.insert(number, item);
            }
        } else if let Some((receiver, subject)) = split(key, OPEN) {
            if let Some(open) = parse(value) {
                shelf(&mut all, receiver)
                    .open
                    .insert(subject.to_owned(), open);
            }
        } else if let Some(receiver) = key.strip_prefix(STATE) {
            shelf(&mut all, receiver).doing = parse(value).unwrap_or_default();
        }
    }
    all
}

fn shelf<'a>(all: &'a mut Remembered, receiver: &str) -> &'a mut Shelf {
    all.by_receiver.entry(receiver.to_owned()).or_default()
}

fn split<'k>(key: &'k str, prefix: &str) -> Option<(&'k str, &'k str)> {
    key.strip_prefix(prefix)?.split_once('/')
}

fn parse<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value)
        .inspect_err(|error| tracing::warn!(%error, "a row of the alerts cannot be read"))
        .ok()
}

/// Sets a row.
pub fn put(key: String, value: &impl Serialize) -> StateChange {
    // Structs of text, numbers and lists with text keys always serialize.
    let value = serde_json::to_vec(value).unwrap_or_default();
    StateChange::Put { key, value }
}

/// Removes a row.
pub fn delete(key: String) -> StateChange {
    StateChange::Delete { key }
}

/// Key of a message.
pub fn item_key(receiver: &str, number: u64) -> String {
    format!("{ITEM}{receiver}/{number:020}")
}

/// Key of what is open.
pub fn open_key(receiver: &str, subject: &str) -> String {
    format!("{OPEN}{receiver}/{subject}")
}

/// Key of how a receiver is doing.
pub fn doing_key(receiver: &str) -> String {
    format!("{STATE}{receiver}")
}
