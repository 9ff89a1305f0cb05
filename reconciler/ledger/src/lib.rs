//! The audit ledger: what osmoda did and why, in a form that a third party can verify.
//!
//! Entries are canonical JSON ([`canonical`]), hashed into a chain and an RFC 6962 tree
//! ([`tlog`]) and kept in one SQLite file ([`store`]) together with the state that follows
//! from them. A ledger can be verified from the file alone ([`verify`]).
//!
//! Invariants:
//! - An entry that was acknowledged is durable; an intent is acknowledged before its act.
//! - The bytes that are hashed are the bytes that are stored, exported and verified. Nothing
//!   is ever serialized again in order to check it.
//! - Secrets leave a draft before it becomes bytes ([`scrub`]).
//! - Data from outside never makes an entry impossible: it is cut, not refused ([`entry`]).
//!
//! Where to start: [`Ledger::append`] for the daemon, [`Store::commit`] for what it does,
//! [`verify::verify`] for the auditor.

pub mod anchor;
mod audit;
pub mod backup;
pub mod canonical;
pub mod check;
pub mod checkpoint;
pub mod entry;
pub mod error;
pub mod export;
pub mod ids;
pub mod note;
pub mod operate;
pub mod proof;
pub mod query;
pub mod reader;
pub mod report;
pub mod scrub;
pub mod sign;
pub mod store;
pub mod timeline;
pub mod tlog;
pub mod tlog_proof;
pub mod verify;
pub mod witness;
pub mod writer;

pub use canonical::canonical_manifest;
pub use entry::{Appended, Cause, Commit, Draft, EntryRef, IncidentRef, StateChange};
pub use error::{CommitError, OpenError, ReadError};
pub use ids::{IdSource, RandomIds};
pub use query::Record;
pub use reader::{ProveError, Reader};
pub use scrub::Scrubber;
pub use sign::{Cadence, Signed, SigningOptions};
pub use store::{Head, OpenOptions, Opened, Reset, Store, Synchronous};
pub use verify::{Report, VerifyOptions, verify};
pub use writer::Ledger;
